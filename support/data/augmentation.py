"""Random changes to a batch of pictures."""

import numpy as np
import tensorflow as tf


def random_affine(draws, size, strength):
    """Random flips, scales, rotations and shifts, in the ranges that `augment` names.

    Args:
        draws: float32 (N, 5) in [-1, 1]. size: side of the pictures, pixels.
        strength: multiplies the ranges.

    Returns:
        float32 (N, 2, 3): x and y of where a pixel of the result comes from, as factors of its
        own x and y, and an offset.
    """
    flip, scale, angle, right, down = tf.unstack(draws, axis=1)
    scale = 1.5 ** (scale * strength)
    angle = angle * strength * np.pi / 12
    across = tf.where(flip < 0, -scale, scale)
    matrix = [
        [across * tf.cos(angle), -scale * tf.sin(angle)],
        [across * tf.sin(angle), scale * tf.cos(angle)],
    ]
    center = (size - 1) / 2  # turn and scale about the middle of the picture
    rows = [
        [*row, center * (1 - sum(row)) + 0.15 * strength * size * shift]
        for row, shift in zip(matrix, (right, down), strict=True)
    ]
    return tf.stack([tf.stack(row, axis=-1) for row in rows], axis=1)


def random_colors(draws, images, strength):
    """Random contrast, saturation and brightness, in the ranges that `augment` names.

    All three are linear, so together they are one matrix for each picture.

    Args:
        draws: float32 (N, 3) in [-1, 1]. images: uint8 (N, H, W, 3), of which contrast takes the
            mean colors.
        strength: multiplies the ranges.

    Returns:
        float32 (N, 3, 3) and (N, 3): x @ matrix + offset are the new colors, 0 to 255.
    """
    contrast, saturation, brightness = tf.unstack(draws[..., None, None], axis=1)
    gray = np.float32([[0.299], [0.587], [0.114]])  # how bright red, green and blue look
    saturation = (1 + 0.4 * strength) ** saturation
    saturate = saturation * tf.eye(3) + (1 - saturation) * gray
    contrast = (1 + 0.4 * strength) ** contrast
    # An exact sum: it does not depend on how threads share the work.
    total = tf.reduce_sum(tf.cast(images, tf.int32), axis=(1, 2))
    mean = tf.cast(total, tf.float32) / tf.cast(tf.size(images[0]) // 3, tf.float32)
    offset = (1 - contrast) * mean[:, None] @ saturate + 255 * 0.2 * strength * brightness
    return contrast * saturate, offset[:, 0]


def change(images, masks, transforms, colors, offsets):
    """Apply what `random_affine` and `random_colors` returned.

    Between pixels a picture is interpolated, of a mask the nearest counts; what comes in from
    outside is a mirror image.

    Args:
        images: uint8 (N, S, S, 3). masks: uint8 (N, S, S, 1).
        transforms: float32 (N, 2, 3). colors: float32 (N, 3, 3). offsets: float32 (N, 3).

    Returns:
        uint8 (N, S, S, 3) and uint8 (N, S, S, 1).
    """
    options = {
        "transforms": tf.pad(tf.reshape(transforms, (-1, 6)), [(0, 0), (0, 2)]),  # no perspective
        "output_shape": (images.shape[1], images.shape[1]),
        "fill_value": 0.0,
        "fill_mode": "REFLECT",
    }
    move = tf.raw_ops.ImageProjectiveTransformV3
    images = move(images=tf.cast(images, tf.float32), interpolation="BILINEAR", **options)
    images = images @ colors[:, None] + offsets[:, None, None]
    masks = move(images=masks, interpolation="NEAREST", **options)
    return tf.cast(tf.round(tf.clip_by_value(images, 0, 255)), tf.uint8), masks
