"""Folders of own pictures in every form, and all that may be wrong with one, named."""

import io
import os
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import common
from support.data.folder import load_folder
from support.data.folder_splits import cut, find_splits
from support.data.folder_summary import spread, warnings
from support.data.prepared import prepare
from support.runtime.startup import UserError

import numpy as np
import pytest
from PIL import Image

IDS = np.uint8([[0, 1, 2, 2, 1, 0]] * 4)
COLORS = np.uint8([(255, 0, 0), (0, 255, 0), (0, 0, 255)])[IDS]
SPLITS = ("train", "validation", "test")
FOLDERS = ("train", "val", "test")


def encoded(pixels, kind="PNG", **options):
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(np.asarray(pixels))
    image.save(file := io.BytesIO(), kind, **options)
    return file.getvalue()


def write(folder, contents):
    """Write files, given as dict from name to bytes; None removes one."""
    for name, content in contents.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).unlink() if content is None else (folder / name).write_bytes(content)
    return folder


def add(folder, name, image, mask):
    pair = {f"images/{name}.png": encoded(np.uint8(image)), f"masks/{name}.png": encoded(mask)}
    return write(folder, pair)


def draw(folder, count=12, mask=IDS, first=0):
    """Pictures 00.png, 01.png, ... of a brightness of their own, all with the same mask."""
    for number in range(count):
        add(folder, f"{number:02}", np.full((*np.shape(mask)[:2], 3), first + number), mask)
    return folder


@pytest.fixture
def sound(tmp_path):
    return draw(tmp_path / "sound")


@pytest.fixture
def flags(sound):
    """What `load_data` needs, for a folder of drawn pictures."""
    shown = {"dataset": str(sound), "data_dir": None, "image_size": 16, "fit": "resize"}
    runs = str(sound.parent / "runs")
    return SimpleNamespace(**shown, runs_dir=runs, batch_size=4, seed=7, augmentation=0.0)


def load(folder):
    """What a folder is taken for, and its pictures at their own size."""
    source = load_folder(folder)
    pictures, facts = prepare(source, f"{folder}-prepared", None, common.resize)
    facts |= {key: tuple(facts[key]) for key in ("class_names", "class_colors")}
    return SimpleNamespace(**facts, title=source.title, splits=pictures)


def masks_by_number(loaded):
    """For each split a dict from a picture's brightness to its mask."""
    found = {
        split: map(loaded.splits[split].__getitem__, range(len(loaded.splits[split])))
        for split in SPLITS
    }
    return {
        split: {int(image[0, 0, 0]): mask[..., 0] for image, mask in pairs}
        for split, pairs in found.items()
    }


def all_masks(source):
    return {n: mask for split in masks_by_number(source).values() for n, mask in split.items()}


def refusal(folder, flags=None):
    """The lines in which a folder is refused, without the first."""
    with pytest.raises(UserError) as stopped:
        common.load_data(flags) if flags else load(folder)
    first, *lines = str(stopped.value).splitlines()
    assert first == f"{folder} cannot be trained on:"
    return lines


VOIDED = np.uint8([[0, 1, 2, 255]])
PALETTE = Image.fromarray(IDS).convert("P")
PALETTE.putdata(IDS.ravel().tolist())
PALETTE.putpalette([9, 9, 9, 255, 0, 0, 0, 255, 0])
UNNAMED = ("class 0", "class 1", "class 2")
BLACK_WHITE, ONE_BIT, BINARY = np.uint8([[0, 255]]), np.array([[False, True]]), [[0, 1]]


@pytest.mark.parametrize(
    ("mask", "classes", "ids", "names"),
    [
        (IDS, None, IDS, UNNAMED),
        (VOIDED, None, VOIDED, UNNAMED),
        (PALETTE, None, IDS, UNNAMED),
        (IDS.astype(np.uint16), None, IDS, UNNAMED),
        (IDS, "sky\n\nold road\r\ncar", IDS, ("sky", "old road", "car")),
        (IDS, "\ufeffsky\nroad\ncar\nunseen\n", IDS, ("sky", "road", "car", "unseen")),
        (BLACK_WHITE, None, BINARY, ("background", "foreground")),
        (BLACK_WHITE, "skin\nmole\n", BINARY, ("skin", "mole")),
        (BLACK_WHITE, "skin 0 0 0\nmole 255 255 255\n", BINARY, ("skin", "mole")),
        (BLACK_WHITE, "mole 255 255 255\nskin 0 0 0\n", 1 - np.array(BINARY), ("mole", "skin")),
        (ONE_BIT, "mole 255 255 255\nskin 0 0 0\n", 1 - np.array(BINARY), ("mole", "skin")),
        (BLACK_WHITE[..., None].repeat(3, -1), None, BINARY, ("background", "foreground")),
        (ONE_BIT, "skin\nmole\n", BINARY, ("skin", "mole")),
        (COLORS, "a b 255 0 0\nG 0 255 0\nB 0 0 255\n", IDS, ("a b", "G", "B")),
        (COLORS, "G 0 255 0\nvoid 0 0 255\nR 255 0 0", [[1, 0, 255, 255, 0, 1]] * 4, ("G", "R")),
        (IDS, "R 255 0 0\nG 0 255 0\nB 0 0 255\n", IDS, ("R", "G", "B")),
        (COLORS, "R 255 0 0\nG 0 255 0\nIgnore 0 0 255", [[0, 1, 255, 255, 1, 0]] * 4, ("R", "G")),
        (np.uint8(BINARY), "road\nlane 2\n", BINARY, ("road", "lane 2")),
    ],
)
def test_masks_in_every_form_become_ids_of_classes(tmp_path, capsys, mask, classes, ids, names):
    folder = draw(tmp_path, 3, mask)
    source = load(write(folder, {"classes.txt": classes.encode()} if classes else {}))
    assert source.class_names == names
    assert source.title == folder.name
    assert len(set(source.class_colors)) == len(names)
    masks = all_masks(source)
    assert sorted(masks) == [0, 1, 2]
    assert all(mask.tolist() == np.asarray(ids).tolist() for mask in masks.values())
    told = [line.split() for line in capsys.readouterr().out.splitlines()]
    for number, name in [*enumerate(names), *([(255, "void")] if 255 in np.array(ids) else [])]:
        assert [*name.split(), *[f"{np.equal(ids, number).mean():.2%}"] * 3] in told


def test_a_gray_mask_among_colored_ones_is_read_by_its_color(tmp_path):
    """Programs that save space store a mask without a color as gray."""
    folder = draw(tmp_path, 30, COLORS)
    (_, mask_of_training, _), *_ = find_splits(folder, [])[0]["train"]
    Image.fromarray(np.zeros(np.shape(IDS), np.uint8)).save(mask_of_training)
    write(folder, {"classes.txt": b"R 255 0 0\nG 0 255 0\nB 0 0 255\nvoid 0 0 0\n"})
    masks = all_masks(load(folder)).values()
    assert sum((mask == 255).all() for mask in masks) == 1
    assert sum(mask.tolist() == np.asarray(IDS).tolist() for mask in masks) == 29


def test_classes_are_drawn_in_the_colors_of_the_masks(sound):
    write(sound, {"classes.txt": b"void 9 9 9\nR 255 0 16\nG 0 254 0\nB 0 0 255\n"})
    assert load(sound).class_colors == ("#FF0010", "#00FE00", "#0000FF")


def test_pictures_keep_their_own_masks_whatever_the_endings(tmp_path):
    """The JPEGs lie on their side, as a telephone stores them; masks have their number in bits."""
    exif = Image.Exif()
    exif[0x0112] = 6
    for number, ending in enumerate(
        ["jpg", "PNG", "gif", "bmp", "tif", "webp", "jpeg", "tiff"] * 2
    ):
        kind = {"jpg": "JPEG", "tif": "TIFF"}.get(ending, ending)
        turned = {"exif": exif} if kind.upper() == "JPEG" else {}
        image = np.full((9, 8, 3) if turned else (8, 9, 3), 10 * number, np.uint8)
        mask = np.zeros((8, 9), np.uint8)
        mask[:4] = np.array([number >> bit & 1 for bit in range(4)])[:, None]
        suffix, mask_kind = [(".png", "PNG"), (".TIFF", "TIFF"), (".bmp", "BMP")][number % 3]
        write(tmp_path, {f"images/a.{number}.{ending}": encoded(image, kind, **turned)})
        write(tmp_path, {f"masks/a.{number}{suffix}": encoded(mask, mask_kind)})
    masks = all_masks(load(tmp_path))
    assert sorted(round(brightness / 10) for brightness in masks) == list(range(16))
    for brightness, mask in masks.items():
        assert mask[:4, 3] @ [1, 2, 4, 8] == round(brightness / 10)


def test_what_was_found_is_told(tmp_path, capsys):
    quarters, zeros = np.uint8([[0, 0, 1, 255]] * 5), np.zeros((4, 10), np.uint8)
    masks = {"train": quarters, "train/": zeros, "val": quarters % 255, "test": quarters * 0}
    for number, (folder, mask) in enumerate(masks.items()):
        add(tmp_path / folder, number, mask, mask)
    load(write(tmp_path, {"classes.txt": b"open road\ncar\n"}))
    out = capsys.readouterr().out
    told = out[out.index(f"{tmp_path}: ") :].splitlines()
    assert told[0] == f"{tmp_path}: masks hold class numbers"
    assert told[1].startswith("  Pictures of 4x5 to 10x4 pixels, values from 0 to 255 in 3 levels")
    assert [line.split() for line in told[2:6]] == [
        ["train", "validation", "test"],
        ["open", "road", "83.33%", "75.00%", "100.00%"],  # 10 + 40 of 60, 15 of 20, 20 of 20
        ["car", "8.33%", "25.00%", "0.00%"],
        ["void", "8.33%", "0.00%", "0.00%"],
    ]


IMAGE, MASK = "images/03.png", "masks/03.png"
TRUNCATED = encoded(COLORS, "BMP")[:-30]  # its header is fine
PAGES = encoded(IDS, "TIFF", save_all=True, append_images=[Image.fromarray(IDS)])
FLOATS = encoded(np.float32(IDS) * 1.5, "TIFF")
THIRD = encoded(np.full((4, 6, 3), 3, np.uint8))  # what IMAGE is


@pytest.mark.parametrize(
    ("file", "content", "named", "fault"),
    [
        (MASK, None, IMAGE, "has no mask"),
        (IMAGE, None, MASK, "has no picture"),
        ("images/03.jpg", encoded(IDS), IMAGE, "03.jpg is there, too"),
        ("masks/03.bmp", encoded(IDS), MASK, "03.bmp is there, too"),
        (MASK, encoded(IDS[:3]), MASK, "6x3 pixels, its picture 6x4"),
        (MASK, encoded(IDS[:, :5]), MASK, "5x4 pixels, its picture 6x4"),
        (MASK, encoded(IDS.T), MASK, "4x6 pixels, its picture 6x4"),
        (MASK, encoded(IDS * np.uint16(150)), MASK, "value 300"),
        (MASK, encoded(IDS, "JPEG"), MASK, "JPEG"),
        (MASK, b"", MASK, "cannot identify"),
        (MASK, TRUNCATED, MASK, "truncated"),
        (MASK, PAGES, MASK, "2 pages"),
        (MASK, FLOATS, MASK, "no whole numbers"),
        (IMAGE, b"me", IMAGE, "cannot identify"),
        (IMAGE, TRUNCATED, IMAGE, "truncated"),
        (IMAGE, PAGES, IMAGE, "2 pages"),
        (IMAGE, FLOATS, IMAGE, "more than 8 bits"),
        (IMAGE, encoded(IDS * np.int32(70000), "TIFF"), IMAGE, "more than 8 bits"),
    ],
    ids=lambda value: "" if isinstance(value, bytes) else None,
)
def test_a_faulty_file_is_named_with_its_fault(sound, flags, file, content, named, fault):
    write(sound, {file: content})
    (line,) = refusal(sound, flags)
    assert line.startswith(f"  {sound / named}")
    assert fault in line


@pytest.mark.parametrize(("count", "more"), [(5, ""), (6, " and 1 more")])
@pytest.mark.parametrize(("kind", "fit"), [("masks", "resize"), ("images", "tiles")])
def test_five_files_with_a_fault_are_named_and_the_others_counted(
    sound, flags, kind, fit, count, more
):
    flags.fit = fit
    files = [f"{kind}/{number:02}.png" for number in range(count)]
    write(sound, dict.fromkeys(files, TRUNCATED))
    (line,) = refusal(sound, flags)
    named, _, fault = line.partition(": ")
    others = sorted(named.removesuffix(more).split(", "))
    assert "truncated" in fault
    assert named.endswith(more)
    assert len(others) == 5
    assert {name.rpartition("/")[2] for name in others} <= {file[-6:] for file in files}
    assert f"  {sound / kind}" in named


def test_five_kinds_of_fault_are_told_and_the_others_counted(sound):
    wrong = {f"masks/{number:02}.png": encoded(IDS[:, : number + 1]) for number in range(5)}
    write(sound, {**wrong, "masks/05.png": TRUNCATED, "masks/06.png": b""})
    lines = refusal(sound)
    assert len(lines) == 6
    assert lines[5] == "  and 2 more like these"


@pytest.mark.parametrize(
    ("mask", "wrong", "classes", "told"),
    [
        (IDS, IDS + np.uint8(1), b"sky\nroad\ncar", "has the value 3, but classes.txt has 3"),
        (COLORS, COLORS // 2, b"R 255 0 0\nG 0 255 0\nB 0 0 255", "24 pixels of (0, 0, 127)"),
    ],
)
def test_what_classes_txt_does_not_know_is_named(tmp_path, mask, wrong, classes, told):
    folder = write(draw(tmp_path, 12, mask), {MASK: encoded(wrong), "classes.txt": classes})
    (line,) = refusal(folder)
    assert line.startswith(f"  {folder / MASK}: {told}")


@pytest.mark.parametrize(
    ("values", "fault"),
    [
        ([0, 2], "values 0, 2:"),
        ([1, 2, 255], "values 1, 2:"),
        ([0], "values 0:"),
        (range(100), "100 values, from 0 to 99"),  # gray levels, or classes that need names
        ([255], "masks hold 255 and nothing else"),
    ],
)
def test_numbers_that_are_no_classes_are_told(tmp_path, values, fault):
    assert fault in refusal(draw(tmp_path, mask=np.uint8([[*values]])))[0]


def test_colors_without_explanation_are_told_with_the_file_to_write(tmp_path):
    """The very lines of the message make the folder a sound one; frequent colors come first."""
    rare = np.where(IDS[..., None] == 2, (7, 8, 9), COLORS).astype(np.uint8)
    folder = write(draw(tmp_path, mask=COLORS), {"masks/03.png": encoded(rare)})
    write(folder, {"classes.txt": b"a\nb\nc\n"})
    assert refusal(folder)[0].endswith(" nobody has explained: classes.txt has names alone.")
    write(folder, {"classes.txt": None})
    lines = refusal(folder)
    assert lines[0] == "  masks are in colors that nobody has explained."
    assert str(folder / "classes.txt") in "".join(lines)
    written = [line.strip() for line in lines if line.startswith("    ")]
    colors = [line.split(maxsplit=1)[1] for line in written]
    assert sorted(colors[:2]) == ["0 255 0", "255 0 0"]
    assert colors[2:] == ["0 0 255", "7 8 9"]
    write(folder, {"classes.txt": "\n".join(written).encode()})
    source = load(folder)
    assert source.class_colors[2:] == ("#0000FF", "#070809")


def test_very_many_colors_are_counted(tmp_path):
    mask = np.uint8([[(number, 0, 1) for number in range(40)]])
    assert "40 colors in all" in refusal(draw(tmp_path, mask=mask))[-1]


@pytest.mark.parametrize("mask", [IDS, COLORS])
@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"a\nb\na\n", ", line 3: "),
        (b"a 1 1 1\n\nb 1 1 1\n", ", line 3: "),
        (b"a 0 0 0\nb 256 0 0\n", ", line 2: "),
        (b"a 0 0 0\nb 0 0 99999999999\n", ", line 2: "),
        (b"a 1 1 1\nb\n", "some classes a color and others none"),
        (b"a 1 1 1\nb 2 2\n", "some classes a color and others none"),
        (b"a 1 1 1\nb 2 2 -2\n", "some classes a color and others none"),
        (b"", "0 classes"),
        (b"void 0 0 0\na 1 1 1\n", "1 classes"),
        (b"void 0 0 0\n", "0 classes"),
        ("\n".join(map(str, range(256))).encode(), "256 classes"),
        ("caf\u00e9\nb".encode("latin-1"), "cannot be read as UTF-8 text"),
    ],
)
def test_a_malformed_classes_txt_is_told(tmp_path, mask, content, fault):
    first = refusal(write(draw(tmp_path, 3, mask), {"classes.txt": content}))[0]
    assert first.startswith(f"  {tmp_path / 'classes.txt'}")
    assert fault in first


@pytest.mark.parametrize(("classes", "name"), [(None, "class 2"), (b"a\nb\nred car", "red car")])
@pytest.mark.parametrize(("folder", "split"), [("test", "test"), ("val", "validation")])
def test_a_class_that_is_never_trained_on_is_named(tmp_path, folder, split, classes, name):
    for one in FOLDERS:
        draw(tmp_path / one, 3, IDS if one == folder else IDS % 2)
    (line,) = refusal(write(tmp_path, {"classes.txt": classes} if classes else {}))
    assert f"{name} is in the {split} split, but not in training" in line
    assert "class class" not in line


def test_a_split_without_any_known_pixel_is_named(tmp_path):
    for folder in FOLDERS:
        draw(tmp_path / folder, 3, IDS if folder != "test" else IDS | 255)
    assert refusal(tmp_path) == ["  the test split is void all over"]


@pytest.mark.parametrize("classes", [{}, {"classes.txt": b"sky\nroad\ncar\n"}])
@pytest.mark.parametrize("count", [0, 1, 2])
def test_too_few_pictures_are_told_to_be_too_few(tmp_path, flags, count, classes):
    flags.dataset = str(write(draw(tmp_path / "few", count), classes))
    for kind in ("images", "masks"):
        (tmp_path / "few" / kind).mkdir(parents=True, exist_ok=True)
    with pytest.raises(UserError, match=r"too (few|small)|no pictures"):
        common.load_data(flags)


@pytest.mark.parametrize(
    "change",
    [
        {IMAGE: encoded(COLORS)},
        {MASK: encoded(IDS[:, ::-1] % 2)},
        {IMAGE: None, MASK: None, "images/a.png": THIRD, "masks/a.png": encoded(IDS)},
        {"images/12.png": encoded(COLORS), "masks/12.png": encoded(IDS)},
        {"classes.txt": b"sky\nroad\ncar\n"},
        {"classes.txt": b"class 0\nclass 1\nclass 2\nclass 3\n"},
        {"classes.txt": b"class 0 7 7 7\nclass 1 8 8 8\nclass 2 9 9 9\n"},
    ],
)
def test_the_identity_changes_with_any_file_and_with_nothing_else(sound, tmp_path, change):
    before = load(sound).identity
    shutil.copytree(sound, tmp_path / "elsewhere")
    write(tmp_path / "elsewhere", {"masks/Thumbs.db": b"a system's own"})
    assert load(tmp_path / "elsewhere").identity == before
    assert load(write(sound, change)).identity != before


@pytest.mark.parametrize("fit", ["resize", "tiles"])
def test_pictures_of_any_size_arrive_in_batches(tmp_path, flags, fit):
    flags.fit = fit
    widths = [30 if number % 2 else 20 for number in range(24)]
    for number, width in enumerate(widths):
        shape = (40 if number % 2 else 10, width)
        mask = np.uint8(np.indices(shape)[1] % 3)
        add(tmp_path / "mixed", number, np.full((*shape, 3), number), mask)
    flags.dataset = str(tmp_path / "mixed")
    data = common.load_data(flags)
    assert data.class_names == UNNAMED
    seen = {split: set() for split in SPLITS}
    for split in SPLITS:
        for images, masks in getattr(data, split).as_numpy_iterator():
            assert images.dtype == np.float32
            assert masks.dtype == np.uint8
            whole = fit == "tiles" and split == "test"
            numbers = (images[:, 0, 0, 0] * 255).round().astype(int)
            sides = (40 if numbers[0] % 2 else 10, widths[numbers[0]]) if whole else (16, 16)
            assert images.shape == (len(masks), *sides, 3)
            assert masks.shape == (len(masks), *sides, 1)
            assert len(masks) == (4 if split == "train" else 1 if whole else len(masks))
            np.testing.assert_array_equal(np.ptp(images, axis=(1, 2, 3)), 0)
            for number, mask in zip(numbers, masks, strict=True):
                if split == "validation" and (mask == 255).all():
                    continue  # it fills up the last batch
                if fit == "resize" or whole:  # the column that lies nearest to each one's middle
                    columns = (np.arange(sides[1]) + 0.5) * widths[number] // sides[1]
                    np.testing.assert_array_equal(mask[..., 0], [columns % 3] * sides[0])
            seen[split] |= set(numbers[(masks != 255).any(axis=(1, 2, 3))])
    assert [len(seen[split]) for split in SPLITS[1:]] == [data.counts[one] for one in SPLITS[1:]]
    assert len(set().union(*seen.values())) == sum(map(len, seen.values()))


@pytest.mark.parametrize(
    ("folders", "from_train"),
    [
        (["train", "val", "test"], []),
        (["train", "validation", "test"], []),
        (["train", "valid", "test"], []),
        (["train", "Val", "TEST"], []),
        (["train", "test"], ["validation"]),
        (["train", "val"], ["test"]),
        (["train"], ["test", "validation"]),
    ],
)
def test_split_folders_are_obeyed_and_missing_ones_cut_from_training(tmp_path, folders, from_train):
    for place, folder in enumerate(folders):
        draw(tmp_path / folder, 4, first=10 * place)  # with the same names in all
    found = masks_by_number(load(tmp_path))
    for place, folder in enumerate(folders[1:], start=1):
        split = {"v": "validation", "t": "test"}[folder[0].lower()]
        assert set(found[split]) == {10 * place + number for number in range(4)}
    parts = [[*found[split]] for split in ("train", *from_train)]
    assert all(parts)
    assert sorted(sum(parts, [])) == [0, 1, 2, 3]  # noqa: RUF017


@pytest.mark.skipif(sys.platform != "linux", reason="names are text elsewhere")
def test_a_folder_whose_name_is_not_utf_8_has_a_title_that_can_be_drawn(tmp_path):
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/b\xe9t\xe9"))
    loaded = load(draw(folder))
    assert loaded.title == "b\ufffdt\ufffd"
    loaded.title.encode()


def test_pictures_in_both_val_and_validation_are_kept_or_refused(tmp_path):
    for folder in ("train", "val", "validation"):
        draw(tmp_path / folder, 3)
    find_splits(tmp_path, problems := [])
    assert len(problems) == 1
    assert "which mean the same" in problems[0]


def test_a_misspelled_split_is_not_passed_over(tmp_path):
    """Its pictures would be forgotten, and those of the test be taken from training instead."""
    for folder in ("train", "val", "tests"):
        draw(tmp_path / folder, 6)
    (line,) = refusal(tmp_path)
    assert line == f"  {tmp_path / 'tests'} is no split: they are train/, val/ and test/"
    (tmp_path / "tests" / "images").rename(tmp_path / "tests" / "imgs")
    assert refusal(tmp_path) == [line]


def test_where_a_split_is_missing_it_is_told_whence_it_is_taken(tmp_path, capsys):
    draw(tmp_path / "train", 6)
    draw(tmp_path / "test", 3)
    load(tmp_path)
    out = capsys.readouterr().out
    assert f"{tmp_path} has no folder for validation: a tenth of train/ is kept for it\n" in out
    assert "no folder for test" not in out


def test_of_train_alone_it_is_told_that_both_others_are_cut_from_it(tmp_path, capsys):
    load(draw(tmp_path / "train", 6).parent)
    out = capsys.readouterr().out
    for split in ("validation", "test"):
        assert f"{tmp_path} has no folder for {split}: a tenth of train/ is kept for it\n" in out


def test_void_without_a_color_is_not_taken_for_a_class(sound):
    write(sound, {"classes.txt": b"a\nb\nVoid\n"})
    (line,) = refusal(sound)
    assert line.endswith("classes.txt, line 3: Void takes a color; as a number it is 255")


def test_files_that_systems_leave_behind_are_left_out(sound, capsys):
    left = (".DS_Store", "._03.png", "Thumbs.db", "desktop.ini", "__MACOSX/._a.png", ".trash/a.png")
    write(sound, {f"{kind}/{name}": b"" for kind in ("images", "masks") for name in left})
    assert len(all_masks(load(sound))) == 12
    assert "no pictures" not in capsys.readouterr().out
    load(write(sound, {"masks/labels.json": b"{}"}))
    told = f"{sound / 'masks'}: 1 files are no pictures, such as labels.json\n"
    assert told in capsys.readouterr().out


@pytest.mark.parametrize("name", ["a.b.c", "Stra\u00dfe 3", "below/02", "__03", "Stra\udcdfe"])
def test_a_picture_may_have_any_name(sound, name):
    """The last one is no UTF-8: from an old archive, on systems that take it."""
    if "\udcdf" in name and sys.platform != "linux":
        pytest.skip("no file can have such a name here")
    for kind in ("images", "masks"):
        (sound / kind / "below").mkdir()
        (sound / kind / "03.png").rename(sound / kind / f"{name}.png")
    assert set(all_masks(load(sound))) == set(range(12))


def test_the_cut_is_the_same_on_every_machine(tmp_path):
    """Worked out with sha256sum. Another hash would test on what older runs were trained on."""
    for number in range(20):
        write(tmp_path, {f"{kind}/picture-{number}.png": b"" for kind in ("images", "masks")})
    found = find_splits(tmp_path, [])[0].items()
    splits = {split: [picture.stem for picture, *_ in records] for split, records in found}
    assert splits["test"] == [f"picture-{number}" for number in (14, 16, 4, 5)]
    assert splits["validation"] == ["picture-0", "picture-8"]
    assert len({*sum(splits.values(), [])}) == 20  # noqa: RUF017


def test_another_picture_moves_none_of_the_others():
    names = [f"photo {number}.b" for number in range(160)]
    before = cut(names[:60])
    for count in range(61, 161):
        after = cut(names[:count])
        assert all(set(before[split]) <= set(after[split]) for split in SPLITS)
        before = after


def test_a_tenth_of_the_pictures_validates_and_another_tests():
    sizes = {split: len(found) for split, found in cut(map(str, range(4000))).items()}
    assert sum(sizes.values()) == 4000
    assert 340 < sizes["validation"] < 460  # three standard deviations around 400
    assert 340 < sizes["test"] < 460


@pytest.mark.parametrize("missing", [("test", "validation"), ("test",), ("validation",)])
@pytest.mark.parametrize("count", [3, 4, 9, 20])
def test_the_smallest_folders_have_pictures_in_all_splits(count, missing):
    for attempt in range(40):
        names = [f"{attempt} {number}" for number in range(count)]
        splits = cut(names, missing)
        assert set(splits) == {"train", *missing}
        assert all(splits.values())
        assert sorted(name for found in splits.values() for name in found) == sorted(names)


@pytest.mark.parametrize(
    ("folders", "fault"),
    [
        ([], "has no folder images/"),
        (["images"], "has no folder masks/"),
        (["train"], "train has no folder images/"),
        (["train/images", "train/masks", "val/images"], "val has no folder masks/"),
        (["test/images", "test/masks"], "needs either images/ and masks/, or train/"),
        (["images", "masks", "Test"], "it has Test/, which is read as a split: move it away"),
        (["test/images"], "it has test/"),
        (["images", "masks", "train/images", "train/masks"], "or images/, if train/ counts"),
    ],
)
def test_folders_that_are_missing_or_contradict_each_other_are_named(tmp_path, folders, fault):
    for folder in folders:
        (tmp_path / folder).mkdir(parents=True)
    with pytest.raises(UserError, match=fault) as stopped:
        load(tmp_path)
    assert str(stopped.value).startswith(str(tmp_path))


def test_two_classes_of_the_same_number_are_refused(tmp_path):
    folder = write(draw(tmp_path), {"classes.txt": b"a 0\nb 1\nc 1\nd 2\n"})
    (line,) = refusal(folder)
    assert line.startswith(f"  {folder / 'classes.txt'}, line 3: twice there")


@pytest.mark.parametrize(
    ("mask", "classes", "color"),
    [
        (np.uint8(BINARY), b"tumor 255 0 0\nbackground 0 0 0\n", "(0, 0, 0), its number 0, is 1"),
        (PALETTE, b"R 255 0 0\nB 9 9 9\nvoid 1 1 1\n", "(9, 9, 9), its number 0, is 1"),
    ],
)
def test_colors_that_contradict_numbers_are_refused(tmp_path, mask, classes, color):
    """A mask of 0 alone would be read by its color, and its neighbours by their numbers."""
    (line,) = refusal(write(draw(tmp_path, mask=mask), {"classes.txt": classes}))
    assert color in line


@pytest.mark.parametrize("name", ["void", "ignore", "__ignore__"])
def test_every_name_of_void_is_void(tmp_path, name):
    classes = f"R 255 0 0\nG 0 255 0\n{name} 0 0 255\n".encode()
    loaded = load(write(draw(tmp_path, mask=COLORS), {"classes.txt": classes}))
    assert loaded.class_names == ("R", "G")
    wanted = np.where(IDS == 2, 255, IDS)
    assert all((mask == wanted).all() for mask in all_masks(loaded).values())


def test_a_folder_may_have_brackets_in_its_name(tmp_path):
    assert set(all_masks(load(draw(tmp_path / "day [1]")))) == set(range(12))


def test_a_training_has_the_name_of_the_folder_and_the_colors_of_the_masks(sound, flags):
    write(sound, {"classes.txt": b"R 255 0 16\nG 0 254 0\nB 0 0 255\n"})
    data = common.load_data(flags)
    assert data.title == sound.name
    assert data.class_colors == ("#FF0010", "#00FE00", "#0000FF")


@pytest.mark.parametrize(("count", "is_told"), [(31, True), (32, False)])
def test_that_levels_are_few_is_told_below_32(count, is_told):
    levels = np.arange(256) < count
    line = spread([(4, 6)], levels)
    assert f"values from 0 to {count - 1} in {count} levels" in line
    assert ("little to learn from" in line) == is_told


def test_a_class_that_no_mask_has_is_named():
    pixels = np.bincount([0, 0, 2], minlength=256)
    counts = dict.fromkeys(("train", "validation", "test"), pixels)
    facts = [{"pixels": pixels, "kept": pixels}]
    (line,) = warnings(["sky", "cow", "road", "car"], counts, facts, void_was_named=True)
    assert line.startswith("  No mask has cow, car: not to be learned")
