"""Which picture comes when: it follows from the seed and the number of the epoch alone."""

from dataclasses import dataclass

from support.runtime import distributed

import numpy as np
import tensorflow as tf

DRAWS = 10  # random numbers for one picture: 8 for `augment`, and 2 for where `Tiles` cuts


@dataclass
class Epochs:
    """The epochs of a training, one after the other."""

    count: int  # of the pictures
    batch_size: int  # pictures a step, of all processes together; whole batches only: one shape
    seed: int  # which decides everything
    number: int = 0  # of the epoch that is read next. Whoever trains counts it up

    def plan(self):
        """Which picture comes when in an epoch, and the chance in its augmentation.

        Returns:
            int64 (steps, batch_size), numbers from 0 to count - 1, none twice, and float32
            (steps, batch_size, DRAWS), evenly from -1 to 1.
        """
        rng, size = np.random.default_rng((self.seed, self.number)), self.batch_size
        steps = self.count // size
        numbers = rng.permutation(self.count)[: steps * size].reshape(steps, size)
        return numbers, rng.uniform(-1, 1, (steps, size, DRAWS)).astype(np.float32)

    def batches(self):
        """A tf.data.Dataset with an element a step: numbers and draws, as of `plan`.

        Each process has its columns of them. The dataset asks for the epoch's number whenever it
        is iterated anew, so that `fit` can repeat it and anybody may look into it without changing
        what comes.
        """
        steps, columns = self.count // self.batch_size, distributed.columns(self.batch_size)

        def columns_of_plan():
            return [part[:, columns] for part in self.plan()]

        def planned(_):
            numbers, draws = tf.numpy_function(columns_of_plan, [], (tf.int64, tf.float32))
            # The size of the batch is kept from TensorFlow: knowing it, its graph optimizer sums
            # gradients in an order that differs from process to process, and so do the last bits.
            numbers = tf.ensure_shape(numbers, (steps, None))
            draws = tf.ensure_shape(draws, (steps, None, DRAWS))
            return tf.data.Dataset.from_tensor_slices((numbers, draws))

        epoch = tf.data.Dataset.range(1).flat_map(planned)
        return epoch.apply(tf.data.experimental.assert_cardinality(steps))


def filled_batches(count, batch_size):
    """A tf.data.Dataset of numbers, 0 to count - 1 in order; -1 fills the last batch up.

    So devices share it evenly, and it takes no compilation of its own. Each process has its
    columns of a batch.
    """
    numbers = np.pad(np.arange(count), (0, -count % batch_size), constant_values=-1)
    columns = distributed.columns(batch_size)
    return tf.data.Dataset.from_tensor_slices(numbers.reshape(-1, batch_size)[:, columns])


def own_batches(count, batch_size):
    """A tf.data.Dataset of this process's share of the numbers 0 to count - 1, each once.

    Of a batch of all processes together it has its share, but one picture at least.
    """
    processes = distributed.process_count()
    first = distributed.columns(processes).start
    numbers = tf.data.Dataset.range(first, count, processes)
    return numbers.batch(max(1, batch_size // processes))


def look_up(pictures):
    """A function for tf.data from numbers of pictures to these pictures.

    Args:
        pictures: `Pictures` or `Tiles`.

    Returns:
        function of int64 (N,), and float32 (N, DRAWS) in training, to uint8 (N, H, W, 3), uint8
        (N, H, W, 1), and the draws if there are any.
    """

    def take(numbers, *draws):
        images, masks = tf.numpy_function(pictures.take, (numbers, *draws), [tf.uint8] * 2)
        images = tf.ensure_shape(images, (None, *pictures.shape, 3))
        return images, tf.ensure_shape(masks, (None, *pictures.shape, 1)), *draws

    return take
