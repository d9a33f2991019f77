"""The kernel does what Keras' own composition does."""

from support.training import batch_norm

import keras
import numpy as np
import pytest
import tensorflow as tf


def trained(call, monkeypatch, shape, **options):
    """Outputs, gradients and statistics of a layer after two batches."""
    monkeypatch.setattr(keras.layers.BatchNormalization, "call", call)
    rng = np.random.default_rng(0)
    layer = keras.layers.BatchNormalization(momentum=0.7, epsilon=0.5, **options)
    layer.build(shape)
    layer.gamma.assign(rng.uniform(0.5, 2, shape[-1]))
    layer.beta.assign(rng.normal(size=shape[-1]))
    found = []
    for scale in (1, 30):
        x = tf.constant(rng.normal(3, scale, shape), tf.float32)
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x, training=True)
            loss = tf.reduce_sum(y * tf.sin(x))
        found += [y, *tape.gradient(loss, [x, *(one.value for one in layer.trainable_weights)])]
    found += [layer.moving_mean, layer.moving_variance, layer(x, training=False)]
    return [np.array(one) for one in found]


@pytest.mark.parametrize("shape", [(4, 9, 7, 5), (1, 3, 1, 2)])
def test_outputs_gradients_and_statistics_are_those_of_keras(monkeypatch, shape):
    ours = trained(batch_norm._call, monkeypatch, shape)
    keras_own = trained(batch_norm._composed, monkeypatch, shape)
    assert len(ours) == 11
    for one, other in zip(ours, keras_own, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4)


def test_the_average_of_the_variance_by_hand(monkeypatch):
    monkeypatch.setattr(keras.layers.BatchNormalization, "call", batch_norm._call)
    layer = keras.layers.BatchNormalization(momentum=0.9)
    layer(np.float32([[[[1], [3]]]]), training=True)  # mean 2, variance 1
    assert float(layer.moving_mean[0]) == pytest.approx(0.1 * 2)
    assert float(layer.moving_variance[0]) == pytest.approx(0.9 * 1 + 0.1 * 1)


def test_a_frozen_layer_and_other_shapes_are_left_to_keras(monkeypatch):
    def never(**_):
        raise AssertionError

    monkeypatch.setattr(tf.raw_ops, "FusedBatchNormV3", never)
    frozen = keras.layers.BatchNormalization(trainable=False)
    x = np.random.default_rng(0).normal(size=(2, 4, 4, 3)).astype(np.float32)
    np.testing.assert_allclose(frozen(x, training=True), x / np.sqrt(1.001), rtol=1e-5)
    flat = keras.layers.BatchNormalization()(x.reshape(8, 12), training=True)
    np.testing.assert_allclose(np.mean(flat, axis=0), 0, atol=1e-5)
    bare = keras.layers.BatchNormalization(scale=False)(x, training=True)
    np.testing.assert_allclose(np.mean(bare, axis=(0, 1, 2)), 0, atol=1e-5)


def test_training_takes_the_kernel_and_importing_changes_nothing(monkeypatch):
    layer = keras.layers.BatchNormalization
    assert layer.call is batch_norm._composed  # common is imported by now
    monkeypatch.setattr(layer, "call", layer.call)  # so that it is put back
    batch_norm.use_fused_kernel()
    assert layer.call is batch_norm._call
