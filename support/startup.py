"""The frame around a script: quiet imports, and one line in place of a traceback."""

import contextlib
import logging
import os
import signal
import sys
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
def _quiet_imports():
    """Send what C++ code prints to file descriptor 2 nowhere for a while."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # both read when TensorFlow is imported
os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")  # not all of the GPU's memory at once
for _name in ("absl", "urllib3"):
    logging.getLogger(_name).setLevel(logging.ERROR)
warnings.filterwarnings("ignore", message="Explicitly requested dtype int64")  # Keras on JAX
warnings.filterwarnings("ignore", message="`shuffle=True` was passed")  # pictures come shuffled
with _quiet_imports():  # TensorFlow greets with a page that no log level holds back
    from support.devices import device  # looks for a GPU, and TensorFlow is loud about that, too

    import keras
    import matplotlib.figure  # noqa: F401  (here, so that Ctrl-C is quiet until all is imported)
    import tensorflow as tf

# The user's keras.json may say otherwise; pictures here are float32 (N, H, W, 3).
keras.config.set_image_data_format("channels_last")
keras.config.set_floatx("float32")
keras.config.set_epsilon(1e-7)

# Keras' progress bar on a terminal, a line an epoch in a file.
VERBOSE = 1 if sys.stdout is not None and sys.stdout.isatty() else 2


class UserError(SystemExit):
    """Something that the user can mend. Python prints it without a traceback and exits with 1."""


def launch(main):
    """Run a script's `main`, with one line in place of a traceback for what is no bug.

    That is: Ctrl-C, being told to end (SIGTERM), files that cannot be read or written, and too
    little memory.
    """
    go_on = "The same command, given again, goes on after the last finished epoch."
    if any(one.partition("=")[0] == "--predict" for one in sys.argv):
        go_on = "The same command, given again, labels the photos that have no mask yet."

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
        main()
    except OSError as error:
        raise UserError(f"{error}\nIs the disk full, or a folder gone? {go_on}") from error
    except Exception as error:
        full = isinstance(error, MemoryError | tf.errors.ResourceExhaustedError)
        if full or "RESOURCE_EXHAUSTED" in str(error):  # as JAX says it
            advice = "Try a smaller --batch-size, --image-size or network."
            raise UserError(f"Out of memory on {device()}. {advice}") from error
        raise
