"""The optimizer of all three networks against Keras' own and against linear algebra."""

import importlib

import common
from support.training import muon
from support.training.muon import orthogonal

import keras
import numpy as np
import pytest
from keras import ops

SMALLEST = {"Unet-keras": {"base_filters": 8}, "U2Net-keras": {"variant": "lite"}}
SMALLEST["FCN-keras"] = {"pretrained": "none", "fc_filters": 8}
HOW = 5, 3.4445, -4.7750, 2.0315
PLAIN = getattr(orthogonal, "python_function", orthogonal)  # nothing is kept from another trace


@pytest.mark.parametrize("on_cpu", [True, False])
@pytest.mark.parametrize("shape", [(144, 16), (16, 200), (64, 64)])
def test_singular_vectors_stay_and_singular_values_come_close_to_one(shape, on_cpu, monkeypatch):
    monkeypatch.setattr(muon, "ON_CPU", on_cpu)
    rng = np.random.default_rng(0)
    matrix = rng.normal(size=shape).astype(np.float32)
    matrix[:3] *= 100  # a few directions of large gradients
    found = ops.convert_to_numpy(PLAIN(ops.convert_to_tensor(matrix), *HOW))
    left, values, right = np.linalg.svd(matrix, full_matrices=False)
    assert values[0] > 30 * values[-1]
    changed = left.T @ found @ right.T
    np.testing.assert_allclose(changed, np.diag(np.diag(changed)), atol=1e-3)
    # The smallest would take more than five steps.
    large = np.diag(changed)[values > np.linalg.norm(values) / 300]
    assert len(large) > len(values) / 2
    assert large.min() > 0.65
    assert large.max() < 1.25


def test_short_floats_do_as_well():
    """TF32, in which GPUs multiply, has 10 bits behind the point: rounding must not grow."""
    rng = np.random.default_rng(4)
    skewed = np.outer(rng.normal(size=576), rng.normal(size=64)) + 0.03 * rng.normal(size=(576, 64))

    def product(one, other):
        short = [np.asarray(x, np.float32).view(np.uint32) & 0xFFFFE000 for x in (one, other)]
        return np.matmul(*(x.astype(np.uint32).view(np.float32) for x in short))

    class Short(np.ndarray):
        def __matmul__(self, other):
            return product(np.asarray(self), np.asarray(other)).view(Short)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(muon, "ON_CPU", False)
        for name in ("transpose", "eye", "trace", "sqrt"):
            numpy_one = getattr(np, name)
            patch.setattr(
                muon.ops, name, lambda *a, f=numpy_one, **o: np.asarray(f(*a, **o)).view(Short)
            )
        found = PLAIN(skewed.astype(np.float32).view(Short), *HOW)
    assert np.linalg.svd(np.asarray(found), compute_uv=False).max() < 1.3


def test_a_dense_kernel_moves_as_with_the_muon_of_keras():
    rng = np.random.default_rng(1)
    kernel = rng.normal(size=(3, 3, 8, 16)).astype(np.float32)
    gradients = [rng.normal(size=kernel.shape).astype(np.float32) for _ in range(3)]
    ours, theirs = keras.Variable(kernel), keras.Variable(kernel.reshape(-1, 16))
    optimizers = common.Muon(0.01), keras.optimizers.Muon(0.01, weight_decay=0.0)
    for gradient in gradients:
        optimizers[0].apply([ops.convert_to_tensor(gradient)], [ours])
        optimizers[1].apply([ops.convert_to_tensor(gradient.reshape(-1, 16))], [theirs])
    moved = ops.convert_to_numpy(theirs).reshape(kernel.shape)
    np.testing.assert_allclose(ops.convert_to_numpy(ours), moved, atol=1e-6)
    assert np.abs(moved - kernel).min() > 0


@pytest.mark.parametrize(
    ("script", "layers"),
    [
        ("Unet-keras", 1),
        ("FCN-keras", 6),
        pytest.param("U2Net-keras", 7, marks=pytest.mark.slow),
    ],
)
def test_what_puts_out_the_classes_is_left_to_adam(script, layers):
    """However many they are. Adam's first step is as large for each weight: the rate."""
    model = importlib.import_module(script).build_model(num_classes=12, **SMALLEST[script])
    weights = [one for one in model.trainable_variables if one.shape[-1] == 12]
    before = [ops.convert_to_numpy(one) for one in weights]
    rng = np.random.default_rng(5)
    gradients = [np.float32(rng.choice([-1, 1], one.shape)) for one in weights]
    common.Muon(0.02).apply([ops.convert_to_tensor(one) for one in gradients], weights)
    moved = [
        np.abs(now - then)
        for now, then in zip(map(ops.convert_to_numpy, weights), before, strict=True)
    ]
    classes = [one for one in moved if one.ndim == 4 and one.shape[-1] == 12]
    assert len(classes) == layers
    for one in classes:
        np.testing.assert_allclose(one, 0.002, rtol=1e-3)


def test_wide_kernels_are_several_matrices():
    rng = np.random.default_rng(3)
    gradient = rng.normal(size=(3, 3, 8, 600)).astype(np.float32)
    whole = keras.Variable(np.zeros_like(gradient))
    parts = [keras.Variable(np.zeros((3, 3, 8, 200), np.float32)) for _ in range(3)]
    common.Muon(0.01).apply([ops.convert_to_tensor(gradient)], [whole])
    thirds = [ops.convert_to_tensor(one) for one in np.split(gradient, 3, axis=-1)]
    common.Muon(0.01).apply(thirds, parts)
    wanted = np.concatenate([ops.convert_to_numpy(one) for one in parts], axis=-1)
    np.testing.assert_allclose(ops.convert_to_numpy(whole), wanted, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(
    "shape", [(16,), (3, 3, 3, 16), (3, 3, 7, 16), (1, 1, 16, 3), (3, 3, 16, 7), (16, 16)]
)
def test_all_but_kernels_of_many_channels_move_as_with_adam(shape):
    rng = np.random.default_rng(2)
    start = rng.normal(size=shape).astype(np.float32)
    one, other = keras.Variable(start), keras.Variable(start)
    muon, adam = common.Muon(0.02), keras.optimizers.Adam(0.002)
    for _ in range(3):
        gradient = ops.convert_to_tensor(rng.normal(size=shape).astype(np.float32))
        muon.apply([gradient], [one])
        adam.apply([gradient], [other])
    np.testing.assert_allclose(
        ops.convert_to_numpy(one), ops.convert_to_numpy(other), rtol=1e-5, atol=1e-7
    )


def test_a_kernel_of_256_channels_is_one_matrix():
    gradient = np.random.default_rng(3).normal(size=(1, 1, 64, 256)).astype(np.float32)
    ours, theirs = keras.Variable(0 * gradient), keras.Variable(0 * gradient[0, 0])
    common.Muon(0.01).apply([ops.convert_to_tensor(gradient)], [ours])
    other = keras.optimizers.Muon(0.01, weight_decay=0.0)
    other.apply([ops.convert_to_tensor(gradient[0, 0])], [theirs])
    found, wanted = map(ops.convert_to_numpy, (ours, theirs))
    np.testing.assert_allclose(found[0, 0], wanted, atol=1e-5)
