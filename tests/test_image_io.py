"""Single files in every form, against pixel values computed by hand."""

import struct
from pathlib import Path

from support.data import image_io
from support.data.image_io import ColoredMask, count_colors, picture_size, read_image, read_mask

import numpy as np
import pytest
from PIL import Image

GRAY = np.uint8([[0, 1, 2], [2, 255, 0]])
RED, GREEN, BLUE, BLACK = (255, 0, 0), (0, 255, 0), (0, 0, 255), (0, 0, 0)
COLORED = np.uint8([[RED, GREEN, BLUE], [BLACK, RED, (10, 20, 30)]])
LOSSLESS = {"webp": {"lossless": True}, "jpg": {"quality": 100}}


def save(path, pixels, mode=None, **options):
    """Write an array, which Pillow takes for a picture of `mode`, or converts to it."""
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(np.asarray(pixels))
    image = image.convert(mode) if mode else image
    image.save(path, **LOSSLESS.get(path.suffix[1:], {}), **options)
    return path


def palette_picture(numbers, colors):
    image = Image.fromarray(np.uint8(numbers)).convert("P")
    image.putdata(np.ravel(numbers).tolist())
    image.putpalette(np.ravel(colors).tolist())
    return image


def refused(read, path):
    """What the ValueError of a file says after its name; the one line that is promised."""
    with pytest.raises(ValueError, match=r"\A.*\Z") as stopped:
        read(path)
    message = str(stopped.value)
    assert message.startswith(f"{path}: ")
    return message.removeprefix(f"{path}: ")


@pytest.mark.parametrize(
    ("ending", "pixels", "options", "wanted"),
    [
        ("png", np.uint8([[0, 7, 255]]), {}, [(0, 0, 0), (7, 7, 7), (255, 255, 255)]),
        ("png", np.array([[True, False]]), {}, [(255, 255, 255), BLACK]),
        ("png", palette_picture([[1, 0]], [RED, BLUE]), {}, [BLUE, RED]),
        ("png", palette_picture([[1, 0]], [RED, BLUE]), {"transparency": 0}, [BLUE, (255,) * 3]),
        ("png", np.uint8([[5, 9]]), {"transparency": 9}, [(5, 5, 5), (255, 255, 255)]),
        # A fifth of 100 and four fifths of white; nothing of it; all of it.
        (
            "png",
            np.uint8([[(100, 51), (100, 0), (100, 255)]]),
            {},
            [(224,) * 3, (255,) * 3, (100,) * 3],
        ),
        (
            "png",
            np.uint8([[(*RED, 51), (*RED, 0), (*RED, 255)]]),
            {},
            [(255, 204, 204), (255,) * 3, RED],
        ),
        ("webp", np.uint8([[(*RED, 0), (*BLUE, 255)]]), {}, [(255, 255, 255), BLUE]),
        ("png", np.uint16([[0, 256, 257, 65535]]), {}, [BLACK, BLACK, (1, 1, 1), (255, 255, 255)]),
        ("tif", np.uint16([[514, 65534]]), {}, [(2, 2, 2), (254, 254, 254)]),
        ("tif", np.int32([[514, 65535]]), {}, [(2, 2, 2), (255, 255, 255)]),
        ("tif", Image.new("CMYK", (1, 1), (255, 0, 0, 0)), {}, [(0, 255, 255)]),
        ("tif", Image.new("CMYK", (1, 1), (0, 255, 255, 255)), {}, [BLACK]),
        ("jpg", Image.new("CMYK", (8, 8), (0, 255, 255, 0)), {}, [RED] * 8),
    ],
)
def test_every_kind_of_pixel_becomes_rgb(tmp_path, ending, pixels, options, wanted):
    image = read_image(save(tmp_path / f"a.{ending}", pixels, **options))
    assert image.dtype == np.uint8
    assert image.flags.writeable
    np.testing.assert_allclose(image[0].astype(int), wanted, atol=3 if ending == "jpg" else 0)


def test_gray_that_is_multiplied_by_its_opacity_already(tmp_path):
    """Pillow reads such a file and writes none: tag 338, ExtraSamples, is changed from 2 to 1."""
    path = save(tmp_path / "a.tif", np.uint8([[(20, 51), (0, 0), (100, 255)]]))
    tag = struct.pack("<HHI", 338, 3, 1)
    assert path.read_bytes().count(tag + b"\2") == 1
    path.write_bytes(path.read_bytes().replace(tag + b"\2", tag + b"\1"))
    assert Image.open(path).mode == "La"
    np.testing.assert_array_equal(read_image(path)[0], [(224,) * 3, (255,) * 3, (100,) * 3])


@pytest.mark.parametrize("ending", ["png", "gif", "bmp", "tif", "TIFF", "webp"])
def test_every_lossless_format_keeps_a_picture_as_it_was(tmp_path, ending):
    path = save(tmp_path / f"a.{ending}", COLORED)
    np.testing.assert_array_equal(read_image(path), COLORED)
    assert picture_size(path) == (2, 3)


def test_a_jpeg_is_nearly_as_it_was(tmp_path):
    drawn = np.full((16, 24, 3), (200, 120, 40), np.uint8)
    image = read_image(save(tmp_path / "a.JPEG", drawn))
    assert image.shape == drawn.shape
    assert np.abs(image.astype(int) - drawn).max() < 4


TURNED = {
    1: [[1, 2, 3], [4, 5, 6]],
    2: [[3, 2, 1], [6, 5, 4]],
    3: [[6, 5, 4], [3, 2, 1]],
    4: [[4, 5, 6], [1, 2, 3]],
    5: [[1, 4], [2, 5], [3, 6]],
    6: [[4, 1], [5, 2], [6, 3]],
    7: [[6, 3], [5, 2], [4, 1]],
    8: [[3, 6], [2, 5], [1, 4]],
}


@pytest.mark.parametrize("ending", ["jpg", "png", "webp", "tif"])
@pytest.mark.parametrize("orientation", TURNED)
def test_the_exif_orientation_turns_a_picture_and_its_size(tmp_path, orientation, ending):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(tmp_path / f"a.{ending}", np.uint8(TURNED[1]) * 40, exif=exif)
    image, wanted = read_image(path), np.array(TURNED[orientation])
    np.testing.assert_array_equal(np.rint(image[..., 0] / 40), wanted)
    assert picture_size(path) == wanted.shape
    if ending in ("png", "tif"):
        np.testing.assert_array_equal(read_mask(path)[..., 0], wanted * 40)


@pytest.mark.parametrize(
    ("pixels", "fault"),
    [
        (np.float32([[0.5]]), "floating-point"),
        (np.int32([[65536]]), "more than 16 bits"),
        (np.int32([[-1]]), "more than 16 bits"),
    ],
)
def test_pixels_that_cannot_be_8_bits_are_refused(tmp_path, pixels, fault):
    assert fault in refused(read_image, save(tmp_path / "a.tif", pixels))


@pytest.mark.parametrize("read", [read_image, read_mask])
def test_several_pages_are_refused_and_counted(tmp_path, read):
    pages = [Image.fromarray(GRAY)] * 2
    path = save(tmp_path / "a.tif", GRAY, save_all=True, append_images=pages)
    assert "3 pages" in refused(read, path)


@pytest.mark.parametrize("read", [read_image, read_mask, picture_size])
@pytest.mark.parametrize("content", [b"", b"no picture", b"\x89PNG\r\n\x1a\n"])
def test_what_is_no_picture_is_refused(tmp_path, read, content):
    path = tmp_path / "a 'quoted' name.png"
    path.write_bytes(content)
    assert str(path) not in refused(read, path)  # the name is told once, not twice


@pytest.mark.parametrize("ending", ["png", "gif", "bmp", "tif", "webp", "jpg"])
def test_half_a_file_is_refused(tmp_path, ending):
    noise = np.random.default_rng(0).integers(0, 256, (40, 40), np.uint8)
    path = save(tmp_path / f"a.{ending}", noise)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    assert refused(read_image, path)
    assert refused(read_mask, path)
    if ending == "jpg":
        assert picture_size(path) == (40, 40)  # of which the header alone speaks


@pytest.mark.parametrize("ending", ["png", "bmp", "tif"])
def test_a_mask_keeps_its_numbers_in_every_format(tmp_path, ending):
    mask = read_mask(save(tmp_path / f"a.{ending}", GRAY))
    assert mask.dtype == np.uint8
    assert mask.shape == (2, 3, 1)
    np.testing.assert_array_equal(mask[..., 0], GRAY)


def test_a_gif_keeps_255(tmp_path):
    """Who writes a GIF leaves unused numbers out: of 255 it makes a 3 that is white."""
    path = save(tmp_path / "a.gif", GRAY)
    np.testing.assert_array_equal(read_mask(path)[..., 0], GRAY)


@pytest.mark.parametrize(
    ("ending", "colors", "wanted"),
    [
        ("gif", [(0, 0, 0), (255, 255, 255)], [255, 0, 255]),
        ("gif", [(0, 0, 0), (255, 255, 255), RED], [1, 0, 1]),
        ("gif", [(0, 0, 0), (90, 90, 90)], [1, 0, 1]),
        ("png", [(0, 0, 0), (255, 255, 255)], [1, 0, 1]),
    ],
)
def test_grays_of_a_palette_count_only_where_a_gif_made_them(tmp_path, ending, colors, wanted):
    drawn = palette_picture([[1, 0, 1]], colors)
    path = tmp_path / f"a.{ending}"
    drawn.save(path, **({"optimize": False} if ending == "gif" else {}))
    assert read_mask(path).ravel().tolist() == wanted


@pytest.mark.parametrize("kind", [np.uint16, np.int32])
def test_a_mask_may_have_more_bits_than_it_needs(tmp_path, kind):
    path = save(tmp_path / "a.tif", GRAY.astype(kind))
    np.testing.assert_array_equal(read_mask(path)[..., 0], GRAY)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA"])
@pytest.mark.parametrize("colors", [None, {(n, n, n): n for n in (0, 1, 2, 255)}])
def test_gray_with_more_channels_is_as_good_as_gray(tmp_path, mode, colors):
    mask = read_mask(save(tmp_path / "a.png", GRAY, mode), colors)
    np.testing.assert_array_equal(mask[..., 0], GRAY)


def test_a_mask_of_one_bit_is_as_if_it_had_eight(tmp_path):
    """Programs that save space make it of a mask of 0 and 255, and its neighbour may stay so."""
    mask = read_mask(save(tmp_path / "a.png", np.array([[True, False, True]])))
    assert mask.ravel().tolist() == [255, 0, 255]


@pytest.mark.parametrize("colors", [None, {RED: 0, GREEN: 1}])
def test_of_a_palette_the_numbers_count(tmp_path, colors):
    drawn = palette_picture([[2, 0, 1]], [RED, GREEN, (9, 9, 9)])
    assert read_mask(save(tmp_path / "a.png", drawn), colors).ravel().tolist() == [2, 0, 1]


def test_of_a_palette_whose_colors_are_all_explained_the_colors_count(tmp_path):
    """Of the third color nothing is known, but no pixel has it."""
    drawn = palette_picture([[1, 0, 1]], [RED, GREEN, (9, 9, 9)])
    mask = read_mask(save(tmp_path / "a.png", drawn), {GREEN: 0, RED: 7})
    assert mask.ravel().tolist() == [0, 7, 0]


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_colors_become_the_ids_that_they_mean(tmp_path, mode):
    colors = {BLACK: 2, RED: 0, (10, 20, 30): 254, GREEN: 255, BLUE: 1}
    mask = read_mask(save(tmp_path / "a.png", COLORED, mode), colors)
    assert mask.dtype == np.uint8
    assert mask[..., 0].tolist() == [[0, 255, 1], [2, 0, 254]]


def test_of_unknown_colors_the_most_frequent_is_told(tmp_path):
    path = save(tmp_path / "a.png", COLORED)
    told = refused(lambda path: read_mask(path, {GREEN: 0, BLUE: 1}), path)
    assert told.startswith("4 pixels of (255, 0, 0) and 2 more colors, not in classes.txt")
    told = refused(lambda path: read_mask(path, {GREEN: 0, BLUE: 1, BLACK: 2, RED: 3}), path)
    assert told == "1 pixels of (10, 20, 30), not in classes.txt"


def test_colors_that_nobody_explained_are_counted(tmp_path):
    path = save(tmp_path / "a.png", COLORED, "RGBA")
    with pytest.raises(ColoredMask, match="colors") as stopped:
        read_mask(path)
    assert str(stopped.value).startswith(f"{path}: ")
    assert stopped.value.counts == {RED: 2, GREEN: 1, BLUE: 1, BLACK: 1, (10, 20, 30): 1}


@pytest.mark.parametrize("name", ["a.jpg", "a.png"])
def test_a_jpeg_is_refused_as_a_mask_whatever_its_name(tmp_path, name):
    assert "JPEG" in refused(read_mask, save(tmp_path / name, GRAY, format="JPEG"))


@pytest.mark.parametrize("lossless", [False, True])
def test_webp_is_refused_as_a_mask(tmp_path, lossless):
    """It changes 0, 1 and 2 into each other, as JPEG does; that one does not cannot be seen."""
    path = tmp_path / "a.webp"
    Image.fromarray(np.repeat(GRAY, 8, axis=0)).save(path, lossless=lossless)
    assert "WEBP" in refused(read_mask, path)


@pytest.mark.parametrize(
    ("pixels", "fault"),
    [
        (np.float32([[0.5]]), "floating-point"),
        (Image.new("CMYK", (1, 1)), "mode CMYK"),
        (np.uint16([[3, 256]]), "value 256"),
        (np.int32([[70000, 0]]), "value 70000"),
        (np.int32([[-1, 3]]), "value -1"),
    ],
)
def test_pixels_that_are_no_ids_are_refused(tmp_path, pixels, fault):
    assert fault in refused(read_mask, save(tmp_path / "a.tif", pixels))


@pytest.mark.parametrize("shape", [(6, 3), (2, 3, 3), (1, 2, 3, 3)])
def test_colors_are_counted_in_arrays_of_any_shape(shape):
    counts = count_colors(COLORED.reshape(shape))
    assert counts == {RED: 2, GREEN: 1, BLUE: 1, BLACK: 1, (10, 20, 30): 1}


def test_pictures_are_known_by_their_names_unless_hidden():
    names = "a.jpg a.JPEG a.PnG a.gif a.bmp a.tif a.tiff a.webp .a.png a.txt png a.npy Thumbs.db"
    known = [name for name in names.split() if image_io.is_picture(Path("images") / name)]
    assert known == names.split()[:8]
