"""Which hardware is found, and the precision that goes with it."""

import contextlib
import importlib
import subprocess
import sys
from types import SimpleNamespace

import common
from support.inference.model_file import in_float32
from support.runtime import devices
from support.runtime.flags import PRECISIONS

import keras
import numpy as np
import pytest
from conftest import random_batch, without_training

BUILDERS = {
    "Unet-keras": {"base_filters": 2},
    "U2Net-keras": {"variant": "lite", "self_attention": True},
}
BUILDERS["FCN-keras"] = {"pretrained": "none", "fc_filters": 4}


@pytest.fixture(autouse=True)
def float32_again():
    yield
    keras.config.set_dtype_policy("float32")


@pytest.fixture
def hardware(monkeypatch):
    """Called with (name, compute capability) of what there is said to be."""

    def have(*found):
        monkeypatch.setattr(devices, "accelerators", lambda: list(found))

    return have


@pytest.mark.parametrize(
    ("backend", "count", "precision"),
    [("tensorflow", 2, "float32"), ("tensorflow", 1, "mixed_float16"), ("jax", 2, "mixed_float16")],
)
def test_where_overflows_are_missed_float16_is_not_chosen(
    monkeypatch, hardware, backend, count, precision
):
    """Keras on TensorFlow looks for them on the first GPU alone, before it sums gradients."""
    hardware(*[("Tesla T4", 7.5)] * count)
    monkeypatch.setattr(devices, "BACKEND", backend)
    monkeypatch.setattr(devices, "device_count", lambda: count)
    try:
        devices.choose_precision("auto")
        assert keras.config.dtype_policy().name == precision
    finally:
        keras.config.set_dtype_policy("float32")


@pytest.mark.parametrize(
    ("found", "precision"),
    [
        ([], "float32"),
        ([("Tesla P100", 6.0)], "float32"),
        ([("Tesla V100", 7.0)], "mixed_float16"),
        ([("A100", 8.0)], "mixed_bfloat16"),
        ([("H100", 9.0)], "mixed_bfloat16"),
        ([("TPU v4", float("inf"))], "mixed_bfloat16"),
        ([("H100", 9.0), ("Tesla T4", 7.5)], "mixed_float16"),
        ([("Radeon", 0.0), ("H100", 9.0)], "float32"),
    ],
)
def test_auto_is_mixed_where_all_devices_have_it(hardware, found, precision):
    hardware(*found)
    common.set_up(SimpleNamespace(seed=1, precision="auto", batch_size=8))
    assert keras.config.dtype_policy().name == precision


@pytest.mark.parametrize("precision", PRECISIONS[1:])
def test_who_asks_for_a_precision_gets_it(hardware, precision):
    hardware(("H100", 9.0))
    common.set_up(SimpleNamespace(seed=1, precision=precision, batch_size=8))
    assert keras.config.dtype_policy().name == precision


@pytest.mark.parametrize(
    ("abilities", "number"),
    [("8.0", 8.0), ((7, 5), 7.5), ("tpu", float("inf")), ((), 0.0), ("gfx90a", 0.0), ("gpu", 0.0)],
)
def test_abilities_as_the_backends_tell_them(abilities, number):
    """JAX has text, PyTorch and TensorFlow pairs; AMD's names are no numbers."""
    assert devices._number(abilities) == number


@pytest.mark.parametrize(
    ("script", "precision"),
    [
        ("Unet-keras", "mixed_bfloat16"),
        ("Unet-keras", "mixed_float16"),
        pytest.param("U2Net-keras", "mixed_float16", marks=pytest.mark.slow),
        pytest.param("FCN-keras", "mixed_bfloat16", marks=pytest.mark.slow),
    ],
)
def test_a_mixed_network_ends_in_float32_and_is_saved_as_such(script, precision, tmp_path):
    """Convolutions compute in 16 bits; weights, probabilities and the saved model have 32."""
    keras.config.set_dtype_policy(precision)
    build = importlib.import_module(script).build_model
    mixed = build(**BUILDERS[script])
    convolutions = [one for one in mixed.layers if isinstance(one, keras.layers.Conv2D)]
    assert {one.compute_dtype for one in convolutions} == {precision.removeprefix("mixed_")}
    assert {weight.dtype for weight in mixed.trainable_weights} == {"float32"}
    assert {output.dtype for output in mixed.outputs} == {"float32"}

    keras.config.set_dtype_policy("float32")
    plain = in_float32(mixed)
    plain.save(tmp_path / "model.keras")
    plain = keras.models.load_model(tmp_path / "model.keras")
    assert {one.dtype_policy.name for one in plain.layers} == {"float32"}
    images = np.random.default_rng(0).random((1, 32, 32, 3), np.float32)
    exact, rounded = (keras.tree.flatten(one(images))[0].numpy() for one in (plain, mixed))
    assert exact.dtype == rounded.dtype == np.float32
    np.testing.assert_allclose(exact, rounded, atol=0.05)
    same = build(**BUILDERS[script])
    same.set_weights(mixed.get_weights())
    np.testing.assert_allclose(keras.tree.flatten(same(images))[0], exact, rtol=1e-5)


def test_mixed_float16_comes_with_loss_scaling(monkeypatch, pets):
    (fit,) = without_training(monkeypatch, pets, "unet", "--precision", "mixed_float16").fits
    assert isinstance(fit.optimizer, keras.optimizers.LossScaleOptimizer)
    mask, (guess,) = random_batch()
    assert fit.model.compute_loss(y=mask, y_pred=guess).dtype == "float32"


@pytest.mark.parametrize(
    ("printed", "status", "told"),
    [
        ("GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-1)\n", 0, "GPU 0: NVIDIA A100-SXM4-40GB is in"),
        ("No devices found.\n", 0, ""),
        ("NVIDIA-SMI has failed\n", 9, ""),
    ],
)
def test_a_gpu_that_cannot_be_used_is_told(monkeypatch, printed, status, told):
    answer = SimpleNamespace(stdout=printed, returncode=status)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: answer)
    assert devices.unused_gpu().startswith(told)
    assert bool(devices.unused_gpu()) == bool(told)
    with monkeypatch.context() as patch:
        patch.setenv("CUDA_VISIBLE_DEVICES", "-1")  # hidden on purpose
        assert devices.unused_gpu() == ""
    monkeypatch.setattr(devices, "accelerators", lambda: [("A100", 8.0)])
    monkeypatch.setattr(devices, "device_count", lambda: 1)
    assert devices.unused_gpu() == ""  # for it is used
    monkeypatch.setattr(devices, "accelerators", lambda: [("A100", 8.0)] * 2)
    assert "uses 1 of 2 GPUs" in devices.unused_gpu()


def test_every_device_takes_as_many_pictures_and_none_comes_back_twice(monkeypatch):
    given = []

    def predict(images, batch_size, verbose):
        given.append(len(images))
        return images

    monkeypatch.setattr(devices, "BACKEND", "tensorflow")
    monkeypatch.setattr(devices, "device_count", lambda: 4)
    images = np.random.default_rng(0).random((5, 2, 2, 3))
    found = devices.predict_batch(SimpleNamespace(predict=predict), images)
    np.testing.assert_array_equal(found, images)
    assert given == [8]


def test_with_tensorflow_all_devices_train(monkeypatch):
    used = []

    def strategy(names):
        used.extend(names)
        return SimpleNamespace(scope=contextlib.nullcontext)

    monkeypatch.setattr(devices, "BACKEND", "tensorflow")
    monkeypatch.setattr(devices, "device_count", lambda: 2)
    monkeypatch.setattr(devices, "_tensorflow_devices", lambda: ["/GPU:0", "/GPU:1"])
    monkeypatch.setattr(devices.tf.distribute, "MirroredStrategy", strategy)
    devices.use_all()
    assert used == ["/GPU:0", "/GPU:1"]


def test_without_a_driver_there_is_nothing_to_tell(monkeypatch):
    def missing(*_, **__):
        raise FileNotFoundError("nvidia-smi")

    monkeypatch.setattr(subprocess, "run", missing)
    assert devices.unused_gpu() == ""


def test_the_gpus_of_jax_are_found(monkeypatch):
    gpu = SimpleNamespace(device_kind="H100", compute_capability="9.0", platform="gpu")
    cpu = SimpleNamespace(device_kind="cpu", platform="cpu")
    monkeypatch.setitem(sys.modules, "jax", SimpleNamespace(devices=lambda: [gpu, cpu]))
    monkeypatch.setattr(devices, "BACKEND", "jax")
    assert devices.accelerators.__wrapped__() == [("H100", 9.0)]  # without the cache


def test_an_unused_gpu_is_printed_with_where_the_details_are(monkeypatch, capsys):
    monkeypatch.setattr(devices, "unused_gpu", lambda: "An A100 is in this machine")
    devices.print_facts()
    first, last = capsys.readouterr().out.splitlines()
    assert first.startswith(f"Device: {devices.device()}, Keras ")
    assert last.startswith("An A100 is in this machine; details: ")


def test_devices_of_a_kind_are_named_once(hardware):
    hardware(("H100", 9.0), ("H100", 9.0), ("T4", 7.5))
    assert devices.device() == "H100, T4"
    hardware()
    assert devices.device().startswith("CPU with ")


def test_gpus_go_before_the_cpu(monkeypatch):
    def named(kind):
        return [SimpleNamespace(name=f"/{kind}:{n}") for n in range(2 if kind == "GPU" else 1)]

    monkeypatch.setattr(devices.tf.config, "list_logical_devices", named)
    assert devices._tensorflow_devices() == ["/GPU:0", "/GPU:1"]


def test_the_gpus_of_tensorflow_are_found(monkeypatch):
    told = {"device_name": "A100", "compute_capability": (8, 0)}
    monkeypatch.setattr(devices, "BACKEND", "tensorflow")
    monkeypatch.setattr(devices.tf.config, "get_visible_devices", lambda kind: ["a GPU"])
    monkeypatch.setattr(devices.tf.config.experimental, "get_device_details", lambda gpu: told)
    assert devices.accelerators.__wrapped__() == [("A100", 8.0)]


def test_with_jax_the_number_of_devices_decides_nothing(monkeypatch, hardware):
    hardware(("H100", 9.0))
    monkeypatch.setattr(devices, "device_count", lambda: 4)
    for backend, more in (("jax", {}), ("tensorflow", {"devices": 4})):
        monkeypatch.setattr(devices, "BACKEND", backend)
        assert devices.facts() == {"device": "H100", "precision": "float32"} | more


@pytest.mark.slow
def test_the_outputs_of_a_mixed_u2net_are_joined_in_float32(monkeypatch, pets):
    (fit,) = without_training(monkeypatch, pets, "u2net", "--precision", "mixed_bfloat16").fits
    assert fit.model.get_layer("attention").compute_dtype == "bfloat16"
    assert fit.model.output.dtype == "float32"


def test_a_tpu_is_known_by_its_platform(monkeypatch):
    tpu = SimpleNamespace(device_kind="TPU v4", platform="tpu")
    monkeypatch.setitem(sys.modules, "jax", SimpleNamespace(devices=lambda: [tpu]))
    monkeypatch.setattr(devices, "BACKEND", "jax")
    assert devices.accelerators.__wrapped__() == [("TPU v4", float("inf"))]


@pytest.mark.parametrize("hidden", ["", "-1"])
def test_of_gpus_that_are_hidden_on_purpose_nothing_is_told(monkeypatch, hidden):
    answer = SimpleNamespace(stdout="GPU 0: NVIDIA A100 (UUID: GPU-1)\n", returncode=0)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: answer)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
    assert devices.unused_gpu() == ""


def test_the_second_run_of_a_notebook_has_the_strategy_of_the_first(monkeypatch):
    monkeypatch.setattr(devices, "BACKEND", "tensorflow")
    monkeypatch.setattr(devices, "device_count", lambda: 2)
    monkeypatch.setattr(devices.tf.distribute, "has_strategy", lambda: True)
    monkeypatch.setattr(devices.tf.distribute, "MirroredStrategy", None)  # nobody makes one
    devices.use_all()
