"""Weights to begin with: the published U2-Net out of its file, and runs of one's own."""

import functools
import hashlib
import http.server
import importlib
import itertools
import os
import socket
import threading
from pathlib import Path
from types import SimpleNamespace

import common
from support.data.synthetic import draw_animal
from support.inference.model_file import load_model, save_model
from support.runtime import distributed
from support.runtime.startup import UserError
from support.training import pretrained as weights
from support.training import published_u2net
from support.training.pretrained import begin_with_run, keras_cache
from support.training.published_u2net import _creation, open_u2net, put_u2net, unfold

import keras
import numpy as np
import onnx
import pytest
import tensorflow as tf
from conftest import NETWORKS, SMALL, assert_rises_to_and_falls_to_zero, without_training
from PIL import Image

u2net, unet = (importlib.import_module(f"{name}-keras") for name in ("U2Net", "Unet"))
IMAGES = np.random.default_rng(0).random((2, 64, 64, 3), np.float32)


def layers_of(model, kind):
    return sorted((layer for layer in model.layers if type(layer) is kind), key=_creation)


@pytest.fixture(scope="module")
def folded(tmp_path_factory):
    """A U2-Net lite of one class with normalization of its own, and its file with that folded in.

    Returns:
        keras.Model to logits; Path of an ONNX file that has the convolutions in order.
    """
    rng = np.random.default_rng(0)
    model = u2net.build_model(variant="lite", num_classes=1, normalize_input=True)
    convolutions = layers_of(model, keras.layers.Conv2D)
    norms = layers_of(model, keras.layers.BatchNormalization)
    nodes, arrays = [], []
    for number, layer in enumerate(convolutions):
        kernel, bias = layer.get_weights()
        bias = rng.normal(0, 0.1, bias.shape)
        layer.set_weights([kernel, bias])
        if number < len(norms):
            gamma, beta, mean = rng.normal([[1], [0], [0]], 0.2, (3, len(bias)))
            variance = rng.uniform(0.5, 2, len(bias))
            norms[number].set_weights([gamma, beta, mean, variance])
            scale = gamma / np.sqrt(variance + norms[number].epsilon)
            kernel, bias = kernel * scale, (bias - mean) * scale + beta
        names = f"k{number}", f"b{number}"
        for name, array in zip(names, (kernel.transpose(3, 2, 0, 1), bias), strict=True):
            arrays.append(onnx.numpy_helper.from_array(np.float32(array), name))
        nodes.append(onnx.helper.make_node("Conv", [f"x{number}", *names], [f"x{number + 1}"]))
    graph = onnx.helper.make_graph(nodes, "u2net", [], [], arrays)
    path = tmp_path_factory.mktemp("u2net") / "u2netp.onnx"
    onnx.save(onnx.helper.make_model(graph), path)
    return model, path


HEADS = {"scores", *(f"scores_{number}" for number in range(1, 7))}  # layers that put out classes
with_folded = pytest.mark.xdist_group("folded")  # so that one worker makes it once


@pytest.mark.slow
@with_folded
def test_background_and_object_have_the_probabilities_of_the_published_sigmoid(folded, tmp_path):
    """The sigmoid of a logit z is the softmax of 0 and z."""
    one_class, path = folded
    flags = SimpleNamespace(pretrained=str(path), variant="lite", runs_dir=str(tmp_path))
    flags.predict = ["photo.jpg"]
    edited = functools.partial(u2net.build_model, self_attention=True)  # as a constant may say
    published_u2net.use_published(edited, flags)
    model, facts = load_model(flags.model)
    assert [tuple(entry.values()) for entry in facts["classes"]] == [
        ("background", "#000000"),
        ("object", "#E69F00"),
    ]
    assert (facts["image_size"], facts["fit"]) == (320, "resize")
    wanted = keras.ops.sigmoid(one_class(IMAGES)[0])
    np.testing.assert_allclose(model(IMAGES)[..., 1:], wanted, atol=1e-5)


REAL = os.environ.get("PUBLISHED_WEIGHTS", "")  # a folder with u2net.onnx or u2netp.onnx


@pytest.mark.skipif(not REAL, reason="PUBLISHED_WEIGHTS names no folder")
@pytest.mark.parametrize(("name", "variant"), [("u2net", "full"), ("u2netp", "lite")])
def test_the_real_file_has_the_probabilities_that_onnxruntime_computes(name, variant, tmp_path):
    import onnxruntime

    path = Path(REAL) / f"{name}.onnx"
    if not path.exists():
        pytest.skip(f"{path} is not there")
    flags = SimpleNamespace(pretrained=str(path), variant=variant, runs_dir=str(tmp_path))
    flags.predict = ["photo.jpg"]
    published_u2net.use_published(u2net.build_model, flags)
    photo, _ = draw_animal(np.random.default_rng(0))
    picture = np.float32(Image.fromarray(photo).resize((320, 320))) / 255
    mean, deviation = np.float32(((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    given = ((picture - mean) / deviation).transpose(2, 0, 1)[None]
    session = onnxruntime.InferenceSession(str(path))
    wanted = session.run(None, {session.get_inputs()[0].name: given})[0][0, 0]
    found = keras.models.load_model(flags.model)(picture[None]).numpy()[0, ..., 1]
    np.testing.assert_allclose(found, wanted, atol=1e-4)
    assert 0.01 < (wanted > 0.5).mean() < 0.99


@pytest.mark.slow
@with_folded
def test_unfolding_changes_nothing_and_in_training_next_to_nothing(folded):
    """Nor does putting the file change the heads, which are new."""
    _, path = folded
    model = u2net.build_model(variant="lite", num_classes=3)
    heads = [layer for layer in model.layers if layer.name.startswith("scores")]
    kernels = [layer.get_weights()[0] for layer in heads]
    put_u2net(model, open_u2net(str(path), "lite"), str(path))
    assert len(heads) == 7
    for layer, kernel in zip(heads, kernels, strict=True):
        np.testing.assert_array_equal(layer.get_weights()[0], kernel)
    before = model(IMAGES)[0]
    unfold(model, tf.data.Dataset.from_tensor_slices((IMAGES, IMAGES)).batch(1))  # two batches
    np.testing.assert_allclose(model(IMAGES)[0], before, atol=1e-4)
    spread = np.std(before)
    assert np.abs(model(IMAGES, training=True)[0] - before).mean() < 0.05 * spread
    (first, *_) = layers_of(model, keras.layers.BatchNormalization)
    features = keras.Model(model.input, first.input)(IMAGES).numpy()
    np.testing.assert_allclose(first.moving_mean, features.mean((0, 1, 2)), atol=1e-5)
    np.testing.assert_allclose(first.moving_variance, features.var((0, 1, 2)), rtol=1e-3)


def test_a_small_variance_beside_a_large_mean_keeps_its_digits():
    """Squares about 1,000,000 are 0.06 apart in 32 bits; the variance is 0.001."""
    inputs = keras.Input((2, 2, 1))
    first = keras.layers.BatchNormalization()(inputs)
    model = keras.Model(inputs, keras.layers.BatchNormalization()(first))
    pictures = np.float32([1000.0, 1000.0625])[:, None, None, None] * np.ones((2, 2, 2, 1), "f")
    pictures[:, 0] += np.float32(1 / 128)
    for batches in (1, 2):  # both pictures in one batch, and one in each
        dataset = tf.data.Dataset.from_tensor_slices((pictures, pictures)).batch(2 // batches)
        unfold(model, dataset)
        norm, _ = layers_of(model, keras.layers.BatchNormalization)
        np.testing.assert_allclose(norm.moving_mean, pictures.mean(dtype=float), rtol=1e-6)
        np.testing.assert_allclose(norm.moving_variance, pictures.var(dtype=float), rtol=1e-2)


@pytest.mark.slow
@with_folded
def test_statistics_have_32_bits_in_mixed_precision(folded):
    """In 16 bits the mean of thousands of pixels loses most of its digits."""
    _, path = folded
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = u2net.build_model(variant="lite", num_classes=3)
    finally:
        keras.config.set_dtype_policy("float32")
    put_u2net(model, open_u2net(str(path), "lite"), str(path))
    norms = layers_of(model, keras.layers.BatchNormalization)
    inputs = keras.Model(model.input, [norm.input for norm in norms])(IMAGES)
    unfold(model, tf.data.Dataset.from_tensors((IMAGES, IMAGES)))  # after which 16 bits round anew
    for norm, features in zip(norms, inputs, strict=True):
        features = np.array(features, np.float64)
        found = norm.moving_variance.numpy()
        np.testing.assert_allclose(found, features.var((0, 1, 2)), rtol=1e-3, atol=1e-9)


@pytest.mark.slow
@with_folded
def test_a_file_of_another_network_is_refused(folded, tmp_path):
    lite, path = folded
    inputs = keras.Input((None, None, 3))
    full = keras.Model(inputs, u2net.rsu(inputs, *u2net._ENCODER["full"][0], 0.9))  # its beginning
    with pytest.raises(UserError, match=r"--variant: convolution 2 is \(3, 3, 64, 16\), expected"):
        put_u2net(full, open_u2net(str(path), "full"), str(path))
    short = onnx.load(path)
    del short.graph.node[100:]
    onnx.save(short, tmp_path / "short.onnx")
    with pytest.raises(UserError, match="has 100 convolutions, not 119"):
        put_u2net(lite, open_u2net(str(tmp_path / "short.onnx"), "lite"), "short.onnx")
    (tmp_path / "broken.onnx").write_bytes(path.read_bytes()[:1000])
    with pytest.raises(UserError, match=r"broken.onnx: .*\nPut u2netp.onnx of rembg's release"):
        open_u2net(str(tmp_path / "broken.onnx"), "lite")


def test_a_missing_package_is_asked_for(monkeypatch):
    monkeypatch.setattr(published_u2net.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="--pretrained published needs onnx: pip install onnx"):
        open_u2net("published", "lite")


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A web server on loopback in place of rembg's release, and empty caches."""
    folder = tmp_path / "release"
    folder.mkdir()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments):
            super().__init__(*arguments, directory=folder)

        def log_message(self, *arguments):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{running.server_port}"
        monkeypatch.setattr(published_u2net, "_FOLDER", url)
        monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
        monkeypatch.setenv("U2NET_HOME", str(tmp_path / "rembg"))
        yield folder
        running.shutdown()


@with_folded
def test_the_published_file_is_downloaded_once_and_checked(folded, server, tmp_path, monkeypatch):
    _, path = folded
    (server / "u2netp.onnx").write_bytes(path.read_bytes())
    md5 = hashlib.md5(path.read_bytes()).hexdigest()
    monkeypatch.setitem(published_u2net._FILES, "lite", ("u2netp.onnx", md5))
    assert len(open_u2net("published", "lite")) == 119
    cached = tmp_path / "keras" / "models" / "u2netp.onnx"
    cached.write_bytes(b"damaged")
    assert len(open_u2net("published", "lite")) == 119  # once more
    (server / "u2netp.onnx").write_bytes(b"another")
    assert len(open_u2net("published", "lite")) == 119  # from the cache
    cached.unlink()
    with pytest.raises(UserError, match="hash"):
        open_u2net("published", "lite")
    (tmp_path / "rembg").mkdir()
    (tmp_path / "rembg" / "u2netp.onnx").write_bytes(path.read_bytes())
    assert len(open_u2net("published", "lite")) == 119  # rembg has it already
    assert socket.getdefaulttimeout() is None  # of all that comes after


def draw_weights(model):
    """Other weights than a new model has, and no variance below 0, of which all would be NaN."""
    rng = np.random.default_rng(0)
    for weight in (weight for weight in model.weights if "seed" not in weight.path):
        drawn = rng.normal(0, 1, weight.shape)
        weight.assign(np.abs(drawn) if weight.path.endswith("variance") else drawn)


@pytest.fixture(scope="module")
def earlier(tmp_path_factory):
    """A run of classes a, b and c: its folder, and its model of random weights."""
    folder, classes = tmp_path_factory.mktemp("earlier") / "run", "abc"
    model = unet.build_model(base_filters=2)
    draw_weights(model)
    names = [{"name": name, "color": "#000000"} for name in classes]
    folder.mkdir(parents=True)
    outputs = keras.layers.Softmax(name="probabilities")(model.output)
    whole = keras.Model(model.input, outputs)
    facts = {"image_size": 64, "fit": "resize", "classes": names, "value_range": None}
    save_model(whole, facts, folder / "model.keras")
    return SimpleNamespace(folder=folder, model=model)


with_earlier = pytest.mark.xdist_group("earlier run")  # so that one worker makes it once


@with_earlier
@pytest.mark.parametrize("named", ["run", "run/model.keras"])
def test_a_run_goes_on_from_the_weights_of_another(earlier, capsys, named):
    model = unet.build_model(base_filters=2)
    new = common.begin_with_run(model, str(earlier.folder.parent / named), ("a", "b", "c"))
    assert new == []
    found = keras.ops.convert_to_numpy(model(IMAGES))
    assert np.isfinite(found).all()
    np.testing.assert_array_equal(found, earlier.model(IMAGES))
    assert capsys.readouterr().out == f"Begins with {earlier.folder.parent / named}\n"


@with_earlier
@pytest.mark.parametrize("classes", [("a", "b"), ("a", "b", "d"), ("b", "a", "c")])
def test_what_puts_out_other_classes_begins_anew(earlier, capsys, classes):
    model = unet.build_model(base_filters=2, num_classes=len(classes))
    heads = model.get_layer("scores").get_weights()
    assert begin_with_run(model, str(earlier.folder), classes) == [model.get_layer("scores")]
    assert "anew, for other classes: scores" in capsys.readouterr().out
    for kept, found in zip(heads, model.get_layer("scores").get_weights(), strict=True):
        np.testing.assert_array_equal(kept, found)
    both = earlier.model, model
    below = [keras.Model(m.input, m.get_layer("scores").input)(IMAGES) for m in both]
    np.testing.assert_array_equal(*below)


@pytest.mark.slow
def test_of_more_than_32_classes_fcn_has_more_layers_which_is_no_other_network(tmp_path, capsys):
    fcn = importlib.import_module("FCN-keras")
    (tmp_path / "run").mkdir()
    options = {"pretrained": "none", "fc_filters": 4, "stride": 32}
    many, few = (fcn.build_model(num_classes=count, **options) for count in (33, 3))
    classes = [{"name": f"class {number}", "color": "#000000"} for number in range(33)]
    save_model(many, {"classes": classes}, tmp_path / "run" / "model.keras")
    begin_with_run(few, str(tmp_path / "run"), ("a", "b", "c"))
    assert "anew, for other classes: score_fc7, upsample_to_image" in capsys.readouterr().out
    kernels = [model.get_layer("fc7").get_weights()[0] for model in (many, few)]
    np.testing.assert_array_equal(*kernels)


@with_earlier
def test_a_run_of_another_network_or_width_is_refused(earlier, tmp_path):
    wider = unet.build_model(base_filters=4)
    with pytest.raises(UserError, match=r"width: its batch_norm\S* is \(2,\), here it is \(4,\)"):
        begin_with_run(wider, str(earlier.folder), ("a", "b", "c"))
    inputs = keras.Input((None, None, 3))
    other = keras.Model(inputs, u2net.rsu(inputs, "4F", 4, 8, 0.9))
    with pytest.raises(UserError, match=r"is of another network: only one has \w+$"):
        begin_with_run(other, str(earlier.folder), ("a", "b", "c"))
    with pytest.raises(UserError, match="There is no model"):
        begin_with_run(wider, str(tmp_path / "none.keras"), ("a", "b", "c"))
    with pytest.raises(UserError, match="neither none nor the folder of a run"):
        begin_with_run(wider, "imagenet", ("a", "b", "c"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("network", "third"), [*((network, "border") for network in NETWORKS), ("u2net", "outline")]
)
def test_each_script_goes_on_from_a_run(monkeypatch, tmp_path, capsys, pets, network, third):
    options = {
        "unet": {"base_filters": 4},
        "u2net": {"variant": "lite", "self_attention": True},
        "fcn": {"pretrained": "none", "fc_filters": 8},
    }
    earlier = importlib.import_module(NETWORKS[network][0]).build_model(**options[network])
    draw_weights(earlier)
    names = [{"name": name, "color": "#000000"} for name in ("pet", "background", third)]
    whole = keras.Model(earlier.input, keras.layers.Softmax()(earlier.outputs[0]))
    facts = {"image_size": 64, "fit": "resize", "classes": names, "value_range": None}
    save_model(whole, facts, tmp_path / "model.keras")
    left = without_training(monkeypatch, pets, network, "--pretrained", str(tmp_path))
    first, *others = left.fits
    model = first.model
    told = capsys.readouterr().out
    assert f"Begins with {tmp_path}" + ("\n" if third == "border" else "; anew, for") in told
    if network == "fcn":  # which is no longer random, so that its encoder stays for a stage
        (second,) = others
        encoder = {weight.path for weight in model.get_layer("vgg16").weights}
        assert not encoder & {*first.trainable}
        assert encoder & {*second.trainable}
        assert isinstance(second.optimizer, keras.optimizers.Adam)
    anew = set() if third == "border" else HEADS
    if network == "u2net":
        whole = first
        if anew:
            (whole,) = others
            assert {name.split("/")[0] for name in first.trainable} == anew
            assert_rises_to_and_falls_to_zero(first, 5e-3, epochs=3)
        assert_rises_to_and_falls_to_zero(whole, 2e-4, epochs=2)
        assert whole is left.fits[-1]
    for found, wanted in zip(model.weights, earlier.weights, strict=True):
        if "seed" not in wanted.path and wanted.path.split("/")[0] not in anew:
            np.testing.assert_array_equal(found, wanted)


@pytest.mark.slow
@with_folded
def test_u2net_begins_with_a_file_and_the_statistics_of_the_pictures(
    folded, monkeypatch, capsys, pets
):
    _, path = folded
    given = ["--pretrained", str(path), "--no-self-attention"]
    left = without_training(monkeypatch, pets, "u2net", *given)
    heads, whole = left.fits
    assert {name.split("/")[0] for name in heads.trainable} == HEADS
    assert_rises_to_and_falls_to_zero(heads, 5e-3, epochs=3)
    assert len(whole.trainable) == len(whole.model.weights) - 2 * 112  # moving mean and variance
    assert_rises_to_and_falls_to_zero(whole, 2e-4, epochs=2)
    assert isinstance(heads.optimizer, keras.optimizers.Adam)
    assert isinstance(whole.optimizer, common.Muon)
    (alone,) = without_training(monkeypatch, pets, "u2net", *given, "--head-epochs", "0").fits
    assert_rises_to_and_falls_to_zero(alone, 2e-4, epochs=2)
    model = whole.model
    assert f"Begins with {path}: all but the 7 heads, which are new\n" in capsys.readouterr().out
    ((kernel, bias), *_) = open_u2net(str(path), "lite")
    (first, *_) = layers_of(model, keras.layers.Conv2D)
    for found, wanted in zip(first.get_weights(), (kernel, bias), strict=True):
        np.testing.assert_array_equal(found, wanted)
    assert any(isinstance(layer, keras.layers.Normalization) for layer in model.layers)
    (norm, *_) = layers_of(model, keras.layers.BatchNormalization)
    features = keras.Model(model.input, norm.input)
    images = np.concatenate([batch for batch, _ in left.run.data.train.take(4)])
    wanted = features.predict_on_batch(images).mean((0, 1, 2))
    np.testing.assert_allclose(norm.moving_mean, wanted, atol=1e-4)


@pytest.mark.parametrize("self_attention", [False, True])
def test_what_the_published_file_does_not_have_begins_anew(monkeypatch, capsys, self_attention):
    for name in ("put_u2net", "open_u2net", "unfold"):
        monkeypatch.setattr(published_u2net, name, lambda *_: None)
    model = u2net.build_model(variant="lite", self_attention=self_attention)
    flags = SimpleNamespace(pretrained="published", variant="lite", self_attention=self_attention)
    new = published_u2net.begin_with_u2net(model, flags, SimpleNamespace(train=None))
    others = {"positions", "attention_norm", "attention"} if self_attention else set()
    assert {layer.name for layer in new} == HEADS | others
    told = capsys.readouterr().out
    assert ("all but the 7 heads and self-attention, which are new" in told) == self_attention


@pytest.mark.slow
@with_folded
def test_new_heads_learn_first_and_the_rest_stays_as_it_is_until_then(
    folded, monkeypatch, tmp_path, pets
):
    _, path = folded
    kept = []

    class Keep(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            kept.append([weight.numpy() for weight in self.model.weights])

        on_train_end = on_train_begin

    monkeypatch.setattr(common.Run, "callbacks", property(lambda run: [Keep()]), raising=False)
    monkeypatch.setattr(common.Run, "__init__", lambda *_: None)
    monkeypatch.setattr(common, "finish", lambda run, model, attention: kept.append(model))
    flags = ["--data-dir", str(pets), "--runs-dir", str(tmp_path), *SMALL, "--variant", "lite"]
    flags += ["--pretrained", str(path), "--head-epochs", "1", "--epochs", "1"]
    monkeypatch.setattr("sys.argv", ["U2Net-keras.py", *flags])
    u2net.main()
    before, heads, same, after, model = kept
    for weight, *values in zip(model.weights, before, heads, same, after, strict=True):
        is_head = weight.path.split("/")[0] in HEADS
        by_heads, between, by_all = (
            not np.array_equal(*some) for some in itertools.pairwise(values)
        )
        assert (by_heads, between) == (is_head, False), weight.path
        # Others may have no gradient: batch normalization takes its convolution's bias back.
        assert by_all or not weight.path.endswith("kernel"), weight.path


@pytest.mark.slow
@with_folded
def test_the_published_network_labels_a_photo_without_training(
    folded, tmp_path, monkeypatch, capsys
):
    _, path = folded
    md5 = hashlib.md5(path.read_bytes()).hexdigest()
    monkeypatch.setitem(published_u2net._FILES, "lite", ("u2netp.onnx", md5))
    monkeypatch.setenv("U2NET_HOME", str(path.parent))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "published").mkdir()  # a folder that has the name of the word
    Image.fromarray(draw_animal(np.random.default_rng(0))[0]).save("one.png")
    arguments = ["--variant", "lite", "--pretrained", "published", "--predict", "one.png"]
    monkeypatch.setattr("sys.argv", ["U2Net-keras.py", *arguments])
    u2net.main()
    assert "runs/published/u2net-lite/model.keras" in capsys.readouterr().out.replace(os.sep, "/")
    mask, photo = (Image.open(name) for name in ("predictions/one-mask.png", "one.png"))
    assert mask.size == photo.size
    assert set(np.unique(mask)) <= {0, 1}

    # The folder that it left can be trained from as a run, and is the published network still.
    model = u2net.build_model(variant="lite", normalize_input=True)
    flags = SimpleNamespace(pretrained="runs/published/u2net-lite", self_attention=False)
    pictures = tf.data.Dataset.from_tensors((IMAGES, IMAGES))
    data = SimpleNamespace(train=pictures, class_names=("pet", "background", "border"))
    new = published_u2net.begin_with_u2net(model, flags, data)
    assert {layer.name for layer in new} == HEADS
    norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    assert all(np.any(norm.moving_mean) for norm in norms)


def test_the_published_network_is_exported_and_not_the_newest_run(monkeypatch):
    """The script has to choose it before it looks for a run."""
    chosen = []
    monkeypatch.setattr(published_u2net, "use_published", lambda *given: chosen.append(given))
    monkeypatch.setattr(common, "use_trained_model", lambda network, flags: bool(chosen))
    arguments = ["--variant", "lite", "--pretrained", "published", "--export", "onnx"]
    monkeypatch.setattr("sys.argv", ["U2Net-keras.py", *arguments])
    u2net.main()
    ((build_model, flags),) = chosen
    assert build_model is u2net.build_model
    assert flags.pretrained == "published"


@pytest.mark.parametrize("normalize_input", [True, False])
def test_a_run_says_whether_its_network_normalizes_pictures(tmp_path, normalize_input):
    x = inputs = keras.Input((None, None, 3))
    if normalize_input:
        x = keras.layers.Normalization(mean=[0.5] * 3, variance=[0.1] * 3)(inputs)
    model = keras.Model(inputs, keras.layers.Conv2D(2, 1, name="scores")(x))
    facts = {"image_size": 64, "fit": "resize", "classes": [], "value_range": None}
    save_model(model, facts, tmp_path / "model.keras")
    assert published_u2net.is_normalized(str(tmp_path)) == normalize_input
    assert not published_u2net.is_normalized("none")
    assert published_u2net.is_normalized("published")


@pytest.mark.slow
def test_fcn_goes_on_from_a_run_without_normalization_in_its_encoder(tmp_path):
    """As with ImageNet's weights. With it: see above."""
    fcn = importlib.import_module("FCN-keras")
    path = str(tmp_path / "vgg16.weights.h5")
    keras.applications.VGG16(include_top=False, weights=None).save_weights(path)
    options = {"fc_filters": 8, "num_classes": 2}
    earlier = fcn.build_model(pretrained=path, **options)
    names = [{"name": name, "color": "#000000"} for name in ("a", "b")]
    whole = keras.Model(earlier.input, keras.layers.Softmax()(earlier.output))
    facts = {"image_size": 64, "fit": "resize", "classes": names, "value_range": None}
    save_model(whole, facts, tmp_path / "model.keras")
    model = fcn.build_model(pretrained=str(tmp_path), **options)
    begin_with_run(model, str(tmp_path), ("a", "b"))
    assert model.count_params() == earlier.count_params()
    for weight, wanted in zip(model.get_weights(), earlier.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, wanted)


def test_downloads_are_looked_for_where_keras_keeps_them(monkeypatch):
    monkeypatch.delenv("KERAS_HOME", raising=False)
    assert keras_cache() == Path.home() / ".keras" / "models"
    monkeypatch.setenv("KERAS_HOME", "~/other")
    assert keras_cache() == Path.home() / "other" / "models"


def test_what_an_earlier_run_had_adapted_counts_in_the_next(tmp_path):
    def build():
        inputs = keras.Input((None, None, 3))
        x = keras.layers.Normalization(name="adapted")(inputs)
        return keras.Model(inputs, keras.layers.Conv2D(2, 1, name="scores")(x))

    earlier, model = build(), build()
    random = np.random.default_rng(0)
    earlier.get_layer("adapted").adapt(random.normal(3, 2, (50, 8, 8, 3)))
    save_model(earlier, {"classes": [{"name": "a"}, {"name": "b"}]}, tmp_path / "model.keras")
    begin_with_run(model, str(tmp_path / "model.keras"), ("a", "b"))
    images = random.random((1, 8, 8, 3), np.float32)
    np.testing.assert_allclose(model(images), earlier(images), atol=1e-5)


def test_weights_that_are_there_need_no_network(monkeypatch, tmp_path):
    def no_network(url):
        raise ConnectionError("no network")

    (tmp_path / "models").mkdir()
    (tmp_path / "models" / weights._FILE).touch()
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setattr(weights, "check_network", no_network)
    monkeypatch.setattr(keras.applications, "VGG16", lambda **given: given["weights"])
    assert weights.open_vgg16("imagenet") == ("imagenet", False)


def test_rembg_keeps_its_files_in_u2net(monkeypatch, tmp_path):
    monkeypatch.delenv("U2NET_HOME", raising=False)
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(tmp_path))
    (tmp_path / ".u2net").mkdir()
    path = tmp_path / ".u2net" / "u2netp.onnx"
    path.write_bytes(b"weights")
    md5 = hashlib.md5(b"weights").hexdigest()
    monkeypatch.setitem(published_u2net._FILES, "lite", ("u2netp.onnx", md5))
    monkeypatch.setattr(published_u2net, "check_network", None)  # nobody asks for one
    assert published_u2net._download("lite") == path


def test_several_processes_are_refused_whose_statistics_would_differ(monkeypatch):
    monkeypatch.setattr(distributed, "_process", SimpleNamespace(count=2, number=0))
    with pytest.raises(UserError, match="--pretrained published takes one process"):
        unfold(None, None)


def test_a_run_to_begin_with_is_told_by_its_model(tmp_path):
    path = tmp_path / "model.keras"
    path.write_bytes(b"weights")
    stamp = weights.weights_stamp(str(tmp_path))
    assert stamp == weights.weights_stamp(str(path)) is not None
    path.write_bytes(b"others")
    assert weights.weights_stamp(str(tmp_path)) != stamp


def test_the_published_files_are_those_of_rembg():
    """Their MD5, as rembg's own code has them (rembg/sessions/u2net.py and u2netp.py)."""
    assert published_u2net._FILES == {
        "full": ("u2net.onnx", "60024c5c889badc19c04ad937298a77b"),
        "lite": ("u2netp.onnx", "8e83ca70e441ab06c318d82300c84806"),
    }
