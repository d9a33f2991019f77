"""Which run is continued, and files that are whole or not there."""

import datetime
import errno
import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import common
from support.runtime import files
from support.runtime import fingerprint as fingerprint_of_code
from support.runtime.files import write, write_json
from support.runtime.fingerprint import _code_that_decides, fingerprint, settings
from support.training import run, run_folder

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import ROOT


def test_a_write_that_fails_leaves_what_was_there(tmp_path):
    path = tmp_path / "file"
    write(path, lambda beside: beside.write_bytes(b"old"))

    def fail(beside):
        beside.write_bytes(b"ne")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        write(path, fail)
    assert path.read_bytes() == b"old"


def test_the_newest_unfinished_run_of_the_same_settings_is_found(tmp_path):
    used = {"epochs": 3, "learning_rate": 1e-3}
    for name, content in [("1", used), ("2", used), ("3", {**used, "epochs": 4}), ("4", used)]:
        (tmp_path / name).mkdir()
        write_json(tmp_path / name / "hyperparameters.json", content)
    (tmp_path / "4" / "metrics.json").write_text("{}")  # finished
    (tmp_path / "5").mkdir()
    (tmp_path / "5" / "hyperparameters.json").write_text("{cut")
    folder, lock = run_folder.find_unfinished(tmp_path, used)
    assert folder == tmp_path / "2"
    second, second_lock = run_folder.find_unfinished(tmp_path, used)  # 2 is taken now
    assert second == tmp_path / "1"
    assert run_folder.find_unfinished(tmp_path, used) == (None, None)
    lock.close()
    second_lock.close()
    assert run_folder.find_unfinished(tmp_path, used)[0] == tmp_path / "2"


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ({"python": "3.12.3"}, {"python": "3.12.4"}, "Goes on with python 3.12.4, was 3.12.3:"),
        (
            {"device": "CPU with 2 cores"},
            {"device": "CPU with 8 cores"},
            "on with device CPU w",
        ),
        ({"python": "3.11.9"}, {"python": "3.12.4"}, "does not go on: python 3.12.4, was 3.11.9"),
        ({"keras": "3.15.1"}, {"keras": "3.15.2"}, "does not go on: keras 3.15.2, was 3.15.1"),
        ({"numpy": "2.1.0"}, {"numpy": "2.1.1"}, "does not go on: numpy 2.1.1, was 2.1.0"),
        (
            {"device": "CPU with 2 cores"},
            {"device": "A100"},
            "not go on: device A100, was CPU",
        ),
        ({"epochs": 3}, {"epochs": 4}, "does not go on: epochs 4, was 3"),
        ({"data": "5d"}, {"data": "7f"}, "does not go on: other data"),
        ({}, {"patience": 4}, "does not go on: patience 4, was None"),
        ({"patience": 4}, {}, "does not go on: patience None, was 4"),
    ],
)
def test_what_differs_from_a_run_that_was_cut_short_is_told(tmp_path, capsys, before, after, told):
    def used(changed):
        settings = {"epochs": 3, "device": "CPU with 2 cores"}
        versions = {"python": "3.12.3", "numpy": "2.1.0", "keras": "3.15.1"}
        versions |= {name: value for name, value in changed.items() if name in versions}
        others = {name: value for name, value in changed.items() if name not in versions}
        return settings | others | {"versions": versions}

    (tmp_path / "1").mkdir()
    write_json(tmp_path / "1" / "hyperparameters.json", used(before))
    folder, held = run_folder.find_unfinished(tmp_path, used(after))
    assert (folder == tmp_path / "1") == ("not go on" not in told)
    assert told in capsys.readouterr().out
    if held:
        held.close()


def test_without_unix_locks_those_of_windows_keep_the_folder(monkeypatch, tmp_path):
    """msvcrt.locking, as its documentation describes it: a second lock of a byte is an OSError."""
    taken = {}

    def locking(descriptor, mode, count):
        assert (mode, count) == ("without waiting", 1)
        if os.fstat(descriptor).st_ino in taken:
            raise PermissionError(errno.EACCES, "Permission denied")
        taken[os.fstat(descriptor).st_ino] = descriptor

    msvcrt = SimpleNamespace(locking=locking, LK_NBLCK="without waiting")
    monkeypatch.setitem(sys.modules, "fcntl", None)
    monkeypatch.setitem(sys.modules, "msvcrt", msvcrt)
    assert run_folder.lock(tmp_path) is not None
    assert run_folder.lock(tmp_path) is None


def test_a_disk_without_locks_is_told(monkeypatch, tmp_path, capsys):
    def no_locks(folder):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(run_folder, "lock", no_locks)
    folder, lock = run_folder.new_folder(tmp_path)
    assert lock is None
    assert f"The disk of {folder} knows no locks" in capsys.readouterr().out


def test_new_folders_never_collide(tmp_path):
    folders = [run_folder.new_folder(tmp_path / "runs")[0] for _ in range(3)]
    assert len(set(folders)) == 3


def test_the_table_lists_finished_runs_of_the_same_data_best_first(capsys, tmp_path):
    for name, score, dataset in [("a", 0.5, "x"), ("b", 0.7, "x"), ("c", 0.9, "y")]:
        folder = tmp_path / "unet" / name
        folder.mkdir(parents=True)
        metrics = {"mean_iou": score, "dataset": dataset, "image_size": 128, "epochs": 3}
        metrics |= {"train_seconds": 60.2, "parameters": 31_049_539, "fit": "resize"}
        (folder / "metrics.json").write_text(json.dumps(metrics))
    (tmp_path / "unet" / "unfinished").mkdir()
    for name, content in [("foreign", '{"miou": 1}'), ("cut short", '{"mean_i'), ("empty", "")]:
        (tmp_path / "unet" / name).mkdir()
        (tmp_path / "unet" / name / "metrics.json").write_text(content)
    run.print_runs(tmp_path, "x")
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[-2:]] == ["0.700", "0.500"]
    assert lines[-1].endswith(str(tmp_path / "unet" / "a"))
    assert "31,049,539" in lines[-1]


CODE = """
'''About.'''

def double(x):
    # twice
    return 2 * x

def plot_it(x):
    return x
"""


@pytest.mark.parametrize(
    ("old", "new", "another"),
    [
        ("2 * x", "3 * x", True),
        ("def double", "def twice", True),
        ("# twice", "# two times", False),
        ("About.", "About this.", False),
        ("    return x", "    return x, 'red'", False),
        ("2 * x", "(2 * x)", False),
    ],
)
def test_code_that_decides_the_result_counts_and_no_other(tmp_path, old, new, another):
    before, after = tmp_path / "before.py", tmp_path / "after.py"
    before.write_text(CODE)
    after.write_text(CODE.replace(old, new))
    assert (fingerprint(before) != fingerprint(after)) is another


def test_every_file_behind_the_result_counts():
    """All of data/ and training/; of the other rooms, what decides precision, shares and scores."""
    found = {path.relative_to(ROOT / "support").as_posix() for path in _code_that_decides()[1:]}
    rooms = [*ROOT.glob("support/data/*.py"), *ROOT.glob("support/training/*.py")]
    named = ("runtime/devices", "runtime/distributed", "inference/evaluation")
    assert found == {
        *(path.relative_to(ROOT / "support").as_posix() for path in rooms),
        *(f"{name}.py" for name in (*named, "inference/sliding_window")),
    }
    assert _code_that_decides()[0] == ROOT / "common.py"


def test_what_a_killed_run_left_after_its_end_is_removed_but_not_of_one_at_work(tmp_path, capsys):
    (tmp_path / "1").mkdir()
    for name in ("hyperparameters.json", "metrics.json"):
        write_json(tmp_path / "1" / name, {})
    kept = {"hyperparameters.json", "metrics.json"}
    (tmp_path / "1" / "best.npz").touch()
    held = run_folder.lock(tmp_path / "1")
    assert run_folder.find_unfinished(tmp_path, {}) == (None, None)
    assert {path.name for path in (tmp_path / "1").iterdir()} == {*kept, "best.npz", "lock"}
    held.close()
    assert run_folder.find_unfinished(tmp_path, {"seed": 2}) == (None, None)
    assert {path.name for path in (tmp_path / "1").iterdir()} == kept
    assert capsys.readouterr().out == ""  # it was not cut short


@pytest.mark.parametrize("content", ["[]", "3", '{"seed": ', ""])
def test_a_foreign_file_among_the_runs_is_passed_over(tmp_path, content):
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "hyperparameters.json").write_text(content)
    assert run_folder.find_unfinished(tmp_path, {"seed": 1}) == (None, None)


def test_a_run_that_its_owner_finishes_meanwhile_is_left_alone(monkeypatch, tmp_path):
    (tmp_path / "1").mkdir()
    write_json(tmp_path / "1" / "hyperparameters.json", {})
    lock, locks = run_folder.lock, []

    def late_lock(folder):
        (folder / "metrics.json").write_text("{}")
        locks.append(lock(folder))
        return locks[-1]

    monkeypatch.setattr(run_folder, "lock", late_lock)
    assert run_folder.find_unfinished(tmp_path, {}) == (None, None)
    assert [one.closed for one in locks] == [True]


def test_only_a_run_of_the_same_flags_data_code_and_versions_is_continued(monkeypatch, tmp_path):
    def next_folder(parent):
        path = parent / str(len(list(tmp_path.rglob("lock"))))
        path.mkdir(parents=True)
        return path, run_folder.lock(path)

    monkeypatch.setattr(run_folder, "new_folder", next_folder)  # the real one waits a second
    script, code = tmp_path / "script.py", tmp_path / "code.py"
    script.write_text("EPOCHS = 1")
    code.write_text("x = 1")
    monkeypatch.setattr(fingerprint_of_code, "_code_that_decides", lambda: [code])

    def folder(seed=1, facts="drawn"):
        flags = SimpleNamespace(runs_dir=str(tmp_path), seed=seed, script=str(script))
        used = settings(flags, {"data": facts})
        folder, lock = run_folder.begin(str(tmp_path), "network", used)
        lock.close()
        return folder

    first = folder()
    assert folder() == first
    assert first.parent == tmp_path / "network"
    others = [folder(seed=2), folder(facts="others")]
    for module in (keras, tf, np):
        with monkeypatch.context() as patch:
            patch.setattr(module, "__version__", "0")
            others.append(folder())
    code.write_text("x = 2")
    others.append(folder())
    code.write_text("x = 1  # as before")
    assert folder() == first
    script.write_text("EPOCHS = 2")
    others.append(folder())
    assert len({first, *others}) == 8


def test_the_table_of_scores_has_a_line_for_a_class_that_never_occurs(capsys):
    scores = common.scores_from_confusion(np.array([[3, 1, 0], [0, 4, 0], [0, 0, 0]]), "abc")
    run.print_scores(scores, 2)
    lines = [line.split() for line in capsys.readouterr().out.splitlines()[2:]]
    assert lines == [
        ["a", "0.750", "0.857"],
        ["b", "0.800", "0.889"],
        ["c", "--", "--"],
        ["mean", "0.775", "0.873"],
        ["pixel", "accuracy", "0.875"],
    ]


def test_a_finished_folder_holds_nothing_of_the_unfinished_run(tmp_path):
    folder, lock = run_folder.new_folder(tmp_path)
    for name in ("checkpoint.npz", "checkpoint-before.npz", "best.npz", "unfinished-a.png"):
        (folder / name).touch()
    (folder / "model.keras").touch()
    run_folder.finish(folder, lock)
    assert [path.name for path in folder.iterdir()] == ["model.keras"]
    assert lock.closed


def test_a_project_that_was_moved_goes_on(tmp_path):
    found = []
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
        script = tmp_path / name / "script.py"
        script.write_text("EPOCHS = 1")
        found.append(settings(SimpleNamespace(script=str(script)), {}))
    assert found[0] == found[1]
    assert {"keras", "tensorflow", "numpy", "PIL", "python"} <= found[0]["versions"].keys()


def test_the_content_is_on_the_disk_before_the_file_has_its_name(monkeypatch, tmp_path):
    path, synced = tmp_path / "file", []

    def sync(descriptor):
        synced.append((os.fstat(descriptor).st_size, path.exists()))

    monkeypatch.setattr(os, "fsync", sync)
    write(path, lambda beside: beside.write_bytes(b"new"))
    assert synced == [(3, False)]


def test_every_column_of_the_table_has_what_its_head_says(capsys, tmp_path):
    folder = tmp_path / "unet" / "a"
    folder.mkdir(parents=True)
    metrics = {"mean_iou": 0.5, "dataset": "x", "image_size": 128, "epochs": 3, "fit": "resize"}
    metrics |= {"train_seconds": 60.2, "parameters": 31_049_539}
    (folder / "metrics.json").write_text(json.dumps(metrics))
    run.print_runs(tmp_path, "x")
    *_, head, row = capsys.readouterr().out.splitlines()
    assert head.split()[2:] == ["fit", "px", "epochs", "seconds", "parameters", "folder"]
    assert row.split() == ["0.500", "resize", "128", "3", "60", "31,049,539", str(folder)]


def test_that_a_run_of_another_dataset_does_not_go_on_is_no_news(tmp_path, capsys):
    for name, dataset in [("1", "oxford_iiit_pet"), ("2", "synthetic")]:
        (tmp_path / name).mkdir()
        write_json(tmp_path / name / "hyperparameters.json", {"dataset": dataset, "epochs": 3})
    used = {"dataset": "oxford_iiit_pet", "epochs": 4}
    assert run_folder.find_unfinished(tmp_path, used) == (None, None)
    told = f"{tmp_path / '1'} was cut short and does not go on: epochs 4, was 3\n"
    assert capsys.readouterr().out == told  # and nothing of the other, though it is newer


def test_of_runs_that_do_not_go_on_the_newest_alone_is_told(tmp_path, capsys):
    for name in ("1", "2"):
        (tmp_path / name).mkdir()
        write_json(tmp_path / name / "hyperparameters.json", {"epochs": 3})
    assert run_folder.find_unfinished(tmp_path, {"epochs": 4}) == (None, None)
    told = f"{tmp_path / '2'} was cut short and does not go on: epochs 4, was 3\n"
    assert capsys.readouterr().out == told


def test_runs_may_be_kept_at_home(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    folder, held = run_folder.begin("~/runs", "unet", {})
    held.close()
    assert folder.parent == tmp_path / "home" / "runs" / "unet"


@pytest.mark.parametrize("name", ["print_it", "_plot_it"])
def test_what_is_printed_does_not_decide_nor_what_a_function_of_the_file_draws(tmp_path, name):
    path, found = tmp_path / "code.py", set()
    for result in ("x", "x, 'red'"):
        code = CODE.replace("plot_it", name).replace("    return x", f"    return {result}")
        path.write_text(code)
        found.add(fingerprint(path))
    assert len(found) == 1


def test_where_no_folder_of_a_run_can_be_made_is_told(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit, match=r"^--runs-dir: cannot make a folder in \S+unet: "):
        run_folder.begin(str(tmp_path / "file"), "unet", {})


def test_a_file_that_a_scanner_holds_for_a_moment_is_replaced_then(monkeypatch, tmp_path):
    real, refusals = Path.replace, [PermissionError(13, "Access is denied")] * 2

    def replace(path, target):
        if refusals:
            raise refusals.pop()
        return real(path, target)

    monkeypatch.setattr(Path, "replace", replace)
    write_json(tmp_path / "a.json", {"a": 1})
    assert json.loads((tmp_path / "a.json").read_text()) == {"a": 1}
    refusals += [PermissionError(13, "Access is denied")] * 9
    with pytest.raises(PermissionError):
        files.replace(tmp_path / "a.json", tmp_path / "b.json", seconds=0)


def test_files_that_macos_leaves_beside_the_code_are_none_of_it(monkeypatch, tmp_path):
    for room in ("data", "training"):
        (tmp_path / room).mkdir()
        (tmp_path / room / "._a.py").write_bytes(b"\0\5\x16\7")
        (tmp_path / room / "a.py").touch()
    monkeypatch.setattr("support.runtime.fingerprint._SUPPORT", tmp_path)
    names = {path.name for path in _code_that_decides()}
    assert "a.py" in names
    assert not any(name.startswith(".") for name in names)


def test_a_folder_is_named_after_the_second_by_a_clock_of_24_hours(monkeypatch, tmp_path):
    afternoon = datetime.datetime(2026, 1, 31, 15, 4, 5)
    monkeypatch.setattr(run_folder, "datetime", SimpleNamespace(now=lambda: afternoon))
    folder, held = run_folder.new_folder(tmp_path)
    held.close()
    assert folder.name == "2026-01-31_15-04-05"
