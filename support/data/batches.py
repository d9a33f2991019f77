"""Which picture comes when: it follows from the seed and the number of the epoch alone."""

from dataclasses import dataclass

import numpy as np
import tensorflow as tf

DRAWS = 10  # random numbers that the changes to one picture take: 8, and 2 to cut it out


@dataclass(frozen=True)
class Places:
    """The places of each batch that one process fills: `count` of `batch_size`, from `first`.

    A picture's place is its number modulo the batch size, in every epoch. So a process needs no
    more than the pictures of its own places, which it counts from 0, too.
    """

    batch_size: int
    first: int
    count: int

    def has(self, number):
        """Whether a picture belongs here. Numbers may be arrays or tensors, here and below."""
        return (number - self.first) % self.batch_size < self.count

    def own(self, number):
        """The number that a picture has among those of this process."""
        return number // self.batch_size * self.count + number % self.batch_size - self.first

    def all(self, own):
        """The number among all pictures: `own` turned round."""
        return own // self.count * self.batch_size + own % self.count + self.first


class Epochs:
    """The epochs of a training, one after the other.

    Args:
        count: of the pictures.
        places: `Places` whose pictures are yielded. Whole batches only: one shape, one compiled
            step.
        seed: int that decides everything.

    Attributes:
        number: of the epoch that is read next, from 0. Whoever trains counts it up.
    """

    def __init__(self, count, places, seed):
        self.count, self.places, self.seed, self.number = count, places, seed, 0

    def plan(self):
        """A tf.data.Dataset with an element a step, as `plan_epoch` describes them.

        It asks for the epoch's number whenever it is iterated anew, so that `fit` can repeat it
        and anybody may look into it without changing what comes.
        """
        batch_size, first = self.places.batch_size, self.places.first
        steps, here = self.count // batch_size, slice(first, first + self.places.count)

        def plan():
            numbers, draws = plan_epoch(self.count, batch_size, (self.seed, self.number))
            return numbers[:, here], draws[:, here]

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

    Each picture is shuffled with the others of its place (`Places`). So processes that share the
    places of a batch between them see the batches of a single one.

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
