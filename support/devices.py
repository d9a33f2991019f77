"""The hardware that Keras computes on, and in which precision."""

import contextlib
import functools
import os
import shutil
import subprocess

import keras
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
    """The hardware in words."""
    return ", ".join(name for name, _ in accelerators()) or f"CPU with {os.cpu_count()} cores"


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
    """A line that says so if a GPU is in the machine and Keras cannot use it, else ""."""
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
