"""A run that is cut short, in any way, ends as if nothing had happened."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import common
import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import (
    NETWORKS,
    ROOT,
    SMALL,
    finished_run,
    load_script,
    run_script,
    start_script,
    wait_for_epochs,
)

import resume

# --- The checkpoint on a network that trains in a second ---------------------------------------


def tiny_model():
    keras.utils.set_random_seed(3)
    inputs = keras.Input((4,))
    x = keras.layers.Dense(8, activation="relu")(inputs)
    x = keras.layers.BatchNormalization()(x)
    x = keras.layers.Dropout(0.5)(x)
    return keras.Model(inputs, keras.layers.Dense(3, activation="softmax")(x))


def train(folder, stages, die_after=None, patience=0, learning_rate=0.05):
    """Train in stages as a script does; die after so many epochs of this process."""
    folder.mkdir(exist_ok=True)
    generator = np.random.default_rng(0)
    pictures, classes = generator.normal(size=(40, 4)), generator.integers(0, 3, 40)

    class Death(keras.callbacks.Callback):
        left = die_after

        def on_epoch_end(self, epoch, logs=None):
            if self.left is not None:
                self.left -= 1
                if not self.left:
                    raise KeyboardInterrupt

    goal = {"monitor": "val_accuracy", "mode": "max", "patience": patience}
    stopping = keras.callbacks.EarlyStopping(**goal) if patience else None
    checkpoint = resume.Checkpoint(folder, "accuracy", stopping)
    history = keras.callbacks.CSVLogger(folder / "history.csv", append=True)
    callbacks = [one for one in (history, stopping, checkpoint, Death()) if one]
    model = tiny_model()
    for epochs in stages:
        schedule = common.warmup_cosine(learning_rate, 5 * epochs)
        model.compile(
            keras.optimizers.Adam(schedule),
            "sparse_categorical_crossentropy",
            metrics=["accuracy"],
            run_eagerly=True,
        )
        first, last = checkpoint.begin_stage(model, epochs)
        model.fit(
            pictures,
            classes,
            batch_size=8,
            initial_epoch=first,
            epochs=last,
            validation_data=(pictures, classes),
            callbacks=callbacks,
            shuffle=False,
            verbose=0,
        )
    state = [keras.ops.convert_to_numpy(variable) for variable in model.variables]
    checkpoint.load_best(model)
    best = [keras.ops.convert_to_numpy(variable) for variable in model.variables]
    progress = {name: checkpoint.progress[name] for name in ("epochs", "steps", "stages", "best")}
    return progress, (folder / "history.csv").read_bytes(), state, best


def assert_same(one, other):
    assert one[:2] == other[:2]
    for first, second in zip(one[2] + one[3], other[2] + other[3], strict=True):
        np.testing.assert_array_equal(first, second)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    return train(tmp_path_factory.mktemp("undisturbed"), [4, 3])


@pytest.mark.parametrize("deaths", [[1], [4], [5], [3, 1, 1]])
def test_goes_on_bit_for_bit_over_two_stages(tmp_path, undisturbed, deaths):
    assert undisturbed[0]["stages"] == [0, 4]
    for epochs in deaths:
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path / "disturbed", [4, 3], die_after=epochs)
    assert_same(train(tmp_path / "disturbed", [4, 3]), undisturbed)


@pytest.mark.parametrize("death", [1, 3])
def test_early_stopping_goes_on_counting(tmp_path, death):
    """With a learning rate of next to nothing, patience is all that decides."""
    options = {"patience": 2, "learning_rate": 1e-9}
    undisturbed = train(tmp_path / "undisturbed", [9, 9], **options)
    assert undisturbed[0]["epochs"] < 9
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "disturbed", [9, 9], die_after=death, **options)
    assert_same(train(tmp_path / "disturbed", [9, 9], **options), undisturbed)


def cut_in_half(path):
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 1
    path.write_bytes(content)


def fill_with_pickle(path):
    path.unlink()
    np.savez(path, progress=np.array([{"epochs": 99}], dtype=object))


def pretend_to_be_encrypted(path):
    """One bit that makes Python's zip reader raise a RuntimeError."""
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\x01\x02") + 8] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    "damage", [cut_in_half, flip_a_bit, fill_with_pickle, pretend_to_be_encrypted, os.unlink]
)
def test_a_damaged_checkpoint_falls_back_to_the_one_before(tmp_path, undisturbed, damage):
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "disturbed", [4, 3], die_after=3)
    damage(tmp_path / "disturbed" / "checkpoint.npz")
    assert resume.Checkpoint(tmp_path / "disturbed", "accuracy").progress["epochs"] == 2
    assert_same(train(tmp_path / "disturbed", [4, 3]), undisturbed)


def test_without_any_sound_checkpoint_it_begins_anew(tmp_path, undisturbed):
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "disturbed", [4, 3], die_after=3)
    for path in (tmp_path / "disturbed").glob("checkpoint*"):
        cut_in_half(path)
    assert_same(train(tmp_path / "disturbed", [4, 3]), undisturbed)


@pytest.mark.parametrize("damage", [cut_in_half, os.unlink])
def test_without_the_best_weights_it_begins_anew(tmp_path, undisturbed, damage):
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "disturbed", [4, 3], die_after=3)
    damage(tmp_path / "disturbed" / "best.npz")
    assert_same(train(tmp_path / "disturbed", [4, 3]), undisturbed)


def test_what_cannot_be_read_now_is_kept(monkeypatch, tmp_path):
    """A network disk that fails for a moment is no damage."""
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "disturbed", [4, 3], die_after=3)
    before = {path: path.read_bytes() for path in (tmp_path / "disturbed").iterdir()}

    def fail(*arguments, **options):
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(np, "load", fail)
        with pytest.raises(OSError, match="Input/output"):
            resume.Checkpoint(tmp_path / "disturbed", "accuracy")
    assert {path: path.read_bytes() for path in (tmp_path / "disturbed").iterdir()} == before


def test_a_write_that_fails_leaves_what_was_there(tmp_path):
    path = tmp_path / "file"
    resume.write(path, lambda beside: beside.write_bytes(b"old"))

    def fail(beside):
        beside.write_bytes(b"ne")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        resume.write(path, fail)
    assert path.read_bytes() == b"old"


# --- Which run is continued --------------------------------------------------------------------


def test_the_newest_unfinished_run_of_the_same_settings_is_found(tmp_path):
    used = {"epochs": 3, "learning_rate": 1e-3}
    for name, content in [("1", used), ("2", used), ("3", {**used, "epochs": 4}), ("4", used)]:
        (tmp_path / name).mkdir()
        resume.write_json(tmp_path / name / "hyperparameters.json", content)
    (tmp_path / "4" / "metrics.json").write_text("{}")  # finished
    (tmp_path / "5").mkdir()
    (tmp_path / "5" / "hyperparameters.json").write_text("{cut")
    folder, lock = resume.find_unfinished(tmp_path, used)
    assert folder == tmp_path / "2"
    second, second_lock = resume.find_unfinished(tmp_path, used)  # 2 is taken now
    assert second == tmp_path / "1"
    assert resume.find_unfinished(tmp_path, used) == (None, None)
    lock.close()
    second_lock.close()
    assert resume.find_unfinished(tmp_path, used)[0] == tmp_path / "2"


def test_without_unix_locks_those_of_windows_keep_the_folder(monkeypatch, tmp_path):
    """msvcrt.locking, as its documentation describes it: a second lock of a byte is an OSError."""
    taken = {}

    def locking(descriptor, mode, count):
        assert (mode, count) == ("without waiting", 1)
        if os.fstat(descriptor).st_ino in taken:
            raise OSError(36, "Resource deadlock avoided")
        taken[os.fstat(descriptor).st_ino] = descriptor

    msvcrt = SimpleNamespace(locking=locking, LK_NBLCK="without waiting")
    monkeypatch.setitem(sys.modules, "fcntl", None)
    monkeypatch.setitem(sys.modules, "msvcrt", msvcrt)
    assert resume.lock(tmp_path) is not None
    assert resume.lock(tmp_path) is None


def test_a_disk_without_locks_is_told(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(resume, "lock", lambda folder: None)
    folder, lock = resume.new_folder(tmp_path)
    assert lock is None
    assert f"The disk of {folder} knows no locks" in capsys.readouterr().out


def test_new_folders_never_collide(tmp_path):
    folders = [resume.new_folder(tmp_path / "runs")[0] for _ in range(3)]
    assert len(set(folders)) == 3


# --- Whole scripts -----------------------------------------------------------------------------


KILLED_AFTER = {"unet": (0, 1, 2), "fcn": (0, 1, 2), "u2net": (0, 1, 2)}


def test_killed_at_random_and_started_again_it_ends_as_undisturbed(run, pets, tmp_path):
    """kill -9 in the first epoch, in the second, and while it evaluates.

    That two runs of the same seed are the same, bit for bit, is shown by the way.
    """
    script, flags = NETWORKS[run.network]
    arguments = [script, "--data-dir", pets, *SMALL, *flags]
    for epochs in KILLED_AFTER[run.network]:
        process = start_script(*arguments, cwd=tmp_path)
        wait_for_epochs(process, tmp_path / "runs", epochs)
        process.kill()
        process.communicate()
    process = run_script(*arguments, cwd=tmp_path)
    assert (process.returncode, process.stderr) == (0, "")
    again = finished_run(tmp_path / "runs", run.network)
    assert {path.name for path in again.folder.iterdir()} == {
        path.name for path in run.folder.iterdir()
    }
    for name in ("history.csv", "hyperparameters.json"):
        assert (again.folder / name).read_bytes() == (run.folder / name).read_bytes()
    timings = {"train_seconds": 0, "images_per_second": 0}
    assert again.metrics | timings == run.metrics | timings
    one, two = (
        keras.models.load_model(folder / "model.keras").get_weights()
        for folder in (run.folder, again.folder)
    )
    for first, second in zip(one, two, strict=True):
        np.testing.assert_array_equal(first, second)


UNET = ["Unet-keras", *SMALL, "--base-filters", "2", "--epochs", "50"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_told_to_stop_it_says_how_to_go_on(number, pets, tmp_path):
    process = start_script(*UNET, "--data-dir", pets, cwd=tmp_path)
    wait_for_epochs(process, tmp_path / "runs", 1)
    process.send_signal(number)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert told.strip() == (
        "Stopped. The same command, given again, goes on after the last finished epoch."
    )


def test_ctrl_c_while_tensorflow_is_imported_ends_quietly(tmp_path):
    """Nothing has begun yet, so there is nothing to tell."""
    # A shell's background jobs ignore Ctrl-C, and so would what they start.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = start_script(*UNET, "--dataset", "synthetic", cwd=tmp_path)
    signal.signal(signal.SIGINT, before)
    time.sleep(random.SystemRandom().uniform(0.5, 1.5))
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (128 + signal.SIGINT, "", "")


def test_a_run_folder_deleted_while_training(pets, tmp_path):
    process = start_script(*UNET, "--data-dir", pets, cwd=tmp_path)
    wait_for_epochs(process, tmp_path / "runs", 1)
    shutil.rmtree(tmp_path / "runs")
    _, told = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "history.csv" in told or "npz" in told
    assert "a folder gone?" in told
    assert len(told.strip().splitlines()) == 2


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limit")
def test_a_full_disk_is_told_and_leaves_no_half_files(pets, tmp_path):
    """A limit on the size of files stands in for the disk: history fits, a checkpoint does not."""
    command = [sys.executable, str(ROOT / f"{UNET[0]}.py"), *UNET[1:], "--data-dir", str(pets)]
    process = subprocess.run(
        ["bash", "-c", f"ulimit -f 100; exec {' '.join(command)}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert process.returncode == 1
    assert "File too large" in process.stderr
    assert "Is the disk full" in process.stderr
    assert len(process.stderr.strip().splitlines()) == 2
    (folder,) = (tmp_path / "runs" / "unet").iterdir()
    left = {path.name for path in folder.iterdir() if not path.name.startswith(resume.BESIDE)}
    assert left == {"history.csv", "hyperparameters.json", "lock"}


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limit")
def test_a_disk_that_fills_while_the_model_is_saved(monkeypatch, tmp_path, pets):
    """Space for the same command again: it only evaluates, and nothing was lost."""
    import resource

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    network = ["--base-filters", "2", "--epochs", "2", "--data-dir", str(pets)]
    monkeypatch.setattr("sys.argv", [*UNET[:1], *SMALL, *network, "--runs-dir", str(tmp_path)])
    main = load_script(UNET[0]).main
    finish = common.Run.finish

    def finish_on_a_full_disk(*arguments):
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
        try:
            return finish(*arguments)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    with monkeypatch.context() as patch:
        patch.setattr(common.Run, "finish", finish_on_a_full_disk)
        with pytest.raises(OSError, match="too large"):
            main()
    (folder,) = (tmp_path / "unet").iterdir()
    kept = {path.name for path in folder.glob("*.npz")}
    assert kept == {*resume.NAMES, "best.npz"}
    assert not (folder / "model.keras").exists()
    with monkeypatch.context() as patch:
        patch.setattr(keras.Model, "train_step", None)  # there is nothing left to train
        main()
    assert finished_run(tmp_path, "unet").metrics["epochs"] == 2
    assert keras.models.load_model(folder / "model.keras").count_params() > 0


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor"),
        RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes"),  # JAX
    ],
)
def test_too_little_memory_is_told(monkeypatch, error):
    def main():
        raise error

    monkeypatch.setattr(signal, "signal", lambda *arguments: None)
    with pytest.raises(common.UserError, match=r"Out of memory on .*--batch-size"):
        common.launch(main)


def test_bugs_keep_their_traceback(monkeypatch):
    def main():
        raise RuntimeError("a bug")

    monkeypatch.setattr(signal, "signal", lambda *arguments: None)
    with pytest.raises(RuntimeError, match="a bug"):
        common.launch(main)


def test_a_place_where_no_folder_can_be_made(pets, tmp_path):
    (tmp_path / "file").write_text("")
    process = run_script(*UNET, "--data-dir", pets, "--runs-dir", "file/runs", cwd=tmp_path)
    assert process.returncode == 1
    assert process.stderr.startswith("--runs-dir: cannot make a folder in file/runs/unet: ")
    assert len(process.stderr.strip().splitlines()) == 1
