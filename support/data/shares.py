"""The pictures of a split in batches. Of several processes, each keeps and yields its share."""

from support.data.batches import Places
from support.data.image_io import VOID
from support.data.prepared import PictureCache
from support.data.tiles import Tiles

import numpy as np
import tensorflow as tf


class Pictures:
    """What this process needs of a split, kept where each can be asked for by its number.

    Args:
        split: `Split`.
        small: function of image and mask, before they are kept.
        again: callable that loads both anew, given a number; None if there is no such way.
        places: `Places` of a batch that this process fills.
        tile: side of the squares that pictures are cut into, pixels; None to take them whole.

    Attributes:
        count: of the pictures or squares of all processes.
    """

    def __init__(self, split, small, again, places, tile=None):
        # Squares of one picture have many places: then every process keeps all pictures.
        self.places, self._kept = places, Places(1, 0, 1) if tile else places

        def cache(wanted):
            pictures = split.pictures(wanted).map(small, tf.data.AUTOTUNE)
            anew = again and (lambda own: again(self._kept.all(own)))
            return PictureCache(pictures.as_numpy_iterator(), anew)

        whole = cache(self._kept.has)
        self._pictures = Tiles(whole, tile) if tile else whole
        # A process without pictures needs one all the same: what fills its places has that size.
        self._filling = self._pictures if len(self._pictures) else cache(lambda number: number == 0)
        self.count = len(self._pictures) if tile else len(split)

    def pick(self, numbers, draws=None):
        """Numbers (N,) that have a place here, to uint8 (N, H, W, 3) and (N, H, W, 1)."""
        return self._pictures.pick(self._kept.own(numbers), draws)

    def in_order(self):
        """A tf.data.Dataset of batches with this process's pictures, each once."""
        numbers = tf.data.Dataset.range(len(self._pictures)).batch(self.places.count)
        return numbers.map(self._pictures.pick, tf.data.AUTOTUNE)

    def filled_up(self):
        """The same, but the last batch is as large as the others, in every process.

        So devices share it evenly, and it takes no compilation of its own. What fills it is black
        and void.
        """

        def batch(numbers):
            there = numbers < self.count
            images, masks = self._filling.pick(tf.where(there, self._kept.own(numbers), 0))
            there = there[:, None, None, None]
            return tf.where(there, images, np.uint8(0)), tf.where(there, masks, np.uint8(VOID))

        steps = -(-self.count // self.places.batch_size)
        numbers = tf.data.Dataset.range(steps * self.places.count).map(self.places.all)
        return numbers.batch(self.places.count).map(batch, tf.data.AUTOTUNE)
