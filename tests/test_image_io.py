"""Single files in every form, against pixel values computed by hand."""

import functools
import struct
from pathlib import Path

import common
from support.data import image_io
from support.data.image_io import (
    ColoredMask,
    count_pages,
    picture_size,
    read_image,
    upper_bits_alone,
    value_range,
)
from support.data.mask_io import count_colors, read_mask

import numpy as np
import pytest
import tensorflow as tf
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


def wide(folder, kind, values):
    """A picture of more than 8 bits, gray or in color, of values (H, W) or (H, W, C)."""
    if kind == "png":
        values = np.atleast_3d(values).astype(np.uint16)
        (folder / "a.png").write_bytes(tf.io.encode_png(values).numpy())
        return folder / "a.png"
    return save(folder / "a.tif", values.astype(kind))


@pytest.mark.parametrize("kind", ["png", np.uint16, np.int32, np.float32])
def test_values_of_more_than_8_bits_are_scaled_by_one_line(tmp_path, kind):
    """(value - 300) * 255 / 2700, rounded; what is beyond either end is cut."""
    path = wide(tmp_path, kind, np.array([[300, 1650, 3000], [200, 3100, 2999]]))
    image = read_image(path, values=(300, 3000))
    gray = np.uint8([[0, 128, 255], [0, 255, 255]])
    np.testing.assert_array_equal(image, gray[..., None].repeat(3, -1))
    assert value_range(path) == (200, 3100)
    assert "more than 8 bits" in refused(read_image, path)


def test_a_sign_and_a_fraction_have_their_place_on_the_line(tmp_path):
    hounsfield = save(tmp_path / "a.tif", np.int32([[-1024, -362, 300]]))
    assert value_range(hounsfield) == (-1024, 300)
    assert read_image(hounsfield, values=(-1024, 300))[0, :, 0].tolist() == [0, 128, 255]
    share = save(tmp_path / "b.tif", np.float32([[0, 0.25, 1]]))
    assert value_range(share) == (0, 1)
    assert read_image(share, values=(0, 1))[0, :, 0].tolist() == [0, 64, 255]


def test_pixels_that_are_no_numbers_are_told(tmp_path):
    """As 0 they would be trained on."""
    path = save(tmp_path / "a.tif", np.float32([[0, np.nan, 1]]))
    for values in (None, (0, 1)):
        told = refused(functools.partial(read_image, values=values), path)
        assert told.startswith("has pixels that are no numbers")


def test_colors_of_16_bits_are_read_whole_with_opacity_or_without(tmp_path):
    colored = np.array([[(300, 1650, 3000)]])
    assert read_image(wide(tmp_path, "png", colored), values=(300, 3000)).tolist() == [
        [[0, 128, 255]]
    ]
    faint = np.concatenate([colored, [[[0]]]], axis=-1)
    assert read_image(wide(tmp_path, "png", faint), values=(300, 3000)).tolist() == [[[255] * 3]]
    gray = np.array([[(3000, 65535), (300, 65535), (300, 0)]])
    image = read_image(wide(tmp_path, "png", gray), values=(300, 3000))
    assert image[0, :, 0].tolist() == [255, 0, 255]


def test_a_broken_pixel_in_ten_thousand_does_not_decide_the_range(tmp_path):
    values = np.full((150, 150), 2200)
    values[0, 0], values[:75], values[1, 1] = 65535, 2100, 0
    values[75:] = 2300
    values[-1, -1] = 65535
    assert value_range(wide(tmp_path, "png", values)) == (2100, 2300)


def test_8_bits_have_no_range_and_are_refused_where_others_have_one(tmp_path):
    path = save(tmp_path / "a.png", COLORED)
    assert value_range(path) is None
    told = refused(lambda path: read_image(path, values=(-10, 1000)), path)
    assert "8 bits" in told
    assert "-10 to 1000" in told


def test_values_that_are_no_numbers_are_refused(tmp_path):
    path = save(tmp_path / "a.tif", np.float32([[0.5, np.nan]]))
    assert "no numbers" in refused(value_range, path)


@pytest.mark.parametrize("kind", ["png", np.uint16])
@pytest.mark.parametrize("orientation", TURNED)
def test_16_bits_are_turned_like_8(tmp_path, orientation, kind):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / ("a.png" if kind == "png" else "a.tif")
    Image.fromarray(np.uint16(TURNED[1]) * 1000).save(path, exif=exif)
    image = read_image(path, values=(0, 6000))
    np.testing.assert_array_equal(np.rint(image[..., 0] / 42.5), TURNED[orientation])


def test_of_one_bit_it_is_not_known_which_of_two_numbers_it_is(tmp_path):
    known = {0: 0, 1: 1, 255: 255}
    with pytest.raises(ValueError, match=r"one bit a pixel, and the file of classes names both"):
        read_mask(save(tmp_path / "a.png", np.array([[True, False]])), values=known)
    path = save(tmp_path / "b.png", np.array([[False, False]]))
    assert read_mask(path, values=known).ravel().tolist() == [0, 0]


def test_a_tiff_that_is_a_jpeg_inside_is_refused_as_a_mask(tmp_path):
    path = save(tmp_path / "a.tif", np.zeros((16, 16, 3), np.uint8), compression="jpeg")
    with pytest.raises(ValueError, match=r"a\.tif: JPEG changes the values of a mask"):
        read_mask(path, colors={BLACK: 0})


@pytest.mark.parametrize("channels", [2, 3, 4])
def test_ids_of_16_bits_in_color_are_refused_of_which_8_are_read(tmp_path, channels):
    path = tmp_path / "a.png"
    ids = np.full((4, 5, channels), 2, np.uint16)
    path.write_bytes(tf.io.encode_png(ids).numpy())
    with pytest.raises(ValueError, match="has 16 bits a channel, of which 8 are read"):
        read_mask(path)


def test_of_16_bits_the_upper_8_are_enough_for_colors_and_not_for_numbers(tmp_path):
    path = tmp_path / "a.png"
    pixels = np.uint16([[(0xFFFF, 0, 0), (0, 0xFFFF, 0)]])
    path.write_bytes(tf.io.encode_png(pixels).numpy())
    assert read_mask(path, {RED: 0, GREEN: 1}).ravel().tolist() == [0, 1]
    told = refused(functools.partial(read_mask, values={0: 0, 2: 1}), path)
    assert told.startswith("has 16 bits a channel")


@pytest.mark.parametrize("kind", ["gif", "webp", "png"])
def test_an_animated_picture_is_refused(tmp_path, kind):
    frames = [Image.fromarray(np.full((4, 5, 3), gray, np.uint8)) for gray in (0, 200)]
    path = tmp_path / f"a.{kind}"
    frames[0].save(path, save_all=True, append_images=frames[1:])
    with pytest.raises(ValueError, match="has 2 pages; save each as a file of its own"):
        read_image(path)
    frames[0].save(path)
    assert read_image(path).shape == (4, 5, 3)


def test_of_two_pictures_in_the_file_of_a_phone_the_first_counts(tmp_path):
    frames = [Image.fromarray(np.full((16, 24, 3), gray, np.uint8)) for gray in (10, 200)]
    path = tmp_path / "a.jpg"
    frames[0].save(path, "MPO", save_all=True, append_images=frames[1:])
    assert Image.open(path).n_frames == 2
    assert np.abs(read_image(path).astype(int) - 10).max() < 4
    assert picture_size(path) == (16, 24)


def tiff(path, pixels, *, photometric, extra=None, bits=8):
    """An uncompressed TIFF of uint8 or uint16 pixels (H, W, bands), tag by tag."""
    height, width, bands = pixels.shape
    data = pixels.astype("<u2" if bits == 16 else np.uint8).tobytes()
    if bits == 1:
        data = np.packbits(pixels[..., 0], axis=1).tobytes()
    tags = [(256, 4, [width]), (257, 4, [height]), (258, 3, [bits] * bands), (259, 3, [1])]
    tags += [(262, 3, [photometric]), (273, 4, [0]), (277, 3, [bands]), (278, 4, [height])]
    tags += [(279, 4, [len(data)]), (284, 3, [1])] + (
        [(338, 3, extra)] if extra is not None else []
    )
    after = 8 + 2 + 12 * len(tags) + 4
    entries, more = b"", b""
    tags = [(tag, kind, [after + 64] if tag == 273 else values) for tag, kind, values in tags]
    for tag, kind, values in tags:
        packed = struct.pack(f"<{len(values)}{'H' if kind == 3 else 'I'}", *values)
        if len(packed) > 4:
            packed, more = struct.pack("<I", after + len(more)), more + packed
        entries += struct.pack("<HHI", tag, kind, len(values)) + packed.ljust(4, b"\0")
    head = b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4)
    path.write_bytes(head + more.ljust(64, b"\0") + data)
    return path


BANDS = np.uint8([[(10, 20, 30, 0), (40, 50, 60, 255)]])


@pytest.mark.parametrize(
    ("extra", "wanted"),
    [(None, BANDS[..., :3]), ([0], BANDS[..., :3]), ([2], [[(255,) * 3, (40, 50, 60)]])],
)
def test_a_fourth_band_is_opacity_only_if_a_tiff_says_so(tmp_path, extra, wanted):
    path = tiff(tmp_path / "a.tif", BANDS, photometric=2, extra=extra)
    assert read_image(path).tolist() == np.array(wanted).tolist()


@pytest.mark.parametrize(("extra", "wanted"), [([0], 10), ([2], 255)])
def test_a_second_band_is_opacity_only_if_a_tiff_says_so(tmp_path, extra, wanted):
    path = tiff(tmp_path / "a.tif", np.uint8([[(10, 0)]]), photometric=1, extra=extra)
    assert read_image(path).tolist() == [[[wanted] * 3]]


def test_a_band_that_is_declared_as_opacity_and_cannot_be_is_asked_about(tmp_path):
    """tifffile declares any fourth band so, near infrared, too."""
    infrared = np.random.default_rng(0).integers(0, 256, (20, 20, 4))
    path = tiff(tmp_path / "a.tif", infrared, photometric=2, extra=[2])
    assert "declares a band as opacity that hardly has 0 or 255" in refused(read_image, path)


def test_of_a_tiff_that_is_not_read_it_is_told_what_it_has(tmp_path):
    path = tiff(tmp_path / "a.tif", np.zeros((2, 3, 12), int), photometric=1, bits=16)
    assert refused(read_image, path).startswith("is a TIFF of 12 bands of 16 bits; taken are")


def test_of_colors_of_16_bits_in_a_tiff_the_upper_bits_are_known_to_be_all(tmp_path):
    path = tiff(tmp_path / "a.tif", np.full((2, 3, 3), 0x0C80), photometric=2, bits=16)
    assert upper_bits_alone(path)
    assert read_image(path).max() == 0x0C
    assert not upper_bits_alone(save(tmp_path / "b.tif", COLORED))


@pytest.mark.parametrize("bits", [1, 8])
def test_a_mask_whose_0_is_white_is_taken_by_what_is_said_of_it(tmp_path, bits):
    path = tiff(tmp_path / "a.tif", np.uint8([[[0], [1], [1]]]), photometric=0, bits=bits)
    assert "0 to be white" in refused(read_mask, path)
    assert read_mask(path, values={0: 0, 1: 1}).ravel().tolist() == [0, 1, 1]
    if bits == 1:
        by_color = {(255, 255, 255): 1, (0, 0, 0): 0}
        assert read_mask(path, by_color).ravel().tolist() == [1, 0, 0]


def test_pages_are_read_by_their_numbers(tmp_path):
    pages = [Image.fromarray(np.full((2, 2), value, np.uint8)) for value in (5, 6, 7)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    assert count_pages(tmp_path / "a.tif") == 3
    assert read_image(tmp_path / "a.tif", page=2)[0, 0].tolist() == [7] * 3
    assert read_mask(tmp_path / "a.tif", page=1)[0, 0].tolist() == [6]
    assert count_pages(save(tmp_path / "a.png", COLORED)) == 1


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


@pytest.mark.parametrize("numbers", [GRAY, [[0, 2, 0]], [[1, 2, 1]], [[0, 2, 255]], [[5, 5, 5]]])
def test_a_gif_keeps_its_numbers(tmp_path, numbers):
    """Who writes a GIF leaves unused numbers out: of 0 and 2 it makes 0 and a 1 that is gray 2."""
    path = save(tmp_path / "a.gif", np.uint8(numbers))
    np.testing.assert_array_equal(read_mask(path)[..., 0], numbers)


def test_colors_that_contradict_the_grays_of_a_gif_are_refused(tmp_path):
    path = save(tmp_path / "a.gif", np.uint8([[0, 1]]))
    told = refused(lambda path: read_mask(path, {RED: 0, BLACK: 1}), path)
    assert "(0, 0, 0), its number 0, is 1 there" in told


def test_a_gif_in_colors_has_no_numbers(tmp_path):
    palette_picture([[1, 0, 2]], [BLACK, GREEN, RED]).save(tmp_path / "a.gif")
    with pytest.raises(ColoredMask) as stopped:
        read_mask(tmp_path / "a.gif")
    assert stopped.value.counts == {BLACK: 1, GREEN: 1, RED: 1}
    ids = read_mask(tmp_path / "a.gif", {RED: 0, GREEN: 1, BLACK: 2})
    assert ids[..., 0].tolist() == [[1, 2, 0]]


@pytest.mark.parametrize(
    ("numbers", "values"),
    [
        (np.int32([[0, 70_000, -1]]), {0: 0, 70_000: 1, -1: 2}),
        (np.array([[True, False]]), {255: 1, 0: 0}),
        (np.array([[True, False]]), {1: 1, 0: 0}),
    ],
)
def test_any_number_may_have_a_name(tmp_path, numbers, values):
    path = save(tmp_path / "a.tif", numbers)
    found = read_mask(path, values=values)
    keys = numbers * (255 if 255 in values else 1)
    assert found.ravel().tolist() == [values[int(key)] for key in keys.ravel()]


def test_pillow_turns_only_8_bits_round_where_0_is_white(tmp_path):
    pixels = np.uint16([[0, 1, 1000]])[..., None]
    path = tiff(tmp_path / "a.tif", pixels, photometric=0, bits=16)
    assert read_mask(path, values={0: 0, 1: 1, 1000: 2}).ravel().tolist() == [0, 1, 2]


def test_colors_count_where_only_some_pixels_are_transparent(tmp_path):
    pixels = np.uint8([[(*RED, 255)] * 3, [(*GREEN, 0)] * 3])
    ids = read_mask(save(tmp_path / "a.png", pixels), {RED: 0, GREEN: 1})
    assert ids[..., 0].tolist() == [[0, 0, 0], [1, 1, 1]]


def test_all_channels_of_a_large_picture_have_a_say_in_its_range(tmp_path):
    """2.4 million values, of which every third or so is looked at."""
    rng = np.random.default_rng(0)
    values = rng.integers(0, [1000, 5000, 9000], (1000, 800, 3)).astype(np.uint16)
    (tmp_path / "a.png").write_bytes(tf.io.encode_png(values).numpy())
    lowest, highest = value_range(tmp_path / "a.png")
    assert lowest < 10
    assert 8900 < highest < 9000


def test_a_ten_thousandth_of_the_values_is_left_out_and_not_more(tmp_path):
    values = (np.arange(10_000) % 3000).astype(np.uint16)
    values[:10] = 60_000  # a thousandth
    assert value_range(save(tmp_path / "a.tif", values.reshape(100, 100))) == (0, 60_000)


def test_no_picture_is_too_large(tmp_path):
    """The header of a BMP of 20,000 pixels a side, at which Pillow would suspect an attack."""
    header = struct.pack("<IHHI", 54, 0, 0, 54)
    header += struct.pack("<IiiHHIIiiII", 40, 20_000, 20_000, 1, 24, 0, 0, 0, 0, 0, 0)
    (tmp_path / "a.bmp").write_bytes(b"BM" + header)
    assert picture_size(tmp_path / "a.bmp") == (20_000, 20_000)


@pytest.mark.parametrize(("at_least", "side"), [(32, 64), (33, 128), (64, 128), (65, 256)])
def test_a_jpeg_is_decoded_at_twice_the_size_or_more(tmp_path, at_least, side):
    path = save(tmp_path / "a.jpg", np.zeros((256, 256, 3), np.uint8))
    assert read_image(path, at_least).shape == (side, side, 3)


@pytest.mark.parametrize(
    ("side", "decoded"), [(520, 65), (516, 129), (514, 257), (513, 513), (512, 64)]
)
def test_a_jpeg_is_decoded_in_part_only_where_that_divides_its_sides(tmp_path, side, decoded):
    """Pillow makes 65 of 513 / 8: by 0.9 of them, all would be shifted against the mask."""
    ramp = np.linspace(0, 255, side).round().astype(np.uint8)
    path = save(tmp_path / "a.jpg", np.broadcast_to(ramp[None, :, None], (1024, side, 3)))
    found = read_image(path, 32)
    assert found.shape[1] == decoded
    mask = np.zeros((1024, side, 1), np.uint8)
    exact, _ = common.resize(np.broadcast_to(ramp[None, :, None], (1024, side, 3)), mask, 32)
    small, _ = common.resize(found, mask, 32)
    assert np.abs(small.astype(float) - exact).max() <= 1


@pytest.mark.parametrize(
    ("ending", "colors", "wanted"),
    [
        ("gif", [(0, 0, 0), (255, 255, 255)], [255, 0, 255]),
        ("gif", [(0, 0, 0), (255, 255, 255), RED], [255, 0, 255]),
        ("gif", [(0, 0, 0), (90, 90, 90)], [90, 0, 90]),
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


@pytest.mark.parametrize(
    ("pixels", "wanted"),
    [
        (np.float32([[0, 1]]), [0, 1]),
        (np.float32([[0, 0.5, 1]]), [0, 128, 255]),
        (np.uint16([[0, 65535, 65535]]), [0, 255, 255]),
        (np.uint16([[0, 65535, 32768, 0]]), [0, 255, 127, 0]),
    ],
)
def test_fractions_and_16_bits_may_be_a_mask_of_two_classes(tmp_path, pixels, wanted):
    assert read_mask(save(tmp_path / "a.tif", pixels)).ravel().tolist() == wanted


def test_small_numbers_beside_65535_are_ids(tmp_path):
    """Divided by 257 they would all be class 0."""
    path = save(tmp_path / "a.png", np.uint16([[0, 0, 1, 2, 65535]]))
    assert "has the value 65535; ids go from 0 to 254" in refused(read_mask, path)
    named = {0: 0, 1: 1, 2: 2, 65535: 255}
    assert read_mask(path, values=named).ravel().tolist() == [0, 0, 1, 2, 255]


def test_values_become_the_ids_that_they_mean(tmp_path):
    path = save(tmp_path / "a.png", np.uint16([[0, 1000, 3, 0]]))
    assert read_mask(path, values={0: 1, 1000: 0, 3: 255}).ravel().tolist() == [1, 0, 255, 1]
    told = refused(lambda path: read_mask(path, values={0: 0, 3: 1}), path)
    assert told.startswith("1 pixels of the value 1000, which the file of classes does not name")


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_a_mask_in_opacity_alone_is_told(tmp_path, mode):
    mask = Image.new(mode, (2, 1), (255,) * len(mode))
    mask.putpixel((0, 0), (*(255,) * (len(mode) - 1), 0))
    assert "tells its classes by opacity" in refused(read_mask, save(tmp_path / "a.png", mask))


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
    assert told.startswith("4 pixels of (255, 0, 0) and 2 more colors, not in the file of classes")
    told = refused(lambda path: read_mask(path, {GREEN: 0, BLUE: 1, BLACK: 2, RED: 3}), path)
    assert told == "1 pixels of (10, 20, 30), not in the file of classes"


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
        (np.float32([[1.5]]), "no whole numbers"),
        (np.float32([[np.nan]]), "no whole numbers"),
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


def test_numbers_count_in_gray_with_opacity_that_no_color_explains(tmp_path):
    solid = np.full_like(GRAY, 255)
    path = save(tmp_path / "a.png", np.stack([GRAY, solid], axis=-1), "LA")
    np.testing.assert_array_equal(read_mask(path, {RED: 0, GREEN: 1})[..., 0], GRAY)


def test_of_16_bits_what_is_half_clear_is_half_white(tmp_path):
    """128 of 255: gray 0 over white is 127, and what is clear to one part in 255 nearly gone."""
    path = wide(tmp_path, "png", np.array([[(300, 0x8000), (300, 0x0100), (300, 0xFF00)]]))
    assert read_image(path, values=(300, 3000))[0, :, 0].tolist() == [127, 254, 0]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("read", [value_range, functools.partial(read_image, values=(0, 1))])
def test_pixels_that_are_no_finite_numbers_are_told(tmp_path, read, value):
    path = save(tmp_path / "a.tif", np.float32([[0, value, 1]]))
    assert refused(read, path).startswith("has pixels that are no numbers")


@pytest.mark.parametrize(("opacity", "wanted"), [(255, (10, 20, 30)), (0, (255, 255, 255))])
def test_a_tiff_may_be_solid_or_clear_all_over(tmp_path, opacity, wanted):
    pixels = np.uint8([[(10, 20, 30, opacity)] * 3])
    path = tiff(tmp_path / "a.tif", pixels, photometric=2, extra=[2])
    np.testing.assert_array_equal(read_image(path), [[wanted] * 3])


@pytest.mark.parametrize("name", ["a.TIF", "a.Tiff"])
def test_pages_are_counted_whatever_the_letters_of_the_ending(tmp_path, name):
    pages = [Image.fromarray(GRAY)] * 2
    assert count_pages(save(tmp_path / name, GRAY, save_all=True, append_images=pages)) == 3


def test_colors_of_a_tiff_that_are_multiplied_by_their_opacity_already(tmp_path):
    bands = np.uint8([[(0, 0, 0, 0), (40, 50, 60, 255)]])
    path = tiff(tmp_path / "a.tif", bands, photometric=2, extra=[1])
    assert read_image(path).tolist() == [[[255] * 3, [40, 50, 60]]]


def test_a_file_of_a_phone_is_refused_as_a_mask(tmp_path):
    frames = [Image.fromarray(GRAY)] * 2
    frames[0].save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=frames[1:])
    assert refused(read_mask, tmp_path / "a.jpg").startswith("MPO changes the values of a mask")
