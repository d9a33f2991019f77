"""Pictures whose values have more than 8 bits, a sign or a fraction."""

import numpy as np
import tensorflow as tf
from PIL import Image

ORIENTATION = 0x0112  # tag of EXIF


def is_wide(image):
    """Whether a picture's values have more than 8 bits, a sign or a fraction."""
    if image.format == "PNG":
        return "16" in str(image.tile[0][3]) if image.tile else image.mode.startswith("I")
    return image.mode.startswith("I") or image.mode == "F"


def wide_values(image):
    """Values (H, W, 1) or (H, W, 3), and opacity in 8 bits, (H, W, 1), or (H, W, 0) without."""
    if image.format == "PNG" and not image.mode.startswith("I"):  # Pillow keeps 8 of 16 bits
        image.fp.seek(0)
        values = tf.io.decode_png(image.fp.read(), dtype=tf.uint16).numpy()
        colors = (values.shape[-1] - 1) // 2 * 2 + 1  # 1 of 2 channels, 3 of 4
        return values[..., :colors], (values[..., colors:] >> 8).astype(np.uint8)
    values = np.asarray(image)[..., None]
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise ValueError("has pixels that are no numbers")
    return values, np.empty((*values.shape[:2], 0), np.uint8)


def in_8_bits(image, values):
    """A picture with its values scaled to 8 bits, of Pillow's mode RGB or RGBA.

    Args:
        image: PIL.Image.Image that `is_wide`. values: (lowest, highest), which become 0 and 255.

    Raises:
        ValueError: `values` is None.
    """
    pixels, opacity = wide_values(image)
    if not values:
        raise ValueError("has more than 8 bits a value, those to train on have 8; save it so")
    lowest, highest = values
    scaled = (pixels.astype(np.float64) - lowest) * (255 / (highest - lowest))
    scaled = np.rint(scaled.clip(0, 255)).astype(np.uint8)
    colored = np.broadcast_to(scaled, (*scaled.shape[:2], 3))
    result = Image.fromarray(np.concatenate([colored, opacity], axis=-1))
    if turned := image.getexif().get(ORIENTATION):
        result.getexif()[ORIENTATION] = turned
    return result
