"""The hardware that Keras computes on."""

import os

import keras
import tensorflow as tf

if keras.backend.backend() != "tensorflow":
    tf.config.set_visible_devices([], "GPU")  # TensorFlow only feeds pictures then
ON_GPU = bool(tf.config.get_visible_devices("GPU"))

# XLA speeds a step up on a GPU and slows it down on a CPU. The other backends decide themselves.
JIT_COMPILE = "auto" if ON_GPU or keras.backend.backend() != "tensorflow" else False


def device():
    """The hardware in words."""
    names = keras.distribution.list_devices() if keras.backend.backend() == "jax" else []
    for gpu in tf.config.list_physical_devices("GPU") if ON_GPU else []:
        names.append(tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name))
    return ", ".join(names) or f"CPU with {os.cpu_count()} cores"
