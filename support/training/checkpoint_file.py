"""Arrays and what is known of them, in a file, and from process 0 in all others."""

import io
import json

from support.runtime import distributed
from support.runtime.files import write

import numpy as np


def save(path, arrays, progress=None):
    """`write` a list of arrays, and a dict for JSON."""
    write(path, lambda beside: _pack(beside, arrays, progress))


def _pack(file, arrays, progress):
    named = {str(number): array for number, array in enumerate(arrays)}
    np.savez(file, progress=np.array(json.dumps(progress)), **named)


def _unpack(file):
    # Zip files check their content. Without pickle they hold numbers and no code.
    with np.load(file, allow_pickle=False) as found:
        progress = json.loads(str(found["progress"]))
        return progress, [found[str(number)] for number in range(len(found.files) - 1)]


def broadcast_checkpoint(progress, arrays):
    """Both as process 0 has them, in every process. No arrays come as None."""
    if distributed.process_count() == 1:
        return progress, arrays
    packed = io.BytesIO()
    _pack(packed, arrays or [], progress)
    progress, arrays = _unpack(io.BytesIO(distributed.broadcast(packed.getvalue())))
    return progress, arrays or None


def load(path):
    """Progress and arrays of a checkpoint, or None if it is not there or damaged.

    Raises:
        OSError, MemoryError: it cannot be read, which may pass.
    """
    try:
        return _unpack(path)
    except FileNotFoundError:
        return None
    except (OSError, MemoryError):
        raise
    except Exception as error:  # depending on the bit that is wrong, of a dozen kinds
        print(f"{path} is damaged, so it is left out: {error}")
        return None
