"""Which picture comes when: it follows from the seed and the number of the epoch alone."""

import numpy as np
import tensorflow as tf

DRAWS = 10  # random numbers that the changes to one picture take: 8, and 2 to cut it out


class Epochs:
    """The epochs of a training, one after the other.

    Args:
        count: of the pictures.
        batch_size: pictures a step. Whole batches only: one shape, one compiled step.
        seed: int that decides everything.

    Attributes:
        number: of the epoch that is read next, from 0. Whoever trains counts it up.
    """

    def __init__(self, count, batch_size, seed):
        self.count, self.batch_size, self.seed, self.number = count, batch_size, seed, 0

    def plan(self):
        """A tf.data.Dataset with an element a step, as `plan_epoch` describes them.

        It asks for the epoch's number whenever it is iterated anew, so that `fit` can repeat it
        and anybody may look into it without changing what comes.
        """
        steps = self.count // self.batch_size

        def plan():
            return plan_epoch(self.count, self.batch_size, (self.seed, self.number))

        def planned(_):
            numbers, draws = tf.numpy_function(plan, [], (tf.int64, tf.float32))
            # The size of the batch is kept from TensorFlow: knowing it, its graph optimizer sums
            # gradients in an order that differs from process to process, and so do the last bits.
            numbers = tf.ensure_shape(numbers, (steps, None))
            draws = tf.ensure_shape(draws, (steps, None, DRAWS))
            return tf.data.Dataset.from_tensor_slices((numbers, draws))

        epoch = tf.data.Dataset.range(1).flat_map(planned)
        return epoch.apply(tf.data.experimental.assert_cardinality(steps))


def plan_epoch(count, batch_size, seed):
    """Which picture comes when in an epoch, and the chance in its augmentation.

    Each picture has a fixed place in the batch, its number modulo the batch size, and is shuffled
    with the others of that place. So machines that share the places of a batch between them see
    the batches of a single one, and each needs its own pictures only.

    Args:
        count: of the pictures. Whole batches only: some are left out, others each time.
        batch_size: pictures a step.
        seed: integers that decide everything.

    Returns:
        int64 (steps, batch_size), numbers from 0 to count - 1, and float32
        (steps, batch_size, DRAWS), evenly from -1 to 1.
    """
    rng, steps = np.random.default_rng(seed), count // batch_size
    places = [np.arange(place, count, batch_size) for place in range(batch_size)]
    numbers = np.stack([rng.permutation(place)[:steps] for place in places], axis=1)
    return numbers, rng.uniform(-1, 1, (*numbers.shape, DRAWS)).astype(np.float32)
