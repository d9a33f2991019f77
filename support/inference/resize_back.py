"""From the square that a network saw back to the size of the photo, so that outlines are smooth."""

import itertools

import numpy as np
import tensorflow as tf

_BAND_VALUES = 2**24  # probabilities at once


def resize_probabilities(probabilities, size):
    """Resize class probabilities to the size of a photo, bilinearly.

    Args:
        probabilities: float32 (S, S, C).
        size: height H and width W of the photo, pixels.

    Yields:
        float32 (h, W, C): bands of the photo, from top to bottom, so that memory is needed for
        one band and not for the photo.
    """
    height, width = size
    scale = np.float32([height, width]) / probabilities.shape[:2]
    rows = max(1, _BAND_VALUES // (width * probabilities.shape[-1]))
    for top in range(0, height, rows):
        yield tf.raw_ops.ScaleAndTranslate(
            images=probabilities[None],
            size=(min(rows, height - top), width),
            scale=scale,
            translation=(-float(top), 0.0),
            kernel_type="triangle",
        )[0].numpy()


def resize_classes(probabilities, size):
    """The likeliest class of each pixel after `resize_probabilities`, several times as fast.

    Enlarged bilinearly, a pixel has a weighted mean of the probabilities next to it. A class that
    is ahead at both ends of a line is ahead all along it, so in most places nothing is computed.

    Args, Yields: as `resize_probabilities`, but uint8 (h, W), class ids.
    """
    height, width = size
    if height < len(probabilities) or width < probabilities.shape[1]:  # means of more than two
        for band in resize_probabilities(probabilities, size):
            yield band.argmax(-1).astype(np.uint8)
        return
    left, to_right = _neighbours(width, probabilities.shape[1])
    above, to_below = _neighbours(height, len(probabilities))

    def line(row):  # as wide as the photo: probabilities (W, C), and which of them is ahead
        wide = _mean(row[left], row[left + 1], to_right[:, None])
        return wide, wide.argmax(-1).astype(np.uint8)

    lines = itertools.pairwise(map(line, probabilities))
    for number, ((upper, ahead), (lower, ahead_below)) in enumerate(lines):
        share = to_below[above == number]
        band = np.repeat(ahead[None], len(share), axis=0)
        mixed = np.flatnonzero(ahead != ahead_below)
        between = _mean(upper[mixed], lower[mixed], share[:, None, None])
        band[:, mixed] = between.argmax(-1)
        yield band


def _neighbours(many, few):
    """For each of `many` pixels, the first of the two of `few` around it, and the second's share.

    Centers are in the middle of pixels; beyond the first and the last center there are these alone.
    """
    position = np.clip((np.arange(many) + 0.5) * few / many - 0.5, 0, few - 1)
    first = np.minimum(position.astype(int), few - 2)
    return first, np.float32(position - first)


def _mean(first, second, share):
    return first + (second - first) * share
