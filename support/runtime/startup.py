"""The frame around a script: quiet imports, and one line in place of a traceback."""

import contextlib
import logging
import os
import re
import signal
import sys
import time
import warnings


def _tell(kind, error, traceback):
    """In place of `sys.excepthook`: quiet on Ctrl-C; a constant that the user removed is named."""
    if issubclass(kind, KeyboardInterrupt):  # `launch` had not begun, so there is nothing to tell
        os._exit(128 + signal.SIGINT)
    if issubclass(kind, NameError) and error.name and error.name.isupper():
        while traceback.tb_next:
            traceback = traceback.tb_next
        where = f"{traceback.tb_frame.f_code.co_filename}, line {traceback.tb_lineno}"
        print(f"{where} needs the constant {error.name}: put it back.", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, traceback)


sys.excepthook = _tell


@contextlib.contextmanager
def quiet(*descriptors):
    """Send what C++ code prints nowhere for a while: 1 is its output, 2 its errors."""
    kept, nowhere = [os.dup(one) for one in descriptors], os.open(os.devnull, os.O_WRONLY)
    for one in descriptors:
        os.dup2(nowhere, one)
    try:
        yield
    finally:
        for one, was in zip(descriptors, kept, strict=True):
            os.dup2(was, one)
            os.close(was)
        os.close(nowhere)


# Both are read when TensorFlow is imported. That another process has ended is said in a line by
# `meeting.py`, which JAX's log would bury.
_LEVEL = "3" if "KERAS_DISTRIBUTION_NUM_PROCESSES" in os.environ else "2"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", _LEVEL)
os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")  # not all of the GPU's memory at once
for _name in ("absl", "urllib3"):
    logging.getLogger(_name).setLevel(logging.ERROR)
warnings.filterwarnings("ignore", message="Explicitly requested dtype int64")  # Keras on JAX
warnings.filterwarnings("ignore", message="`shuffle=True` was passed")  # pictures come shuffled
_backend = os.environ.get("KERAS_BACKEND", "")
if _backend not in ("", "tensorflow", "jax", "torch"):
    sys.exit(f"KERAS_BACKEND={_backend} cannot train: it may be tensorflow, jax or torch")
try:
    with quiet(2):  # TensorFlow greets with a page that no log level holds back
        from support.runtime.devices import (
            device,  # looks for a GPU; TensorFlow is loud about that, too
        )

        import keras
        import matplotlib.figure  # (here, so that Ctrl-C is quiet until all is imported)
        import tensorflow as tf
except ModuleNotFoundError as error:
    sys.exit(f"{error.name} is not installed: pip install {error.name}, or -r requirements.txt")

# The user's keras.json may say otherwise; pictures here are float32 (N, H, W, 3).
keras.config.set_image_data_format("channels_last")
keras.config.set_floatx("float32")
keras.config.set_epsilon(1e-7)
matplotlib.rcParams |= {"figure.dpi": 120, "text.parse_math": False}  # names may have a $

# Keras' progress bar on a terminal, a line an epoch in a file.
VERBOSE = 1 if sys.stdout is not None and sys.stdout.isatty() else 2


class UserError(SystemExit):
    """Something that the user can mend. Python prints it without a traceback and exits with 1."""


def reason(error):
    """The first line of what an error says, or its kind if it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


_GONE = re.compile(r"ValueError: (.+)\nTraceback")  # as TensorFlow tells what Python has raised
GO_ON = "The same command, given again, goes on after the last finished epoch."
_others = []  # whether other processes depend on this one


def end_at_once():
    """From now on, other processes must not wait for this one to clear up when it fails."""
    _others.append(True)


def launch(main):
    """Run a script's `main`, with one line in place of a traceback for what is no bug.

    That is: Ctrl-C, being told to end (SIGTERM), files that cannot be read or written, and too
    little memory.
    """
    go_on, smaller = GO_ON, "a smaller --batch-size, --image-size or network"
    if any(one.partition("=")[0] == "--predict" for one in sys.argv):
        go_on = "The same command, given again, labels the photos that have no mask yet."
        smaller = "fewer or smaller photos, or a --model trained on a smaller --image-size"

    def stop(number, frame):
        with contextlib.suppress(Exception):  # it may have been interrupted while printing
            sys.stdout.flush()
        os.write(2, f"\nStopped. {go_on}\n".encode())
        os._exit(128 + number)  # as shells count; and at once: a download would be waited for

    for stream in filter(None, (sys.stdout, sys.stderr)):
        stream.reconfigure(errors="replace")  # a folder's name may not fit into the code page
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    try:
        _in_words(main, go_on, smaller)
    except BaseException as error:
        if not _others:
            raise
        if not isinstance(error, SystemExit):
            time.sleep(5)  # if another process has ended, that is said first, and this one ends
            sys.excepthook(*sys.exc_info())
        elif isinstance(error.code, str):
            print(error.code, file=sys.stderr, flush=True)
        sys.stdout.flush()
        os._exit(error.code if isinstance(getattr(error, "code", None), int) else 1)


def _in_words(main, go_on, smaller):
    try:
        main()
    except OSError as error:
        raise UserError(f"{error}\nIs the disk full, or a folder gone? {go_on}") from error
    except Exception as error:
        # A picture that could be read at the start, and cannot be any more.
        gone = isinstance(error, tf.errors.OpError) and _GONE.search(str(error))
        if gone:
            raise UserError(f"{gone[1]}\n{go_on}") from error
        full = isinstance(error, MemoryError | tf.errors.ResourceExhaustedError)
        if full or any(one in str(error) for one in ("RESOURCE_EXHAUSTED", "out of memory")):
            raise UserError(f"Out of memory on {device()}. Try {smaller}.") from error
        raise
