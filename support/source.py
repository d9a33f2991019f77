"""Where pictures come from, whichever dataset it is."""

from collections.abc import Callable
from dataclasses import dataclass

from support.colors import distinct_colors

import tensorflow as tf

PET_CLASSES = ("pet", "background", "border")  # the trimap's 1, 2, 3 in that order


@dataclass
class Source:
    """Pictures in splits, and what their classes are."""

    splits: dict  # train, validation, test: tf.data.Dataset of uint8 image and mask
    title: str  # names the data in every figure
    identity: str  # the same for the same pictures
    class_names: tuple = PET_CLASSES
    class_colors: tuple = distinct_colors(len(PET_CLASSES))  # "#RRGGBB"
    damage: Callable[[], str] = str  # says which file is damaged, if one is
    again: Callable | None = None  # reads a picture and its mask anew, given split and number


def numbered(read, count):
    """The pairs that a Python function returns.

    Args:
        read: callable from a number to uint8 arrays (H, W, 3) and (H, W, 1).
        count: of the numbers, from 0.

    Returns:
        tf.data.Dataset of uint8 image and mask. What `read` raises ends it as tf.errors.OpError.
    """

    def element(number):
        image, mask = tf.numpy_function(read, [number], (tf.uint8, tf.uint8))
        return tf.ensure_shape(image, (None, None, 3)), tf.ensure_shape(mask, (None, None, 1))

    return tf.data.Dataset.range(count).map(element, tf.data.AUTOTUNE)
