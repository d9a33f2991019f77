"""Pictures and masks kept where each can be asked for by its number."""

import os
import shutil
import tempfile

import numpy as np
import tensorflow as tf


class PictureCache:
    """A sequence of (image, mask) pairs of uint8 arrays, of any sizes.

    The first of them, up to an eighth of the machine's memory, are kept there. What comes after
    goes to a temporary file, which the system reads through whatever memory is free and removes
    when the process ends, however it ends. What would take more than half of that disk's free
    space is not kept, if it can be had again.

    Args:
        pairs: iterable of (image, mask), uint8 numpy arrays (H, W, 3) and (H, W, 1).
        again: callable that loads a pair anew, given its number; None if there is no such way.
        memory, disk: bytes to be used at most; by default the eighth, and the half.

    Attributes:
        sizes: list of (height, width).

    Raises:
        OSError: the disk of the temporary file is full (TMPDIR chooses another).
    """

    def __init__(self, pairs, again=None, memory=None, disk=None):
        self.sizes, self._kept, self._again = [], [], again
        self._file = self._mapped = None
        memory = _memory() // 8 if memory is None else memory
        disk = shutil.disk_usage(tempfile.gettempdir()).free // 2 if disk is None else disk
        written = 0
        for image, mask in pairs:
            self.sizes.append(image.shape[:2])
            size = image.nbytes + mask.nbytes
            if size <= memory:
                memory -= size
                self._kept.append((image, mask))
            elif again and size > disk - written:
                self._kept.append(None)
            else:
                self._file = self._file or tempfile.TemporaryFile()  # noqa: SIM115 (read to the end)
                for pixels in (image, mask):
                    self._file.write(pixels.tobytes())
                self._kept.append(written)
                written += size
        if self._file:
            self._file.flush()
            self._mapped = np.memmap(self._file, np.uint8, "r")

    def __len__(self):
        return len(self._kept)

    def __getitem__(self, number):
        kept = self._kept[number]
        if kept is None:
            return self._again(number)
        if isinstance(kept, tuple):
            return kept
        height, width = self.sizes[number]
        middle = kept + 3 * height * width
        mask = self._mapped[middle : middle + height * width].reshape(height, width, 1)
        return self._mapped[kept:middle].reshape(height, width, 3), mask

    def pick(self, numbers, draws=None):
        """From numbers (N,) to uint8 tensors (N, H, W, 3) and (N, H, W, 1), if of one size.

        Whole pictures leave nothing to chance: `draws` is there because `Tiles.pick` needs it.
        """
        size = self.sizes[0] if len({*self.sizes}) == 1 else (None, None)
        return stacked(self.__getitem__, [numbers], size)


def stacked(get, arguments, size):
    """Pairs of arrays as tensors.

    Args:
        get: callable that returns a pair, given an element of each argument.
        arguments: list of tensors (N, ...).
        size: (height, width) of all pairs; None where it differs from batch to batch.

    Returns:
        uint8 (N, height, width, 3) and (N, height, width, 1).
    """

    def stack(*arrays):
        images, masks = zip(*map(get, *arrays), strict=True)
        return np.stack(images), np.stack(masks)

    images, masks = tf.numpy_function(stack, arguments, (tf.uint8, tf.uint8))
    return tf.ensure_shape(images, (None, *size, 3)), tf.ensure_shape(masks, (None, *size, 1))


def _memory():
    """Bytes of the machine's memory, or 8 GiB where the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows has no sysconf
        return 8 * 2**30
