"""Folders as people have them: every form of names, folders, masks and values becomes the same."""

import json
from types import SimpleNamespace

import common
from support.data import folder as own_folder
from support.data.folder_forms import find_pairs
from support.data.folder_splits import find_splits
from support.data.labelme import labels
from support.data.labelme import read_mask as read_polygons
from support.runtime.startup import UserError

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from test_folder import COLORS, IDS, all_masks, draw, encoded, load, masks_by_number, refusal, write
from test_image_io import tiff

BINARY = np.uint8([[0, 1, 1, 0, 0, 0]] * 4)
WHITE = BINARY * np.uint8(255)


def gray(number, size=(4, 6)):
    return encoded(np.full((*size, 3), number, np.uint8))


def files(count, picture, mask, content=IDS):
    """Contents of numbered files, whose names are patterns."""
    pictures = {picture.format(f"{number:02}"): gray(number) for number in range(count)}
    return pictures | {
        mask.format(f"{n:02}"): encoded(content, "GIF" if mask.endswith("gif") else "PNG")
        for n in range(count)
    }


def resized(tmp_path, size):
    """What `load_data` needs to train on the folder `own`."""
    flags = SimpleNamespace(dataset=str(tmp_path / "own"), runs_dir=str(tmp_path), image_size=size)
    vars(flags).update(fit="resize", batch_size=2, seed=1, augmentation=0.0, data_dir=None)
    return flags


def told_of(folder, capsys):
    loaded = load(folder)
    out = capsys.readouterr().out
    return loaded, out[out.index(f"{folder}: masks hold") :].splitlines()


@pytest.mark.parametrize(
    ("picture", "mask", "told"),
    [
        ("images/a{}.png", "masks/a{}_mask.png", 'masks without "_mask"'),
        ("imgs/{}.png", "masks/{}_mask.gif", 'masks without "_mask"'),  # Carvana
        ("images/{}.png", "labels/{}_seg.png", 'masks without "_seg"'),
        ("images/{}-image.png", "masks/{}-label.png", '"-image" and names of masks without "-l'),
        ("images/img_{}.png", "masks/mask_{}.png", '"img_" and names of masks without "mask_"'),
        ("images/img{}.png", "masks/seg{}_gt.png", 'without "seg" and "_gt"'),
        ("imagesTr/{}_0000.png", "labelsTr/{}.png", 'pictures without "_0000"'),  # nnU-Net
        ("images/a/{}.png", "masks/a/{}_label.png", 'masks without "_label"'),
        ("JPEGImages/{}.png", "SegmentationClass/{}.png", ""),
        ("{}.png", "{}_mask.png", 'masks without "_mask"'),
        ("{}_sat.png", "{}_mask.png", 'without "_sat" and names of masks without "_mask"'),
        ("train/{}.png", "train/{}_gt.png", 'masks without "_gt"'),
        ("images/{}.png", "images/{}_mask.png", 'masks without "_mask"'),
        ("img_dir/{}.png", "ann_dir/{}.png", ""),
        ("img/{}.png", "gt/{}.png", ""),
        ("images/{}.png", "ground_truth/{}.png", ""),
        ("image/{}.png", "label/{}.png", ""),
        ("Images/{}.png", "annotations/{}.png", ""),
        ("image/{}.png", "mask/{}.png", ""),
        ("{}.png", "{}_seg.png", 'masks without "_seg"'),
        ("{}.png", "{}_Label.png", 'masks without "_Label"'),
        ("images/Ame\u0301lie {}.png", "masks/Am\u00e9lie {}.png", ""),  # macOS and Linux
        ("images/{}.png", "masks/{} mask.png", 'masks without " mask"'),
        ("images/{}.png", "masks/{}.mask.png", 'masks without ".mask"'),
        ("{}_labelled.png", "{}_labelled_mask.png", 'masks without "_mask"'),
    ],
)
def test_masks_find_their_pictures_whatever_their_names(tmp_path, capsys, picture, mask, told):
    loaded, lines = told_of(write(tmp_path, files(12, picture, mask)), capsys)
    found = all_masks(loaded)
    assert set(found) == set(range(12))
    assert all((mask == IDS).all() for mask in found.values())
    assert told in lines[0]
    assert ("names of" in lines[0]) == bool(told)


def test_a_name_that_is_shortened_belongs_to_the_one_mask_that_it_fits(tmp_path):
    """Names 1, 2 and so on are in common with nothing but themselves."""
    contents = files(12, "images/{}.png", "masks/{}_mask.png")
    contents["masks/07_mask.png"] = encoded(IDS[:, ::-1])
    masks = all_masks(load(write(tmp_path, contents)))
    np.testing.assert_array_equal(masks.pop(7), IDS[:, ::-1])
    assert all((mask == IDS).all() for mask in masks.values())


def test_a_picture_without_a_mask_is_named_whatever_the_form(tmp_path):
    contents = files(12, "images/{}.png", "masks/{}_mask.png") | {"masks/07_mask.png": None}
    write(tmp_path, {**contents, "masks/07_mask.png": b""})
    assert refusal(write(tmp_path, {"masks/07_mask.png": None}))[0].endswith("07.png: has no mask")


@pytest.mark.parametrize(
    ("picture", "mask", "told"),
    [
        ("images/frame_1{}.png", "masks/frame_{}.png", "no picture has a mask of its name: there"),
        ("images/pat07_{}.png", "masks/pat12_{}.png", "no picture has a mask of its name: there"),
        ("images/{}.png", "masks/cat/{}.png", "no picture has a mask of its name: there are"),
    ],
)
def test_names_that_only_look_alike_are_no_pairs(tmp_path, picture, mask, told):
    """Frames 101 and 01, and the same slice of two patients, are not the same."""
    assert told in refusal(write(tmp_path, files(12, picture, mask)))[0]


@pytest.mark.parametrize(
    "mask", ["gtFine/{}_color.png", "SegmentationTruth/{}_segmentation.png", "other/{}.png"]
)
def test_a_folder_of_no_known_form_is_told_what_it_has(tmp_path, mask):
    write(tmp_path, files(12, "leftImg8bit/{}.png", mask) | {"leftImg8bit/x_polygons.json": b"{}"})
    with pytest.raises(UserError, match=r"has no folder images/.* Rename those of .*leftImg8bit/"):
        load(tmp_path)


@pytest.mark.parametrize("more", ["labels/x.png", "imgs/x.png"])
def test_of_two_folders_that_mean_the_same_none_is_passed_over(tmp_path, more):
    write(draw(tmp_path), {more: encoded(IDS)})
    with pytest.raises(UserError, match=r"labels/ and masks/|images/ and imgs/"):
        load(tmp_path)


def test_a_second_mask_of_a_picture_is_named(tmp_path):
    write(tmp_path, files(12, "a ({}).png", "a ({})_mask.png"))
    write(tmp_path, {"a (03)_mask_1.png": encoded(IDS)})  # as in BUSI
    (line,) = refusal(tmp_path)
    assert "a (03)_mask_1.png: a picture has one mask; unite those of it" in line


def test_palettes_that_differ_are_not_taken_for_the_same_numbers(tmp_path):
    def palette(*colors):
        image = Image.fromarray(IDS).convert("P")
        image.putdata(IDS.ravel().tolist())
        image.putpalette([*sum(colors, ())])
        return encoded(image)

    red, green, blue = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    draw(tmp_path)
    write(tmp_path, {f"masks/{n:02}.png": palette(red, green, blue) for n in range(12)})
    assert load(tmp_path).class_names == ("class 0", "class 1", "class 2")
    write(tmp_path, {"masks/05.png": palette(red, blue, green)})
    (line,) = refusal(tmp_path)
    assert "05.png: its number 1 is (0, 0, 255), that of " in line
    assert ".png is (0, 255, 0): write colors into classes.txt" in line
    write(tmp_path, {"classes.txt": b"r 255 0 0\ng 0 255 0\nb 0 0 255\n"})
    masks = all_masks(load(tmp_path))
    assert masks.pop(5).tolist() == [[0, 2, 1, 1, 2, 0]] * 4
    assert all((mask == IDS).all() for mask in masks.values())


def test_masks_that_are_all_the_same_are_named(tmp_path, capsys):
    _, lines = told_of(draw(tmp_path), capsys)
    assert lines[-1] == "  All masks are the same: are these the right ones?"
    _, lines = told_of(write(tmp_path, {"masks/03.png": encoded(IDS[:, ::-1] * 0)}), capsys)
    assert "All masks are the same" not in lines[-1]


@pytest.mark.parametrize(
    ("empty", "told"), [("images", "has no picture"), ("masks", "has no mask")]
)
def test_a_folder_without_any_picture_is_told(tmp_path, empty, told):
    draw(tmp_path)
    for path in (tmp_path / empty).iterdir():
        path.unlink()
    assert refusal(tmp_path)[0].endswith(
        f"/00.png, 01.png, 02.png, 03.png, 04.png and 7 more: {told}"
    )


def test_a_folder_that_is_looked_through_is_counted_and_shown_in_one_line(tmp_path, capsys):
    load(draw(tmp_path))
    out = capsys.readouterr().out
    assert f"Looking at 12 pictures of {tmp_path}\n" in out
    assert "\b" not in out
    assert "\r" not in out  # in a file no bar moves
    assert "obeyed" not in out  # there are no lists


def test_a_class_that_a_split_lacks_is_named(tmp_path, capsys):
    for split in ("train", "val", "test"):
        draw(tmp_path / split, 3, IDS if split != "val" else IDS % 2)
    _, lines = told_of(tmp_path, capsys)
    assert "  The validation split has no class 2: its scores leave that out." in lines


def test_splits_of_pascal_voc_are_obeyed(tmp_path, capsys):
    contents = files(9, "JPEGImages/{}.png", "SegmentationClass/{}.png")
    parts = {"train": ("00", "01", "02", "03"), "val": ("04", "05"), "test": ("06",)}
    contents |= {
        f"ImageSets/Segmentation/{split}.txt": "\n".join(names).encode()
        for split, names in parts.items()
    }
    contents["JPEGImages/unlabelled.png"] = gray(200)  # VOC has more pictures than masks
    contents["Annotations/00.xml"] = b"<annotation/>"  # boxes
    contents["ImageSets/Segmentation/trainval.txt"] = b"00\n01\n02\n03\n04\n05"

    def numbers():
        found = masks_by_number(load(tmp_path))
        return {split: set(masks) for split, masks in found.items()}

    write(tmp_path, contents)
    assert numbers() == {"train": {0, 1, 2, 3}, "validation": {4, 5}, "test": {6}}
    # What is prepared must not be used then; the second list is as an editor of Windows writes it.
    moved = {"train": b"00\n01\n02", "val": b"\xef\xbb\xbf03\r\n04\r\n05\r\n"}
    write(tmp_path, {f"ImageSets/Segmentation/{one}.txt": names for one, names in moved.items()})
    assert numbers() == {"train": {0, 1, 2}, "validation": {3, 4, 5}, "test": {6}}
    write(tmp_path, {"ImageSets/Segmentation/val.txt": b"04\n99\n"})
    assert refusal(tmp_path)[0].endswith("val.txt: there is no picture 99 with a mask")
    write(tmp_path, {"ImageSets/Segmentation/val.txt": b"04\n02\n01\n"})
    assert "2 pictures are in train and in validation, 01 for one" in refusal(tmp_path)[0]
    unlisted = {"JPEGImages/unlabelled.png": None, "ImageSets/Segmentation/train.txt": b""}
    write(tmp_path, unlisted)  # without a list of training there are no lists
    capsys.readouterr()
    assert sum(map(len, masks_by_number(load(tmp_path)).values())) == 9
    assert "has no train.txt: its lists are not obeyed" in capsys.readouterr().out
    write(tmp_path, {"ImageSets/Segmentation/Training.txt": b"00\n03"})
    assert numbers()["train"] == {0, 3}
    write(tmp_path, {"ImageSets/Segmentation/train.txt": b"03"})
    with pytest.raises(UserError, match=r"has Training.txt and train.txt, which mean the same"):
        load(tmp_path)


def test_lists_of_pascal_voc_name_pictures_whatever_their_masks_are_called(tmp_path):
    """Blanks in names, masks with an ending of their own, and more of both than the lists have."""
    numbered = {f"{n:02}": f"street {n:02}" for n in range(9)}
    contents = files(9, "JPEGImages/{}.png", "SegmentationClass/{}_mask.png")
    for number, name in numbered.items():
        contents = {path.replace(number, name): content for path, content in contents.items()}
    lists = {"train": [*numbered.values()][:4], "val": [*numbered.values()][4:6]}
    for split, names in lists.items():
        contents[f"ImageSets/Segmentation/{split}.txt"] = "\n".join(names).encode()
    found = masks_by_number(load(write(tmp_path, contents)))
    assert {n for masks in found.values() for n in masks} == {*range(6)}
    assert {*found["validation"]} == {4, 5}


def test_a_list_that_is_no_text_is_told(tmp_path):
    contents = files(9, "JPEGImages/{}.png", "SegmentationClass/{}.png")
    write(tmp_path, contents | {"ImageSets/Segmentation/train.txt": b"caf\xe9"})
    with pytest.raises(UserError, match=r"train.txt: cannot be read as UTF-8 text"):
        load(tmp_path)


def in_folders(path, *names):
    """Three pictures in each of some folders below images/ and masks/, of a tens digit each."""
    for number, name in enumerate(names):
        content = {f"images/{name}/{n}.png": gray(10 * number + n) for n in range(3)}
        write(path, content | {f"masks/{name}/{n}.png": encoded(IDS) for n in range(3)})
    return path


@pytest.mark.parametrize(
    "names",
    [
        ("train", "val", "test"),
        ("train", "valid", "test"),
        ("training", "validation", "testing"),  # ADE20K
        ("Train", "Val", "TEST"),
    ],
)
def test_splits_below_images_and_masks_are_obeyed(tmp_path, names):
    found = masks_by_number(load(in_folders(tmp_path, *names)))
    assert {split: set(masks) for split, masks in found.items()} == {
        "train": {0, 1, 2},
        "validation": {10, 11, 12},
        "test": {20, 21, 22},
    }


def test_pictures_beside_those_of_the_splits_are_named(tmp_path):
    (line,) = refusal(in_folders(tmp_path, "train", "val", "extra"))
    assert "extra/0.png" in line
    assert "is neither in train/ nor in val/ nor in test/, as others are" in line


def test_pictures_of_another_day_move_none_whose_names_are_shortened(tmp_path):
    """What all names have in common is another part then, and the hash must not follow it."""

    def splits(*days):
        for day in days:
            names = f"images/frame_2024_01_{day}_{{}}.png", f"masks/label_2024_01_{day}_{{}}.png"
            write(tmp_path, files(60, *names))
        found = find_splits(tmp_path, [])[0]
        return {picture.name: split for split, some in found.items() for picture, *_ in some}

    before = splits("03")
    assert before.items() <= splits("03", "11").items()


def test_classes_that_have_a_side_are_named(tmp_path, capsys):
    """Augmentation mirrors pictures and masks, and a left kidney is a right one then."""
    named = {"classes.txt": b"bright\nleft_kidney\nKidney Right\n"}
    _, lines = told_of(write(draw(tmp_path), named), capsys)
    (line,) = (line for line in lines if "mirrored" in line)
    assert line.startswith("  left_kidney, Kidney Right: in training, every second picture")
    write(tmp_path, {"classes.txt": b"bright\ncleft\nupright\n"})
    assert not any("mirrored" in line for line in told_of(tmp_path, capsys)[1])
    write(tmp_path, {"classes.txt": "bright\n\u5de6\u814e\n\u53f3\u814e\n".encode()})
    (line,) = (line for line in told_of(tmp_path, capsys)[1] if "mirrored" in line)
    assert line.startswith("  \u5de6\u814e, \u53f3\u814e: ")


def test_a_name_may_stand_before_its_value_or_after_it(tmp_path):
    for text in (
        b"background 0\ndog 2\nroad cat 1\n",
        b"0 background\n2 dog\n1 road cat\n",
        b"0: background\n2: dog\n1: road cat",
        b"background=0\ndog=2\nroad cat=1",
        b"background: 0\ndog: 2\nroad cat:1",
        b"0=background\n2,dog\n1 = road cat",
    ):
        loaded = load(write(draw(tmp_path), {"classes.txt": text}))
        assert loaded.class_names == ("background", "dog", "road cat")
        wanted = np.uint8([0, 2, 1])[IDS]
        assert all((mask == wanted).all() for mask in all_masks(loaded).values())
    (tmp_path / "classes.txt").unlink()
    for table in (b"id,name\n0,a\n2,b\n1,c\n", b"name,id\na,0\nb,2\nc,1\n"):
        loaded = load(write(tmp_path, {"class_dict.csv": table}))
        assert loaded.class_names == ("a", "b", "c")
        assert all((mask == wanted).all() for mask in all_masks(loaded).values())


@pytest.mark.parametrize("number", [0, 2])
def test_void_that_takes_the_number_of_a_class_is_refused(tmp_path, number):
    text = f"a\nvoid {number}\nb\nc\n".encode()
    (line,) = refusal(write(draw(tmp_path), {"classes.txt": text}))
    assert f"line 2: void is {number}, so which numbers the classes have is not known" in line


def test_the_first_line_of_labelmes_own_list_has_no_number(tmp_path):
    cat = polygon("cat", [4, 3], [5, 0], kind="rectangle")
    loaded = load(draw_polygon(tmp_path, cat, b"__ignore__\n_background_\ncat\n"))
    assert loaded.class_names == ("background", "cat")


def test_of_splits_training_must_be_there(tmp_path):
    assert "extra/0.png" in refusal(in_folders(tmp_path / "a", "val", "extra"))[0]
    (line,) = refusal(in_folders(tmp_path / "b", "val", "test"))
    assert line == "  too few pictures: 0 train, 3 validation, 3 test; each needs one"


def test_train_is_no_split_where_no_other_is(tmp_path):
    found = masks_by_number(load(in_folders(tmp_path, "train", "tram", "bus")))
    assert set().union(*found.values()) == {10 * a + b for a in range(3) for b in range(3)}


def stack(pages):
    first, *rest = [Image.fromarray(np.asarray(page)) for page in pages]
    return encoded(first, "TIFF", save_all=True, append_images=rest)


def pages(first, count=10, mask=None):
    """A TIFF of pages, each of a gray of its own, or all with the same mask."""
    drawn = [np.full((4, 6), first + number, np.uint8) for number in range(count)]
    return stack(drawn if mask is None else [mask] * count)


def test_the_only_stack_is_cut_apart_and_it_is_said(tmp_path, capsys):
    write(tmp_path, {"images/a.tif": pages(0, 30), "masks/a.tif": pages(0, 30, IDS)})
    loaded, lines = told_of(tmp_path, capsys)
    assert set(all_masks(loaded)) == set(range(30))
    assert "pages of one stack in several splits, so scores on them say little" in lines[0]
    write(tmp_path, {"masks/a.tif": pages(0, 31, IDS)})
    assert refusal(tmp_path)[0].endswith("a.tif: has 30 pages, its mask 31")


def test_a_stack_of_more_than_8_bits_has_one_scale(tmp_path):
    wide = stack([np.full((4, 6), 100 * number, np.int32) for number in range(30)])
    write(tmp_path, {"images/a.tif": wide, "masks/a.tif": pages(0, 30, IDS)})
    loaded = load(tmp_path)
    assert loaded.value_range == [0, 2900]
    assert len(all_masks(loaded)) == 30


def test_a_stack_in_color_of_which_little_can_be_read_is_refused(tmp_path, monkeypatch):
    """Pillow writes no such stack."""
    write(tmp_path, {"images/a.tif": pages(0, 30), "masks/a.tif": pages(0, 30, IDS)})
    asked = []
    monkeypatch.setattr(own_folder, "upper_bits_alone", lambda *given: asked.append(given))
    load(tmp_path)
    assert sorted(page for _, page in asked) == [*range(30)]


def test_of_several_stacks_each_is_in_one_split(tmp_path, capsys):
    for number in range(5):
        name = f"s{number}.tif"
        write(tmp_path, {f"images/{name}": pages(10 * number), f"masks/{name}": pages(0, 10, IDS)})
    loaded, lines = told_of(tmp_path, capsys)
    found = masks_by_number(loaded)
    assert set().union(*found.values()) == set(range(50))
    for numbers in found.values():
        assert len(numbers) % 10 == 0
        assert len({number // 10 for number in numbers}) == len(numbers) / 10
    assert "pages of one stack" not in lines[0]
    write(tmp_path, {"masks/s3.tif": pages(0, 9, IDS)})
    assert refusal(tmp_path)[0].endswith("s3.tif: has 10 pages, its mask 9")


def test_of_two_stacks_there_are_too_few_for_three_splits(tmp_path, capsys):
    for number in range(2):
        name = f"s{number}.tif"
        write(tmp_path, {f"images/{name}": pages(10 * number), f"masks/{name}": pages(0, 10, IDS)})
    loaded, lines = told_of(tmp_path, capsys)
    assert len(all_masks(loaded)) == 20
    assert "pages of one stack in several splits" in lines[0]


def test_a_broken_stack_is_named(tmp_path):
    write(tmp_path, {"images/a.tif": b"II*\0 no TIFF", "masks/a.tif": pages(0, 30, IDS)})
    write(tmp_path, {"images/b.tif": pages(0, 30), "masks/b.tif": pages(0, 30, IDS)})
    (line,) = refusal(tmp_path)
    assert "a.tif: " in line


CVAT = b"# label:color_rgb:parts:actions\nsky:255,0,0::\nroad:0,255,0::\ncar:0,0,255::\n"
CAMVID = b"255 0 0\tsky\n0 255 0\troad\n0 0 255\tcar\n"
KAGGLE = b"name,r,g,b\nsky,255,0,0\nroad,0,255,0\ncar,0,0,255\n"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("labelmap.txt", CVAT),
        ("label_colors.txt", CAMVID),
        ("class_dict.csv", KAGGLE),
        ("classes.txt", CVAT),
        ("classes.txt", CAMVID),
        ("classes.txt", b"sky,255,0,0\nroad,0,255,0\ncar,0,0,255\n"),
        ("class_dict.csv", b"sky,255,0,0\nroad,0,255,0\ncar,0,0,255\n"),  # no header
    ],
)
def test_colors_are_read_from_the_files_that_they_come_with(tmp_path, capsys, name, content):
    loaded, lines = told_of(write(draw(tmp_path, mask=COLORS), {name: content}), capsys)
    assert lines[0] == f"{tmp_path}: masks hold what {name} names"
    assert loaded.class_names == ("sky", "road", "car")
    assert loaded.class_colors == ("#FF0000", "#00FF00", "#0000FF")
    assert all((mask == IDS).all() for mask in all_masks(loaded).values())


@pytest.mark.parametrize(
    ("masks", "classes", "names", "wanted"),
    [
        (IDS * np.uint8(100), b"a 0\nb 100\nc 200\n", "abc", IDS),
        (BINARY + np.uint8(1), b"a 1\nb 2\n", "ab", BINARY),
        (BINARY, b"2 wheeler 1\nroad 0\n", ("2 wheeler", "road"), 1 - BINARY),
        (IDS.astype(np.uint16) * 1000, b"a 0\nc 2000\nb 1000\n", "acb", [[0, 2, 1, 1, 2, 0]] * 4),
        (IDS, b"a 0\nb 2\nvoid 1\n", "ab", [[0, 255, 1, 1, 255, 0]] * 4),
        (IDS, b"a\nb\nc\nvoid 9\n", "abc", IDS),
        (IDS, b"0 sky\n2 dog2\n1 cat1\n", ("sky", "dog2", "cat1"), [[0, 2, 1, 1, 2, 0]] * 4),
        (IDS, b"a\nb\nvoid 2\n", "ab", [[0, 1, 255, 255, 1, 0]] * 4),
        (IDS, b"lane 1\nlane 2\nlane 3\n", ("lane 1", "lane 2", "lane 3"), IDS),
    ],
)
def test_values_are_named_in_classes_txt(tmp_path, masks, classes, names, wanted):
    loaded = load(write(draw(tmp_path, mask=masks), {"classes.txt": classes}))
    assert loaded.class_names == tuple(names)
    assert all((mask == wanted).all() for mask in all_masks(loaded).values())


def test_our_own_file_of_classes_comes_first_and_a_new_name_is_read(tmp_path):
    write(draw(tmp_path, mask=COLORS), {"labelmap.txt": CVAT})
    assert load(tmp_path).class_names == ("sky", "road", "car")
    write(tmp_path, {"labelmap.txt": CVAT.replace(b"sky", b"air")})
    assert load(tmp_path).class_names == ("air", "road", "car")
    write(tmp_path, {"classes.txt": b"a 255 0 0\nb 0 255 0\nc 0 0 255\n"})
    assert load(tmp_path).class_names == ("a", "b", "c")


def test_void_of_a_color_is_void_in_masks_that_lack_a_class(tmp_path):
    red, green, blue = np.eye(3, dtype=np.uint8) * np.uint8(255)
    draw(tmp_path, mask=np.array([[red, green]]))
    blue_ones = {f"masks/{n:02}.png": encoded(np.array([[red, blue]])) for n in range(1, 12, 2)}
    write(tmp_path, blue_ones | {"classes.txt": b"a 255 0 0\nb 0 255 0\nvoid 0 0 255\n"})
    for number, mask in all_masks(load(tmp_path)).items():
        assert mask.tolist() == [[0, 255 if number % 2 else 1]]


def smooth(mask):
    """A mask as a viewer would enlarge it, with as many grays as there are pixels between."""
    image = Image.fromarray(np.kron(mask, np.ones((4, 4), np.uint8)))
    return np.asarray(image.resize((240, 160), Image.Resampling.BILINEAR))


def test_smooth_edges_are_cut_in_the_middle(tmp_path, capsys):
    mask = smooth(WHITE)
    assert len(np.unique(mask)) > 8
    loaded, lines = told_of(draw(tmp_path, mask=mask), capsys)
    assert loaded.class_names == ("background", "foreground")
    assert all((found == (mask >= 128)).all() for found in all_masks(loaded).values())
    assert "0 and 255 with smooth edges, cut at 128" in lines[0]


def row(zeros, between, ends):
    return np.uint8([[0] * zeros + [*between] + [255] * ends])


def test_ten_ids_with_void_are_no_smooth_mask(tmp_path):
    mask = row(40, range(1, 10), 20)
    loaded = load(draw(tmp_path, mask=mask))
    assert loaded.class_names == tuple(f"class {number}" for number in range(10))
    assert all((found == mask).all() for found in all_masks(loaded).values())


@pytest.mark.parametrize(
    ("mask", "is_smooth"),
    [
        (row(40, range(238, 246), 20), True),  # eight grays, as the documentation says
        (row(40, range(239, 246), 20), False),
        (row(12, range(200, 208), 5), True),  # 8 of 17 pixels: fewer than half
        (row(10, range(200, 208), 5), False),
    ],
)
def test_where_smooth_edges_end(tmp_path, mask, is_smooth):
    draw(tmp_path, mask=mask)
    if is_smooth:
        assert load(tmp_path).class_names == ("background", "foreground")
    else:
        assert "masks have the values 0, " in refusal(tmp_path)[0]


def test_0_and_1_in_some_masks_and_0_and_255_in_others_are_the_same(tmp_path, capsys):
    draw(tmp_path, mask=WHITE)
    write(tmp_path, {f"masks/{n:02}.png": encoded(BINARY) for n in range(6)})
    loaded, lines = told_of(tmp_path, capsys)
    assert all((found == BINARY).all() for found in all_masks(loaded).values())
    assert "0 and 1 in some, 0 and 255 in others" in lines[0]


def test_void_stays_void_where_1_and_255_are_in_one_mask(tmp_path):
    mask = np.uint8([[0, 1, 255, 255, 1, 0]] * 4)
    masks = all_masks(load(draw(tmp_path, mask=mask)))
    assert all((found == mask).all() for found in masks.values())


@pytest.mark.parametrize(
    ("strays", "told"), [([1], "1 pixels of 1:"), ([9, 2, 7, 4, 5], "5 pixels of 2, 4, 5, 7 ...:")]
)
def test_what_255_is_beside_stray_pixels_is_asked_and_the_answers_work(tmp_path, strays, told):
    mask = np.repeat(WHITE, 50, axis=0)
    stray = mask.copy()
    stray[: len(strays), 0] = strays
    write(draw(tmp_path, mask=mask), {"masks/03.png": encoded(stray)})
    (line,) = refusal(tmp_path)
    assert f"masks have 0, 255 and {told} is 255 a class or void?" in line
    answers = line.split("a line each: ")[1].split("; or: ")
    first, second = (answer.replace(" / ", "\n").encode() for answer in answers)
    found = all_masks(load(write(tmp_path, {"classes.txt": first})))
    np.testing.assert_array_equal(found[5], mask // 255)
    assert found[3][0, 0] == 255
    found = masks_by_number(load(write(draw(tmp_path / "b", mask=stray), {"classes.txt": second})))
    ids = {0: 0, 255: 255} | {value: 1 + rank for rank, value in enumerate(sorted(strays))}
    np.testing.assert_array_equal(found["train"].popitem()[1], np.vectorize(ids.get)(stray))


@pytest.mark.parametrize(
    "mask",
    [
        np.float32(BINARY),
        np.uint16(BINARY) * np.uint16(65535),
        BINARY.astype(bool),
        smooth(WHITE) / np.float32(255),
    ],
)
def test_two_classes_in_every_kind_of_number(tmp_path, mask):
    for number in range(12):
        size = np.shape(mask)
        content = {f"images/{number}.png": gray(number, size)}
        write(tmp_path, content | {f"masks/{number}.tif": encoded(mask, "TIFF")})
    loaded = load(tmp_path)
    middle = 0.5 if mask.max() <= 1 else 32768
    assert all((found == (mask >= middle)).all() for found in all_masks(loaded).values())


@pytest.mark.parametrize("kind", [np.uint8, np.float32])
def test_masks_of_0_and_1_among_smooth_ones_are_told(tmp_path, kind):
    """Cut at 128 they would have no object."""
    shades = smooth(WHITE)
    soft = shades / np.float32(255) if kind is np.float32 else shades
    for number in range(12):
        mask = soft if number else np.broadcast_to(kind(shades > 127), shades.shape)
        content = {f"images/{number}.png": gray(number, shades.shape)}
        write(tmp_path, content | {f"masks/{number}.tif": encoded(mask, "TIFF")})
    (line,) = refusal(tmp_path)
    assert "1 masks have 0 and 1, the others 0 to 255 with smooth edges" in line


def test_masks_in_opacity_are_told_in_one_line(tmp_path):
    mask = np.full((4, 6, 4), 255, np.uint8)
    mask[..., 3] = WHITE
    (line,) = refusal(draw(tmp_path, mask=mask))
    assert line.count(".png") == 5
    assert " and 7 more: tells its classes by opacity; save opacity alone as a gray PNG" in line
    photo = np.random.default_rng(0).integers(0, 256, (30, 40, 4), np.uint8)
    photo[..., 3] = 255 * (photo[..., 3] > 100)  # cut out
    (line,) = refusal(draw(tmp_path / "photos", mask=photo))
    assert "tells its classes by opacity" in line


@pytest.mark.parametrize("lowest", [0, 2100, -1000])
def test_pictures_of_more_than_8_bits_share_one_scale(tmp_path, capsys, lowest):
    """Of two levels apart, none is lost; the model's file says which they were."""
    for number in range(12):
        values = np.full((4, 6), lowest + 10 * number, np.int32)
        pair = {f"images/{number}.tif": encoded(values, "TIFF")}
        write(tmp_path, pair | {f"masks/{number}_mask.png": encoded(IDS)})
    loaded, lines = told_of(tmp_path, capsys)
    assert 'masks without "_mask"' in lines[0]
    assert loaded.value_range == [lowest, lowest + 110]
    assert set(all_masks(loaded)) == {round(number * 255 / 11) for number in range(12)}
    assert f"more than 8 bits, of which {lowest:,} to {lowest + 110:,} become 0 to 255" in lines[0]
    assert "values from 0 to 255 in 12 levels, which is little to learn from" in lines[1]


def test_the_data_of_a_training_knows_the_scale_of_its_pictures(tmp_path):
    for number in range(12):
        values = np.full((4, 6), 10 * number, np.int32)
        pair = {f"own/images/{number}.tif": encoded(values, "TIFF")}
        write(tmp_path, pair | {f"own/masks/{number}.png": encoded(IDS)})
    assert [*common.load_data(resized(tmp_path, 16)).value_range] == [0, 110]


def test_pictures_of_one_value_are_refused(tmp_path):
    for number in range(12):
        pair = {f"images/{number}.tif": encoded(np.full((4, 6), 7, np.int32), "TIFF")}
        write(tmp_path, pair | {f"masks/{number}.png": encoded(IDS)})
    assert refusal(tmp_path) == ["  all pixels of all pictures have the value 7"]


def test_tiffs_in_color_whose_upper_bits_are_enough_are_taken(tmp_path):
    for number in range(12):
        values = np.full((4, 6, 3), 0x1000 * (number + 4), np.uint16)
        write(tmp_path, {f"masks/{number}.png": encoded(IDS), f"images/{number}.tif": b""})
        tiff(tmp_path / f"images/{number}.tif", values, photometric=2, bits=16)
    assert set(all_masks(load(tmp_path))) == {16 * (number + 4) for number in range(12)}


def test_a_picture_of_8_bits_among_others_is_refused(tmp_path):
    for number in range(12):
        values = np.full((4, 6), 100 * number, np.int32)
        pair = {f"images/{number}.tif": encoded(values, "TIFF")}
        write(tmp_path, pair | {f"masks/{number}.png": encoded(IDS)})
    (line,) = refusal(write(tmp_path, {"images/3.tif": None, "images/3.png": gray(3)}))
    assert (
        "3.png: is read with 8 bits a value, but pictures to train on are from 0 to 1100: how"
        in line
    )
    assert line.endswith("save all alike")


def test_a_class_that_resizing_loses_is_named(tmp_path, capsys):
    mask = np.zeros((512, 512), np.uint8)
    mask[200:203, 300:303] = 1
    draw(tmp_path / "own", 12, mask)
    common.load_data(resized(tmp_path, 64))
    out = capsys.readouterr().out
    left = int(out.split("class 1 is in 12 masks, after resizing in ")[1].split(":")[0])
    assert left < 6
    assert "--fit tiles keeps it" in out
    assert [line.split()[2:] for line in out.splitlines() if "  class 1  " in line] == [
        ["<0.01%"] * 3
    ]


def test_void_that_nobody_asked_for_is_named(tmp_path, capsys):
    mask = np.uint8([[0, 1, 2, 255]])
    _, lines = told_of(draw(tmp_path / "a", mask=mask), capsys)
    assert lines[-2].startswith("  25.0% of all pixels are 255, void")
    named = {"classes.txt": b"a 0\nb 1\nc 2\nvoid 255\n"}
    load(write(draw(tmp_path / "b", mask=mask), named))
    assert "of all pixels are 255" not in capsys.readouterr().out


def polygon(label, *points, kind="polygon"):
    return {"label": label, "points": [*points], "shape_type": kind}


def labelme(*shapes):
    content = {"shapes": [*shapes], "imageWidth": 6, "imageHeight": 4, "imagePath": "x.png"}
    return json.dumps(content).encode()


def draw_polygon(path, shape, classes):
    """Nine pictures with the same shape in labelme's JSON beside each, and a classes.txt."""
    contents = {f"{number}.png": gray(number) for number in range(9)}
    contents |= {f"{number}.json": labelme(shape) for number in range(9)}
    return write(path, contents | {"classes.txt": classes})


@pytest.mark.parametrize("pattern", ["{}.json", "images/{}.json", "masks/{}.json"])
def test_polygons_of_labelme_are_drawn(tmp_path, capsys, pattern):
    folder = "" if pattern == "{}.json" else "images/"
    shapes = [
        polygon("dog", [1, 1], [2, 1], [2, 2], [1, 2]),
        polygon("cat", [4, 3], [5, 0], kind="rectangle"),
        polygon("__ignore__", [0, 3], [0, 3], kind="rectangle"),
    ]
    for number in range(12):
        contents = {f"{folder}{number}.png": gray(number)}
        write(tmp_path, contents | {pattern.format(number): labelme(*shapes)})
    loaded = load(tmp_path)
    assert loaded.class_names == ("background", "cat", "dog")
    out = capsys.readouterr().out
    assert "polygons of labelme" in out
    assert "no picture" not in out  # as files are called that are passed over
    wanted = [[0, 0, 0, 0, 1, 1], [0, 2, 2, 0, 1, 1], [0, 2, 2, 0, 1, 1], [255, 0, 0, 0, 1, 1]]
    assert all((mask == wanted).all() for mask in all_masks(loaded).values())
    write(tmp_path, {"classes.txt": b"dog\ncat\n"})
    assert load(tmp_path).class_names == ("background", "dog", "cat")
    write(tmp_path, {"classes.txt": b"dog 1 2 3\ncat 255 0 0\n"})
    assert load(tmp_path).class_colors == ("#000000", "#010203", "#FF0000")
    write(tmp_path, {pattern.format(3): labelme(polygon("cow", [0, 0], [1, 1], [2, 0]))})
    assert "has the label cow" in refusal(tmp_path)[0]
    write(tmp_path, {pattern.format(3): labelme(polygon("cat", [0, 0], [1, 1], kind="line"))})
    assert "has a line of 2 points for cat" in refusal(tmp_path)[0]


def test_files_of_labelme_without_shapes_are_told(tmp_path):
    for number in range(12):
        write(tmp_path, {f"images/{number}.png": gray(number), f"masks/{number}.json": labelme()})
    assert "no shape but background" in refusal(tmp_path)[0]


def test_annotations_of_coco_are_told_how_to_become_masks(tmp_path):
    coco = json.dumps({"images": [], "annotations": [], "categories": []}).encode()
    write(tmp_path, {"images/a.png": gray(1), "annotations.json": coco})
    with pytest.raises(UserError, match=r"annotations.json has COCO's annotations") as told:
        find_pairs(tmp_path, [])
    assert "\nmask[coco.annToMask(a) > 0] = a['category_id'] with pycocotools" in str(told.value)
    write(tmp_path, {"annotations.json": None, "annotations/instances_default.json": coco})
    with pytest.raises(UserError, match=r"instances_default.json has COCO's annotations"):
        find_pairs(tmp_path, [])


def test_tiffs_in_color_of_which_little_can_be_read_are_refused(tmp_path):
    (tmp_path / "images").mkdir()
    for number in range(12):
        tiff(tmp_path / f"images/{number}.tif", np.full((4, 6, 3), 4095), photometric=2, bits=16)
        write(tmp_path, {f"masks/{number}.png": encoded(IDS)})
    (line,) = refusal(tmp_path)
    assert "only the upper 8 can be read, and these end at 15" in line


def test_pictures_of_16_bits_in_color_keep_their_levels(tmp_path):
    for number in range(12):
        values = np.full((4, 6, 3), 300 + number, np.uint16)
        pair = {f"images/{number}.png": tf.io.encode_png(values).numpy()}
        write(tmp_path, pair | {f"masks/{number}.png": encoded(IDS)})
    assert len(all_masks(load(tmp_path))) == 12


def drawn_by_labelme(path, *shapes, names=("background", "cat", "dog"), **changes):
    content = {"shapes": [*shapes], "imageWidth": 6, "imageHeight": 4} | changes
    path.write_text(json.dumps(content))
    return read_polygons(path, [*names])[..., 0].tolist()


def test_of_shapes_that_overlap_the_later_one_counts(tmp_path):
    """A hole is a shape of background, which labelme has a word of its own for."""
    shapes = [
        polygon("cat", [0, 0], [4, 3], kind="rectangle"),
        polygon("_background_", [1, 1], [3, 2], kind="rectangle"),
        polygon("dog", [2, 2], [2, 2], kind="rectangle"),
    ]
    assert drawn_by_labelme(tmp_path / "a.json", *shapes) == [
        [1, 1, 1, 1, 1, 0],
        [1, 0, 0, 0, 1, 0],
        [1, 0, 2, 0, 1, 0],
        [1, 1, 1, 1, 1, 0],
    ]
    assert labels(tmp_path / "a.json") == {"cat", "dog"}


@pytest.mark.parametrize("points", [[[1, 1], [3, 2]], [[1, 1], [3, 1], [3, 2], [1, 2]]])
def test_a_rectangle_has_two_corners_or_four(tmp_path, points):
    """X-AnyLabeling writes four, https://github.com/CVHub520/X-AnyLabeling/issues/1262."""
    mask = drawn_by_labelme(tmp_path / "a.json", polygon("cat", *points, kind="rectangle"))
    assert mask == [[0] * 6, [0, 1, 1, 1, 0, 0], [0, 1, 1, 1, 0, 0], [0] * 6]


def test_circles_have_a_middle_and_a_point_of_their_edge(tmp_path):
    circle = polygon("cat", [3, 3], [5, 3], kind="circle")
    mask = np.array(drawn_by_labelme(tmp_path / "a.json", circle, imageWidth=8, imageHeight=7))
    assert mask[3, 1] == mask[3, 5] == mask[1, 3] == mask[5, 3] == 1
    assert mask[1, 1] == mask[3, 0] == mask[3, 6] == mask[0, 3] == 0


def test_a_shape_of_no_kind_is_a_polygon_as_in_older_files(tmp_path):
    shape = polygon("cat", [1, 1], [4, 1], [4, 2], [1, 2])
    del shape["shape_type"]
    assert drawn_by_labelme(tmp_path / "a.json", shape)[1] == [0, 1, 1, 1, 1, 0]


@pytest.mark.parametrize(
    "changes",
    [
        {"imageWidth": None},
        {"imageHeight": 0},
        {"shapes": None},
        {"shapes": [{"points": []}]},
        {"shapes": ["x"]},
    ],
)
def test_json_that_is_not_quite_that_of_labelme_is_named(tmp_path, changes):
    with pytest.raises(ValueError, match="is no file of labelme"):
        drawn_by_labelme(tmp_path / "a.json", **changes)


def test_a_background_that_is_named_is_there_once(tmp_path):
    dog = polygon("dog", [1, 1], [2, 1], [2, 2], [1, 2])
    loaded = load(draw_polygon(tmp_path, dog, b"dog\nbackground\n"))
    assert loaded.class_names == ("dog", "background")
    wanted = [[1] * 6, [1, 0, 0, 1, 1, 1], [1, 0, 0, 1, 1, 1], [1] * 6]
    assert all((mask == wanted).all() for mask in all_masks(loaded).values())


def test_polygons_that_only_leave_pixels_out_are_void(tmp_path):
    left_out = polygon("__ignore__", [0, 3], [0, 3], kind="rectangle")
    draw_polygon(tmp_path, left_out, b"background\ncat\n")
    cat = polygon("cat", [5, 0], [5, 0], kind="rectangle")
    write(tmp_path, {f"{number}.json": labelme(left_out, cat) for number in range(9)})
    wanted = [[0] * 5 + [1]] + [[0] * 6] * 2 + [[255, 0, 0, 0, 0, 0]]
    assert all((mask == wanted).all() for mask in all_masks(load(tmp_path)).values())


def test_a_fault_of_a_table_has_the_number_of_its_line(tmp_path):
    content = b"name,r,g,b\nsky,255,0,0\nsky,0,255,0\n"
    (line,) = refusal(write(draw(tmp_path, 3, COLORS), {"class_dict.csv": content}))
    assert "class_dict.csv, line 3: " in line


def test_of_two_folders_of_polygons_none_is_passed_over(tmp_path):
    polygons = {f"{name}/a.json": labelme() for name in ("labels", "masks")}
    write(tmp_path, polygons | {"images/a.png": gray(1)})
    with pytest.raises(UserError, match="labels/ and masks/, which mean the same"):
        load(tmp_path)


@pytest.mark.parametrize(
    "changes",
    [
        {"points": [1, 1, 3, 1, 3, 3]},
        {"points": [[1, 1, 0], [3, 1, 0], [3, 3, 0]]},
        {"points": [["1", "1"], ["3", "1"], ["3", "3"]]},
        {"label": None},
    ],
    ids=str,
)
def test_a_shape_of_another_kind_is_told_with_its_file(tmp_path, changes):
    shape = {"label": "cat", "points": [[1, 1], [3, 1], [3, 3]], "shape_type": "polygon"} | changes
    content = {"imageWidth": 6, "imageHeight": 4, "shapes": [shape]}
    path = tmp_path / "a.json"
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"a.json: is no file of labelme"):
        read_polygons(path, ["background", "cat"])


@pytest.mark.parametrize("level", [3, 255])
def test_a_png_hides_no_tiffs_of_which_little_can_be_read(tmp_path, level):
    (tmp_path / "images").mkdir()
    for number in range(12):
        tiff(tmp_path / f"images/{number}.tif", np.full((4, 6, 3), 4095), photometric=2, bits=16)
        write(tmp_path, {f"masks/{number}.png": encoded(IDS)})
    write(tmp_path, {"images/3.tif": None, "images/3.png": gray(level)})
    (line,) = refusal(tmp_path)
    assert "only the upper 8 can be read, and these end at 15" in line


def test_labelmes_own_word_for_background_makes_no_class_of_its_own(tmp_path):
    cat = polygon("cat", [1, 1], [3, 1], [3, 3])
    data = load(draw_polygon(tmp_path, cat, b"_background_\ncat\n"))
    assert tuple(data.class_names) == ("background", "cat")
    assert {*np.unique([*masks_by_number(data)["train"].values()])} == {0, 1}
    write(tmp_path, {"classes.txt": b"_background_\nbackground\ncat\n"})
    assert "two names for background" in refusal(tmp_path)[0]


@pytest.mark.parametrize("label", ["Background", "background"])
@pytest.mark.parametrize("classes", [None, b"Background\nant\n"])
def test_background_of_labelme_is_one_class_in_letters_of_any_case(tmp_path, classes, label):
    shapes = polygon("ant", [0, 0], [5, 3], kind="rectangle"), polygon(label, *[[1, 1]] * 3)
    contents = {f"{number}.png": gray(number) for number in range(9)}
    contents |= {f"{number}.json": labelme(*shapes) for number in range(9)}
    data = load(write(tmp_path, contents | ({"classes.txt": classes} if classes else {})))
    assert data.class_names == ("background", "ant")
    assert all(mask[1, 1] == 0 and mask[0, 0] == 1 for mask in all_masks(data).values())


@pytest.mark.parametrize("known", ["images", "masks"])
def test_links_to_folders_are_followed(tmp_path, known):
    """Cities in folders of their own, one of them kept elsewhere."""
    for city in ("berlin", "paris"):
        for number in range(6):
            pair = {"images": gray(number + 6 * (city == "paris")), "masks": encoded(IDS)}
            for kind, content in pair.items():
                base = "elsewhere" if city == "paris" else "own"
                write(tmp_path, {f"{base}/{kind}/{city}/{number}.png": content})
    for kind in ("images", "masks"):
        link = tmp_path / "own" / kind / "paris"
        link.symlink_to(tmp_path / "elsewhere" / kind / "paris", target_is_directory=True)
    assert len(all_masks(load(tmp_path / "own"))) == 12
    (tmp_path / "own" / known / "paris").unlink()
    (line,) = refusal(tmp_path / "own")
    assert "and 1 more: has no" in line


def test_a_link_back_up_makes_no_copies(tmp_path):
    """By `ln -s ... own` given twice, of which train and test would have the same pictures."""
    write(tmp_path, files(6, "{}.png", "{}_mask.png"))
    (tmp_path / "own").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "once more").symlink_to(tmp_path, target_is_directory=True)
    assert len(all_masks(load(tmp_path))) == 6


def test_pictures_of_a_folder_beside_the_masks_are_told(tmp_path, capsys):
    """HRF: mask/ is what the camera sees, and the vessels are in manual1/."""
    contents = files(6, "images/{}_dr.png", "mask/{}_dr_mask.png", BINARY * np.uint8(255))
    contents |= {"manual1/00_dr.png": encoded(WHITE), "notes/a.txt": b"", ".thumbs/a.png": gray(0)}
    load(write(tmp_path, contents))
    out = capsys.readouterr().out
    assert f"{tmp_path / 'manual1'} is not read: masks are those in mask/" in out
    assert "notes" not in out
    assert "thumbs" not in out


def test_what_is_no_picture_among_masks_is_told_before_they_are_missed(tmp_path, capsys):
    contents = {f"images/{number}.png": gray(number) for number in range(6)}
    contents |= {f"labels/{number}.txt": b"0 0.5 0.5 0.1 0.1" for number in range(6)}
    assert "has no mask" in refusal(write(tmp_path, contents))[0]
    told = f"{tmp_path / 'labels'}: 6 files are no pictures, such as 0.txt"
    assert told in capsys.readouterr().out


def test_the_folder_of_pictures_is_none_to_rename(tmp_path):
    contents = files(6, "train/images/{}.png", "train/gt/{}.png") | {"test/images/0.png": gray(0)}
    with pytest.raises(UserError, match=r"test has no folder masks/: it takes .* and masks/.$"):
        load(write(tmp_path, contents))


def test_void_beside_colors_of_masks_of_numbers(tmp_path):
    mask = np.uint8([[0, 1, 2, 255]])
    text = b"sky 0 0 0\nplane 128 0 0\nbike 0 128 0\nvoid 255\n"
    data = load(write(draw(tmp_path, mask=mask), {"classes.txt": text}))
    assert data.class_names == ("sky", "plane", "bike")
    assert data.class_colors == ("#000000", "#800000", "#008000")
    assert all((found == mask).all() for found in all_masks(data).values())


@pytest.mark.parametrize("between", [",", ", ", " ", ": ", "\t"])
def test_a_color_may_have_commas(tmp_path, between):
    lines = ["red", "255", "0", "0"], ["dark green", "0", "255", "0"], ["blue", "0", "0", "255"]
    text = "\n".join(between.join(line) for line in lines)
    draw(tmp_path, mask=COLORS)
    data = load(write(tmp_path, {"classes.txt": text.encode()}))
    assert data.class_names == ("red", "dark green", "blue")
    assert all((found == IDS).all() for found in all_masks(data).values())


def test_each_page_of_a_stack_has_its_own_mask(tmp_path):
    """Page n has a mask of its own: column n % 6 is class 1."""
    masks = [np.uint8(np.arange(6) == n % 6)[None].repeat(4, axis=0) for n in range(30)]
    write(tmp_path, {"images/a.tif": pages(0, 30), "masks/a.tif": stack(masks)})
    found = all_masks(load(tmp_path))
    assert all((found[n] == masks[n]).all() for n in range(30))


def test_pictures_that_change_places_in_lists_are_prepared_anew(tmp_path):
    contents = files(6, "JPEGImages/{}.png", "SegmentationClass/{}.png")
    write(tmp_path, contents)
    for train, val in (("00 01 02", "03 04"), ("00 01 03", "02 04")):
        lists = {"train": train, "val": val, "test": "05"}
        for split, names in lists.items():
            text = names.replace(" ", "\n").encode()
            write(tmp_path, {f"ImageSets/Segmentation/{split}.txt": text})
        found = masks_by_number(load(tmp_path))
        assert {*found["train"]} == {*map(int, train.split())}
        assert {*found["validation"]} == {*map(int, val.split())}


@pytest.mark.parametrize(("value", "end"), [(0x1FFF, 31), (0x7FFF, 127)])
def test_tiffs_in_color_that_end_in_the_lower_half_are_refused(tmp_path, value, end):
    (tmp_path / "images").mkdir()
    for number in range(12):
        tiff(tmp_path / f"images/{number}.tif", np.full((4, 6, 3), value), photometric=2, bits=16)
        write(tmp_path, {f"masks/{number}.png": encoded(IDS)})
    (line,) = refusal(tmp_path)
    assert f"only the upper 8 can be read, and these end at {end}" in line


@pytest.mark.parametrize("pair", [("train", "val"), ("train", "test"), ("test", "val")])
def test_no_picture_may_be_in_two_lists(tmp_path, pair):
    contents = files(9, "JPEGImages/{}.png", "SegmentationClass/{}.png")
    lists = {"train": ["00", "01", "02", "03"], "val": ["04", "05"], "test": ["06"]}
    for split in pair:
        lists[split] = [*lists[split], "08"]
    for split, names in lists.items():
        contents[f"ImageSets/Segmentation/{split}.txt"] = "\n".join(names).encode()
    (line,) = refusal(write(tmp_path, contents))
    assert "1 pictures are in " in line
    assert "08 for one" in line


def test_lists_name_pictures_however_accents_are_written(tmp_path):
    contents = files(9, "JPEGImages/Am\u00e9lie {}.png", "SegmentationClass/Am\u00e9lie {}.png")
    for split, numbers in {"train": range(4), "val": range(4, 6), "test": range(6, 9)}.items():
        names = "".join(f"Ame\u0301lie {n:02} \n" for n in numbers)  # and a blank at the end
        contents[f"ImageSets/Segmentation/{split}.txt"] = names.encode()
    found = masks_by_number(load(write(tmp_path, contents)))
    assert {*found["test"]} == {6, 7, 8}


@pytest.mark.parametrize(
    "ending", ["mask", "masks", "seg", "segmentation", "label", "labels", "gt", "annotation"]
)
def test_masks_beside_their_pictures_have_many_endings(tmp_path, ending):
    contents = files(12, "{}.png", f"{{}}_{ending}.png")
    assert set(all_masks(load(write(tmp_path, contents)))) == set(range(12))


@pytest.mark.parametrize(("large", "told"), [(3, True), (9, False)])
def test_a_class_that_resizing_loses_in_most_masks_is_named(tmp_path, capsys, large, told):
    masks = np.zeros((12, 512, 512), np.uint8)
    masks[:, 200:203, 300:303] = 1
    masks[:large, 100:300, 100:300] = 1
    for number, mask in enumerate(masks):
        pair = {
            f"images/{number}.png": gray(number, mask.shape),
            f"masks/{number}.png": encoded(mask),
        }
        write(tmp_path / "own", pair)
    common.load_data(resized(tmp_path, 64))
    words = f"class 1 is in 12 masks, after resizing in {large}: it is too small"
    assert (words in capsys.readouterr().out) == told


def test_a_negative_value_may_be_void(tmp_path):
    mask = np.int32([[0, 1, 2, 2, 1, -1]] * 4)
    for number in range(12):
        pair = {f"images/{number}.png": gray(number), f"masks/{number}.tif": encoded(mask, "TIFF")}
        write(tmp_path, pair)
    write(tmp_path, {"classes.txt": b"a 0\nb 1\nc 2\nvoid -1\n"})
    loaded = load(tmp_path)
    assert loaded.class_names == ("a", "b", "c")
    assert all((found == mask % 256).all() for found in all_masks(loaded).values())


def test_a_table_may_have_blanks_after_its_commas(tmp_path):
    content = KAGGLE.replace(b",", b", ")
    loaded = load(write(draw(tmp_path, mask=COLORS), {"class_dict.csv": content}))
    assert loaded.class_names == ("sky", "road", "car")
    assert all((mask == IDS).all() for mask in all_masks(loaded).values())


def test_grays_below_200_alone_are_no_smooth_edges(tmp_path):
    for last, is_smooth in ((199, False), (200, True)):
        folder = draw(tmp_path / str(last), mask=row(40, range(last - 9, last + 1), 20))
        if is_smooth:
            assert load(folder).class_names == ("background", "foreground")
        else:
            assert "masks have the values 0, 190, " in refusal(folder)[0]


def test_gifs_may_number_their_grays_in_any_order(tmp_path):
    def gif(numbers, palette):
        image = Image.fromarray(np.uint8(numbers)).convert("P")
        image.putdata(np.ravel(numbers).tolist())
        image.putpalette(palette)
        return encoded(image, "GIF", optimize=False)

    black, white = [0, 0, 0], [255, 255, 255]
    for number in range(12):
        swapped = number % 2
        mask = gif(BINARY ^ swapped, white + black if swapped else black + white)
        write(tmp_path, {f"images/{number}.png": gray(number), f"masks/{number}.gif": mask})
    found = all_masks(load(tmp_path))
    assert all((mask == BINARY).all() for mask in found.values())


def test_classes_of_polygons_keep_their_colors_where_background_is_named(tmp_path):
    dog = polygon("dog", [1, 1], [2, 1], [2, 2], [1, 2])
    loaded = load(draw_polygon(tmp_path, dog, b"background 9 9 9\ndog 255 0 0\n"))
    assert loaded.class_names == ("background", "dog")
    assert loaded.class_colors == ("#090909", "#FF0000")


def test_below_images_too_it_is_told_whence_a_missing_split_is_taken(tmp_path, capsys):
    load(in_folders(tmp_path, "train", "val"))
    told = f"{tmp_path} has no folder for test: a tenth of train/ is kept for it\n"
    assert told in capsys.readouterr().out


def test_a_little_void_beside_a_rare_class_is_not_asked_about(tmp_path):
    """Of 40,000 pixels 300 are void, and 2 the class."""
    mask = np.zeros((200, 200), np.uint8)
    mask[0, :2], mask[1:3, :150] = 1, 255
    loaded = load(draw(tmp_path, 3, mask))
    assert loaded.class_names == ("class 0", "class 1")
    assert all((found == mask).all() for found in all_masks(loaded).values())


def test_of_numbers_that_are_named_palettes_may_differ(tmp_path):
    draw(tmp_path, 6)
    for number in range(6):
        mask = Image.fromarray(IDS).convert("P")
        mask.putdata(IDS.ravel().tolist())
        mask.putpalette([*range(number, number + 9)])
        write(tmp_path, {f"masks/{number:02}.png": encoded(mask)})
    assert "its number 0 is " in refusal(tmp_path)[0]
    write(tmp_path, {"classes.txt": b"a 0\nb 1\nc 2\n"})
    assert all((mask == IDS).all() for mask in all_masks(load(tmp_path)).values())


@pytest.mark.parametrize(("count", "is_known"), [(64, True), (65, False)])
def test_up_to_64_classes_need_no_names(tmp_path, count, is_known):
    draw(tmp_path, 3, np.arange(count, dtype=np.uint8)[None])
    if is_known:
        assert len(load(tmp_path).class_names) == 64
    else:
        assert "masks have 65 values, from 0 to 64: " in refusal(tmp_path)[0]


@pytest.mark.parametrize("ending", ["PNG", "TIFF"])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.int32])
def test_colors_explain_black_and_white_of_any_bits(tmp_path, kind, ending):
    """Or white, which is class 0 here, would be number 255 and so the object, class 1."""
    mask = WHITE if kind is np.uint8 else WHITE.astype(kind) * kind(257)
    if kind is np.int32 and ending == "PNG":
        mask = mask.astype(np.uint16)
    contents = {f"masks/{n:02}.{ending.lower()}": encoded(mask, ending) for n in range(12)}
    contents |= {f"images/{n:02}.png": gray(n) for n in range(12)}
    write(tmp_path, contents | {"classes.txt": b"paper 255 255 255\nink 0 0 0\n"})
    assert all((found == 1 - BINARY).all() for found in all_masks(load(tmp_path)).values())


def test_fractions_that_contradict_colors_are_refused(tmp_path):
    contents = {f"images/{n:02}.png": gray(n) for n in range(12)}
    contents |= {f"masks/{n:02}.tif": encoded(np.float32(BINARY), "TIFF") for n in range(12)}
    write(tmp_path, contents | {"classes.txt": b"paper 255 255 255\nink 0 0 0\n"})
    assert "(0, 0, 0), its number 0, is 1 there" in refusal(tmp_path)[0]


@pytest.mark.parametrize(
    "classes", [b"a 0\nb 1\nvoid 255\n", b"a\nb\nc\n", b"a 0 0 0\nb 9 0 0\nvoid 0 0 9\n"]
)
def test_training_on_one_class_alone_is_refused(tmp_path, classes):
    """255 is void in all of these, and all else is a."""
    (line,) = refusal(write(draw(tmp_path, mask=WHITE), {"classes.txt": classes}))
    assert line.startswith("  the train split has no class but a: ")


def test_what_is_said_of_a_value_without_a_name_does_not_make_the_object_void_alone(tmp_path):
    folder = write(draw(tmp_path, mask=WHITE), {"classes.txt": b"background 0\nlesion 1\n"})
    told = "value 255, which the file of classes does not name: give their class this VALUE"
    assert told in refusal(folder)[0]
    write(folder, {"classes.txt": b"background 0\nlesion 255\n"})
    assert all((found == BINARY).all() for found in all_masks(load(folder)).values())


@pytest.mark.parametrize("kind", ["LA", "P"])
def test_colors_do_not_explain_what_opacity_tells(tmp_path, kind):
    """Drawn in black on nothing, which is black, too."""
    mask, options = np.stack([WHITE * 0, WHITE], axis=-1), {}
    if kind == "P":
        mask, options = Image.fromarray(BINARY).convert("P"), {"transparency": bytes([0, 255])}
        mask.putpalette([0] * 6)
    contents = {f"masks/{n:02}.png": encoded(mask, **options) for n in range(12)}
    contents |= {f"images/{n:02}.png": gray(n) for n in range(12)}
    write(tmp_path, contents | {"classes.txt": b"object 0 0 0\nbackground 255 255 255\n"})
    assert "tells its classes by opacity" in refusal(tmp_path)[0]


def test_numbers_of_16_bits_in_color_are_refused_in_a_tiff_as_in_a_png(tmp_path):
    draw(tmp_path)
    write(tmp_path, {"masks/03.png": None})
    tiff(tmp_path / "masks/03.tif", IDS[..., None].repeat(3, -1), photometric=2, bits=16)
    (line,) = refusal(tmp_path)
    assert "03.tif: has 16 bits a channel, of which 8 are read" in line


@pytest.mark.parametrize("classes", [None, b"a\nb\nc\n", b"a 9 0 0\nb 0 9 0\nc 0 0 9\n"])
def test_one_bit_among_masks_of_more_numbers_is_asked_about(tmp_path, classes):
    """Its white is 1 if a program made it of a comparison, and void if one saved space."""
    write(draw(tmp_path), {"masks/03.png": encoded(BINARY.astype(bool))})
    (line,) = refusal(write(tmp_path, {"classes.txt": classes} if classes else {}))
    assert "03.png: has one bit a pixel, and others more: whether its white is" in line
    write(tmp_path, {"masks/03.png": encoded(WHITE)})
    assert all_masks(load(tmp_path))[3].tolist() == WHITE.tolist()


def test_a_value_before_its_name_may_be_negative(tmp_path):
    loaded = load(write(draw(tmp_path), {"classes.txt": b"-1 void\n0 a\n1 b\n2 c\n"}))
    assert loaded.class_names == ("a", "b", "c")
    assert all((mask == IDS).all() for mask in all_masks(loaded).values())


@pytest.mark.parametrize("classes", [b"name value\na 0\nb 1\nc 2\n", b"a 0\nb 1\nc 2\nd\n"])
def test_a_line_without_a_number_does_not_make_names_of_values(tmp_path, classes):
    (line,) = refusal(write(draw(tmp_path), {"classes.txt": classes}))
    number = 1 if classes.startswith(b"name") else 4
    assert f"classes.txt, line {number}: has no number, and 3 others have" in line


@pytest.mark.parametrize("ending", ["png", "bmp"])
def test_a_palette_of_white_and_black_is_asked_about(tmp_path, ending):
    """A viewer shows its 0 as white; as a number it is the background."""
    mask = Image.fromarray(1 - BINARY).convert("P")
    mask.putdata((1 - BINARY).ravel().tolist())
    mask.putpalette([255, 255, 255, 0, 0, 0])
    write(draw(tmp_path, mask=WHITE), {"masks/03.png": None})
    write(tmp_path, {f"masks/03.{ending}": encoded(mask, ending)})
    assert "declares its 0 to be white" in refusal(tmp_path)[0]
    write(tmp_path, {"classes.txt": b"background 0 0 0\nobject 255 255 255\n"})
    assert all((found == BINARY).all() for found in all_masks(load(tmp_path)).values())
