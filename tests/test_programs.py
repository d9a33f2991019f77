"""Whole scripts, run as a user runs them, on drawn pets that the real tfds builder prepared."""

import argparse
import csv
import importlib.util
import json
import shutil
import subprocess
import sys

import common
from support.runtime.devices import ON_CPU

import keras
import numpy as np
import pytest
from conftest import (
    NETWORKS,
    ROOT,
    SMALL,
    cut_short,
    environment,
    finished_run,
    main_of,
    run_code,
    run_script,
    start_script,
    without_training,
)
from matplotlib.image import imread
from PIL import Image

pytestmark = pytest.mark.slow

SIDE = {"fcn": 32}  # pixels, where it is not that of SMALL


def test_all_documented_files_are_there_and_no_other(run):
    documented = {"history.csv", "history.png", "hyperparameters.json", "metrics.json"}
    documented |= {"model.keras", "predictions.png"}
    if run.network == "u2net":
        documented |= {"attention.png"}
    assert {path.name for path in run.folder.iterdir()} == documented


def test_metrics(run):
    metrics = run.metrics
    assert list(metrics["iou"]) == list(metrics["dice"]) == ["pet", "background", "border"]
    assert metrics["mean_iou"] == pytest.approx(np.mean(list(metrics["iou"].values())))
    assert metrics["mean_dice"] == pytest.approx(np.mean(list(metrics["dice"].values())))
    for name, iou in metrics["iou"].items():
        assert metrics["dice"][name] == pytest.approx(2 * iou / (1 + iou))
    assert 0 < metrics["pixel_accuracy"] < 1
    assert metrics["dataset"] == "oxford_iiit_pet"
    assert metrics["image_size"] == SIDE.get(run.network, 64)
    assert metrics["epochs"] == 2
    pictures = 2 * 36
    assert metrics["images_per_second"] == pytest.approx(
        pictures / metrics["train_seconds"], rel=0.05
    )


def test_history_has_a_row_an_epoch(run):
    with open(run.folder / "history.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == run.metrics["epochs"]
    for row in rows:
        assert {"epoch", "loss", "mean_iou", "val_loss", "val_mean_iou"} == row.keys()
        assert all(np.isfinite(float(value)) for value in row.values())


def test_hyperparameters_say_what_it_was_run_with(run):
    written = run.hyperparameters
    assert written["image_size"] == SIDE.get(run.network, 64)
    assert written["augmentation"] == 0.5
    assert written["seed"] == 1
    assert written["backend"] == "tensorflow"
    assert written["versions"]["keras"] == keras.__version__


@pytest.mark.parametrize("name", ["history.png", "predictions.png"])
def test_pictures_are_no_blank_sheets(run, name):
    pixels = imread(run.folder / name)
    assert min(pixels.shape[:2]) > 300
    assert pixels.std() > 0.05


def test_the_terminal_shows_what_matters_and_no_noise(run):
    out = run.process.stdout
    for words in ("36 train, 4 validation, 6 test pictures", "Device: ", "Results: "):
        assert words in out
    if run.network == "fcn":  # two stages of an epoch each, of which Keras counts none
        assert out.count("Training fcn-8s: ") == 2
    else:
        assert "Epoch 2/2" in out
    for words in ("pet ", "border ", "pixel accuracy", "Finished runs on oxford_iiit_pet"):
        assert words in out
    assert f"{run.metrics['mean_iou']:.3f}" in out
    assert run.process.stderr == ""


PLAIN_KERAS = """
import sys, keras, numpy as np
model = keras.models.load_model("copy.keras")
assert "common" not in sys.modules and not model.compiled
np.save("probabilities.npy", model.predict_on_batch(np.load("images.npy")))
"""


def test_saved_model_needs_plain_keras_alone(run, pet_flags, tmp_path):
    """Loaded with nothing of this project near, it scores what the run says it scored.

    To the last digit where it was trained, nearly so on another backend.
    """
    backend = "tensorflow" if run.network == "unet" else "jax"
    shutil.copy(run.folder / "model.keras", tmp_path / "copy.keras")
    pet_flags.image_size = run.metrics["image_size"]
    data = common.load_data(pet_flags)
    images, masks = (np.concatenate(part) for part in zip(*data.test, strict=True))
    np.save(tmp_path / "images.npy", images)
    command = [sys.executable, "-c", PLAIN_KERAS]
    subprocess.run(command, cwd=tmp_path, env=environment(backend), check=True, timeout=120)
    probabilities = np.load(tmp_path / "probabilities.npy")
    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities.sum(axis=-1), 1, rtol=1e-5)
    pairs = 3 * masks[..., 0].astype(int) + probabilities.argmax(-1)
    confusion = np.bincount(pairs.ravel(), minlength=9).reshape(3, 3)
    scores = common.scores_from_confusion(confusion, data.class_names)
    exact = backend == "tensorflow"
    assert scores["mean_iou"] == pytest.approx(run.metrics["mean_iou"], abs=1e-9 if exact else 0.01)


def test_best_weights_by_validation_are_kept(run, pet_flags):
    """The saved model has the validation mean IoU of the best epoch, not of the last."""
    with open(run.folder / "history.csv", newline="") as file:
        best = max(float(row["val_mean_iou"]) for row in csv.DictReader(file))
    pet_flags.image_size = run.metrics["image_size"]
    data = common.load_data(pet_flags)
    model = keras.models.load_model(run.folder / "model.keras")
    confusion, _ = common.evaluate(model, data.validation, 3)
    scores = common.scores_from_confusion(confusion, data.class_names)
    assert scores["mean_iou"] == pytest.approx(best, abs=1e-5)


def main_in_process(monkeypatch, network, runs_dir, pets, *more):
    script, flags = NETWORKS[network]
    arguments = ["--data-dir", str(pets), "--runs-dir", str(runs_dir), *SMALL, *flags, *more]
    monkeypatch.setattr("sys.argv", [script, *arguments])
    main_of(script)()
    return finished_run(runs_dir, network)


def test_early_stopping(monkeypatch, tmp_path, pets):
    """A learning rate that changes nothing stops after the patience is used up."""
    more = ["--learning-rate", "1e-7", "--epochs", "9", "--patience", "1"]
    more += ["--batch-norm-momentum", "0.999", "--image-size", "32", "--base-filters", "2"]
    finished = main_in_process(monkeypatch, "unet", tmp_path / "runs", pets, *more)
    assert finished.metrics["epochs"] < 9


def test_trains_and_goes_on_on_pytorch(tmp_path, pets):
    """Killed and started again, it ends as one left in peace, though not at the very bits."""
    if not importlib.util.find_spec("torch"):
        pytest.skip("torch is not installed")
    flags = ["--data-dir", pets, "--image-size", 32, "--base-filters", 2, "--epochs", 3]
    process = start_script("Unet-keras", *flags, cwd=tmp_path, backend="torch")
    left = cut_short(process, tmp_path / "runs", epochs=2, moment=0)
    _, errors = process.communicate(timeout=300)
    assert (process.returncode, errors) == (0, "")
    finished = finished_run(tmp_path / "runs", "unet")
    assert finished.hyperparameters["backend"] == "torch"
    assert "torch" in finished.hyperparameters["versions"]
    assert 0 < finished.metrics["mean_iou"] < 1

    shutil.copytree(left, tmp_path / "again" / "runs")
    process = run_script("Unet-keras", *flags, cwd=tmp_path / "again", backend="torch")
    assert (process.returncode, process.stderr) == (0, "")
    assert "Goes on after epoch" in process.stdout
    again = finished_run(tmp_path / "again" / "runs", "unet")
    histories = [
        np.genfromtxt(one.folder / "history.csv", delimiter=",", skip_header=1)
        for one in (finished, again)
    ]
    np.testing.assert_allclose(*histories, atol=0.1)


@pytest.mark.parametrize("network", NETWORKS)
def test_the_seed_decides_the_first_weights(monkeypatch, pets, network):
    def first_weights(seed):
        (fit, *_) = without_training(monkeypatch, pets, network, "--seed", seed).fits
        return np.concatenate([weight.ravel() for weight in fit.model.get_weights()])

    weights = first_weights("5")
    np.testing.assert_array_equal(weights, first_weights("5"))
    assert (weights != first_weights("6")).mean() > 0.5


def test_a_folder_in_tiles_from_training_to_masks(monkeypatch, capsys, tmp_path):
    """Photographs of 100 x 90 and 80 x 70 pixels, of which a network sees squares of 64."""
    folder = tmp_path / "mine"
    rng = np.random.default_rng(0)
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True)
    for number in range(8):
        mask = np.zeros((90, 100) if number % 2 else (70, 80), np.uint8)
        mask[20:50, 10 * number :] = 1
        mask[:5] = 255
        image = rng.integers(0, 100, (*mask.shape, 3), np.uint8) + 150 * (mask[..., None] == 1)
        Image.fromarray(np.uint8(image)).save(folder / "images" / f"{number}.png")
        Image.fromarray(mask).save(folder / "masks" / f"{number}.png")
    (folder / "classes.txt").write_text("ground\nroof\n")

    flags = ["--fit", "tiles", "--image-size", "64", "--batch-size", "2", "--epochs", "1"]
    flags += ["--base-filters", "2"]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["Unet-keras.py", "--dataset", str(folder), *flags])
    main_of("Unet-keras")()
    out, errors = capsys.readouterr()
    assert errors == ""
    for words in ("80x70 to 100x90 pixels", "roof", "void", "tiles to 64 px"):
        assert words in out
    finished = finished_run(tmp_path / "runs", "unet")
    assert list(finished.metrics["iou"]) == ["ground", "roof"]
    assert finished.metrics["dataset"] == str(folder)

    photo = folder / "images" / "7.png"
    monkeypatch.setattr("sys.argv", ["Unet-keras.py", "--predict", str(photo)])
    main_of("Unet-keras")()
    assert str(finished.folder.relative_to(tmp_path)) in capsys.readouterr().out
    mask = Image.open(tmp_path / "predictions" / "7-mask.png")
    assert (mask.mode, mask.size) == ("P", (100, 90))


def test_a_run_in_mixed_precision_leaves_a_model_in_float32(monkeypatch, capsys, pets, tmp_path):
    """With loss scaling, the harder one; test_devices.py has the other, too."""
    more = ["--image-size", "32", "--base-filters", "2", "--epochs", "1"]
    more += ["--precision", "mixed_float16"]
    try:
        finished = main_in_process(monkeypatch, "unet", tmp_path / "runs", pets, *more)
    finally:
        keras.config.set_dtype_policy("float32")
    assert ", mixed_float16" in capsys.readouterr().out
    model = keras.models.load_model(finished.folder / "model.keras")
    assert {layer.dtype_policy.name for layer in model.layers} == {"float32"}
    assert {weight.dtype for weight in model.weights} == {"float32"}


def test_the_benchmark_of_growth_has_a_row_a_value(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    measure = importlib.import_module("measure")
    monkeypatch.setattr(measure, "unet", lambda size, base_filters: (size, base_filters))
    monkeypatch.setattr(measure, "training_step", lambda *given: lambda: given)
    rows = measure.growth(argparse.Namespace(rounds=3))
    assert [row["value"] for row in rows] == [64, 128, 256, 4, 8, 16, 32, 8, 16, 32, 64]
    assert all(0 <= row["step, s"] < 1 for row in rows)


def test_the_benchmark_of_precision_computes_in_both(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    measure = importlib.import_module("measure")
    computed = []

    def step(model, *_):
        computed.append({one.compute_dtype for one in model.layers if "conv" in one.name})
        return lambda: None

    monkeypatch.setattr(measure, "training_step", step)
    flags = argparse.Namespace(only=["unet, 32 filters"], image_size=32, batch_size=1, rounds=3)
    try:
        (row,) = measure.precision(flags)
    finally:
        keras.config.set_dtype_policy("float32")
    assert computed == [{"float32"}, {"bfloat16"}]
    assert row["ratio"] == row["mixed_bfloat16, s"] / row["float32, s"]


# A script runs as if TensorFlow were not installed.
WITHOUT_TENSORFLOW = """
import runpy, sys
from importlib.machinery import PathFinder
class Others(PathFinder):
    @classmethod
    def find_spec(cls, name, *where):
        hidden = name.partition(".")[0] == "tensorflow"
        return None if hidden else PathFinder.find_spec(name, *where)
sys.meta_path[:] = [Others if finder is PathFinder else finder for finder in sys.meta_path]
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.parametrize(("name", "flop"), [("fcn", 250e9 / 64), ("unet, plain PyTorch", None)])
def test_a_gpu_is_measured_where_tensorflow_is_missing(name, flop):
    """There is no GPU here. Of 8 pictures of 128 px `measure.py share` counts 250 GFLOP."""
    script = str(ROOT / "benchmarks" / "gpu.py")
    flags = ["--one", "--only", name, "--sizes", "32", "--precisions", "float32"]
    flags += ["--batch-size", "2", "--steps", "1"]
    settings = {"KERAS_BACKEND": "torch", "PYTHONPATH": str(ROOT / "benchmarks")}
    process = run_code(WITHOUT_TENSORFLOW, script, *flags, **settings)
    assert process.returncode == 0, process.stderr
    row = json.loads(process.stdout.splitlines()[-1])
    assert (row["network"], row["px"], row["precision"]) == (name, 32, "float32")
    assert row["pictures/s"] == pytest.approx(2 / row["step, s"])
    assert row["cores for pictures"] == pytest.approx(row["pictures/s"] / 16 / 1_750)
    if flop:
        assert row["TFLOP/s"] * row["step, s"] * 1e12 == pytest.approx(flop, rel=0.01)


def test_the_benchmarks_measure(tmp_path):
    command = [sys.executable, str(ROOT / "benchmarks" / "measure.py"), "share", "--rounds", "1"]
    command += ["--only", "unet, 32 filters", "--image-size", "32", "--batch-size", "1"]
    table, picture = tmp_path / "share.json", tmp_path / "share.png"
    command += ["--json", str(table), "--plot", str(picture)]
    subprocess.run(command, check=True, capture_output=True, cwd=tmp_path, timeout=300)
    (row,) = json.loads(table.read_text())["rows"]
    assert row["parameters"] == 7_768_995
    assert row["convolutions, s"] > 0
    assert row["step, s"] > 0
    assert picture.stat().st_size > 1000


@pytest.mark.skipif(not ON_CPU, reason="with a GPU Keras decides")
@pytest.mark.parametrize("network", NETWORKS)
def test_on_a_cpu_no_network_is_trained_with_xla(monkeypatch, pets, network):
    """Keras leaves it out where there is no GPU. It makes a step 1.3 times as long there."""
    fits = without_training(monkeypatch, pets, network).fits
    assert {fit.model.jit_compile for fit in fits} == {False}
