"""A model without batch normalization puts out what it did with it."""

import importlib

import common  # noqa: F401  (first: it quiets TensorFlow's import)
from support.inference.fold_batch_norm import fold_batch_norm
from support.inference.model_file import in_float32, load_model, save_model

import keras
import numpy as np
import pytest
from keras import layers, ops

NETWORKS = {  # how it is built, and how many normalizations are left: FCN has them behind ReLUs
    "Unet-keras": ({"base_filters": 8}, 0),
    "U2Net-keras": ({"variant": "lite", "self_attention": True, "normalize_input": True}, 0),
    "FCN-keras": ({"pretrained": "none", "fc_filters": 16}, 16),
}


def norms(model):
    found = (layer for layer in model._flatten_layers())
    return [layer for layer in found if type(layer) is layers.BatchNormalization]


def with_random_weights(model):
    random = np.random.default_rng(0)
    for layer in model._flatten_layers(include_self=False, recursive=True):
        if type(layer) is layers.BatchNormalization:
            layer.set_weights([random.uniform(0.5, 2, w.shape) for w in layer.get_weights()])
        elif "score" in layer.name and not isinstance(layer, keras.Model):
            layer.set_weights([random.normal(0, 0.1, w.shape) for w in layer.get_weights()])
    return model


def assert_same(model, side=64):
    folded = fold_batch_norm(model)
    images = np.random.default_rng(1).random((2, side, side + 32, 3), np.float32)
    wanted, found = (np.array(one(images)) for one in (model, folded))
    assert np.ptp(wanted) > 0.1
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5 * abs(wanted).max())
    return folded


@pytest.mark.parametrize(
    "script", ["Unet-keras", "FCN-keras", pytest.param("U2Net-keras", marks=pytest.mark.slow)]
)
def test_a_network_puts_out_the_same_without_its_batch_normalization(script):
    options, left = NETWORKS[script]
    model = with_random_weights(
        importlib.import_module(script).build_model(num_classes=3, **options)
    )
    before = [weights.copy() for weights in model.get_weights()]
    folded = assert_same(keras.Model(model.input, model.outputs[0]))
    assert len(norms(model)) > left or script == "FCN-keras"
    assert len(norms(folded)) == left
    assert all(map(np.array_equal, model.get_weights(), before))  # the model itself stays


def built(convolution, norm, second_use=False):
    inputs = keras.Input((None, None, 3))
    features = convolution(inputs)
    x = norm(features)
    x = layers.Add()([x, features]) if second_use else x
    return with_random_weights(keras.Model(inputs, layers.Conv2D(2, 1, name="scores")(x)))


@pytest.mark.parametrize(
    ("convolution", "norm"),
    [
        ({"use_bias": False}, {}),
        ({"bias_initializer": "ones"}, {"scale": False}),
        ({"strides": 2}, {"center": False}),
        ({"dilation_rate": 2}, {"epsilon": 0.1}),
        ({"padding": "valid"}, {"renorm": True}),
    ],
    ids=str,
)
def test_a_normalization_of_any_kind_goes_into_its_convolution(convolution, norm):
    convolution = layers.Conv2D(4, 3, **{"padding": "same"} | convolution)
    folded = assert_same(built(convolution, layers.BatchNormalization(**norm)))
    assert not norms(folded)


@pytest.mark.parametrize("kind", ["relu", "second use", "other layer", "other axis"])
def test_a_normalization_that_cannot_go_stays(kind):
    convolution = layers.Conv2D(4, 3, padding="same", activation="relu" if kind == "relu" else None)
    norm = layers.BatchNormalization()
    if kind == "other layer":
        convolution = layers.DepthwiseConv2D(3, padding="same")
    if kind == "other axis":
        inputs = keras.Input((64, 96, 3))
        norm = layers.BatchNormalization(axis=1)
        scores = layers.Conv2D(2, 1, name="scores")(norm(convolution(inputs)))
        model = with_random_weights(keras.Model(inputs, scores))
    else:
        model = built(convolution, norm, second_use=kind == "second use")
    assert len(norms(assert_same(model))) == 1


def test_a_normalization_that_is_used_twice_stays():
    inputs, norm = keras.Input((None, None, 3)), layers.BatchNormalization()
    branches = [norm(layers.Conv2D(4, 3, padding="same")(inputs)) for _ in range(2)]
    scores = layers.Conv2D(2, 1, name="scores")(layers.Concatenate()(branches))
    assert len(norms(assert_same(with_random_weights(keras.Model(inputs, scores))))) == 1


def test_layers_and_operations_of_other_kinds_stay_as_they_are():
    inputs = keras.Input((None, None, 3))
    x = layers.Conv2D(4, 3, padding="same")(inputs)
    x = layers.BatchNormalization()(inputs=x)
    x = ops.relu(x) + layers.SeparableConv2D(4, 3, padding="same")(x)
    x = layers.GroupNormalization(2)(layers.SpatialDropout2D(0.5)(x))
    inner = keras.Sequential([layers.Conv2D(4, 1), layers.BatchNormalization()])
    x = layers.Concatenate()([x * 2, inner(x[..., :4]), inner(x)])
    model = with_random_weights(keras.Model(inputs, layers.Conv2D(2, 1, name="scores")(x)))
    assert len(norms(assert_same(model))) == 1  # that of the model inside


def test_a_file_folds_as_the_model_did_and_an_adapted_layer_keeps_what_it_knows(tmp_path):
    adapted = layers.Normalization()
    adapted.adapt(np.random.default_rng(2).normal(3, 2, (50, 8, 8, 3)))
    inputs = keras.Input((None, None, 3))
    x = layers.Conv2D(4, 3, padding="same")(adapted(inputs))
    scores = layers.Conv2D(2, 1, name="scores")(layers.BatchNormalization()(x))
    model = with_random_weights(keras.Model(inputs, scores))
    save_model(model, {}, tmp_path / "model.keras")
    loaded, _ = load_model(tmp_path / "model.keras")
    assert not norms(assert_same(loaded))
    images = np.random.default_rng(3).random((2, 64, 64, 3), np.float32)
    found = [np.array(one(images)) for one in (fold_batch_norm(loaded), in_float32(model))]
    np.testing.assert_allclose(found, [np.array(model(images))] * 2, rtol=1e-4, atol=1e-4)
