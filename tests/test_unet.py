"""U-Net against what is published about it."""

import importlib

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

unet = importlib.import_module("Unet-keras")


def convolution(size, inputs, outputs, bias):
    return size * size * inputs * outputs + bias * outputs


def published_parameters(widths, classes):
    """Counted from Fig. 1: two 3x3 convolutions a block, 2x2 up-convolutions, 1x1 at the end.

    Batch normalization has 4 numbers a channel and stands in for the biases of the 3x3.
    """
    total, inputs = 0, 3
    for width in widths:
        total += convolution(3, inputs, width, 0) + convolution(3, width, width, 0) + 8 * width
        inputs = width
    for width in widths[-2::-1]:
        total += convolution(2, 2 * width, width, 1)
        total += convolution(3, 2 * width, width, 0) + convolution(3, width, width, 0) + 8 * width
    return total + convolution(1, widths[0], classes, 1)


def test_default_has_the_31_million_weights_of_the_paper():
    model = unet.build_model()
    assert model.count_params() == published_parameters([64, 128, 256, 512, 1024], 3)
    assert round(model.count_params() / 1e6, 1) == 31.0


@pytest.mark.parametrize("size", [32, 48, 144])
def test_output_has_the_size_of_the_input(size):
    model = unet.build_model(image_size=size, base_filters=2, num_classes=5)
    assert model.output_shape == (None, size, size, 5)
    image = np.random.default_rng(0).random((2, size, size, 3), np.float32)
    logits = model(image).numpy()
    assert logits.dtype == np.float32
    assert logits.min() < 0 < logits.max()


def test_every_convolution_of_a_block_has_its_relu():
    """Without them the network would be a single convolution, and nearly as many tests pass."""
    model = unet.build_model(base_filters=2)
    relus = [one for one in model.layers if isinstance(one, keras.layers.ReLU)]
    assert len(relus) == 2 * 9
    for relu in relus:
        norm = relu.input._keras_history.operation
        assert isinstance(norm, keras.layers.BatchNormalization)
        assert isinstance(norm.input._keras_history.operation, keras.layers.Conv2D)


def test_every_weight_gets_a_gradient():
    model = unet.build_model(image_size=32, base_filters=4, dropout=0.0)
    rng = np.random.default_rng(0)
    image = tf.constant(rng.random((2, 32, 32, 3), np.float32))
    weighting = tf.constant(rng.random((2, 32, 32, 3), np.float32))
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(weighting * model(image, training=True))
    gradients = tape.gradient(loss, [weight.value for weight in model.trainable_weights])
    for weight, gradient in zip(model.trainable_weights, gradients, strict=True):
        assert gradient is not None, weight.path
        assert np.abs(gradient).max() > 0, weight.path


def test_skip_connections_carry_detail_past_the_bottom():
    """With the bottom cut off, a change of one pixel still shows at that pixel, and only near."""
    model = unet.build_model(image_size=64, base_filters=4)
    (bottom,) = (layer for layer in model.layers if layer.__class__.__name__ == "Dropout")
    above = bottom.output._keras_history.operation._outbound_nodes[0].operation
    assert above.__class__.__name__ == "Conv2DTranspose"
    above.set_weights([np.zeros_like(weight) for weight in above.get_weights()])
    image = np.full((1, 64, 64, 3), 0.5, np.float32)
    changed = image.copy()
    changed[0, 32, 32] = 1
    difference = np.abs(model(changed) - model(image)).sum(-1)[0]
    assert difference[32, 32] > 0
    assert difference[32, 32] > 3 * difference[:8].max()


def test_main_trains_what_the_flags_ask_for(monkeypatch, pets):
    flags = ["--base-filters", "3", "--dropout", "0.25", "--batch-norm-momentum", "0.7"]
    flags += ["--learning-rate", "0.01", "--epochs", "5", "--image-size", "32"]
    left = without_training(monkeypatch, pets, "unet", *flags)
    (fit,) = left.fits
    (first, *_), kinds = fit.model.layers[1:], keras.layers
    # Any sides, whatever it trains on.
    assert fit.model.input_shape == fit.model.output_shape == (None, None, None, 3)
    assert fit.batches.element_spec[0].shape[1:] == (32, 32, 3)
    assert first.filters == 3
    made = {
        kind: [one for one in fit.model.layers if isinstance(one, kind)]
        for kind in (kinds.Dropout, kinds.BatchNormalization)
    }
    assert [one.rate for one in made[kinds.Dropout]] == [0.25]
    assert {one.momentum for one in made[kinds.BatchNormalization]} == {0.7}
    assert_rises_to_and_falls_to_zero(fit, 0.01, epochs=5)
    assert isinstance(fit.optimizer, common.Muon)
    assert len(fit.trainable) == len(fit.model.trainable_weights) > 0
    assert left.run.network == "unet"
    assert left.finished == (fit.model, None)
    # The loss, and the metric that the run looks at.
    mask, (guess,) = random_batch()
    loss, metrics = loss_and_metrics(fit.model, mask, guess)
    assert loss == pytest.approx(float(np.mean(common.segmentation_loss(mask, guess))), rel=1e-5)
    assert metrics["mean_iou"] == pytest.approx(mean_iou_of(mask, guess))
    assert fit.validation is left.run.data.validation


def test_main_builds_for_the_classes_of_the_data(monkeypatch, pets, tmp_path):
    own_pictures(tmp_path, classes=2)
    (fit, *_) = without_training(monkeypatch, pets, "unet", "--dataset", str(tmp_path)).fits
    assert fit.model.output_shape[-1] == 2


def test_convolutions_begin_with_he_normal_weights():
    model = unet.build_model(base_filters=16)
    kernels = [one.kernel for one in model.layers if type(one) is keras.layers.Conv2D]
    for kernel in kernels[1:-1]:  # of thousands of weights each; the last puts out scores
        wanted = np.sqrt(2 / np.prod(kernel.shape[:3]))
        np.testing.assert_allclose(np.std(kernel), wanted, rtol=0.1)
