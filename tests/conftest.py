"""What the tests share: starting scripts, drawn pets prepared by tfds, a finished run of each.

Tests marked `slow` take seconds; `python -m pytest -m "not slow"` leaves them out.
"""

import importlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

if "PYTEST_XDIST_WORKER" not in os.environ:  # processes on JAX share what XLA compiles, so far
    _compiled = tempfile.TemporaryDirectory(prefix="compiled-")
    os.environ["JAX_COMPILATION_CACHE_DIR"] = _compiled.name
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"

TRAIN_COUNT, TEST_COUNT = 40, 6
# Small enough for seconds, large enough for all levels of every network.
SMALL = ["--image-size", "64", "--batch-size", "4", "--augmentation", "0.5"]

STAGES = ["--decoder-epochs", "1", "--fine-tune-epochs", "1"]
NETWORKS = {
    "unet": ("Unet-keras", ["--base-filters", "4", "--epochs", "2"]),
    "u2net": ("U2Net-keras", ["--variant", "lite", "--self-attention", "--epochs", "2"]),
    "fcn": (
        "FCN-keras",
        ["--pretrained", "none", "--fc-filters", "8", "--image-size", "32", *STAGES],
    ),
}


def pytest_xdist_auto_num_workers():
    """One more than there are cores, for some tests wait for a network or a process."""
    return min(1 + (os.cpu_count() or 1), 4)


def pytest_collectstart():
    """Import what takes seconds where tests are collected: a process that hands them out is spared.

    Therefore functions below import TensorFlow and what needs it.
    """
    importlib.import_module("common")  # first: it quiets TensorFlow's import
    # As `launch` does, without which many tests call `main`.
    importlib.import_module("support.runtime.startup").use_known_defaults()


def main_of(script):
    """The `main` of a script, whose name has a hyphen in it."""
    return importlib.import_module(script).main


def environment(backend):
    """For JAX, XLA compiles these small networks without taking pains."""
    quick = {"XLA_FLAGS": "--xla_backend_optimization_level=0"} if backend == "jax" else {}
    return {**os.environ, **quick, "KERAS_BACKEND": backend}


def start_script(name, *flags, cwd, backend="tensorflow"):
    """Start a script as a user does, in a process of its own and another folder."""
    return subprocess.Popen(
        [sys.executable, str(ROOT / f"{name}.py"), *map(str, flags)],
        cwd=cwd,
        env=environment(backend),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run_script(*arguments, **options):
    """`start_script` and wait for its end."""
    process = start_script(*arguments, **options)
    out, err = process.communicate(timeout=300)
    return SimpleNamespace(returncode=process.returncode, stdout=out, stderr=err)


def run_code(code, *arguments, **settings):
    """Run code in a Python of its own, with variables of the environment set, or unset by None."""
    variables = {**environment("tensorflow"), **settings}
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=ROOT,
        env={name: value for name, value in variables.items() if value is not None},
        capture_output=True,
        text=True,
        timeout=120,
    )


def wait_for_epochs(process, runs_dir, epochs, moment=1, patience=300):
    """Wait until the history of the only run has so many rows, then up to `moment` seconds."""
    end = time.monotonic() + patience
    while process.poll() is None and time.monotonic() < end:
        for table in runs_dir.glob("*/*/history.csv"):
            if table.read_bytes().count(b"\n") >= epochs + 1 or not epochs:
                time.sleep(random.SystemRandom().uniform(0, moment))  # whatever the seed
                return
        time.sleep(0.02)


def cut_short(process, runs_dir, epochs, moment=1):
    """A copy of what `kill -9` would leave of the only run after so many epochs; it goes on."""
    wait_for_epochs(process, runs_dir, epochs, moment)
    if sys.platform != "win32":  # which has no such signals
        process.send_signal(signal.SIGSTOP)
    left = shutil.copytree(runs_dir, runs_dir.with_name(f"{runs_dir.name} cut short"))
    if sys.platform != "win32":
        process.send_signal(signal.SIGCONT)
    return left


def finished_run(runs_dir, network):
    """The only run below a folder, with its JSON files read."""
    (folder,) = (Path(runs_dir) / network).iterdir()
    read = {path.stem: json.loads(path.read_text()) for path in folder.glob("*.json")}
    return SimpleNamespace(folder=folder, **read)


@pytest.fixture(autouse=True)
def seed():
    """Every test draws the same weights each time; some small networks start dead."""
    from support.training import batch_norm

    import keras

    keras.utils.set_random_seed(0)
    yield
    keras.layers.BatchNormalization.call = batch_norm._composed  # `set_up` puts another in


@pytest.fixture(scope="session")
def pets(tmp_path_factory):
    """Folder of an Oxford-IIIT Pet that the real builder prepared from drawn pictures.

    The archives' official layout is laid out by hand; only the download is replaced.
    """
    from support.data.synthetic import draw_animal

    import tensorflow as tf
    import tensorflow_datasets as tfds

    archives = tmp_path_factory.mktemp("archives")
    images, annotations = archives / "images", archives / "annotations"
    for folder in (images, annotations / "trimaps", annotations / "xmls"):
        folder.mkdir(parents=True)
    names = [f"Bengal_{number}" for number in range(TRAIN_COUNT + TEST_COUNT)]
    for number, name in enumerate(names):
        image, trimap = draw_animal(np.random.default_rng(number))
        # As in the real set, a few pictures are no JPEG, whatever their name says.
        encode = tf.io.encode_png if number in (3, TRAIN_COUNT) else tf.io.encode_jpeg
        (images / f"{name}.jpg").write_bytes(encode(image).numpy())
        (annotations / "trimaps" / f"{name}.png").write_bytes(tf.io.encode_png(trimap).numpy())
    lines = [f"{name} 6 1 2\n" for name in names]
    (annotations / "trainval.txt").write_text("".join(lines[:TRAIN_COUNT]))
    (annotations / "test.txt").write_text("".join(lines[TRAIN_COUNT:]))

    data_dir = tmp_path_factory.mktemp("tensorflow_datasets")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            tfds.download.DownloadManager,
            "download_and_extract",
            lambda manager, urls: {"images": str(archives), "annotations": str(archives)},
        )
        tfds.builder("oxford_iiit_pet", data_dir=data_dir).download_and_prepare()
    return data_dir


def mapped(pairs):
    """`Pictures` of (image, mask) pairs, as if they had been prepared."""
    from support.data.prepared import Pictures

    pixels = [np.concatenate(pair, axis=-1) for pair in pairs]
    flat = np.concatenate([one.ravel() for one in pixels])
    flat.flags.writeable = False  # as a file that is mapped for reading
    return Pictures(flat, [one.shape[:2] for one in pixels])


def own_pictures(folder, classes, count=16):
    """A folder of one's own, of pictures at random whose masks have all of so many classes."""
    rng = np.random.default_rng(0)
    for name in ("images", "masks"):
        (folder / name).mkdir()
    for number in range(count):
        picture = rng.integers(0, 256, (64, 64, 3), np.uint8)
        mask = np.arange(64, dtype=np.uint8)[:, None].repeat(64, axis=1) % classes
        Image.fromarray(picture).save(folder / "images" / f"{number}.png")
        Image.fromarray(mask).save(folder / "masks" / f"{number}.png")
    (folder / "classes.txt").write_text("".join(f"class {number}\n" for number in range(classes)))


@pytest.fixture(scope="session")
def prepared_pets(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture
def pet_flags(pets, prepared_pets):
    """What `load_data` needs, for the drawn pets."""
    return SimpleNamespace(
        dataset="oxford_iiit_pet",
        data_dir=str(pets),
        runs_dir=str(prepared_pets),
        image_size=64,
        fit="resize",
        precision="auto",
        batch_size=4,
        seed=7,
        augmentation=1.0,
    )


def whole_run(network):
    """Tests of a network's run share a group, so that (pytest < 9.2) one worker trains it once."""
    return pytest.param(network, marks=[pytest.mark.xdist_group(network), pytest.mark.slow])


@pytest.fixture(scope="session")
def finished_runs():
    return {}


@pytest.fixture(params=map(whole_run, NETWORKS))
def run(request, pets, tmp_path_factory, finished_runs):
    """A finished run of each script, trained once for all tests; as if killed, in `cut_short`."""
    network = request.param
    if network not in finished_runs:
        script, flags = NETWORKS[network]
        folder = tmp_path_factory.mktemp(network)
        process = start_script(script, "--data-dir", pets, *SMALL, *flags, cwd=folder)
        left = {"cut_short": cut_short(process, folder / "runs", epochs=1)}
        out, err = process.communicate(timeout=300)
        assert process.returncode == 0, err
        left["process"] = SimpleNamespace(stdout=out, stderr=err)
        left |= vars(finished_run(folder / "runs", network))
        finished_runs[network] = SimpleNamespace(network=network, **left)
    return finished_runs[network]


def without_training(monkeypatch, pets, network, *more):
    """Run a script's main() with nothing trained or written; what it would have trained.

    Returns:
        SimpleNamespace with `fits`, one SimpleNamespace per call of `fit`; `run`, what
        `common.Run` was given; `finished`, what `common.finish` was given.
    """
    import common

    import keras

    left = SimpleNamespace(fits=[], run=None, finished=())

    class Run:
        folder, callbacks = Path("nowhere"), ["the callbacks of the run"]

        def __init__(self, network, flags, data):
            left.run = SimpleNamespace(network=network, flags=flags, data=data)

    def fit(model, batches, **options):
        optimizer = model.optimizer
        rates = []
        for step in range(options["epochs"] * len(batches) + 1):
            optimizer.iterations.assign(step)
            rates.append(float(optimizer.learning_rate))
        optimizer.iterations.assign(0)
        assert options["callbacks"] is Run.callbacks
        fit = SimpleNamespace(model=model, batches=batches, epochs=options["epochs"], rates=rates)
        fit.optimizer = optimizer
        fit.validation = options["validation_data"]
        fit.trainable = [weight.path for weight in model.trainable_weights]
        left.fits.append(fit)

    def finish(run, model, attention=None):
        left.finished = (model, attention)

    monkeypatch.setattr(common, "Run", Run)
    monkeypatch.setattr(common, "finish", finish)
    monkeypatch.setattr(keras.Model, "fit", fit)
    script, flags = NETWORKS[network]
    folders = ["--data-dir", str(pets), "--runs-dir", f"{pets}-runs"]
    monkeypatch.setattr("sys.argv", [script, *folders, *SMALL, *flags, *more])
    main_of(script)()
    return left


def assert_rises_to_and_falls_to_zero(fit, peak, epochs, steps_per_epoch=9):
    """The learning rate of a `fit` is `warmup_cosine` over all of its steps, and no longer."""
    import common

    schedule = common.warmup_cosine(peak, epochs * steps_per_epoch)
    assert fit.epochs == epochs
    wanted = [float(schedule(step)) for step in range(epochs * steps_per_epoch + 1)]
    np.testing.assert_allclose(fit.rates, wanted, rtol=1e-5, atol=1e-9)
    assert max(fit.rates) == pytest.approx(peak, rel=0.05)


def loss_and_metrics(model, truth, guess):
    """What a compiled model makes of a batch, given its answers."""
    loss = float(model.compute_loss(y=truth, y_pred=guess))
    metrics = model.compute_metrics(None, truth, guess)
    return loss, {name: float(value) for name, value in metrics.items()}


def random_batch(outputs=1, size=64, classes=3):
    """Masks, and as many answers of a network, which are logits."""
    rng = np.random.default_rng(0)
    guesses = rng.normal(0, 2, (outputs, 2, size, size, classes)).astype(np.float32)
    return rng.integers(0, classes, (2, size, size, 1), np.uint8), list(guesses)


def mean_iou_of(mask, guess):
    import common

    metric = common.mean_iou(guess.shape[-1])
    metric.update_state(mask, guess)
    return float(metric.result())
