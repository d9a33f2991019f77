"""U2-Net against the paper's numbers."""

import importlib
import math

import common

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import (
    assert_rises_to_and_falls_to_zero,
    loss_and_metrics,
    mean_iou_of,
    own_pictures,
    random_batch,
    without_training,
)

u2net = importlib.import_module("U2Net-keras")


def trainable(model):
    return sum(math.prod(weight.shape) for weight in model.trainable_weights)


@pytest.fixture(scope="module")
def attending():
    """The lite variant with self-attention, of four classes."""
    keras.utils.set_random_seed(0)
    return u2net.build_model(variant="lite", num_classes=4, self_attention=True)


with_attending = pytest.mark.xdist_group("u2net, attending")  # so that one worker builds it once


@pytest.fixture(scope="module")
def lite():
    """The lite variant, of three classes. Nobody may care which weights it has."""
    return u2net.build_model(variant="lite", self_attention=False, normalize_input=True)


with_lite = pytest.mark.xdist_group("u2net, lite")  # so that one worker builds it once


@pytest.mark.slow
@pytest.mark.parametrize(("variant", "count"), [("full", 44_009_869), ("lite", 1_131_181)])
def test_without_attention_it_has_the_published_number_of_weights(variant, count):
    """Of one class; of three, see below."""
    model = u2net.build_model(variant=variant, num_classes=1, self_attention=False)
    assert trainable(model) == count


# Table 1 of the paper: how many 3x3 convolutions a stage has (the input convolution included), and
# its input, middle and output channels.
STAGES = {
    "full": [
        *[(14, 3, 32, 64), (12, 64, 32, 128), (10, 128, 64, 256), (8, 256, 128, 512)],
        *[(8, 512, 256, 512), (8, 512, 256, 512)],
        *[(8, 1024, 256, 512), (8, 1024, 128, 256), (10, 512, 64, 128), (12, 256, 32, 64)],
        (14, 128, 16, 64),
    ],
    "lite": [(14, 3, 16, 64)]
    + [(count, 64, 16, 64) for count in (12, 10, 8, 8, 8)]
    + [(count, 128, 16, 64) for count in (8, 8, 10, 12, 14)],
}


@with_lite
@pytest.mark.parametrize(
    ("variant", "count"),
    [pytest.param("full", 44_037_579, marks=pytest.mark.slow), ("lite", 1_138_155)],
)
def test_channels_stage_by_stage_in_the_order_of_the_paper(lite, variant, count):
    """Layers as they were made: stages En_1 to En_6, De_5 to De_1, sides 1 to 6, fusion."""
    model = lite if variant == "lite" else u2net.build_model(variant=variant, self_attention=False)
    assert trainable(model) == count
    # Keras numbers layers as they are made; model.layers is sorted by the graph instead.
    convolutions = [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    stages = [layer for layer in convolutions if not layer.name.startswith("scores")]
    stages.sort(key=lambda layer: int(layer.name.removeprefix("conv2d").strip("_") or 0))
    scores = [model.get_layer(f"scores_{number}") for number in range(1, 7)]
    made = [*stages, *scores, model.get_layer("scores")]
    assert len(made) == len(convolutions)
    shapes = [tuple(layer.kernel.shape[2:]) for layer in made]
    wanted = []
    for count, inputs, middle, outputs in STAGES[variant]:
        down = count // 2 - 1  # convolutions on the way down, after the input convolution
        wanted += [(inputs, outputs), (outputs, middle)] + [(middle, middle)] * down
        wanted += [(2 * middle, middle)] * (down - 1) + [(2 * middle, outputs)]
    sides = [64, 64, 128, 256, 512, 512] if variant == "full" else [64] * 6
    wanted += [(channels, 3) for channels in sides] + [(18, 3)]
    assert shapes == wanted
    assert [layer.kernel.shape[0] for layer in made] == [3] * (len(made) - 1) + [1]


def test_rsu_4f_dilates_and_the_others_pool():
    inputs = keras.Input((32, 32, 8))
    dilated = keras.Model(inputs, u2net.rsu(inputs, "4F", 4, 8, 0.9))
    pooled = keras.Model(inputs, u2net.rsu(inputs, 4, 4, 8, 0.9))

    def dilations(model):
        return [
            layer.dilation_rate[0]
            for layer in model.layers
            if isinstance(layer, keras.layers.Conv2D)
        ]

    assert dilations(dilated) == [1, 1, 2, 4, 8, 4, 2, 1]
    assert dilations(pooled) == [1, 1, 1, 1, 2, 1, 1, 1]
    kinds = [layer.__class__.__name__ for layer in dilated.layers]
    assert not {"MaxPooling2D", "UpSampling2D"} & set(kinds)
    assert sum(layer.__class__.__name__ == "MaxPooling2D" for layer in pooled.layers) == 2
    assert dilated.output_shape == pooled.output_shape == (None, 32, 32, 8)


@pytest.mark.slow
@with_attending
@pytest.mark.parametrize("size", [64, 96])
def test_seven_outputs_of_the_size_of_the_input(attending, size):
    images = np.random.default_rng(0).random((1, size, size, 3), np.float32)
    outputs = attending(images)
    assert len(outputs) == 7
    for output in outputs:
        assert output.shape == (1, size, size, 4)
        assert np.min(output) < 0 < np.max(output)


@pytest.mark.slow
def test_attention_lets_far_places_see_each_other():
    """What one corner of En_4's features is, the opposite corner learns from attention alone."""
    inputs = keras.Input((16, 16, 16))
    model = keras.Model(inputs, u2net.attend(inputs))
    features = np.random.default_rng(0).random((1, 16, 16, 16), np.float32)
    changed = features.copy()
    changed[:, :2, :2] += np.random.default_rng(1).random((1, 2, 2, 16), np.float32)
    before, after = (model.predict_on_batch(one) for one in (features, changed))
    assert np.abs(after - before)[:, -1, -1].max() > 1e-5


@pytest.mark.slow
@with_attending
def test_attention_scores_sum_to_one(attending):
    scores = keras.Model(attending.inputs, attending.get_layer("attention").output[1])
    found = scores(np.random.default_rng(0).random((1, 64, 64, 3), np.float32)).numpy()
    assert found.shape == (1, 4, 8, 8, 4, 4)  # from each of 8 x 8 positions to 4 x 4 pooled ones
    np.testing.assert_allclose(found.sum(axis=(-2, -1)), 1, rtol=1e-5)


@pytest.mark.slow
@with_attending
def test_every_weight_gets_a_gradient(attending):
    model = attending
    rng = np.random.default_rng(0)
    images = rng.random((2, 64, 64, 3), np.float32)
    masks = rng.integers(0, 4, (2, 64, 64, 1), np.uint8)
    with tf.GradientTape() as tape:
        outputs = model(images, training=True)
        loss = sum(tf.reduce_mean(common.segmentation_loss(masks, one)) for one in outputs)
    variables = [weight.value for weight in model.trainable_weights]
    for weight, gradient in zip(
        model.trainable_weights, tape.gradient(loss, variables), strict=True
    ):
        assert gradient is not None, weight.path
        assert np.abs(gradient).max() > 0, weight.path


def test_loss_is_the_sum_of_fused_and_sides_of_which_each_picture_has_its_own(monkeypatch):
    masks, guesses = random_batch(outputs=7)
    masks[0, :9] = common.VOID
    each = [np.array(common.segmentation_loss(masks, guess)) for guess in guesses]
    made = []
    one_hot = common.one_hot
    monkeypatch.setattr(common, "one_hot", lambda *given: made.append(0) or one_hot(*given))
    loss = u2net.deep_supervision(masks, np.concatenate(guesses, axis=-1))
    np.testing.assert_allclose(loss, sum(each), rtol=1e-5)
    assert len(made) == 1  # for all seven outputs


@pytest.mark.parametrize("depth", [7, 4, "4F"])
def test_the_r_of_rsu_is_a_residual(depth):
    """With the last convolution silenced, what went into the U comes out of it."""
    inputs = keras.Input((64, 64, 3))
    model = keras.Model(inputs, u2net.rsu(inputs, depth, 4, 6, 0.9))
    norms = [one for one in model.layers if isinstance(one, keras.layers.BatchNormalization)]
    last = max(norms, key=lambda layer: int(layer.name.rpartition("_")[2]))
    gamma, beta, mean, variance = last.get_weights()
    last.set_weights([0 * gamma, 0 * beta, mean, variance])
    relu = next(one for one in model.layers if isinstance(one, keras.layers.ReLU))
    images = np.random.default_rng(0).random((1, 64, 64, 3), np.float32)
    wanted = keras.Model(inputs, relu.output).predict_on_batch(images)
    np.testing.assert_allclose(model.predict_on_batch(images), wanted, atol=1e-6)
    assert wanted.max() > 0


@pytest.mark.slow
def test_main_trains_all_seven_outputs_and_keeps_the_best_by_the_fused_one(monkeypatch, pets):
    flags = ["--epochs", "5", "--learning-rate", "0.01"]
    left = without_training(monkeypatch, pets, "u2net", *flags)
    (fit,) = left.fits
    model, attention = left.finished
    mask, guesses = random_batch(outputs=7)
    each = [float(np.mean(common.segmentation_loss(mask, guess))) for guess in guesses]
    loss, metrics = loss_and_metrics(fit.model, mask, np.concatenate(guesses, axis=-1))
    assert loss == pytest.approx(sum(each), rel=1e-5)
    assert metrics["mean_iou"] == pytest.approx(mean_iou_of(mask, guesses[0]))
    images, _ = next(iter(fit.batches))
    joined = np.concatenate(model(images), axis=-1)
    np.testing.assert_allclose(fit.model(images), joined, rtol=1e-5, atol=1e-5)
    assert_rises_to_and_falls_to_zero(fit, 0.01, epochs=5)
    assert isinstance(fit.optimizer, common.Muon)
    assert left.run.network == "u2net"
    assert attention is model.get_layer("attention").output[1]


@pytest.mark.slow
def test_main_builds_what_flags_and_data_ask_for(monkeypatch, tmp_path):
    own_pictures(tmp_path, classes=2)
    flags = ["--dataset", str(tmp_path), "--runs-dir", str(tmp_path.parent / "runs")]
    flags += ["--no-self-attention", "--batch-norm-momentum", "0.7", "--image-size", "96"]
    left = without_training(monkeypatch, tmp_path, "u2net", *flags)
    (fit,) = left.fits
    model, attention = left.finished
    assert fit.model.name == model.name == "u2net-lite"
    assert model.input_shape == (None, None, None, 3)  # any sides, whatever it trains on
    assert fit.batches.element_spec[0].shape[1:] == (96, 96, 3)
    assert {shape[-1] for shape in model.output_shape} == {2}
    assert trainable(model) == 1_134_662  # between those of one class and of three
    norms = [one for one in model.layers if isinstance(one, keras.layers.BatchNormalization)]
    assert {one.momentum for one in norms} == {0.7}
    assert attention is None


@with_lite
def test_the_first_output_is_the_fusion_and_the_others_the_sides_in_their_order(lite):
    model = lite
    names = ["scores", *(f"scores_{number}" for number in range(1, 7))]
    for number, name in enumerate(names):
        kernel, _ = model.get_layer(name).get_weights()
        model.get_layer(name).set_weights([0 * kernel, np.float32([1, 2, 3]) + number])
    for number, logits in enumerate(model(np.zeros((1, 32, 32, 3), np.float32))):
        wanted = np.broadcast_to(np.float32([1, 2, 3]) + number, logits.shape)
        np.testing.assert_allclose(logits, wanted, rtol=1e-6)


@with_lite
def test_what_comes_from_below_stands_before_what_was_skipped(lite):
    """As in the published code, whose weights would fit the other order, too, and mean nothing."""
    model = lite

    def made(tensor):
        """The number of the ReLU whose features these are: layers are numbered as they are made."""
        layer = tensor._keras_history.operation
        while not isinstance(layer, keras.layers.ReLU):
            if isinstance(layer, keras.layers.Add):  # of a residual, whose own number is lower
                tensor, _ = layer.input
            else:
                tensor = layer.input
            layer = tensor._keras_history.operation
        return int(layer.name.rpartition("_")[2] if "_" in layer.name[3:] else 0)

    joined = [one for one in model.layers if isinstance(one, keras.layers.Concatenate)]
    pairs = [one.input for one in joined if len(one.input) == 2]
    depths = [7, 6, 5, 4, 4, 4, 4, 4, 5, 6, 7]  # of RSU-4F, too, there are three in a block
    assert len(pairs) == sum(depth - 1 for depth in depths) + 5
    for below, skipped in pairs:
        assert made(below) > made(skipped)
    (fusion,) = (one.input for one in joined if len(one.input) == 6)
    for number, tensor in enumerate(fusion, start=1):
        operation = tensor._keras_history.operation
        if number > 1:
            operation = operation.input._keras_history.operation
        assert operation.name == f"scores_{number}"


def test_upsampling_is_bilinear_with_half_pixel_centers():
    found = u2net.upsample(np.float32([0, 1]).reshape(1, 1, 2, 1))
    np.testing.assert_allclose(found[0, ..., 0], 2 * [[0, 0.25, 0.75, 1]], atol=1e-6)


@with_lite
def test_pictures_are_normalized_by_the_mean_and_deviation_of_imagenet(lite):
    """As torchvision's models, from which the published weights' training has the numbers."""
    (layer,) = (one for one in lite.layers if isinstance(one, keras.layers.Normalization))
    assert layer.name.startswith("normalization")  # by which the next run knows it
    pixel = np.float32([0.485 + 0.229, 0.456, 0.406 - 0.225]).reshape(1, 1, 1, 3)
    np.testing.assert_allclose(layer(pixel)[0, 0, 0], [1, 0, -1], atol=1e-5)


def test_attention_adds_to_the_features_and_tells_places_apart():
    inputs = keras.Input((16, 16, 16))
    model = keras.Model(inputs, u2net.attend(inputs))
    same = np.broadcast_to(np.random.default_rng(0).random(16, np.float32), (1, 16, 16, 16))
    found = model(same).numpy()[0]
    assert np.abs(found[0, 0] - found[8, 8]).max() > 1e-3  # the corner, whose neighbours are zeros
    for name in ("positions", "attention"):
        layer = model.get_layer(name)
        layer.set_weights([np.zeros_like(weight) for weight in layer.get_weights()])
    np.testing.assert_allclose(model(same), same, atol=1e-6)


def test_attention_does_not_depend_on_the_size_of_the_features():
    inputs = keras.Input((16, 16, 16))
    model = keras.Model(inputs, u2net.attend(inputs))
    scores = keras.Model(inputs, model.get_layer("attention").output[1])
    features = np.random.default_rng(0).random((1, 16, 16, 16), np.float32)
    found, larger = (scores.predict_on_batch(size * features) for size in (1, 10))
    np.testing.assert_allclose(larger, found, rtol=0.1)


@with_lite
def test_every_halving_is_max_pooling(lite):
    model = lite
    kinds = [type(layer).__name__ for layer in model.layers]
    inside = 2 * (5 + 4 + 3 + 2)  # RSU-7 to RSU-4, on the way down and up; RSU-4F has none
    assert kinds.count("MaxPooling2D") == inside + 5
    assert not isinstance(model.layers[-1], keras.layers.AveragePooling2D)
    assert "AveragePooling2D" not in kinds


@pytest.mark.slow
@with_attending
def test_both_ways_from_en_4_lead_through_attention(attending):
    (gathered, *_) = attending.get_layer("attention")._outbound_nodes
    after = {node.operation for node in gathered.operation._outbound_nodes}
    assert {type(one) for one in after} == {keras.layers.MaxPooling2D, keras.layers.Concatenate}


@with_lite
def test_batch_normalization_has_the_epsilon_of_the_published_code(lite):
    norms = [one for one in lite.layers if isinstance(one, keras.layers.BatchNormalization)]
    assert {one.epsilon for one in norms} == {1e-5}


def test_the_heads_of_attention_share_the_channels():
    """As in the paper: queries, keys, values and what is put out have 16 x 16 weights each."""
    inputs = keras.Input((16, 16, 16))
    model = keras.Model(inputs, u2net.attend(inputs))
    assert model.get_layer("attention").count_params() == 4 * (16 * 16 + 16)
