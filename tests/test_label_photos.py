"""Masks, overlays and probabilities for photos, by models that tell three colors apart."""

import errno
import shutil
import signal
import time
from pathlib import Path
from types import SimpleNamespace

import common
from support.inference import label_photos, photo_paths
from support.inference.label_photos import _tell_of_tiles
from support.inference.model_file import save_model
from support.inference.overlay import OPACITY
from support.runtime.devices import ON_CPU

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import NETWORKS, main_of, run_script, start_script
from PIL import Image
from test_image_io import tiff

NAMES, COLORS = ("dark", "bright", "red"), ("#0072B2", "#F0E442", "#D55E00")
COLORS_RGB = np.uint8([[0, 114, 178], [240, 228, 66], [213, 94, 0]])
PAINT = np.uint8([[0, 0, 0], [255, 255, 255], [255, 0, 0]])  # what each class looks like
KERNEL = np.array([[[[0, 0, 6], [0, 3, -3], [0, 3, -3]]]])  # of the convolution that tells them
SIDE = 32  # of the square that the model sees
RUN = Path("runs/unet/2024-05-01_10-00-00")


def finish_run(
    folder, fit="tiles", side=SIDE, names=NAMES, kernel=KERNEL, bias=(3, 0, 0), value_range=None
):
    """What a finished run leaves: a model that classifies each pixel, by its color alone."""
    conv = keras.layers.Conv2D(3, kernel.shape[:2], padding="same", activation="softmax")
    inputs = keras.Input((None, None, 3))
    model = keras.Model(inputs, conv(inputs))
    conv.set_weights([kernel, np.array(bias)])
    classes = [{"name": name, "color": color} for name, color in zip(names, COLORS, strict=True)]
    folder.mkdir(parents=True)
    facts = {"image_size": side, "fit": fit, "classes": classes, "value_range": value_range}
    facts["trained_on"] = "dots"
    save_model(model, facts, folder / "model.keras")
    (folder / "metrics.json").write_text("{}")
    return folder


@pytest.fixture
def predict(tmp_path, monkeypatch):
    """Call `use_trained_model` in an empty folder, with a run in it if the test made none."""
    monkeypatch.chdir(tmp_path)
    flags = {"model": "", "output": "out", "pretrained": "none"}
    flags |= dict.fromkeys(("probabilities", "mirrored", "overwrite"), False)

    def call(*photos, fit="tiles", **changed):
        if not Path("runs").exists():
            finish_run(RUN, fit)
        wanted = {"predict": [*map(str, photos)], "runs_dir": "runs", "export": ""}
        common.use_trained_model("unet", SimpleNamespace(**flags | wanted | changed))

    return call


def draw(path, ids):
    """A photo, PNG, with the colors of classes."""
    Path(path).parent.mkdir(exist_ok=True)
    Path(path).write_bytes(tf.io.encode_png(PAINT[ids], compression=1).numpy())


def stripes(height, width):
    """A third of each class."""
    return np.repeat(np.arange(width)[None] * 3 // width, height, axis=0)


def shown(name):
    """The pixels of a file of `out`, (H, W, 3), as any viewer shows them; not by Pillow."""
    return tf.io.decode_image(Path("out", name).read_bytes(), channels=3).numpy()


def mask_of(name):
    """The class ids of a mask, by way of its colors."""
    found = (shown(f"{name}-mask.png")[..., None, :] == COLORS_RGB).all(-1)
    assert found.any(-1).all()
    return found.argmax(-1)


def files_in(folder="out"):
    return sorted(path.name for path in Path(folder).iterdir())


def results(*names):
    return sorted(f"{name}-{kind}" for name in names for kind in ("mask.png", "overlay.jpg"))


@pytest.mark.parametrize("fit", ["tiles", "resize"])
def test_masks_have_the_sizes_and_the_classes_of_their_photos(predict, capsys, fit):
    """Of more photos than a batch takes, in odd and in tiny sizes."""
    sizes = [(37, 501), (501, 37), (1, 1), (5, 3), (SIDE, SIDE), (250, 250), (3, 200)]
    wanted = {f"{number}": stripes(*size) for number, size in enumerate(sizes * 3)}
    for name, ids in wanted.items():
        draw(f"photos/{name}.png", ids)
    predict("photos", fit=fit)
    for name, ids in wanted.items():
        mask, width = mask_of(name), ids.shape[1]
        assert mask.shape == ids.shape
        # Of a resized photo a pixel of the square to either side of an outline may be wrong.
        away = np.abs(np.arange(width) + 0.5 - np.array([[1], [2]]) * width / 3).min(axis=0)
        sure = away > (width / SIDE if fit == "resize" else 0)
        assert sure.mean() > 0.8
        np.testing.assert_array_equal(mask[:, sure], ids[:, sure])
    assert files_in() == results(*wanted)
    assert "21 of 21 photos are labelled in out\n" in capsys.readouterr().out


def test_a_mask_holds_class_ids_and_their_colors(predict):
    """It is a palette picture: class 1 is the number 1, and has the second color."""
    draw("one.png", stripes(37, 50))
    predict("one.png")
    content = Path("out/one-mask.png").read_bytes()
    assert content[25] == 3  # the type of the pixels in a PNG file: numbers of a palette
    begin = content.index(b"PLTE") + 4
    assert content[begin : begin + 9] == COLORS_RGB.tobytes()
    np.testing.assert_array_equal(mask_of("one"), stripes(37, 50))


def test_an_overlay_shows_the_photo_the_classes_and_a_legend_of_those_there(predict):
    ids = np.minimum(stripes(120, 300), 1)
    draw("one.png", ids)
    predict("one.png")
    page = shown("one-overlay.jpg").astype(int)
    blend = PAINT[ids] + OPACITY * (COLORS_RGB[ids].astype(float) - PAINT[ids])
    assert page.shape[1:] == (300, 3)
    away = np.abs(np.arange(300) - 99.5) > 8  # from the outline, along which JPEG's waves run
    np.testing.assert_allclose(page[:112, away], blend[:112, away], atol=2)
    np.testing.assert_allclose(page[:120], blend, atol=20)
    below = [(np.abs(page[120:] - color).max(-1) < 8).sum() > 20 for color in COLORS_RGB]
    assert below == [True, True, False]  # the third class is not there


@pytest.mark.parametrize(("side", "told"), [(300, True), (60, False)])
def test_a_photo_of_many_tiles_has_a_bar_of_its_own(predict, capsys, side, told):
    draw("large.png", stripes(side, side))
    predict("large.png")
    assert ("324/324" in capsys.readouterr().out) == told


@pytest.mark.parametrize("fit", ["tiles", "resize"])
def test_a_photo_of_more_than_8_bits_is_scaled_as_the_model_was_trained(predict, fit):
    """To the model 2,100 is black and 2,300 white; a photo of 8 bits has another scale."""
    finish_run(RUN, fit, value_range=(2100, 2300))
    values = np.uint16(2100 + 100 * np.minimum(stripes(64, 64), 1) * 2)
    Image.fromarray(values).save("camera.png")
    draw("photo.png", stripes(64, 64))
    with pytest.raises(
        SystemExit, match=r"photo\.png: is read with 8 bits a value, but .* 2100 to 2300"
    ):
        predict("camera.png", "photo.png", fit=fit)
    np.testing.assert_array_equal(mask_of("camera")[:, [5, 40, 60]], [[0, 1, 1]] * 64)
    assert shown("camera-overlay.jpg").max() > 200


def test_a_photo_of_more_than_8_bits_is_refused_by_a_model_of_8(predict):
    Image.fromarray(np.uint16([[0, 300], [700, 900]])).save("camera.png")
    with pytest.raises(SystemExit, match=r"camera\.png: has more than 8 bits a value"):
        predict("camera.png")


def test_a_legend_wider_than_the_photo_is_not_cut_off(predict):
    finish_run(RUN, names=("a very long name", "b", "c" * 60))
    draw("small.png", stripes(8, 6))
    predict("small.png")
    page = shown("small-overlay.jpg")[8:].astype(int)
    assert all((np.abs(page - color).max(-1) < 8).sum() > 50 for color in COLORS_RGB)
    assert (page[8:, -1] > 250).all()


def test_an_overlay_larger_than_jpeg_knows_is_made_smaller(predict):
    draw("long.png", stripes(2, 66_000))
    predict("long.png")
    assert shown("long-mask.png").shape == (2, 66_000, 3)
    assert shown("long-overlay.jpg").shape[1] == 65_500


@pytest.mark.parametrize("fit", ["tiles", "resize"])
def test_probabilities_sum_to_one_and_the_mask_has_the_largest(predict, fit):
    image = np.random.default_rng(0).integers(0, 256, (90, 170, 3), np.uint8)
    image[:, :60, 1:] //= 8  # red
    Path("noise.png").write_bytes(tf.io.encode_png(image).numpy())
    predict("noise.png", fit=fit, probabilities=True)
    assert files_in() == [*results("noise"), "noise.npz"]
    with np.load("out/noise.npz") as kept:
        probabilities = kept["probabilities"].astype(float)
        assert kept["classes"].tolist() == list(NAMES)
    assert probabilities.shape == (90, 170, 3)
    np.testing.assert_allclose(probabilities.sum(-1), 1, atol=1e-3)
    if fit == "tiles":
        red, green, blue = np.moveaxis(image / 255, -1, 0)
        odds = np.exp([0 * red + 3, 3 * (green + blue), 6 * red - 3 * (green + blue)])
        np.testing.assert_allclose(np.moveaxis(probabilities, -1, 0), odds / odds.sum(0), atol=1e-3)
    mask = mask_of("noise")
    assert set(mask.flat) == {0, 1, 2}
    np.testing.assert_array_equal(probabilities.argmax(-1), mask)


@pytest.mark.parametrize("fit", ["resize", "tiles"])
def test_mirrored_is_the_mean_of_the_photo_and_its_mirror_image(predict, fit):
    aside = np.zeros((1, 3, 3, 3))
    aside[0, 0] = 5 * np.eye(3)  # a pixel's class is the color of its neighbour to the left
    finish_run(RUN, fit, kernel=aside, bias=(0, 0, 0))
    draw("there.png", stripes(SIDE, SIDE))
    draw("turned.png", stripes(SIDE, SIDE)[:, ::-1])
    predict("there.png", "turned.png", probabilities=True)
    predict("there.png", probabilities=True, mirrored=True, output="mean")
    there, turned, mean = (
        np.load(path)["probabilities"]
        for path in ("out/there.npz", "out/turned.npz", "mean/there.npz")
    )
    assert np.abs(there - turned[:, ::-1]).max() > 0.5
    np.testing.assert_allclose(mean, (there + turned[:, ::-1]) / 2, atol=1e-5)


KINDS = [("gray.png", "L"), ("gray.jpg", "L"), ("bit.png", "1")]
KINDS += [("a.png", "RGBA"), ("a.webp", "RGBA"), ("palette.gif", "P"), ("print.tif", "CMYK")]


@pytest.mark.parametrize(("name", "mode"), KINDS)
def test_photos_of_all_kinds_of_pixels_are_understood(predict, name, mode):
    """Black beside white or, where there are colors, red; what is clear counts as white."""
    ids = np.full((16, 24), 1 if mode in ("L", "1") else 2)
    ids[:, :8] = 0
    image = Image.fromarray(PAINT[ids])
    if mode == "RGBA":
        image.putalpha(Image.fromarray(np.uint8([[255] * 16 + [0] * 8] * 16)))
        ids[:, 16:] = 1
    (image if mode == image.mode else image.convert(mode)).save(name)
    predict(name)
    np.testing.assert_array_equal(mask_of(Path(name).stem), ids)


@pytest.mark.parametrize("fit", ["tiles", "resize"])
def test_a_photo_is_turned_as_its_camera_says(predict, fit):
    """A red corner on black, stored in all eight ways of EXIF; the mask is as a viewer shows it."""
    stored = np.zeros((40, 64), int)
    stored[:20, :32] = 2
    turned = {1: stored, 2: stored[:, ::-1], 3: stored[::-1, ::-1], 4: stored[::-1]}
    turned |= {5: stored.T, 6: np.rot90(stored, -1), 7: stored[::-1, ::-1].T, 8: np.rot90(stored)}
    for number in turned:
        exif = Image.Exif()
        exif[0x0112] = number
        Image.fromarray(PAINT[stored]).save(f"{number}.jpg", exif=exif, quality=95, subsampling=0)
    predict("*.jpg", fit=fit)
    for number, wanted in turned.items():
        mask, page = mask_of(number), shown(f"{number}-overlay.jpg")
        assert mask.shape == wanted.shape
        assert (mask == wanted).mean() > 0.97
        corner = PAINT[2] + OPACITY * (COLORS_RGB[2].astype(float) - PAINT[2])
        assert np.abs(page[: len(mask), : mask.shape[1]][wanted == 2] - corner).mean() < 5


@pytest.mark.slow
@pytest.mark.parametrize(("fit", "side"), [("tiles", 256), ("resize", 32)])
def test_a_large_photo_has_no_seams_and_no_stairs(predict, fit, side):
    """Done band by band, it is as if done in one piece, and from probabilities, not classes."""
    y, x = np.ogrid[:1500, :2000]
    ids = ((x - 850) ** 2 + (y - 700) ** 2 < 650**2).astype(np.uint8)
    draw("large.png", ids)
    finish_run(RUN, fit, side)
    predict("large.png")
    wanted = ids
    if fit == "resize":
        model = keras.models.load_model(RUN / "model.keras")
        square, _ = common.resize(PAINT[ids], ids[..., None], side)
        small = model.predict_on_batch(np.float32(square)[None] / 255)[0]
        wanted = tf.image.resize(small, ids.shape).numpy().argmax(-1)
        stairs = tf.image.resize(small.argmax(-1)[..., None], ids.shape, "nearest")[..., 0]
        assert (wanted != ids).mean() < (stairs.numpy() != ids).mean() / 2
    found = shown("large-mask.png")
    assert found.shape == (1500, 2000, 3)
    assert (found != COLORS_RGB[wanted])[..., 0].sum() < 10


def test_the_network_sees_the_very_pixels_that_training_saw(predict, monkeypatch):
    """Of a JPEG so large that it is decoded at an eighth of its size."""
    y, x = np.mgrid[:704, :896]
    photo = np.stack([x % 256, y % 256, (x * y) // 97 % 256], axis=-1).astype(np.uint8)
    for kind in ("images", "masks"):
        Path("own", kind).mkdir(parents=True)
    for name in "abc":  # one for each split
        Image.fromarray(photo).save(f"own/images/{name}.jpg")
        Image.fromarray(stripes(704, 896).astype(np.uint8)).save(f"own/masks/{name}.png")
    flags = {"dataset": "own", "data_dir": None, "runs_dir": "prepared", "image_size": SIDE}
    flags |= {"fit": "resize", "batch_size": 1, "seed": 0, "augmentation": 0.0}
    images, _ = next(iter(common.load_data(SimpleNamespace(**flags)).train))
    seen, predict_on_batch = [], keras.Model.predict_on_batch

    def watch(model, images):
        seen.append(images)
        return predict_on_batch(model, images)

    monkeypatch.setattr(keras.Model, "predict_on_batch", watch)
    predict("own/images/a.jpg", fit="resize")
    np.testing.assert_array_equal(seen, [images.numpy()])


def test_broken_photos_are_named_and_the_others_done(predict, capsys):
    for name in ("a", "z"):
        draw(f"photos/{name}.png", stripes(20, 30))
    whole = Path("photos/a.png").read_bytes()
    Path("photos/half.png").write_bytes(whole[: len(whole) // 2])
    Path("photos/empty.jpg").write_bytes(b"")
    Path("photos/text.jpg").write_text("no picture")
    with pytest.raises(common.UserError) as stopped:
        predict("photos", "photos/missing.jpg")
    lines = str(stopped.value).splitlines()
    for name in ("half.png", "empty.jpg", "text.jpg", "missing.jpg"):
        assert sum(line.startswith(f"{Path('photos', name)}: ") for line in lines) == 1
    assert len(lines) == 4
    assert files_in() == results("a", "z")
    assert "2 of 5 photos are labelled in out\n" in capsys.readouterr().out


def test_names_do_not_collide(predict):
    photos = ["a.jpg", "a.png", "A.bmp", "one/a.jpg", "two/b.png", "one/b.png", "a-jpg.png"]
    photos += ["a.b.png", "c.png"]
    for number, photo in enumerate(photos):
        draw(photo, np.full((4, 5 + number), number % 3))
    predict(*photos, "c.png", Path("c.png").resolve())  # the same photo is done once
    assert len({name.casefold() for name in files_in()}) == 2 * len(photos)
    widths = [shown(name).shape[1] for name in files_in() if name.endswith("mask.png")]
    assert sorted(widths) == list(range(5, 5 + len(photos)))
    assert {*results("c", "a.b", "a-jpg", "a-png")} < {*files_in()}


def test_photos_of_the_same_name_keep_the_names_of_their_results(predict):
    """Were they numbered, another folder would move all numbers, and a mask be another photo's."""
    for number in (1, 2, 0):
        draw(f"day{number}/a.png", np.full((4, 5 + number), number))
    predict("day1", "day2")
    assert files_in() == results("day1-a-png", "day2-a-png")
    with pytest.raises(common.UserError, match="left alone"):
        predict("day0", "day1", "day2")
    assert files_in() == results(*(f"day{number}-a-png" for number in range(3)))
    for number in range(3):
        assert shown(f"day{number}-a-png-mask.png").shape[1] == 5 + number


def test_two_links_to_a_photo_are_two_photos(predict):
    """Folders of downloads are often links to files that are kept elsewhere, each once."""
    draw("kept.png", stripes(8, 9))
    for name in ("cat.png", "dog.png"):
        Path(name).symlink_to("kept.png")
    predict("cat.png", "dog.png")
    assert files_in() == results("cat", "dog")


def test_a_photo_of_which_only_dark_bits_are_read_is_told(predict):
    tiff(Path("dark.tif"), np.full((40, 40, 3), 4095, np.uint16), photometric=2, bits=16)
    tiff(Path("whole.tif"), np.full((40, 40, 3), 0xF000, np.uint16), photometric=2, bits=16)
    with pytest.raises(SystemExit, match=r"dark\.tif: is a TIFF in color .* end at 15: save it"):
        predict("dark.tif", "whole.tif")
    assert files_in() == results("whole")


def test_probabilities_of_an_earlier_mask_go_with_it(predict):
    draw("one.png", stripes(20, 30))
    predict("one.png", probabilities=True)
    predict("one.png", overwrite=True)
    assert files_in() == results("one")
    predict("one.png", overwrite=True, probabilities=True)
    Path("out/one-mask.png").unlink()  # as if it had been cut short before the mask
    predict("one.png")
    assert files_in() == results("one")
    predict("one.png", overwrite=True, probabilities=True)
    Path("out/one-overlay.jpg").unlink()  # earlier versions wrote a PNG
    predict("one.png", overwrite=True)
    assert files_in() == results("one")


def test_what_is_there_is_left_alone_unless_told_otherwise(predict, capsys):
    draw("one.png", stripes(20, 30))
    predict("one.png")
    Path("out/two.npz").write_bytes(b"of another program")
    for name in ("one", "two", "three"):
        draw(f"{name}.png", 0 * stripes(10, 10))
    before = {name: Path("out", name).read_bytes() for name in files_in()}
    with pytest.raises(common.UserError, match=r"one.png and 1 more: .* --overwrite"):
        predict("one.png", "two.png", "three.png", probabilities=True)
    assert "1 of 3 photos are labelled in out\n" in capsys.readouterr().out
    assert {name: Path("out", name).read_bytes() for name in before} == before
    assert {*files_in()} - {*before} == {*results("three"), "three.npz"}
    predict("one.png", "two.png", overwrite=True, probabilities=True)
    assert mask_of("one").shape == (10, 10)
    assert np.load("out/two.npz")["probabilities"].shape == (10, 10, 3)


def test_whoever_was_interrupted_gets_the_rest(predict):
    """The overlay is written first and the mask last."""
    for name in ("one", "two"):
        draw(f"{name}.png", stripes(20, 30))
    predict("one.png", "two.png", probabilities=True)
    Path("out/two-mask.png").unlink()
    before = Path("out/two-overlay.jpg").read_bytes()
    Path("out/two-overlay.jpg").write_bytes(b"of the interrupted one")
    with pytest.raises(common.UserError, match=r"^one.png: left alone"):
        predict("one.png", "two.png", probabilities=True)
    assert files_in() == sorted([*results("one", "two"), "one.npz", "two.npz"])
    assert Path("out/two-overlay.jpg").read_bytes() == before


def test_no_result_takes_the_place_of_a_photo(predict):
    for name in ("a.png", "a-mask.png", "b.png"):
        draw(f"in/{name}", stripes(8, 9))
    mine = Path("in/a-mask.png").read_bytes()
    names = [f"in/{name}" for name in ("a.png", "a-mask.png", "b.png")]
    with pytest.raises(common.UserError, match=r"in/a.png: its result would replace .*a-mask.png"):
        predict(*names, output="in", overwrite=True)
    with pytest.raises(common.UserError, match="would replace") as stopped:
        predict(*names, output="in")
    assert "in/a-mask.png and 1 more: left alone" in str(stopped.value)
    assert Path("in/a-mask.png").read_bytes() == mine
    assert set(results("b", "a-mask")) <= set(files_in("in"))


def test_a_tilde_may_begin_a_name(predict):
    draw("~a.png", stripes(8, 9))
    predict("~a.png", output="~nobody here")
    assert files_in("~nobody here") == results("~a")


def test_folders_and_patterns_name_the_photos_in_them(predict):
    names = ["in/a.png", "in/B.PNG", "in/.hidden.png", "more/c.png", "more/d.png", "more/[e].png"]
    for name in names:
        draw(name, stripes(8, 9))
    Path("in/notes.txt").write_text("no photo")
    draw("in/below/f.png", stripes(8, 9))
    predict("in", "more/[cx].png", "more/[e].png")
    assert files_in() == results("B", "[e]", "a", "c")


def test_patterns_may_stand_for_folders_and_below_folders_with_brackets(predict):
    for name in ("day 1/a.png", "day 2/b.png", "night [1]/c.png", "night [1]/d.jpg"):
        draw(name, stripes(8, 9))
    predict("day*", "night [1]/*.png")
    assert files_in() == results("a", "b", "c")
    predict("day*/*.png", output="again")
    assert files_in("again") == results("a", "b")


def test_a_name_too_long_for_its_results_is_told_and_the_others_are_done(predict, capsys):
    for name in (f"{'a' * 245}.png", f"{'c' * 250}.png", "b.png"):
        draw(f"in/{name}", stripes(8, 9))
    Path("out").mkdir()
    with pytest.raises(common.UserError, match=r"aaa.png: .* too long") as stopped:
        predict("in")
    assert "ccc.png: the names of its results would be too long" in str(stopped.value)
    assert set(results("b")) <= set(files_in())
    assert "1 of 3 photos are labelled" in capsys.readouterr().out


def test_results_beside_their_photos_are_not_taken_for_photos(predict):
    draw("in/a.png", stripes(8, 9))
    predict("in", output="in")
    draw("in/b.png", stripes(8, 9))
    draw("in/my-mask.jpg", stripes(8, 9))
    predict("in", output="in", overwrite=True)
    photos = ["a.png", "b.png", "my-mask.jpg"]
    assert files_in("in") == sorted([*photos, *results("a", "b", "my-mask")])


@pytest.mark.parametrize("wanted", ["nothing.jpg", "no/folder/", "empty", "no*.png"])
def test_no_such_photo_is_told(predict, wanted):
    Path("empty").mkdir()
    with pytest.raises(common.UserError, match="there is no such picture") as stopped:
        predict(wanted)
    assert str(stopped.value).startswith(wanted)
    assert stopped.value.code not in (0, None)


def test_the_newest_finished_run_is_used_and_named(predict, capsys):
    draw("one.png", stripes(20, 30))
    parent = Path("runs/unet")
    finish_run(parent / "2024-05-02_09-00-00", names=("new", "bright", "red"))
    finish_run(parent / "2024-05-01_10-00-00", names=("old", "bright", "red"))
    finish_run(Path("runs/fcn/2025-05-01_10-00-00"), names=("other", "bright", "red"))
    (finish_run(parent / "2024-05-03_09-00-00") / "metrics.json").unlink()  # still training
    moved = finish_run(Path("elsewhere"), names=("moved", "bright", "red"))
    for wanted, model, named in [
        ("new", "", parent / "2024-05-02_09-00-00"),
        ("old", parent / "2024-05-01_10-00-00", parent / "2024-05-01_10-00-00"),
        ("moved", moved / "model.keras", moved),
    ]:
        predict("one.png", model=str(model), output=wanted, probabilities=True)
        assert f"{named / 'model.keras'}, trained on dots\n" in capsys.readouterr().out
        assert np.load(f"{wanted}/one.npz")["classes"][0] == wanted


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("unfinished", "no finished run in {parent}: train first, or give --model FILE"),
        ("missing", "There is no model {path}"),
        ("folder", "There is no model {path}"),
        ("text", "{path} cannot be read as the model of a finished run"),
        ("keras", "{path} cannot be read as the model of a finished run"),
    ],
)
def test_a_model_that_is_missing_or_of_another_origin_is_told(predict, kind, told):
    (finish_run(RUN) / "metrics.json").unlink()
    draw("one.png", stripes(20, 30))
    path = Path("other.keras")
    if kind == "folder":
        path.mkdir()
    elif kind == "text":
        path.write_text("no model")
    elif kind == "keras":
        keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(3, 1)]).save(path)
    with pytest.raises(common.UserError) as stopped:
        predict("one.png", model="" if kind == "unfinished" else str(path))
    assert told.format(path=path, parent=RUN.parent) in str(stopped.value)
    assert len(str(stopped.value).splitlines()) == 1
    assert not Path("out").exists()


@pytest.mark.parametrize("network", NETWORKS)
def test_each_script_takes_the_newest_run_of_its_own_network(predict, network, monkeypatch):
    draw("one.png", stripes(20, 30))
    finish_run(Path("results") / network / "2024-05-01_10-00-00")
    script, _ = NETWORKS[network]
    monkeypatch.setattr("sys.argv", [script, "--predict", "one.png", "--runs-dir", "results"])
    main_of(script)()
    assert files_in("predictions") == results("one")


@pytest.mark.slow
def test_the_status_of_a_real_script_says_whether_all_photos_are_labelled(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    finish_run(RUN)
    for name in ("a.png", "b.png"):
        draw(f"my photos/{name}", stripes(37, 50))
    flags = ["--predict", "my photos/", "--output", "out", "--model", str(RUN)]
    monkeypatch.setattr("sys.argv", ["Unet-keras.py", *flags])
    main_of("Unet-keras")()  # and no SystemExit
    out, errors = capsys.readouterr()
    assert (str(RUN) in out, errors) == (True, "")
    assert files_in() == results("a", "b")

    Path("my photos/broken.jpg").write_text("no picture")
    flags = ["--output", "new", "--probabilities"]
    process = run_script("Unet-keras", "--predict", "my photos/*", *flags, cwd=tmp_path)
    assert process.returncode == 1
    assert str(RUN) in process.stdout
    assert process.stderr.startswith(f"{Path('my photos/broken.jpg')}: ")
    assert process.stderr.count("\n") == 1
    assert files_in("new") == sorted([*results("a", "b"), "a.npz", "b.npz"])


@pytest.mark.slow
def test_told_to_stop_it_leaves_whole_files_and_does_not_speak_of_epochs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    finish_run(RUN)
    for number in range(500):
        draw(f"photos/{number}.png", stripes(150, 170))
    process = start_script("Unet-keras", "--predict", "photos", "--output", "out", cwd=tmp_path)
    while process.poll() is None and not list(tmp_path.glob("out/[0-9]*-mask.png")):
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGINT
    done = [path.name.removesuffix("-mask.png") for path in Path("out").glob("[0-9]*-mask.png")]
    for name in done:
        np.testing.assert_array_equal(mask_of(name), stripes(150, 170))
    for path in Path("out").glob("[0-9]*-overlay.jpg"):
        assert shown(path.name).shape[1] == 170
    assert 0 < len(done) < 500
    assert told.startswith("\nStopped.")
    assert "epoch" not in told


def test_names_in_capitals_are_told_apart_by_their_folders_too(predict):
    for number in (1, 2):
        draw(f"day{number}/IMG.PNG", np.full((4, 4 + number), number))
    predict("day1", "day2")
    assert files_in() == results("day1-IMG-PNG", "day2-IMG-PNG")


@pytest.mark.parametrize("wanted", ["in", "in/*.png"])
def test_photos_come_in_the_order_of_their_names(monkeypatch, tmp_path, wanted):
    (tmp_path / "in").mkdir()
    for name in "ab":
        (tmp_path / "in" / f"{name}.png").touch()
    find, listed = photo_paths.glob.glob, [tmp_path / "in" / f"{name}.png" for name in "ba"]
    with monkeypatch.context() as patch:
        patch.setattr(photo_paths.glob, "glob", lambda *a, **o: sorted(find(*a, **o), reverse=True))
        patch.setattr(Path, "iterdir", lambda path: iter(listed))
        found = photo_paths.find_photos([str(tmp_path / wanted)], tmp_path / "out", [])
    assert [photo.name for photo in found] == ["a.png", "b.png"]


def test_results_of_earlier_versions_are_no_photos(tmp_path):
    for name in ("a.png", "a-mask.png", "a-overlay.jpg", "a-overlay.png"):
        (tmp_path / name).touch()
    found = photo_paths.find_photos([str(tmp_path)], tmp_path, [])
    assert [photo.name for photo in found] == ["a.png"]


@pytest.mark.parametrize("ending", ["png", "jpg"])
def test_results_that_the_shell_names_are_no_photos(tmp_path, ending):
    """`--predict holiday/*.png --output holiday`, given again; b-mask.png is of somebody else."""
    for name in (f"a.{ending}", "a-mask.png", "a-overlay.jpg", "b-mask.png", "c-overlay.jpg"):
        (tmp_path / name).touch()
    named = [str(path) for path in sorted(tmp_path.glob(f"*.{ending}"))]
    others = {"png": ["b-mask.png"], "jpg": ["c-overlay.jpg"]}[ending]
    found = photo_paths.find_photos(named, tmp_path, [])
    assert sorted(photo.name for photo in found) == [f"a.{ending}", *others]
    results = [str(tmp_path / name) for name in ("a-mask.png", "a-overlay.jpg")]
    assert photo_paths.find_photos(results, tmp_path, problems := []) == []
    assert "these are results in" in problems[0]
    found = photo_paths.find_photos(named, tmp_path / "other", [])
    assert len(found) == len(named)


def test_the_bar_of_many_tiles_is_there_from_the_first(monkeypatch):
    seen = []

    def bar(count, **options):
        return SimpleNamespace(update=lambda done: seen.append((done, count)))

    monkeypatch.setattr(keras.utils, "Progbar", bar)
    few, many = _tell_of_tiles(), _tell_of_tiles()
    few(8, 199)
    many(8, 200)
    assert seen == [(8, 200)]


def test_an_npz_without_a_mask_is_of_another_program_and_stays(predict):
    Path("out").mkdir()
    Path("out/one.npz").write_bytes(b"of another program")
    draw("one.png", stripes(8, 9))
    predict("one.png", overwrite=True)
    assert Path("out/one.npz").read_bytes() == b"of another program"


def test_photos_in_a_folder_of_their_own_may_be_named_as_results(predict):
    draw("in/cell-mask.png", stripes(8, 9))
    predict("in")
    assert files_in() == results("cell-mask")


@pytest.mark.parametrize("fit", ["tiles", "resize"])
def test_a_full_disk_is_told(predict, monkeypatch, fit):
    def fail(path, save):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(label_photos, "write", fail)
    for name in "ab":
        draw(f"photos/{name}.png", stripes(8, 9))
    with pytest.raises(common.UserError, match=r"^--output out: .*No space left on device"):
        predict("photos", fit=fit)


def test_the_mask_is_written_last(predict, monkeypatch):
    written = []

    def note(path, save):
        written.append(path.name)
        write(path, save)

    write = label_photos.write
    monkeypatch.setattr(label_photos, "write", note)
    draw("one.png", stripes(8, 9))
    predict("one.png", probabilities=True)
    assert written == ["one-overlay.jpg", "one.npz", "one-mask.png"]


def test_a_folder_with_a_name_is_older_than_those_with_a_date(predict, capsys):
    draw("one.png", stripes(8, 9))
    finish_run(RUN)
    finish_run(RUN.with_name("best"))
    predict("one.png")
    assert f"Model: {RUN / 'model.keras'}, trained on dots\n" in capsys.readouterr().out


def test_a_tilde_is_the_home_folder(predict, monkeypatch, tmp_path):
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    draw("home/a.png", stripes(8, 9))
    finish_run(Path("home/run"))
    predict("~/a.png", output="~/out", model="~/run")
    assert files_in("home/out") == results("a")


def test_a_photo_of_the_current_folder_is_named_after_it(predict):
    for name in ("a.png", "one/a.png"):
        draw(name, stripes(8, 9))
    predict("a.png", "one/a.png")
    assert files_in() == results(f"{Path.cwd().name}-a-png", "one-a-png")


def test_the_bar_counts_every_photo_broken_ones_too(predict, capsys):
    for name in "abc":
        draw(f"photos/{name}.png", stripes(20, 30))
    Path("photos/broken.jpg").write_text("no picture")
    with pytest.raises(common.UserError):
        predict("photos")
    assert "4/4" in capsys.readouterr().out


def test_no_result_takes_the_place_of_a_photo_by_way_of_a_link(tmp_path):
    photos = [tmp_path / "in" / name for name in ("a.png", "a-mask.png")]
    for photo in photos:
        draw(photo, stripes(8, 9))
    (tmp_path / "link").symlink_to("in", target_is_directory=True)
    jobs = photo_paths.plan_jobs(photos, tmp_path / "link", True, problems := [])
    assert [photo for photo, _ in jobs] == photos[1:]
    assert "a.png: its result would replace" in problems[0]


def test_photos_share_a_batch_until_their_pixels_are_too_many(monkeypatch):
    """Which are counted anew for the next one: 600 and 600, 50 three times."""
    monkeypatch.setattr(label_photos, "_BATCH_PIXELS", 1000)
    photos = [("job", np.zeros((height, 10, 3)), "input") for height in (60, 60, 5, 5, 5)]
    assert [len(batch) for batch in label_photos._batches(photos)] == [2, 3]


def test_runs_may_be_at_home(predict, monkeypatch, tmp_path, capsys):
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    draw("one.png", stripes(8, 9))
    run = finish_run(tmp_path / "home" / RUN)
    predict("one.png", runs_dir="~/runs")
    assert f"Model: {run / 'model.keras'}, " in capsys.readouterr().out


def test_a_photo_that_ends_in_the_lower_half_of_16_bits_is_told(predict):
    for name, value in (("dark.tif", 0x7FFF), ("bright.tif", 0x8000)):
        tiff(Path(name), np.full((40, 40, 3), value, np.uint16), photometric=2, bits=16)
    with pytest.raises(SystemExit, match=r"^dark\.tif: .* end at 127: save it with 8 bits"):
        predict("dark.tif", "bright.tif")
    assert files_in() == results("bright")


def test_a_path_too_long_for_windows_is_told_and_the_others_are_done(predict, monkeypatch):
    """Windows says ENOENT beyond 260 letters; where the folder is gone, all photos would fail."""
    for name in ("a", "b", "c"):
        draw(f"in/{name}.png", stripes(8, 9))
    real = label_photos.write

    def write(path, save):
        if path.name.startswith("b"):
            raise FileNotFoundError(errno.ENOENT, "No such file or directory", str(path))
        real(path, save)

    monkeypatch.setattr(label_photos, "write", write)
    with pytest.raises(SystemExit, match=r"b\.png: the names of its results would be too long"):
        predict("in")
    assert files_in() == results("a", "c")

    def gone(path, save):
        shutil.rmtree(path.parent, ignore_errors=True)
        raise FileNotFoundError(errno.ENOENT, "No such file or directory", str(path))

    monkeypatch.setattr(label_photos, "write", gone)
    with pytest.raises(common.UserError, match=r"--output other: .*No such file"):
        predict("in", output="other")


def test_the_folder_of_results_may_lie_in_one_that_is_not_there_yet(predict):
    draw("one.png", stripes(8, 9))
    predict("one.png", output="results/today")
    assert files_in("results/today") == results("one")


@pytest.mark.skipif(not ON_CPU, reason="with a GPU Keras decides")
def test_on_a_cpu_photos_are_labelled_without_xla(predict, monkeypatch):
    seen, predict_on_batch = [], keras.Model.predict_on_batch

    def watch(model, images):
        seen.append(model.jit_compile)
        return predict_on_batch(model, images)

    monkeypatch.setattr(keras.Model, "predict_on_batch", watch)
    draw("one.png", stripes(8, 9))
    predict("one.png")
    assert seen == [False]
