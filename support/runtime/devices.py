"""The hardware that Keras computes on, and in which precision."""

import atexit
import contextlib
import functools
import os
import shutil
import subprocess

import keras
import numpy as np
import tensorflow as tf

BACKEND = keras.backend.backend()
if BACKEND != "tensorflow":
    tf.config.set_visible_devices([], "GPU")  # TensorFlow only feeds pictures then

# XLA speeds a step up on a GPU and slows it down on a CPU. The other backends decide themselves.
ON_CPU = BACKEND == "tensorflow" and not tf.config.get_visible_devices("GPU")
JIT_COMPILE = False if ON_CPU else "auto"
if ON_CPU:  # It rewrites the graph for seconds (a fifth of U2-Net's first step) and gains nothing.
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})

PRECISIONS = ["auto", "float32", "mixed_bfloat16", "mixed_float16"]


@functools.cache
def accelerators():
    """GPUs and TPUs that Keras computes on: list of (name, abilities).

    The latter is NVIDIA's compute capability, such as 8.0; infinite for TPUs, 0 for others.
    """
    if BACKEND == "jax":
        import jax

        found = [one for one in jax.devices() if one.platform != "cpu"]
        named = [
            (one.device_kind, getattr(one, "compute_capability", one.platform)) for one in found
        ]
    elif BACKEND == "torch":
        import torch

        numbers = range(torch.cuda.device_count())
        named = [
            (torch.cuda.get_device_name(n), torch.cuda.get_device_capability(n)) for n in numbers
        ]
        if torch.backends.mps.is_available():
            named = [("Apple GPU", "")]
    else:
        gpus = tf.config.get_visible_devices("GPU")
        named = [
            (one.get("device_name", "GPU"), one.get("compute_capability", ()))
            for one in map(tf.config.experimental.get_device_details, gpus)
        ]
    return [(name, _number(abilities)) for name, abilities in named]


def _number(abilities):
    if abilities == "tpu":
        return float("inf")
    with contextlib.suppress(ValueError):
        return float(abilities if isinstance(abilities, str) else ".".join(map(str, abilities)))
    return 0.0


def device():
    """The hardware in words, whatever the number of its pieces."""
    kinds = dict.fromkeys(name for name, _ in accelerators())
    return ", ".join(kinds) or f"CPU with {os.cpu_count()} cores"


@functools.cache
def device_count():
    """How many devices train together, over all processes: GPUs or TPUs if there are any."""
    if BACKEND == "jax":
        import jax

        return jax.device_count()
    if BACKEND == "torch":
        return 1  # Keras' PyTorch trainer knows no more
    return len(_tensorflow_devices())


def _tensorflow_devices():
    found = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    return [one.name for one in found]


def use_all():
    """Let what is built from now on train on all devices, each of which takes its share of a batch.

    Every device has a copy of the weights. With JAX, a batch is one whole in all else, too; with
    TensorFlow, batch normalization and Dice loss see a device's share of it.
    """
    if device_count() > 1 and BACKEND == "jax":
        # Pictures come as this process's share of the batch, not as the whole.
        everywhere = keras.distribution.DataParallel(auto_shard_dataset=False)
        keras.distribution.set_distribution(everywhere)
    elif device_count() > 1:
        scope = tf.distribute.MirroredStrategy(_tensorflow_devices()).scope()
        scope.__enter__()
        atexit.register(scope.__exit__, None, None, None)  # which also keeps it from being freed


def use_own():
    """Let what is built from now on run on this process's devices alone, without the others."""
    if BACKEND == "jax" and keras.distribution.distribution():
        import jax

        own = [f"{one.platform}:{one.id}" for one in jax.local_devices()]
        parallel = keras.distribution.DataParallel(devices=own, auto_shard_dataset=False)
        keras.distribution.set_distribution(parallel if len(own) > 1 else None)


def predict(model, images):
    """`model.predict_on_batch`, spread over all devices that this process can use alone."""
    if BACKEND == "jax" and (spread := keras.distribution.distribution()):
        count = spread.device_mesh.devices.size
    else:
        count = device_count() if BACKEND == "tensorflow" else 1
    if count == 1:
        return model.predict_on_batch(images)
    missing = -len(images) % count
    filled = np.concatenate([images, np.repeat(images[-1:], missing, axis=0)])
    answers = model.predict(filled, batch_size=len(filled), verbose=0)
    return keras.tree.map_structure(lambda one: one[: len(images)], answers)


def facts():
    """What of the hardware decides the last bits of a result: dict for JSON."""
    facts = {"device": device(), "precision": keras.config.dtype_policy().name}
    # With JAX their number does not matter: a run goes on with more or fewer.
    return facts | ({"devices": device_count()} if BACKEND == "tensorflow" else {})


def print_facts():
    """Say on what the training runs, and what is there and not used."""
    count = f"{device_count()} x " if device_count() > 1 else ""
    precision = keras.config.dtype_policy().name
    print(f"Device: {count}{device()}, Keras {keras.__version__} on {BACKEND}, {precision}")
    if problem := unused_gpu():
        print(problem)


def choose_precision(wanted):
    """Make Keras compute in a precision, one of `PRECISIONS`, and keep weights in float32.

    Of a mixed precision, convolutions gain where the hardware has units for it: bfloat16 on TPUs
    and NVIDIA GPUs from compute capability 8.0, float16, whose small range takes loss scaling,
    from 7.0. `auto` takes what all devices have. On CPUs that is float32.

    Micikevicius et al. 2018, "Mixed Precision Training", arXiv:1710.03740.
    """
    if wanted == "auto":
        least = min((abilities for _, abilities in accelerators()), default=0)
        wanted = "mixed_bfloat16" if least >= 8 else "mixed_float16" if least >= 7 else "float32"
    keras.config.set_dtype_policy(wanted)


def unused_gpu():
    """A line that says so if a GPU is in the machine and Keras does not use it, else ""."""
    if (there := len(accelerators())) > device_count():
        return f"Keras on {BACKEND} uses 1 of {there} GPUs. On TensorFlow or JAX it uses all."
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES", "all") in ("", "-1")
    if accelerators() or hidden or not shutil.which("nvidia-smi"):
        return ""
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        asked = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=10)
        if asked.returncode == 0 and asked.stdout.startswith("GPU"):
            return (
                f"{asked.stdout.splitlines()[0].split(' (')[0]} is in this machine, but Keras on "
                f"{BACKEND} cannot use it: see GPUs in README.md"
            )
    return ""
