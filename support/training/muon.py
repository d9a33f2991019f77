"""Muon for convolutions: an optimizer whose updates are as large in all directions of a kernel.

Adam's update of a kernel is dominated by few directions, those of the largest gradients. Muon
replaces the momentum of a kernel, seen as a matrix, by the nearest orthogonal one, so that rare
directions are learned as fast. It needs fewer steps, and each takes some matrix products more.
"""

import re

from support.runtime.devices import BACKEND, ON_CPU

import keras
import tensorflow as tf
from keras import ops

_FEWEST = 8  # channels; what comes from pictures or goes to a few classes is Adam's
_MOST = 256  # channels in one matrix: the products take the cube of their number


class Muon(keras.optimizers.Muon):
    """Keras' Muon, which is for matrices, for the kernels of convolutions; all else is Adam's.

    Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks". Its updates are
    as large as Adam's would be (Liu et al. 2025, arXiv:2502.16982). Left to Adam, at a tenth of the
    learning rate, are biases, what belongs to batch normalization, kernels from or to fewer than 8
    channels, and those of layers with `score` or `upsample` in their name, which put out the
    classes. Kernels with more than 256 channels in their last axis are taken as several matrices,
    if they divide evenly.

    Args:
        learning_rate: float or a schedule.
        options: as for Keras' Muon.
    """

    def __init__(self, learning_rate, **options):
        defaults = {"adam_lr_ratio": 0.1, "weight_decay": None, "adam_weight_decay": None}
        defaults["exclude_layers"] = ["score", "upsample"]
        super().__init__(learning_rate, **defaults | options)

    def _should_use_adamw(self, variable):
        no_wide_kernel = len(variable.shape) != 4 or min(variable.shape[2:]) < _FEWEST
        return no_wide_kernel or any(re.search(one, variable.path) for one in self.exclude_layers)

    def _backend_update_step(self, gradients, variables, learning_rate):
        if BACKEND == "tensorflow":
            learning_rate = learning_rate, self._adam(learning_rate * self.adam_lr_ratio)
        super()._backend_update_step(gradients, variables, learning_rate)

    def _adam(self, rate):
        """What a step of Adam is for all variables alike, as tensors that all of them share."""
        step = tf.cast(self.iterations.value + 1, tf.float32)
        options = {
            "lr": rate * tf.sqrt(1 - self.adam_beta_2**step) / (1 - self.adam_beta_1**step),
            "beta1_power": 0.0,  # the correction for the start is in the rate
            "beta2_power": 0.0,
            "beta1": self.adam_beta_1,
            "beta2": self.adam_beta_2,
            "epsilon": self.epsilon,
        }
        return {name: tf.convert_to_tensor(value) for name, value in options.items()}

    def update_step(self, gradient, variable, learning_rate):
        if BACKEND != "tensorflow":
            super().update_step(gradient, variable, learning_rate)
            return
        index, (rate, adam) = self._get_variable_index(variable), learning_rate
        m, v = self.momentums[index], self.adam_velocities[index]
        if v is None:
            self._muon_update_step(gradient, variable, rate, m)
            return
        # The same as one operation in place of twenty: U2-Net has 351 variables for it.
        own = {"var": variable.handle, "m": m.value.handle, "v": v.value.handle, "grad": gradient}
        tf.raw_ops.ResourceApplyAdam(**own, **adam)

    def _muon_update_step(self, gradient, variable, lr, m):
        self.assign(m, gradient + self.momentum * m)
        ahead = gradient + self.momentum * m if self.nesterov else m
        columns = variable.shape[-1]
        parts = next((n for n in range(1, 65) if columns % n == 0 and columns / n <= _MOST), 1)
        matrices = ops.split(ops.reshape(ahead, (-1, columns)), parts, axis=1)
        how = self.ns_steps, self.muon_a, self.muon_b, self.muon_c
        updates = [self.lr_adjust(lr * orthogonal(matrix, *how)) for matrix in matrices]
        self.assign_sub(variable, ops.reshape(ops.concatenate(updates, axis=1), variable.shape))


def orthogonal(matrix, steps, a, b, c):
    """A matrix with the singular vectors of another, and singular values near 1.

    Newton-Schulz iterations X <- (a I + b A + c A A) X with A = X X^T, coefficients of Jordan et
    al., which bring all but the smallest to between 0.7 and 1.2. X^T X from the right does the
    same; of the two the smaller is taken. All are polynomials of the first A, which is small where
    a kernel has few outputs and many inputs, so X itself takes part at the beginning and at the end
    only, where TensorFlow computes on a CPU. Elsewhere it also does so after three steps: the short
    floats that GPUs and TPUs multiply in would not bear five powers of A, and with JAX several
    devices are to end where one does, while five make rounding ten times larger.

    Args:
        matrix: float (rows, columns).
        steps: number of iterations, 5 in Keras' Muon.
        a, b, c: coefficients, there 3.4445, -4.7750 and 2.0315.
    """
    rows, columns = matrix.shape
    identity = ops.eye(min(rows, columns), dtype=matrix.dtype)

    def polynomial(gram):
        return a * identity + b * gram + c * gram @ gram

    at_once = steps if ON_CPU else 3
    for begin in range(0, steps, at_once):
        across = ops.transpose(matrix)
        gram = across @ matrix if rows > columns else matrix @ across
        # The trace is the square of the norm by which the first X is divided.
        norm = 1.0 if begin else ops.sqrt(ops.trace(gram)) + 1e-7
        gram = gram / norm**2
        factor = polynomial(gram)
        product = factor * (1 / norm)
        for _ in range(begin + 1, min(begin + at_once, steps)):
            gram = factor @ factor @ gram  # of the X that the last factor has made
            factor = polynomial(gram)
            product = factor @ product
        matrix = matrix @ product if rows > columns else product @ matrix
    return matrix


if BACKEND == "tensorflow":
    # Traced once for each shape, and not for each kernel; and called where TensorFlow would copy
    # it two hundred times into U2-Net's step, which begins a second earlier for it.
    orthogonal = tf.function(orthogonal, experimental_attributes={"_noinline": True})
