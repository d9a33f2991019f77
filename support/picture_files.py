"""Single files: pictures in every common form to RGB, masks to class ids."""

import contextlib
import functools

import numpy as np
from PIL import Image, ImageOps

VOID = 255  # a mask's value for "ignore": neither trained on nor scored

_PICTURES = {".jpg", ".jpeg", ".png", ".gif", ".bmp", ".tif", ".tiff", ".webp"}
_SWAPPED = {5, 6, 7, 8}  # EXIF orientations that turn a picture by a quarter
_ORIENTATION = 0x0112

Image.MAX_IMAGE_PIXELS = None  # pictures are the user's own; the limit is against strangers'


def is_picture(path):
    """Whether a file's name is that of a picture, and of one that is not hidden."""
    return path.suffix.lower() in _PICTURES and not path.name.startswith(".")


def picture_size(path):
    """Height and width as `read_image` would return them, without decoding the pixels.

    Raises:
        ValueError: it is no picture. The message, one line, begins with the path.
    """
    with _naming(path), Image.open(path) as image:
        width, height = image.size
        turned = image.getexif().get(_ORIENTATION) in _SWAPPED
    return (width, height) if turned else (height, width)


def read_image(path):
    """A picture as RGB, turned as its EXIF data say.

    Gray and palette pictures become colored, 16 bits become 8 (divided by 257), what is
    transparent becomes white.

    Returns:
        uint8 (H, W, 3).

    Raises:
        ValueError: it cannot be read. The message, one line, begins with the path.
    """
    image = _open(path)
    if image.mode == "F":
        raise ValueError(f"{path}: has floating-point pixels; save it with 8 or 16 bits")
    if image.mode.startswith("I"):  # 16 bits a pixel, and 32 where Pillow knows no better
        values = np.asarray(image).astype(np.int64)
        if values.min() < 0 or values.max() > 65535:
            raise ValueError(f"{path}: has values of more than 16 bits; save it with 8 or 16")
        image = Image.fromarray((values // 257).astype(np.uint8))
    if image.mode in ("LA", "PA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
    if image.mode == "RGBA":
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.array(image.convert("RGB"))


def read_mask(path, colors=None):
    """A mask as class ids.

    Args:
        path: of a gray, palette or RGB picture. Of a palette its numbers count, unless `colors`
            explains all colors in use: a program that saves space numbers them as it likes.
        colors: dict from (red, green, blue), 0 to 255, to the class id that it means.

    Returns:
        uint8 (H, W, 1), class ids and `VOID`.

    Raises:
        ValueError: it cannot be read. The message, one line, begins with the path.
        ColoredMask: it has colors, and `colors` is None.
    """
    image = _open(path)
    if image.format == "JPEG":
        raise ValueError(
            f"{path}: JPEG changes the values of a mask; masks must be PNG or the like"
        )
    if colors and image.mode == "P" and _explains(colors, image):
        image = image.convert("RGB")
    pixels = np.asarray(image)
    if image.mode in ("RGB", "RGBA", "LA"):
        pixels = pixels[..., : len(image.mode.rstrip("A"))]
        if colors and pixels.shape[-1] == 3:
            return _ids_of_colors(path, pixels, colors)
        if (pixels != pixels[..., :1]).any():
            raise ColoredMask(path, count_colors(pixels))
        pixels = pixels[..., 0]
    elif image.mode not in ("1", "L", "P") and not image.mode.startswith("I"):
        raise ValueError(f"{path}: a mask cannot be of Pillow's mode {image.mode}; save it as PNG")
    if pixels.min() < 0 or pixels.max() > VOID:
        raise ValueError(f"{path}: has the value {pixels.max()}; class ids go from 0 to 254")
    return pixels.astype(np.uint8)[..., None]


class ColoredMask(ValueError):
    """A mask in colors of which nobody said what they mean. `counts`: pixels of each color."""

    def __init__(self, path, counts):
        super().__init__(f"{path}: is in colors")
        self.counts = counts


@contextlib.contextmanager
def _naming(path):
    """Make one ValueError, beginning with the path, of all that Pillow's decoders may raise."""
    try:
        yield
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ValueError(f"{path}: {reason.replace(repr(str(path)), 'it')}") from error


def _open(path):
    with _naming(path), Image.open(path) as image:
        if image.format == "TIFF" and image.n_frames > 1:
            raise ValueError(f"has {image.n_frames} pages; save each as a file of its own")
        kind = image.format
        image = ImageOps.exif_transpose(image)  # decodes it, too
        image.format = kind
        return image


def _packed(pixels):
    """Each color as one number: comparing these is much faster than comparing rows of three."""
    red, green, blue = np.moveaxis(np.asarray(pixels, np.int32), -1, 0)
    return (red << 16) + (green << 8) + blue


def count_colors(pixels):
    """dict from (red, green, blue) to the number of pixels of uint8 (..., 3)."""
    values, counts = np.unique(_packed(pixels), return_counts=True)
    return {
        (value >> 16, value >> 8 & 255, value & 255): count
        for value, count in zip(values.tolist(), counts.tolist(), strict=True)
    }


def _explains(colors, image):
    """Whether all colors of a palette picture are those of classes."""
    return all(color in colors for _, color in image.convert("RGB").getcolors(256))


@functools.lru_cache(1)
def _table(colors):
    """int16 (2**24,), the class id of every color, -1 for none."""
    table = np.full(2**24, -1, np.int16)
    for color, number in colors:
        table[_packed(color)] = number
    return table


def _ids_of_colors(path, pixels, colors):
    ids = _table(tuple(colors.items()))[_packed(pixels)]
    if (unknown := ids < 0).any():
        found = count_colors(pixels[unknown])
        color = max(found, key=found.get)
        more = f" and {len(found) - 1} more colors" if len(found) > 1 else ""
        raise ValueError(f"{path}: {unknown.sum()} pixels of {color}{more}, not in classes.txt")
    return ids.astype(np.uint8)[..., None]
