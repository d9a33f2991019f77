"""Pictures and masks kept where each can be asked for by its number."""

import os
import tempfile

import numpy as np
import tensorflow as tf


class PictureCache:
    """A sequence of (image, mask) pairs of uint8 arrays, of any sizes.

    The first of them, up to an eighth of the machine's memory, are kept there. What comes after
    goes to a temporary file, which the system reads through whatever memory is free and removes
    when the process ends, however it ends.

    Args:
        pairs: iterable of (image, mask), uint8 numpy arrays (H, W, 3) and (H, W, 1).
        memory: bytes to be used at most; by default the eighth.

    Raises:
        OSError: the disk of the temporary file is full (TMPDIR chooses another).
    """

    def __init__(self, pairs, memory=None):
        self._pairs, self._file, self._mapped, written = [], None, None, 0
        left = _memory() // 8 if memory is None else memory
        for image, mask in pairs:
            size = image.nbytes + mask.nbytes
            if size <= left:
                left -= size
                self._pairs.append((image, mask))
                continue
            self._file = self._file or tempfile.TemporaryFile()  # noqa: SIM115 (read until the end)
            for pixels in (image, mask):
                self._file.write(pixels.tobytes())
            self._pairs.append((written, image.shape, mask.shape))
            written += size
        if self._file:
            self._file.flush()
            self._mapped = np.memmap(self._file, np.uint8, "r")

    def __len__(self):
        return len(self._pairs)

    def __getitem__(self, number):
        if len(self._pairs[number]) == 2:
            return self._pairs[number]
        begin, image_shape, mask_shape = self._pairs[number]
        middle, end = begin + np.cumsum([np.prod(image_shape), np.prod(mask_shape)])
        image, mask = self._mapped[begin:middle], self._mapped[middle:end]
        return image.reshape(image_shape), mask.reshape(mask_shape)

    def pick(self, numbers):
        """From numbers (N,) to uint8 tensors (N, H, W, 3) and (N, H, W, 1), if of one size."""

        def stack(numbers):
            images, masks = zip(*(self[number] for number in numbers), strict=True)
            return np.stack(images), np.stack(masks)

        images, masks = tf.numpy_function(stack, [numbers], (tf.uint8, tf.uint8))
        height, width, _ = self[0][0].shape
        return (
            tf.ensure_shape(images, (None, height, width, 3)),
            tf.ensure_shape(masks, (None, height, width, 1)),
        )


def _memory():
    """Bytes of the machine's memory, or 8 GiB where the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows has no sysconf
        return 8 * 2**30
