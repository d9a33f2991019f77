"""Where pictures come from, whichever dataset it is."""

from collections.abc import Callable
from dataclasses import dataclass

from support.data.classes import distinct_colors

import tensorflow as tf

PET_CLASSES = ("pet", "background", "border")  # the trimap's 1, 2, 3 in that order


class Split:
    """Pictures that are decoded only where they are needed.

    Args:
        records: tf.data.Dataset of a known length, an element a picture, cheap to read.
        decode: function from such an element to uint8 image (H, W, 3) and mask (H, W, 1).
    """

    def __init__(self, records, decode):
        self.records, self.decode = records, decode

    def __len__(self):
        return len(self.records)

    def pictures(self, wanted=lambda number: True):
        """A tf.data.Dataset of image and mask: the pictures whose numbers are wanted."""
        chosen = self.records.enumerate().filter(lambda number, record: wanted(number))
        return chosen.map(lambda number, record: self.decode(record), tf.data.AUTOTUNE)


@dataclass
class Source:
    """Pictures in splits, and what their classes are."""

    splits: dict  # train, validation, test: `Split`
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
        `Split`. What `read` raises ends its pictures as tf.errors.OpError.
    """

    def decode(number):
        image, mask = tf.numpy_function(read, [number], (tf.uint8, tf.uint8))
        return tf.ensure_shape(image, (None, None, 3)), tf.ensure_shape(mask, (None, None, 1))

    return Split(tf.data.Dataset.range(count), decode)
