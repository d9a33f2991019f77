"""Random changes to a batch of pictures, all of them in one pass."""

import sys

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
    across, along = tf.where(flip < 0, -scale, scale), scale
    matrix = [
        [across * tf.cos(angle), -along * tf.sin(angle)],
        [across * tf.sin(angle), along * tf.cos(angle)],
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


# XLA makes one loop of all that follows, without which it would take four times as long.
@tf.function(jit_compile=sys.platform != "win32")  # where TensorFlow comes without it
def change(images, masks, transforms, colors, offsets):
    """Apply what `random_affine` and `random_colors` returned, each pixel looked at once.

    Between pixels a picture is interpolated, of a mask the nearest counts; what comes in from
    outside is a mirror image.

    Args:
        images: uint8 (N, S, S, 3). masks: uint8 (N, S, S, 1).
        transforms: float32 (N, 2, 3). colors: float32 (N, 3, 3). offsets: float32 (N, 3).

    Returns:
        uint8 (N, S, S, 3) and uint8 (N, S, S, 1).
    """
    count, size = tf.shape(images)[0], images.shape[1]
    # Red, green, blue and class as the bytes of one number, to be fetched together.
    pixels = tf.bitcast(tf.concat([images, masks], axis=-1), tf.int32)
    pixels = tf.reshape(pixels, (count, size * size))
    place = tf.range(size, dtype=tf.float32)
    (x_right, x_down, x_shift), (y_right, y_down, y_shift) = (
        tf.unstack(row[..., None, None], axis=1) for row in tf.unstack(transforms, axis=1)
    )
    x = x_right * place + x_down * place[:, None] + x_shift
    y = y_right * place + y_down * place[:, None] + y_shift
    left, top = tf.floor(x), tf.floor(y)
    x, y = x - left, y - top  # how far on the way to the next pixel
    left, top = tf.cast(left, tf.int32), tf.cast(top, tf.int32)

    def mirrored(index):
        index = tf.math.floormod(index, 2 * size)
        return tf.minimum(index, 2 * size - 1 - index)

    def fetch(row, column):
        index = tf.reshape(mirrored(row) * size + mirrored(column), (count, size * size))
        return tf.reshape(tf.gather(pixels, index, batch_dims=1), (count, size, size))

    def byte(packed, number):
        return tf.bitwise.right_shift(packed, 8 * number) & 255

    corners = [[fetch(top + down, left + right) for right in (0, 1)] for down in (0, 1)]
    channels = []
    for number in range(3):
        (a, b), (c, d) = [
            [tf.cast(byte(one, number), tf.float32) for one in row] for row in corners
        ]
        above, below = a + x * (b - a), c + x * (d - c)
        channels.append(above + y * (below - above))
    new = []
    for row, offset in zip(tf.unstack(colors, axis=2), tf.unstack(offsets, axis=1), strict=True):
        mixed = sum(
            weight[:, None, None] * channel
            for weight, channel in zip(tf.unstack(row, axis=1), channels, strict=True)
        )
        new.append(tf.clip_by_value(mixed + offset[:, None, None], 0, 255))
    nearest = [tf.where(x < 0.5, *row) for row in corners]
    mask = byte(tf.where(y < 0.5, *nearest), 3)
    images = tf.cast(tf.round(tf.stack(new, axis=-1)), tf.uint8)
    return images, tf.cast(mask, tf.uint8)[..., None]
