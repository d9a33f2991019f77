"""The frame around a script: a quiet import of TensorFlow, and errors told in a line or two."""

import builtins
import contextlib
import errno
import logging
import os
import platform
import signal
import sys
import traceback
import warnings

from support.runtime import flags
from support.runtime.details import error_output, quiet, write_details
from support.runtime.files import let_go

flags.answer_early()


# TensorFlow and JAX read these when they are imported.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # errors only
os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")  # not all of the GPU's memory at once
if platform.machine() in ("x86_64", "AMD64"):
    # oneDNN makes steps up to a third faster, and TensorFlow itself turns it on only on newer CPUs.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
for _name in ("absl", "urllib3"):
    logging.getLogger(_name).setLevel(logging.ERROR)
warnings.filterwarnings("ignore", message="Explicitly requested dtype int64")  # Keras on JAX
warnings.filterwarnings("ignore", message="`shuffle=True` was passed")  # pictures come shuffled
_backend = os.environ.get("KERAS_BACKEND", "").strip()  # cmd keeps a blank: set NAME=jax && ...
os.environ["KERAS_BACKEND"] = _backend  # empty is as good as not there
if _backend not in ("", "tensorflow", "jax", "torch"):
    raise ImportError(f"KERAS_BACKEND={_backend} cannot train: it may be tensorflow, jax or torch")
try:
    with quiet(2):  # TensorFlow greets with a page that no log level holds back
        from support.runtime import devices  # looks for a GPU, about which it is loud, too

        import keras
        import matplotlib
        import tensorflow as tf
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        f"{error.name} is not installed: pip install {error.name}, or -r requirements.txt"
    ) from None

# Keras' progress bar on a terminal, a line an epoch in a file.
VERBOSE = 1 if sys.stdout is not None and sys.stdout.isatty() else 2


class UserError(SystemExit):
    """Something that the user can mend. Python prints it without a traceback and exits with 1."""


def reason(error):
    """The first line of what an error says, or its kind if it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def use_known_defaults():
    """Overrule the user's keras.json and matplotlibrc: pictures are float32 (N, H, W, 3) here."""
    keras.config.set_image_data_format("channels_last")
    keras.config.set_floatx("float32")
    keras.config.set_epsilon(1e-7)
    # Names may have a $ or an underscore.
    matplotlib.rcParams |= {"figure.dpi": 120, "text.parse_math": False, "text.usetex": False}
    if devices.ON_CPU:  # rewriting graphs takes a fifth of U2-Net's first step and gains nothing
        tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})


_WHY = {
    errno.ENOSPC: "The disk is full. ",
    errno.EFBIG: "Files may not be as large here. ",
    errno.ENOENT: "Was a folder deleted? ",
    errno.EROFS: "The disk takes no more files. ",
}


def launch(main):
    """Run a script's `main`, with a line or two in place of a traceback for what is no bug.

    That is: Ctrl-C, being told to end (SIGTERM), files that cannot be read or written, too little
    memory, and another process that has ended.
    """
    go_on = "The same command, given again, goes on after the last finished epoch."
    smaller = "a smaller --batch-size, --image-size or network"
    asked = {argument.partition("=")[0] for argument in sys.argv}
    if "--predict" in asked:
        go_on = "The same command, given again, labels the photos that have no mask yet."
        smaller = "fewer or smaller photos, or a --model trained on a smaller --image-size"
    if "--export" in asked:
        smaller = "a --model trained on a smaller --image-size"
    if asked & {"--export", "--overwrite"}:
        go_on = "The same command, given again, begins anew."

    def stop(number, frame):
        with contextlib.suppress(Exception):  # it may have been interrupted while printing
            sys.stdout.flush()
        with contextlib.suppress(OSError):  # nobody listens
            os.write(error_output(), f"\nStopped. {go_on}\n".encode())
        os._exit(128 + number)  # as shells count; and at once: a download would be waited for

    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError):  # None, or that of a notebook or IDLE
            stream.reconfigure(errors="replace")  # a folder's name may not fit into the code page
    if not hasattr(builtins, "__IPYTHON__"):  # a notebook outlives what it runs
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, stop)
    use_known_defaults()
    try:
        _explain_errors(main, go_on, smaller)
    except BaseException as error:
        if isinstance(error, UserError) and error.__cause__:
            error.code = f"{error.code} ({write_details(error)})"
        if _has_peers():
            _exit_at_once(error)
        raise
    finally:
        let_go()


def _has_peers():
    """Whether the environment names other processes to train with, as `distributed` reads it."""
    return os.environ.get("KERAS_DISTRIBUTION_NUM_PROCESSES", "").strip() not in ("", "1")


def _explain_errors(main, go_on, smaller):
    try:
        main()
    except OSError as error:
        why = _WHY.get(error.errno, "")
        raise UserError(f"{error}\n{why}{go_on}") from error
    except Exception as error:
        disk_full = os.strerror(errno.ENOSPC)
        if disk_full in str(error):  # to TensorFlow that, too, is an exhausted resource
            raise UserError(f"{disk_full}\n{_WHY[errno.ENOSPC]}{go_on}") from error
        full = isinstance(error, MemoryError | tf.errors.ResourceExhaustedError)
        signs = ("RESOURCE_EXHAUSTED", "out of memory", "DefaultCPUAllocator")  # this of PyTorch
        if full or any(sign in str(error) for sign in signs):
            raise UserError(f"Out of memory on {devices.device()}. Try {smaller}.") from error
        broken = type(error).__name__ == "JaxRuntimeError" or "Gloo" in str(error)
        if broken and _has_peers():
            raise UserError(f"{reason(error)}\nHas another process ended? {go_on}") from error
        raise


def _exit_at_once(error):
    """End without JAX's shutdown, in which this process and the others would wait in vain."""
    status = 1
    if not isinstance(error, SystemExit):
        traceback.print_exception(error)
    elif isinstance(error.code, int | None):
        status = error.code or 0
    else:
        print(error.code, file=sys.stderr)
    for stream in filter(None, (sys.stdout, sys.stderr)):
        stream.flush()
    os._exit(status)
