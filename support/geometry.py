"""Flip, scale, turn and shift a batch of pictures in one pass."""

import numpy as np
import tensorflow as tf


def random_affine(draws, size, strength):
    """Random flips, scales, rotations and shifts, in the ranges that `augment` names.

    Args:
        draws: float32 (N, 5) in [-1, 1]. size: side of the pictures, pixels.
        strength: multiplies the ranges.

    Returns:
        float32 (N, 8): numbers that map a pixel of the result to where it comes from.
    """
    flip, scale, angle, right, down = tf.unstack(draws, axis=1)
    scale = 1.5 ** (scale * strength)
    angle = angle * strength * np.pi / 12
    across, along = tf.where(flip < 0, -scale, scale), scale
    matrix = [
        [across * tf.cos(angle), -along * tf.sin(angle)],
        [across * tf.sin(angle), along * tf.cos(angle)],
    ]
    center = (size - 1) / 2  # turn and scale about the middle of the picture
    offset = [
        center * (1 - sum(row)) + 0.15 * strength * size * shift
        for row, shift in zip(matrix, (right, down), strict=True)
    ]
    zero = tf.zeros_like(flip)
    return tf.stack([*matrix[0], offset[0], *matrix[1], offset[1], zero, zero], axis=1)


def warp(images, transforms, interpolation):
    """Apply what `random_affine` returned; what comes in from outside is a mirror image."""
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=images,
        transforms=transforms,
        output_shape=images.shape[1:3],
        fill_value=0.0,
        interpolation=interpolation,
        fill_mode="REFLECT",
    )
