"""Pictures are prepared once, whole or not at all, and come back as they went in."""

import errno
import json
import shutil
import subprocess
import sys
from types import SimpleNamespace

import common
from support.data import prepared
from support.data.dataset import Source, Split
from support.data.image_io import VOID
from support.data.prepared import prepare
from support.runtime.files import lock
from support.runtime.startup import UserError

import numpy as np
import pytest
from conftest import ROOT

SIZES = [(5, 7), (30, 20), (1, 1), (40, 9), (8, 8)]


def source(sizes=SIZES, conclude=None, stamp="1", broken=()):
    """Pictures at random in training, the first of them in the other two, too."""
    rng = np.random.default_rng(0)
    pairs = [
        (rng.integers(0, 256, (*size, 3), np.uint8), rng.integers(0, 9, (*size, 1), np.uint8))
        for size in sizes
    ]
    decoded = []

    def decode(number, at_least):
        decoded.append(number)
        if number in broken:
            raise ValueError(f"picture {number} is broken")
        return *pairs[number], {"number": number}

    numbers = {"train": range(len(sizes)), "validation": [0], "test": [0]}
    splits = {name: Split(records, decode) for name, records in numbers.items()}
    meaning = {"class_names": "abcdefghi", "class_colors": ["#000000"] * 9}
    made = Source("drawn", stamp, splits, conclude or (lambda facts: dict(meaning)))
    return SimpleNamespace(source=made, pairs=pairs, decoded=decoded, meaning=meaning)


def files(folder):
    return sorted(path.name for path in folder.glob("*/*"))


def test_pictures_of_any_size_come_back_as_they_were(tmp_path):
    drawn = source()
    pictures, facts = prepare(drawn.source, tmp_path, None, common.resize)
    train = pictures["train"]
    assert [len(pictures[split]) for split in ("train", "validation", "test")] == [5, 1, 1]
    assert train.shape == (None, None)
    for number in (4, 0, 3, 1, 2):
        for found, wanted in zip(train[number], drawn.pairs[number], strict=True):
            np.testing.assert_array_equal(found, wanted)
    for found, wanted in zip(pictures["test"][0], drawn.pairs[0], strict=True):
        np.testing.assert_array_equal(found, wanted)
    assert facts["class_names"] == "abcdefghi"
    assert files(tmp_path) == ["index.json", "lock", "pixels"]


def test_taking_makes_batches_in_the_order_asked_for(tmp_path):
    drawn = source([(6, 6)] * 5)
    pictures, _ = prepare(drawn.source, tmp_path, None, common.resize)
    assert pictures["train"].shape == (6, 6)
    images, masks = pictures["train"].take(np.array([3, 0, -1, 3]))
    assert images.shape == (4, 6, 6, 3)
    assert masks.shape == (4, 6, 6, 1)
    for row, number in ((0, 3), (1, 0), (3, 3)):
        np.testing.assert_array_equal(images[row], drawn.pairs[number][0])
        np.testing.assert_array_equal(masks[row], drawn.pairs[number][1])
    assert not images[2].any()
    assert (masks[2] == VOID).all()


def test_pictures_are_prepared_once_and_anew_when_something_has_changed(tmp_path):
    drawn = source()
    _, first = prepare(drawn.source, tmp_path, 8, common.resize)
    assert len(drawn.decoded) == 7
    _, again = prepare(drawn.source, tmp_path, 8, common.resize)
    assert len(drawn.decoded) == 7
    assert again == first

    def other_resize(image, mask, size):
        return np.flip(image[:size, :size]), mask[:size, :size]

    changed = source([(9, 9)] * 5)
    prepare(drawn.source, tmp_path, 16, common.resize)
    prepare(drawn.source, tmp_path, None, common.resize)
    prepare(source(stamp="2").source, tmp_path, 8, common.resize)
    prepare(changed.source, tmp_path, 8, other_resize)
    assert files(tmp_path).count("pixels") == 5


def test_another_library_or_other_code_prepares_anew(tmp_path, monkeypatch):
    """Else training would see old pixels, and --predict new ones."""
    drawn = source()
    prepare(drawn.source, tmp_path, 8, common.resize)
    monkeypatch.setattr(prepared, "versions", lambda *names: dict.fromkeys(names, "99"))
    prepare(drawn.source, tmp_path, 8, common.resize)
    assert len(drawn.decoded) == 14
    monkeypatch.setattr(prepared, "fingerprint", lambda *paths: "other code")
    prepare(drawn.source, tmp_path, 8, common.resize)
    assert len(drawn.decoded) == 21


def test_a_disk_that_knows_no_locks_will_do(tmp_path, monkeypatch):
    def no_lock(folder):
        raise OSError(errno.ENOLCK, "No locks available")

    drawn = source()
    prepare(drawn.source, tmp_path, 8, common.resize)
    (folder,) = tmp_path.iterdir()
    (folder / "index.json").unlink()
    (folder / "unfinished-1").write_bytes(b"of another process, who may be at it")
    monkeypatch.setattr(prepared, "lock", no_lock)
    prepare(drawn.source, tmp_path, 8, common.resize)
    assert files(tmp_path) == ["index.json", "lock", "pixels", "unfinished-1"]


@pytest.mark.slow
def test_values_become_ids_in_more_masks_than_are_taken_at_once(tmp_path):
    image = np.zeros((4200, 4200, 3), np.uint8)
    drawn = source()
    decode = lambda number, at_least: (image, image[..., :1], {})  # noqa: E731
    drawn.source.splits = {name: Split([0], decode) for name in ("train", "validation", "test")}
    drawn.source.conclude = lambda facts: drawn.meaning | {"ids": [7] * 256}
    pictures, _ = prepare(drawn.source, tmp_path, None, common.resize)
    for split in pictures.values():
        assert (split[0][1] == 7).all()


def test_what_is_damaged_or_whole_is_never_mixed_up(tmp_path):
    """All problems come to `conclude` together, in order; nothing is left that would be taken."""
    seen = {}

    def conclude(facts):
        seen.update(facts)
        raise UserError("refused")

    drawn = source(conclude=conclude, broken=(1, 3))
    for _ in range(2):
        with pytest.raises(UserError, match="refused"):
            prepare(drawn.source, tmp_path, None, common.resize)
    told = [str(fact) if isinstance(fact, ValueError) else fact["number"] for fact in seen["train"]]
    assert told == [0, "picture 1 is broken", 2, "picture 3 is broken", 4]
    kept = seen["train"][2]["kept"]
    assert (kept.sum(), kept[3]) == (1, drawn.pairs[2][1][0, 0, 0] == 3)
    assert files(tmp_path) == ["lock"]
    assert len(drawn.decoded) == 14


def test_values_of_masks_become_the_ids_that_they_stand_for(tmp_path):
    ids = np.arange(256)[::-1].tolist()
    drawn = source()
    drawn.source.conclude = lambda facts: drawn.meaning | {"ids": ids, "summary": "told"}
    pictures, _ = prepare(drawn.source, tmp_path, None, common.resize)
    for number, (image, mask) in enumerate(drawn.pairs):
        found = pictures["train"][number]
        np.testing.assert_array_equal(found[0], image)
        np.testing.assert_array_equal(found[1], 255 - mask)


def test_the_identity_is_that_of_pixels_and_classes(tmp_path):
    def identity(folder, **changed):
        drawn = source(stamp=folder)  # where they come from and when has no say
        drawn.pairs[2][0][0, 0, 0] += changed.pop("brighter", 0)
        drawn.pairs[2][1][0, 0, 0] += changed.pop("other", 0)
        drawn.source.conclude = lambda facts: drawn.meaning | changed
        return prepare(drawn.source, tmp_path / folder, None, common.resize)[1]["identity"]

    same = identity("a")
    assert identity("b") == same
    others = [identity("c", brighter=1), identity("d", other=1), identity("e", ids=[0] * 256)]
    others += [identity("f", class_names="abcdefghj"), identity("g", class_colors=["#000001"] * 9)]
    assert len({same, *others}) == 6


@pytest.mark.parametrize("size", [2000, None])
def test_too_little_room_is_told_with_what_it_takes(tmp_path, monkeypatch, size):
    drawn = source([(6, 6)] * 40)
    drawn.source.title = "too many"
    real = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(prepared.shutil, "disk_usage", lambda path: real._replace(free=100))
    with pytest.raises(UserError) as stopped:
        prepare(drawn.source, tmp_path, size, common.resize)
    told = str(stopped.value)
    assert len(told.splitlines()) == 1
    total = 42 * 4 * (size or 6) ** 2 / 1e9
    assert f"would take {total:.1f} GB, and 0.0 GB are free" in told
    assert "--runs-dir" in told
    assert files(tmp_path) == ["lock"]
    assert len(drawn.decoded) < 42


def test_a_folder_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "prepared").write_text("a file")
    with pytest.raises(UserError, match=r"cannot be prepared in \S+prepared/drawn"):
        prepare(source().source, tmp_path / "prepared", 8, common.resize)


def test_who_comes_second_waits_for_the_first(tmp_path, capsys, monkeypatch):
    drawn = source()
    prepare(drawn.source, tmp_path, 8, common.resize)
    (folder,) = tmp_path.iterdir()
    index = (folder / "index.json").read_text()
    (folder / "index.json").unlink()
    held = lock(folder)  # as if another process were at it

    def end(seconds):
        (folder / "index.json").write_text(index)
        held.close()

    monkeypatch.setattr(prepared.time, "sleep", end)
    drawn.decoded.clear()
    prepare(drawn.source, tmp_path, 8, common.resize)
    assert drawn.decoded == []
    assert "Another process prepares the pictures" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["index.json", "pixels"])
def test_what_was_deleted_comes_back(tmp_path, name):
    drawn = source()
    _, facts = prepare(drawn.source, tmp_path, 8, common.resize)
    (folder,) = tmp_path.iterdir()
    (folder / name).unlink()
    _, again = prepare(drawn.source, tmp_path, 8, common.resize)
    assert again == facts
    assert len(drawn.decoded) == 14


def test_what_a_killed_process_has_left_is_removed(tmp_path):
    drawn = source()
    prepare(drawn.source, tmp_path, 8, common.resize)
    (folder,) = tmp_path.iterdir()
    (folder / "index.json").unlink()
    (folder / "unfinished-123").write_bytes(b"half")
    prepare(drawn.source, tmp_path, 8, common.resize)
    assert files(tmp_path) == ["index.json", "lock", "pixels"]


DRAWN = {"dataset": "synthetic", "data_dir": "", "image_size": 32, "fit": "resize"}
DRAWN |= {"batch_size": 8, "seed": 1, "augmentation": 0.0}
OTHER = f"""
import sys
import common
from types import SimpleNamespace
flags = SimpleNamespace(runs_dir=sys.argv[1], **{DRAWN})
common.load_synthetic.__defaults__ = ((90, 9, 9),)
print("ready", flush=True)
sys.stdin.readline()
print(common.load_data(flags).identity)
"""


@pytest.mark.slow
def test_two_processes_that_begin_at_once_make_one_file(tmp_path, monkeypatch, capsys):
    """This one and another."""
    monkeypatch.setattr(common.load_synthetic, "__defaults__", ((90, 9, 9),))
    options = {"cwd": ROOT, "stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", OTHER, str(tmp_path)], **options) as other:
        assert other.stdout.readline() == "ready\n"
        print("begin", file=other.stdin, flush=True)
        print(common.load_data(SimpleNamespace(runs_dir=str(tmp_path), **DRAWN)).identity)
        outs = [capsys.readouterr().out, other.communicate(timeout=120)[0]]
    assert other.returncode == 0
    assert len({out.split()[-1] for out in outs}) == 1
    assert sum("Preparing 108 pictures" in out for out in outs) == 1
    (folder,) = (tmp_path / "prepared").iterdir()
    assert json.loads((folder / "index.json").read_text())["identity"] == outs[0].split()[-1]


def test_all_code_that_makes_pixels_counts_and_what_comes_after_does_not(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(prepared, "fingerprint", lambda *paths: seen.extend(paths) or "code")
    prepare(source().source, tmp_path, 8, common.resize)
    room = {path.name for path in (ROOT / "support" / "data").glob("*.py")}
    later = {"augmentation.py", "batches.py", "tiles.py"}
    assert later < room
    assert {path.name for path in seen} == room - later


@pytest.mark.parametrize("library", ["numpy", "PIL", "tensorflow"])
def test_another_version_of_what_makes_pixels_prepares_anew(tmp_path, monkeypatch, library):
    drawn = source()
    prepare(drawn.source, tmp_path, 8, common.resize)
    monkeypatch.setattr(sys.modules[library], "__version__", "99")
    prepare(drawn.source, tmp_path, 8, common.resize)
    assert len(drawn.decoded) == 14


def test_the_identity_changes_when_a_picture_moves_to_another_split(tmp_path):
    found = set()
    for place, (train, validation) in enumerate((([0, 1, 2], [3]), ([0, 1], [2, 3]))):
        drawn = source(stamp=str(place))
        drawn.source.splits["train"].records = train
        drawn.source.splits["validation"].records = validation
        found.add(prepare(drawn.source, tmp_path, None, common.resize)[1]["identity"])
    assert len(found) == 2


def test_prepared_pictures_may_be_kept_at_home(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(tmp_path))
    prepare(source().source, "~/prepared", 8, common.resize)
    assert files(tmp_path / "prepared") == ["index.json", "lock", "pixels"]
    assert not [*(tmp_path / "here").iterdir()]


def test_one_large_picture_does_not_say_how_much_room_all_take(tmp_path, monkeypatch):
    """At their own sizes: 1.7 MB if all were like the first, and 0.1 MB in fact."""
    drawn = source([(100, 100)] + [(2, 2)] * 39)
    real = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(prepared.shutil, "disk_usage", lambda path: real._replace(free=200_000))
    pictures, _ = prepare(drawn.source, tmp_path, None, common.resize)
    assert len(pictures["train"]) == 40


def test_of_a_few_pictures_it_is_told_too_that_there_is_no_room(tmp_path, monkeypatch):
    real = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(prepared.shutil, "disk_usage", lambda path: real._replace(free=100))
    with pytest.raises(UserError, match=r"would take 0\.0 GB, and 0\.0 GB are free"):
        prepare(source().source, tmp_path, None, common.resize)


def test_a_title_may_be_longer_than_the_name_of_a_folder(tmp_path):
    drawn = source()
    drawn.source.title = "summer " * 40
    prepare(drawn.source, tmp_path, 8, common.resize)
    assert files(tmp_path) == ["index.json", "lock", "pixels"]
