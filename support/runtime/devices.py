"""The hardware that Keras computes on, and the precision it computes in."""

import atexit
import contextlib
import functools
import os
import subprocess

from support.runtime.details import write_details

import keras
import numpy as np
import tensorflow as tf

BACKEND = keras.backend.backend()
if BACKEND != "tensorflow":
    tf.config.set_visible_devices([], "GPU")  # TensorFlow only feeds pictures then

ON_CPU = BACKEND == "tensorflow" and not tf.config.get_visible_devices("GPU")


@functools.cache
def accelerators():
    """The GPUs and TPUs in this process's reach: list of (name, capability).

    The capability of an NVIDIA GPU is its compute capability, such as 8.0. For TPUs it is
    infinite, for all others 0.
    """
    if BACKEND == "jax":
        import jax

        found = [d for d in jax.devices() if d.platform != "cpu"]
        named = [(d.device_kind, getattr(d, "compute_capability", d.platform)) for d in found]
    elif BACKEND == "torch":
        from torch import backends, cuda

        numbers = range(cuda.device_count())
        named = [(cuda.get_device_name(n), cuda.get_device_capability(n)) for n in numbers]
        if backends.mps.is_available():
            named = [("Apple GPU", "")]
    else:
        gpus = tf.config.get_visible_devices("GPU")
        told = map(tf.config.experimental.get_device_details, gpus)
        named = [(one.get("device_name", "GPU"), one.get("compute_capability", ())) for one in told]
    return [(name, _number(capability)) for name, capability in named]


def _number(capability):
    if capability == "tpu":
        return float("inf")
    with contextlib.suppress(ValueError):
        return float(capability if isinstance(capability, str) else ".".join(map(str, capability)))
    return 0.0


def device():
    """The hardware in words, however many devices there are of a kind."""
    kinds = dict.fromkeys(name for name, _ in accelerators())
    return ", ".join(kinds) or f"CPU with {os.cpu_count()} cores"


@functools.cache
def device_count():
    """How many devices train together, over all processes: GPUs or TPUs, else CPUs."""
    if BACKEND == "jax":
        import jax

        return jax.device_count()
    if BACKEND == "torch":
        return 1  # Keras' PyTorch trainer uses no more
    return len(_tensorflow_devices())


def _tensorflow_devices():
    found = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    return [logical.name for logical in found]


def use_all():
    """Train what is built from now on data-parallel on all devices.

    Every device has a copy of the weights and takes its share of each batch. With JAX, batch
    normalization and Dice loss still see the whole batch; with TensorFlow, a device's share.
    """
    if device_count() > 1 and BACKEND == "jax":
        # The dataset yields this process's share of the batch already.
        parallel = keras.distribution.DataParallel(auto_shard_dataset=False)
        keras.distribution.set_distribution(parallel)
    elif device_count() > 1 and not tf.distribute.has_strategy():  # a notebook's second run has it
        scope = tf.distribute.MirroredStrategy(_tensorflow_devices()).scope()
        scope.__enter__()
        atexit.register(scope.__exit__, None, None, None)  # which also keeps it from being freed


def use_local():
    """Run what is built from now on without the other processes, on this one's own devices."""
    if keras.distribution.distribution():  # which `use_all` has set for JAX alone
        import jax

        local = [f"{found.platform}:{found.id}" for found in jax.local_devices()]
        parallel = keras.distribution.DataParallel(devices=local, auto_shard_dataset=False)
        keras.distribution.set_distribution(parallel if len(local) > 1 else None)


def predict_batch(model, images):
    """`model.predict_on_batch`, (N, H, W, 3) to (N, H, W, C), on all devices of this process."""
    if parallel := keras.distribution.distribution():
        count = parallel.device_mesh.devices.size
    else:
        count = device_count() if BACKEND == "tensorflow" else 1
    if count == 1:
        return model.predict_on_batch(images)
    missing = -len(images) % count  # every device takes as many
    filled = np.concatenate([images, np.repeat(images[-1:], missing, axis=0)])
    return model.predict(filled, batch_size=len(filled), verbose=0)[: len(images)]


def facts():
    """What about the hardware decides the last bits of a result: dict for JSON."""
    facts = {"device": device(), "precision": keras.config.dtype_policy().name}
    # With JAX their number does not matter: a run goes on with more or fewer.
    return facts | ({"devices": device_count()} if BACKEND == "tensorflow" else {})


def print_facts():
    """Print what the training runs on, and which GPUs it leaves unused and why."""
    count = f"{device_count()} x " if device_count() > 1 else ""
    precision = keras.config.dtype_policy().name
    print(f"Device: {count}{device()}, Keras {keras.__version__} on {BACKEND}, {precision}")
    if problem := unused_gpu():
        print(f"{problem}; {write_details()}")


def choose_precision(wanted):
    """Make Keras compute in a precision, one of `flags.PRECISIONS`; weights stay float32.

    Mixed precision speeds convolutions up where the hardware has units for it: bfloat16 on TPUs
    and on NVIDIA GPUs from compute capability 8.0; float16, whose small range needs loss scaling,
    from 7.0. `auto` takes what all devices have, which on CPUs is float32.

    Micikevicius et al. 2018, "Mixed Precision Training", arXiv:1710.03740.
    """
    if wanted == "auto":
        least = min((capability for _, capability in accelerators()), default=0)
        # Of several devices of TensorFlow, Keras 3.15 asks the first alone for an overflow.
        bears_float16 = least >= 7 and (BACKEND != "tensorflow" or device_count() == 1)
        narrow = "mixed_float16" if bears_float16 else "float32"
        wanted = "mixed_bfloat16" if least >= 8 else narrow
    keras.config.set_dtype_policy(wanted)


def unused_gpu():
    """A line that names a GPU in this machine that Keras does not use; "" if there is none."""
    if (there := len(accelerators())) > device_count():
        return f"Keras on {BACKEND} uses 1 of {there} GPUs. On TensorFlow or JAX it uses all."
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES", "all") in ("", "-1")
    if accelerators() or hidden:
        return ""
    with contextlib.suppress(OSError, subprocess.SubprocessError):  # there may be no driver
        asked = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=10)
        if asked.stdout.startswith("GPU"):
            return (
                f"{asked.stdout.splitlines()[0].split(' (')[0]} is in this machine, but Keras on "
                f"{BACKEND} cannot use it: see docs/machines.md"
            )
    return ""
