"""One training's callbacks, what it keeps, and how long it will take."""

import functools
import json
from types import SimpleNamespace

from common import scores_from_confusion
from support.inference.model_file import load_model
from support.runtime import distributed
from support.training import run

import keras
import numpy as np
import pytest
from conftest import ROOT


@pytest.fixture
def begun(tmp_path):
    """A `Run` of two classes that nobody has trained yet."""
    data = SimpleNamespace(title="dots", identity="1", class_names=("a", "b"))
    data.class_colors, data.value_range = ("#000000", "#ffffff"), (2100, 2300)
    data.epochs = SimpleNamespace(number=None)
    flags = SimpleNamespace(runs_dir=str(tmp_path), script=str(ROOT / "Unet-keras.py"))
    flags.patience, flags.image_size, flags.fit = 0, 32, "tiles"

    def begin(pretrained="none"):
        flags.pretrained = pretrained
        return run.Run("dots", flags, data)

    return begin


def test_every_epoch_of_all_stages_has_an_order_and_changes_of_its_own(begun):
    """Both follow from the number of the epoch, which goes on where the stage before ended."""
    begun = begun()
    inputs = keras.Input((2,))
    model = keras.Model(inputs, keras.layers.Dense(1)(inputs))
    seen = []
    accuracy = functools.partial(keras.metrics.BinaryAccuracy, name="mean_iou")
    see = keras.callbacks.LambdaCallback(
        on_train_batch_begin=lambda batch, logs: seen.append(begun.data.epochs.number)
    )
    for epochs in (2, 1):
        model.compile("sgd", "mse", metrics=[accuracy()], jit_compile=False)
        data = {"x": np.zeros((4, 2)), "y": np.zeros((4, 1))}
        options = {"epochs": epochs, "batch_size": 4, "verbose": 0}
        validation = data["x"], data["y"]
        model.fit(**data, **options, validation_data=validation, callbacks=[*begun.callbacks, see])
    assert seen == [0, 1, 2]


def test_a_run_does_not_go_on_from_other_weights_of_the_same_name(begun, tmp_path):
    def folder():
        run = begun(pretrained=str(weights))
        run._lock.close()
        return run.folder

    weights = tmp_path / "vgg.weights.h5"
    weights.write_bytes(b"wrong")
    first = folder()
    assert folder() == first
    weights.write_bytes(b"right")
    assert folder() != first


def test_the_model_that_is_kept_knows_what_it_takes_to_use_it(begun):
    begun = begun()
    inputs = keras.Input((None, None, 3))
    logits = keras.layers.Conv2D(2, 1, name="scores")(inputs)
    model = keras.Model(inputs, [logits, inputs], name="dots")
    kept = begun.keep(model)
    found, facts = load_model(begun.folder / "model.keras")
    assert facts == {
        "image_size": 32,
        "fit": "tiles",
        "classes": [{"name": "a", "color": "#000000"}, {"name": "b", "color": "#ffffff"}],
        "value_range": [2100, 2300],
        "trained_on": "dots",
    }
    images = np.random.default_rng(0).random((1, 4, 4, 3), np.float32)
    wanted = keras.ops.softmax(model(images)[0])
    for one in (kept, found):
        np.testing.assert_allclose(one(images), wanted, rtol=1e-5)


def test_processes_with_other_settings_train_nothing_together(begun, monkeypatch):
    monkeypatch.setattr(distributed, "broadcast", lambda content: b'{"data": "other"}')
    with pytest.raises(SystemExit, match="differs from process 0"):
        begun()


@pytest.mark.parametrize(("other", "is_alike"), [("CPU with 99 cores", True), ("A100", False)])
def test_processes_may_have_other_numbers_of_cores(begun, monkeypatch, other, is_alike):
    monkeypatch.setattr(run.devices, "device", lambda: "CPU with 2 cores")
    given = []
    monkeypatch.setattr(
        run.distributed, "broadcast", lambda content: given.append(content) or content
    )
    begun()._lock.close()
    monkeypatch.setattr(run.distributed, "broadcast", lambda _: given[0])
    monkeypatch.setattr(run.devices, "device", lambda: other)
    if is_alike:
        begun()
    else:
        with pytest.raises(SystemExit, match="differs from process 0 in device: A100, not CPU"):
            begun()


@pytest.fixture
def clock(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(run.time, "perf_counter", lambda: now[0])
    return now


def train(estimate, clock, epochs, seconds, begin=0):
    """What a `fit` tells its callback, given the seconds that each epoch takes."""
    estimate.set_params({"epochs": epochs, "steps": 5})
    estimate.on_train_begin()
    for epoch, took in zip(range(begin, epochs), seconds, strict=True):
        estimate.on_epoch_begin(epoch)
        clock[0] += took
        estimate.on_epoch_end(epoch)


def test_the_epoch_with_compilation_gives_a_limit_and_the_next_an_estimate(clock, capsys):
    train(run.Estimate(), clock, 32, [360] + [60] * 31)
    assert capsys.readouterr().out.splitlines() == [
        "Compiling the first step, which may take a minute ...",
        "At most 3.1 h for the epochs to come: 31",
        "About 30 min for the epochs to come: 30",
    ]


def test_every_stage_and_a_resumed_run_have_an_estimate_of_their_own(clock, capsys):
    estimate = run.Estimate()
    train(estimate, clock, 3, [9, 5, 5])
    train(estimate, clock, 13, [9] + [10] * 10, begin=2)
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if not line.startswith("Compiling")] == [
        "At most 18 s for the epochs to come: 2",
        "About 5 s for the epochs to come: 1",
        "At most 2 min for the epochs to come: 10",
        "About 2 min for the epochs to come: 9",
    ]


def test_a_single_epoch_has_no_estimate(clock, capsys):
    train(run.Estimate(), clock, 1, [9])
    assert "to come" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.4, "0 s"),
        (89, "89 s"),
        (90, "2 min"),
        (3600, "60 min"),
        (5400, "1.5 h"),
        (86400, "24.0 h"),
    ],
)
def test_durations(seconds, words):
    assert run.duration(seconds) == words


def test_a_run_does_not_go_on_with_other_pictures(begun):
    first = begun()
    first._lock.close()
    same = begun()
    assert same.folder == first.folder
    same._lock.close()
    same.data.identity = "2"
    assert begun().folder != first.folder


@pytest.fixture
def report(begun):
    """A function that ends a run of two stages; what it has printed and written is the run's."""

    def end():
        ended = begun()
        ended.flags.dataset, ended.flags.batch_size = "dots", 4
        ended.data.counts = {"train": 5, "validation": 2, "test": 3}
        ended.progress |= {"epochs": 2, "steps": 3, "seconds": 0.26, "stages": [0, 1]}
        row = "1,0.5,1,0.5\n"
        head = "epoch,loss,mean_iou,val_loss,val_mean_iou\n"
        (ended.folder / "history.csv").write_text(f"{head}0,{row}1,{row}")
        inputs = keras.Input((2,))
        outputs = keras.layers.BatchNormalization()(keras.layers.Dense(3)(inputs))
        scores = scores_from_confusion(np.eye(2), ("a", "b"))
        ended.report(keras.Model(inputs, outputs), scores, "dots")
        return ended

    return end


def test_a_run_ends_with_metrics_scores_and_a_table(report, capsys):
    """Of all weights and unrounded seconds; of the test pictures; with those of other networks."""
    ended = report()
    out = capsys.readouterr().out
    assert "Test split, 3 pictures" in out
    assert str(ended.folder) in out.splitlines()[-1]
    metrics = json.loads((ended.folder / "metrics.json").read_text())
    assert metrics["parameters"] == 2 * 3 + 3 + 4 * 3
    assert metrics["train_seconds"] == 0.3
    assert metrics["images_per_second"] == 46.15  # 12 in 0.26


def test_the_history_is_drawn_with_the_stages_of_the_run(report, monkeypatch):
    drawn = []
    monkeypatch.setattr(run, "plot_history", lambda *given: drawn.append(given))
    assert drawn == [(report().folder / "history.csv", "dots", [0, 1])]


def test_the_font_has_to_have_title_and_classes(begun, monkeypatch):
    texts = []
    monkeypatch.setattr(run, "set_figure_font", texts.append)
    begun()
    assert {*texts[0]} == {*"dotsab"}


def test_a_training_is_set_up_with_all_devices_and_the_fused_kernel(monkeypatch):
    done = []
    monkeypatch.setattr(run.devices, "use_all", lambda: done.append("devices"))
    monkeypatch.setattr(run.batch_norm, "use_fused_kernel", lambda: done.append("kernel"))
    run.set_up(SimpleNamespace(seed=1, precision="float32", batch_size=8))
    assert done == ["devices", "kernel"]


def test_a_run_is_finished_when_all_is_drawn_and_not_before(report, monkeypatch):
    seen = []

    def draw(table, *_):
        seen.append((table.parent / "metrics.json").exists())

    monkeypatch.setattr(run, "plot_history", draw)
    report()
    assert seen == [False]
