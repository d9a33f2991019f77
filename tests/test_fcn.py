"""FCN against VGG-16, the paper, and plain bilinear upsampling."""

import importlib
import os
from types import SimpleNamespace

import common

import keras
import numpy as np
import pytest
from conftest import (
    assert_rises_to_and_falls_to_zero,
    loss_and_metrics,
    mean_iou_of,
    own_pictures,
    random_batch,
    without_training,
)

fcn = importlib.import_module("FCN-keras")

# VGG-16, configuration D: name, input and output channels of its 3x3 convolutions.
WIDTHS = [(64, 2), (128, 2), (256, 3), (512, 3), (512, 3)]


@pytest.fixture(scope="module")
def weights_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "vgg16.weights.h5"
    vgg16 = keras.applications.VGG16(include_top=False, weights=None)
    vgg16.save_weights(path)
    return SimpleNamespace(path=str(path), weights=vgg16.get_weights())


def encoder_layers(model):
    return [layer for layer in model.get_layer("vgg16").layers if layer.weights]


def decoder_layers(model):
    return [layer for layer in model.layers if layer.name not in ("to_vgg_input", "vgg16")]


def weights_of(layers):
    return [weight for layer in layers for weight in layer.get_weights()]


def small_model(pretrained="none", **more):
    return fcn.build_model(image_size=32, pretrained=pretrained, fc_filters=8, **more)


def test_the_encoder_is_vgg16(weights_file):
    model = small_model(weights_file.path)
    shapes, inputs = {}, 3
    for block, (width, count) in enumerate(WIDTHS, start=1):
        for number in range(1, count + 1):
            shapes[f"block{block}_conv{number}"] = [(3, 3, inputs, width), (width,)]
            inputs = width
    found = {layer.name: [tuple(w.shape) for w in layer.weights] for layer in encoder_layers(model)}
    assert found == shapes
    assert sum(weight.size for weight in weights_of(encoder_layers(model))) == 14_714_688


@pytest.mark.slow
def test_4096_channels_build_the_network_of_the_paper():
    """fc6 and fc7 have the weights of VGG-16's, 102,764,544 and 16,781,312."""
    model = fcn.build_model(image_size=64, pretrained="none", fc_filters=4096)
    assert model.get_layer("fc6").count_params() == 102_764_544
    assert model.get_layer("fc7").count_params() == 16_781_312
    assert 134.2e6 < model.count_params() < 134.4e6  # FCN-8s: 134 million (paper, table 1)


@pytest.mark.parametrize(("stride", "scores"), [(8, 3), (16, 2), (32, 1)])
def test_all_strides_build_and_give_the_size_of_the_input(stride, scores):
    model = fcn.build_model(pretrained="none", stride=stride, fc_filters=8, num_classes=4)
    assert sum(layer.name.startswith("score_") for layer in model.layers) == scores
    for size in (64, 160):
        image = np.random.default_rng(0).random((1, size, size, 3), np.float32)
        assert model(image).shape == (1, size, size, 4)


@pytest.mark.parametrize("factor", [2, 8, 16, 32])
def test_upsampling_starts_as_bilinear_interpolation(factor):
    inputs = keras.Input((9, 9, 3))
    model = keras.Model(inputs, fcn.upsample(inputs, factor, "up"))
    scores = np.random.default_rng(0).normal(size=(2, 9, 9, 3)).astype("float32")
    wanted = keras.ops.image.resize(scores, (9 * factor, 9 * factor), interpolation="bilinear")
    inside = slice(factor, -factor)
    np.testing.assert_allclose(
        model.predict_on_batch(scores)[:, inside, inside],
        keras.ops.convert_to_numpy(wanted)[:, inside, inside],
        atol=1e-5,
    )


@pytest.fixture(scope="module")
def small():
    keras.utils.set_random_seed(0)
    return small_model()


with_small = pytest.mark.xdist_group("fcn, small")  # so that one worker builds it once


@with_small
def test_preprocessing_in_the_model_is_keras_own(small):
    preprocessing = keras.Model(small.inputs, small.get_layer("to_vgg_input").output)
    image = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3)).astype("float32")
    wanted = keras.applications.vgg16.preprocess_input(image.copy())
    np.testing.assert_allclose(preprocessing(image / 255), wanted, atol=1e-3)


@with_small
def test_the_layers_that_were_fully_connected_have_their_relu(small):
    features = keras.Model(small.input, [small.get_layer(name).output for name in ("fc6", "fc7")])
    image = np.random.default_rng(0).random((1, 64, 64, 3), np.float32)
    for found in features(image[:, :32, :32]):
        assert np.min(found) == 0 < np.max(found)


@with_small
def test_the_first_prediction_is_undecided(small):
    """Score layers start at zero: every class is as likely, whatever VGG's features are."""
    image = np.random.default_rng(0).random((1, 32, 32, 3), np.float32)
    np.testing.assert_allclose(small(image), 0, atol=1e-6)


def test_many_classes_share_upsampling_in_groups_each_begins_as_bilinear():
    """Of 70 classes one convolution would have 4 x 4 x 70 x 70 weights."""
    inputs = keras.Input((5, 6, 70))
    model = keras.Model(inputs, fcn.upsample(inputs, 2, "up"))
    assert model.count_params() == 4 * 4 * (32**2 + 32**2 + 6**2)
    few = keras.Input((5, 6, 3))
    plain = keras.Model(few, fcn.upsample(few, 2, "up"))
    assert plain.count_params() == 4 * 4 * 3**2
    images = np.random.default_rng(0).random((1, 5, 6, 70), np.float32)
    found = model.predict_on_batch(images)
    for first in (0, 31, 67):
        wanted = plain.predict_on_batch(images[..., first : first + 3])
        np.testing.assert_allclose(found[..., first : first + 3], wanted, rtol=1e-5)


def batch(rng, count=4):
    image = rng.random((count, 32, 32, 3), np.float32)
    return image, rng.integers(0, 3, (count, 32, 32, 1), np.uint8)


def train(model, learning_rate=1e-3, steps=3):
    """A few steps; the loss of each."""
    optimizer = keras.optimizers.Adam(learning_rate)
    model.compile(optimizer, common.segmentation_loss, run_eagerly=True)
    images, masks = batch(np.random.default_rng(0))
    return [float(model.train_on_batch(images, masks)) for _ in range(steps)]


@pytest.mark.slow
def test_frozen_weights_stay_and_all_move_when_released():
    model = small_model(dropout=0.0)
    encoder, decoder = encoder_layers(model), decoder_layers(model)
    model.get_layer("vgg16").trainable = False
    before = weights_of(encoder), weights_of(decoder)
    train(model)
    for old, new in zip(before[0], weights_of(encoder), strict=True):
        np.testing.assert_array_equal(old, new)
    assert all((old != new).any() for old, new in zip(before[1], weights_of(decoder), strict=True))

    model.get_layer("vgg16").trainable = True
    before = weights_of(encoder + decoder)
    train(model)
    after = weights_of(encoder + decoder)
    assert all((old != new).any() for old, new in zip(before, after, strict=True))


@pytest.mark.slow
def test_features_in_the_hundreds_do_not_blow_up_the_first_steps(weights_file):
    """A random VGG-16, scaled so that its features are as large as the pretrained one's."""
    keras.utils.set_random_seed(1)
    model = small_model(weights_file.path, dropout=0.0)
    for layer in encoder_layers(model):
        kernel, bias = layer.get_weights()
        layer.set_weights([kernel * 1.6, bias])
    images, _ = batch(np.random.default_rng(0))
    to_pool3 = keras.Model(model.inputs, model.get_layer("pool3").input)
    # Without biases a network of ReLUs scales with any of its kernels.
    kernel, bias = encoder_layers(model)[0].get_weights()
    kernel *= 400 / to_pool3.predict_on_batch(images).max()
    encoder_layers(model)[0].set_weights([kernel, bias])
    assert to_pool3.predict_on_batch(images).max() == pytest.approx(400, rel=1e-3)
    model.get_layer("vgg16").trainable = False
    losses = train(model, steps=15)
    assert losses[0] == pytest.approx(np.log(3) + 2 / 3, abs=0.02)  # undecided between three
    assert max(losses) < losses[0] + 0.1
    assert losses[-1] < losses[0]


def test_from_nothing_the_size_of_kernels_does_not_matter():
    """Muon's updates enlarge kernels; without normalization 10 times would be 10^13 times here."""
    vgg16 = fcn.load_vgg16("none", batch_norm_momentum=0.8)
    images = np.random.default_rng(0).normal(0, 60, (2, 64, 64, 3)).astype(np.float32)
    convolutions = [one for one in vgg16.layers if isinstance(one, keras.layers.Conv2D)]
    features = []
    for _ in range(2):  # the first enlargement makes epsilon small beside the variances
        for layer in convolutions:
            layer.kernel.assign(10 * layer.kernel)
        pools = vgg16(images, training=True)
        features.append([keras.ops.convert_to_numpy(pool) for pool in pools])
    for smaller, larger in zip(*features, strict=True):
        assert np.abs(larger - smaller).mean() < 0.1 * smaller.std()
    norms = [one for one in vgg16.layers if isinstance(one, keras.layers.BatchNormalization)]
    assert len(convolutions) == len(norms) == 13
    assert {one.momentum for one in norms} == {0.8}
    assert len({float(one.kernel[0, 0, 0, 0]) for one in convolutions}) == 13  # drawn anew in each


def test_a_weights_file_is_loaded_and_used(weights_file):
    model = small_model(weights_file.path)
    for written, loaded in zip(
        weights_file.weights, weights_of(encoder_layers(model)), strict=True
    ):
        np.testing.assert_array_equal(written, loaded)


@pytest.mark.slow
def test_a_file_that_is_not_there_is_refused(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["FCN-keras.py", "--pretrained", "nowhere.h5"])
    with pytest.raises(SystemExit) as stopped:
        fcn.main()
    assert stopped.value.code == 2
    told = capsys.readouterr().err
    assert told.startswith("FCN-keras.py: --pretrained 'nowhere.h5' cannot work: must be")
    assert len(told.splitlines()) == 1


def test_a_file_that_holds_no_weights_is_named(tmp_path):
    path = tmp_path / "vgg16.weights.h5"
    path.write_bytes(b"no weights")
    with pytest.raises(common.UserError) as stopped:
        fcn.load_vgg16(str(path))
    assert str(path) in str(stopped.value)
    assert "--pretrained none" in str(stopped.value)


@pytest.mark.slow
def test_without_a_network_the_message_says_what_to_do(monkeypatch, tmp_path, pets):
    """An unreachable proxy stands in for the dead network."""
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    flags = ["--data-dir", str(pets), "--runs-dir", str(tmp_path / "runs"), "--image-size", "32"]
    monkeypatch.setattr("sys.argv", ["FCN-keras.py", *flags])
    with pytest.raises(common.UserError) as stopped:
        fcn.main()
    told = str(stopped.value)
    assert "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5" in told
    assert str(tmp_path / "keras" / "models") in told
    assert "--pretrained none" in told
    assert len(told.splitlines()) == 2
    assert not (tmp_path / "runs" / "fcn").exists()


@pytest.mark.slow
@pytest.mark.parametrize(("decoder", "fine_tune"), [(0, 1), (1, 0)])
def test_either_stage_may_be_left_out(monkeypatch, pets, decoder, fine_tune):
    flags = ["--decoder-epochs", str(decoder), "--fine-tune-epochs", str(fine_tune)]
    flags += ["--learning-rate", "0.01", "--fine-tune-learning-rate", "0.002"]
    left = without_training(monkeypatch, pets, "fcn", *flags)
    (fit,) = left.fits
    assert_rises_to_and_falls_to_zero(fit, 0.01 if decoder else 0.002, epochs=1)
    assert left.finished[0] is fit.model


@pytest.mark.slow
def test_leaving_out_both_stages_is_refused(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    flags = ["--decoder-epochs", "0", "--fine-tune-epochs", "0"]
    monkeypatch.setattr("sys.argv", ["FCN-keras.py", *flags])
    with pytest.raises(SystemExit) as stopped:
        fcn.main()
    assert stopped.value.code == 2
    assert "both 0" in capsys.readouterr().err
    assert os.listdir(tmp_path) == []


@pytest.mark.slow
def test_main_trains_the_decoder_first_and_then_all_of_it(monkeypatch, pets, weights_file):
    flags = ["--pretrained", weights_file.path, "--decoder-epochs", "3", "--learning-rate", "0.01"]
    flags += ["--fine-tune-epochs", "5", "--fine-tune-learning-rate", "0.002"]
    left = without_training(monkeypatch, pets, "fcn", *flags)
    decoder, all_of_it = left.fits
    model = decoder.model
    assert all_of_it.model is model
    encoder = {weight.path for layer in encoder_layers(model) for weight in layer.weights}
    assert len(encoder) == 26
    assert not encoder & set(decoder.trainable)
    assert set(all_of_it.trainable) == encoder | set(decoder.trainable)
    assert {path.split("/")[0] for path in decoder.trainable} == {
        *("pool3", "pool4", "pool5", "fc6", "fc7", "score_fc7", "score_pool4", "score_pool3"),
        *("upsample_fc7", "upsample_pool4", "upsample_to_image"),
    }
    assert_rises_to_and_falls_to_zero(decoder, 0.01, epochs=3)
    assert_rises_to_and_falls_to_zero(all_of_it, 0.002, epochs=5)
    assert {type(fit.optimizer) for fit in left.fits} == {keras.optimizers.Adam}
    assert left.finished == (model, None)
    assert left.run.network == "fcn"
    mask, (guess,) = random_batch()
    loss, metrics = loss_and_metrics(model, mask, guess)
    assert loss == pytest.approx(float(np.mean(common.segmentation_loss(mask, guess))), rel=1e-5)
    assert metrics["mean_iou"] == pytest.approx(mean_iou_of(mask, guess))


@pytest.mark.slow
def test_main_builds_what_flags_and_data_ask_for_and_from_nothing_it_learns_with_muon(
    monkeypatch, pets, tmp_path
):
    own_pictures(tmp_path, classes=2)
    flags = ["--dataset", str(tmp_path), "--image-size", "64", "--stride", "16"]
    flags += ["--fc-filters", "5", "--dropout", "0.25", "--batch-norm-momentum", "0.7"]
    fits = without_training(monkeypatch, pets, "fcn", *flags).fits
    fit = fits[0]
    model = fit.model
    assert {type(fit.optimizer) for fit in fits} == {common.Muon}
    encoder = {weight.path for one in encoder_layers(model) for weight in one.trainable_weights}
    assert all(encoder <= set(fit.trainable) for fit in fits)
    # Any sides, whatever it trains on.
    assert model.input_shape == (None, None, None, 3)
    assert model.output_shape == (None, None, None, 2)
    assert fit.batches.element_spec[0].shape[1:] == (64, 64, 3)
    assert model.name == "fcn-16s"
    assert [model.get_layer(name).filters for name in ("fc6", "fc7")] == [5, 5]
    dropouts = [one for one in model.layers if isinstance(one, keras.layers.Dropout)]
    assert [one.rate for one in dropouts] == [0.25, 0.25]
    assert {model.get_layer(name).momentum for name in ("pool4", "pool5")} == {0.7}
    norms = [one for one in encoder_layers(model) if hasattr(one, "momentum")]
    assert len(norms) == 13
    assert {one.momentum for one in norms} == {0.7}


def test_scores_of_all_depths_are_added():
    model = fcn.build_model(pretrained="none", fc_filters=8)
    for name, size in (("fc7", 1), ("pool4", 10), ("pool3", 100)):
        layer = model.get_layer(f"score_{name}")
        kernel, bias = layer.get_weights()
        layer.set_weights([kernel, bias + size])
    found = model(np.zeros((1, 128, 128, 3), np.float32))[0, 64, 64]  # far from any edge
    np.testing.assert_allclose(found, 111, rtol=1e-4)


@with_small
def test_dropout_is_of_what_the_layers_that_were_fully_connected_put_out(small):
    dropouts = [one for one in small.layers if isinstance(one, keras.layers.Dropout)]
    assert [one.input._keras_history.operation.name for one in dropouts] == ["fc6", "fc7"]
