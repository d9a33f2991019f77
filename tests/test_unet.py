"""U-Net against what is published about it."""

import importlib

import common

import numpy as np
import pytest
import tensorflow as tf

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
    probabilities = model.predict_on_batch(image)
    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities.sum(axis=-1), 1, rtol=1e-5)


def test_every_weight_gets_a_gradient():
    model = unet.build_model(image_size=32, base_filters=4, dropout=0.0)
    rng = np.random.default_rng(0)
    image = tf.constant(rng.random((2, 32, 32, 3), np.float32))
    weighting = tf.constant(rng.random((2, 32, 32, 3), np.float32))
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(weighting * tf.math.log(model(image, training=True)))
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
    difference = np.abs(model.predict_on_batch(changed) - model.predict_on_batch(image)).sum(-1)[0]
    assert difference[32, 32] > 0
    assert difference[32, 32] > 3 * difference[:8].max()


def test_main_trains_what_the_flags_say(fits):
    more = ["--base-filters", "3", "--dropout", "0.2", "--batch-norm-momentum", "0.7"]
    (fit,) = fits("unet", *more, "--learning-rate", "0.05", "--epochs", "7")
    assert fit.epochs == 7
    assert fit.peak == pytest.approx(0.05, rel=0.01)
    assert fit.last < 0.001
    assert len(fit.trainable) == len(fit.model.trainable_weights)
    assert fit.model.input_shape == (None, 64, 64, 3)
    kinds = {}
    for layer in fit.model.layers:
        kinds.setdefault(layer.__class__.__name__, []).append(layer)
    assert kinds["Conv2D"][0].filters == 3
    assert [layer.rate for layer in kinds["Dropout"]] == [0.2]
    assert {layer.momentum for layer in kinds["BatchNormalization"]} == {0.7}
    images, masks = next(iter(fit.pictures))
    loss = fit.model.evaluate(images, masks, verbose=0, return_dict=True)
    wanted = common.segmentation_loss(masks, fit.model.predict_on_batch(images))
    assert loss["loss"] == pytest.approx(float(np.mean(wanted)), rel=1e-4)
    assert 0 <= loss["mean_iou"] <= 1
    assert len(fit.validation_data) == 1
