"""A whole script that is cut short, in any way, ends as if nothing had happened."""

import re
import shutil
import signal
import subprocess
import sys

import common
from support.training import checkpoint, run_folder
from support.training.run import Estimate

import keras
import numpy as np
import pytest
from conftest import (
    NETWORKS,
    ROOT,
    SMALL,
    finished_run,
    main_of,
    run_script,
    start_script,
    wait_for_epochs,
    whole_run,
)

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("run", [whole_run("fcn")], indirect=True)
def test_killed_at_random_and_started_again_it_ends_as_undisturbed(run, pets, tmp_path):
    """kill -9 in the second epoch, which is a stage of its own, and while it evaluates.

    Two stages, with dropout, batch normalization and Muon: the others share all that goes on. That
    two runs of the same seed are the same, bit for bit, is shown by the way.
    """
    script, flags = NETWORKS[run.network]
    arguments = [script, "--data-dir", pets, *SMALL, *flags]
    shutil.copytree(run.cut_short, tmp_path / "runs")
    process = start_script(*arguments, cwd=tmp_path)
    wait_for_epochs(process, tmp_path / "runs", 2)
    process.kill()
    process.communicate()
    process = run_script(*arguments, cwd=tmp_path)
    assert (process.returncode, process.stderr) == (0, "")
    assert re.search(r"Goes on after epoch [12]\.", process.stdout)
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


def test_told_to_stop_it_says_how_to_go_on(pets, tmp_path):
    """By Ctrl-C; by SIGTERM, see test_startup.py."""
    process = start_script(*UNET, "--data-dir", pets, cwd=tmp_path)
    wait_for_epochs(process, tmp_path / "runs", 1)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGINT
    assert told.strip() == (
        "Stopped. The same command, given again, goes on after the last finished epoch."
    )


def call(monkeypatch, *flags):
    """Launch U-Net in this process with these flags, too; what it says when it has to give up."""
    monkeypatch.setattr(signal, "signal", lambda *given: None)
    monkeypatch.setattr("sys.argv", [f"{UNET[0]}.py", *UNET[1:], *map(str, flags)])
    with pytest.raises(common.UserError) as stopped:
        common.launch(main_of(UNET[0]))
    return str(stopped.value)


def test_a_run_folder_deleted_while_training(monkeypatch, pets, tmp_path):
    def delete(estimate, epoch, logs=None):
        if epoch == 1:
            shutil.rmtree(tmp_path / "runs")

    monkeypatch.setattr(Estimate, "on_epoch_begin", delete)
    told = call(monkeypatch, "--data-dir", pets, "--runs-dir", tmp_path / "runs")
    assert "history.csv" in told or "npz" in told
    assert "Was a folder deleted? The same command, given again," in told
    assert len(told.strip().splitlines()) == 2


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limit")
def test_a_full_disk_is_told_while_pictures_are_prepared(pet_flags, tmp_path):
    import resource

    pet_flags.runs_dir = str(tmp_path / "runs")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100 * 1024, limits[1]))
    try:
        with pytest.raises(common.UserError, match="File too large") as stopped:
            common.load_data(pet_flags)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    told = str(stopped.value)
    assert told.startswith(f"Pictures cannot be prepared in {tmp_path}/runs/prepared/")
    assert len(told.splitlines()) == 2
    assert [path.name for path in (tmp_path / "runs").glob("*/*/*")] == ["lock"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limit")
def test_a_full_disk_is_told_and_leaves_no_half_files(pets, pet_flags, tmp_path):
    """A limit on the size of files stands in for the disk: history fits, a checkpoint does not."""
    pet_flags.runs_dir = str(tmp_path / "runs")
    common.load_data(pet_flags)
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
    assert len(process.stderr.strip().splitlines()) == 2
    assert "Files may not be as large here. The same command, given again," in process.stderr
    (folder,) = (tmp_path / "runs" / "unet").iterdir()
    left = {
        path.name for path in folder.iterdir() if not path.name.startswith(run_folder.UNFINISHED)
    }
    assert left == {"history.csv", "hyperparameters.json", "lock"}


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limit")
def test_a_disk_that_fills_while_the_model_is_saved(monkeypatch, tmp_path, pets):
    """Space for the same command again: it only evaluates, and nothing was lost."""
    import resource

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    network = ["--base-filters", "2", "--epochs", "2", "--data-dir", str(pets)]
    monkeypatch.setattr("sys.argv", [*UNET[:1], *SMALL, *network, "--runs-dir", str(tmp_path)])
    main = main_of(UNET[0])
    finish = common.finish

    def finish_on_a_full_disk(*arguments):
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
        try:
            return finish(*arguments)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    with monkeypatch.context() as patch:
        patch.setattr(common, "finish", finish_on_a_full_disk)
        with pytest.raises(OSError, match="too large"):
            main()
    (folder,) = (tmp_path / "unet").iterdir()
    kept = {path.name for path in folder.glob("*.npz")}
    assert kept == {*checkpoint.NAMES, "best.npz"}
    assert not (folder / "model.keras").exists()
    with monkeypatch.context() as patch:
        patch.setattr(keras.Model, "train_step", None)  # there is nothing left to train
        main()
    assert finished_run(tmp_path, "unet").metrics["epochs"] == 2
    assert keras.models.load_model(folder / "model.keras").count_params() > 0


def test_a_place_where_no_folder_can_be_made(monkeypatch, pets, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.chdir(tmp_path)
    told = call(monkeypatch, "--data-dir", pets, "--runs-dir", "file/runs")
    assert told.startswith("Pictures cannot be prepared in file/runs/prepared/")
    assert len(told.strip().splitlines()) == 2
