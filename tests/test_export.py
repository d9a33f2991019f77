"""Trained models for programs without Keras say what they said in Keras."""

import importlib
import json
from types import SimpleNamespace

import common
from support.inference import export
from support.inference.export import export_model
from support.inference.model_file import save_model
from support.runtime.startup import UserError

import keras
import numpy as np
import pytest
import tensorflow as tf

u2net = importlib.import_module("U2Net-keras")
CLASSES = [{"name": "sky", "color": "#010203"}, {"name": "r\u00f6ad", "color": "#040506"}]
FACTS = {"image_size": 64, "fit": "resize", "classes": CLASSES, "value_range": None}


@pytest.fixture(scope="module")
def nested(tmp_path_factory):
    """A block of U2-Net, open to any size, with the upsampling that Keras alone cannot export."""
    inputs = keras.Input((None, None, 3), name="image")
    x = u2net.rsu(inputs, 5, 4, 8, 0.9)
    x = keras.layers.Conv2D(2, 1)(u2net.upsample(x[:, ::4, ::4], 4))
    model = keras.Model(inputs, keras.layers.Softmax(name="probabilities")(x))
    folder = tmp_path_factory.mktemp("runs") / "u2net" / "2026-01-31_12-00-00"
    folder.mkdir(parents=True)
    save_model(model, FACTS, folder / "model.keras")
    (folder / "metrics.json").write_text("{}")
    return folder


def flags(folder, kind):
    runs, wanted = str(folder.parent.parent), {"export": kind, "predict": [], "model": ""}
    return SimpleNamespace(**wanted, pretrained="none", runs_dir=runs)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["onnx", "litert", "saved_model"])
def test_what_is_exported_gives_the_probabilities_of_keras(nested, capsys, kind):
    pytest.importorskip(export.FORMATS[kind][-1])
    assert common.use_trained_model("u2net", flags(nested, kind))
    path = nested / export.FORMATS[kind][1]
    told = capsys.readouterr().out.splitlines()[-1]
    assert told.startswith(f"{path}: differs from Keras by ")
    assert float(told.split(" by ")[1].split()[0]) < 1e-5
    model = keras.models.load_model(nested / "model.keras")
    assert export._difference(model, path, kind, (3, 96, 128, 3)) < 1e-5
    before = path.stat()
    with pytest.raises(UserError, match="is there already"):
        export_model("u2net", flags(nested, kind))
    assert path.stat() == before
    assert not [*nested.glob("unfinished*")]
    if kind == "onnx":
        assert_has_names_for_all_that_is_open_and_knows_the_classes(path)


def assert_has_names_for_all_that_is_open_and_knows_the_classes(path):
    import onnx

    found = onnx.load(path)
    for value, name, last in (
        (found.graph.input[0], "image", 3),
        (found.graph.output[0], "probabilities", 2),
    ):
        assert value.name == name
        *sides, channels = value.type.tensor_type.shape.dim
        assert [side.dim_param for side in sides] == ["batch", "height", "width"]
        assert channels.dim_value == last
    known = {entry.key: json.loads(entry.value) for entry in found.metadata_props}
    assert known == FACTS


@pytest.mark.slow
def test_what_says_something_else_than_keras_is_not_kept(monkeypatch, tmp_path):
    inputs = keras.Input((None, None, 3))
    model = keras.Model(inputs, keras.layers.Conv2D(2, 1, activation="softmax")(inputs))
    folder = tmp_path / "u2net" / "1"
    folder.mkdir(parents=True)
    save_model(model, FACTS, folder / "model.keras")
    (folder / "metrics.json").write_text("{}")
    monkeypatch.setattr(export, "_difference", lambda *_: np.nan)
    with pytest.raises(UserError, match="differs from Keras by nan in probability"):
        export_model("u2net", flags(folder, "saved_model"))
    assert sorted(path.name for path in folder.iterdir()) == ["metrics.json", "model.keras"]


@pytest.mark.parametrize(
    ("difference", "is_kept"), [(2e-4, False), (float("nan"), False), (5e-5, True)]
)
def test_it_has_to_be_right_at_every_size(nested, monkeypatch, difference, is_kept):
    def differ(model, path, kind, shape):
        assert kind == "saved_model"
        return difference if len({*shape[1:3]}) == 2 else 0.0

    monkeypatch.setattr(export, "_difference", differ)
    monkeypatch.setitem(export.FORMATS, "saved_model", ("", "", (), "keras"))
    model = None  # nobody asks it
    if is_kept:
        assert "by 5.0e-05 in probability" in export._check(model, nested, "saved_model", 64)
    else:
        with pytest.raises(UserError, match=r"differs from Keras by (0\.0002|nan)"):
            export._check(model, nested, "saved_model", 64)


def test_a_missing_converter_is_asked_for(nested, monkeypatch):
    monkeypatch.setattr(export.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="needs tf2onnx and onnx: pip install tf2onnx onnx"):
        export_model("u2net", flags(nested, "onnx"))


def test_another_backend_is_told(nested, monkeypatch):
    monkeypatch.setattr(export, "BACKEND", "jax")
    with pytest.raises(UserError, match="takes Keras on TensorFlow, this is Keras on jax"):
        export_model("u2net", flags(nested, "onnx"))


def test_one_wrong_pixel_is_a_difference(monkeypatch):
    found = np.zeros((1, 64, 64, 2), np.float32)
    found[0, 5, 7, 1] = 0.5
    loaded = SimpleNamespace(serve=lambda given: {"probabilities": tf.constant(found)})
    monkeypatch.setattr(export.tf.saved_model, "load", lambda path: loaded)
    shape = (1, 64, 64, 3)
    assert export._difference(lambda images: 0 * found, "", "saved_model", shape) == 0.5


def test_without_what_runs_it_it_is_not_checked(nested, monkeypatch):
    monkeypatch.setitem(export.FORMATS, "onnx", ("", "", (), "no_such_runtime"))
    told = export._check(None, nested, "onnx", 64)
    assert told.startswith("not checked, for no_such_runtime is not installed: pip install no")


def test_what_is_in_the_way_of_an_export_is_named_and_not_the_model(tmp_path):
    folder = tmp_path / "u2net" / "1"
    folder.mkdir(parents=True)
    for name in ("metrics.json", "model.keras", "model.tflite"):
        (folder / name).touch()
    with pytest.raises(UserError, match=r"model\.tflite is there already: move or delete it"):
        export_model("u2net", flags(folder, "litert"))
