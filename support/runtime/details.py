"""What a short message leaves out, in a file that the message names."""

import contextlib
import os
import tempfile
import traceback
from pathlib import Path

_held_back = []
_visible = {}  # what is held back now: from descriptor to a copy of it that is seen


@contextlib.contextmanager
def quiet(descriptor):
    """Hold back what C++ code prints for a while: 1 is its output, 2 its errors."""
    try:
        _visible[descriptor] = kept = os.dup(descriptor)
    except OSError:  # it is closed: in pythonw, and so in IDLE on Windows
        yield
        return
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), descriptor)
        try:
            yield
        finally:
            del _visible[descriptor]
            os.dup2(kept, descriptor)
            os.close(kept)
            file.seek(0)
            _held_back.append(file.read().decode(errors="replace"))


def error_output():
    """The descriptor whose output is seen, whatever is held back."""
    return _visible.get(2, 2)


def write_details(error=None):
    """Write the traceback of an error and all that was held back; return "details: PATH"."""
    path = Path(tempfile.gettempdir(), f"segmentation-{os.getpid()}.txt")
    told = traceback.format_exception(error) if error else []
    text = "".join([*told, "\nHeld back before:\n", *_held_back])
    with contextlib.suppress(OSError):  # a full disk must not hide what went wrong
        path.write_text(text, "utf-8", "backslashreplace")
        return f"details: {path}"
    return "no details: they could not be written"
