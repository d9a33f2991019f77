"""Single files: pictures in every common form to RGB, masks to class ids."""

import contextlib

from support.runtime.startup import reason

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

VOID = 255  # a mask's value for "ignore": neither trained on nor scored

_PICTURES = {".jpg", ".jpeg", ".png", ".gif", ".bmp", ".tif", ".tiff", ".webp"}
_SWAPPED = {5, 6, 7, 8}  # EXIF orientations that turn a picture by a quarter
_ORIENTATION = 0x0112

Image.MAX_IMAGE_PIXELS = None  # pictures are the user's own; the limit is against strangers'


def is_picture(path):
    """Whether a file's name is that of a picture, and of one that is not hidden."""
    return path.suffix.lower() in _PICTURES and not path.name.startswith(".")


def picture_size(path):
    """Height and width as `read_image` would return them; most formats say it at their beginning.

    Raises:
        ValueError: it is no picture. The message, one line, begins with the path.
    """
    with _opened(path) as image:
        width, height = image.size  # Pillow has turned that of a TIFF already
        turned = image.format != "TIFF" and image.getexif().get(_ORIENTATION) in _SWAPPED
    return (width, height) if turned else (height, width)


def read_image(path, at_least=None):
    """A picture as RGB, turned as its EXIF data say.

    Args:
        path: of the file.
        at_least: side of the square that it will be resized to, pixels. A JPEG is decoded at a
            half, a quarter or an eighth of its size then, if that is twice as large or more.
            None: at its own size.

    Gray and palette pictures become colored, 16 bits become 8 (divided by 257), what is
    transparent becomes white.

    Returns:
        uint8 (H, W, 3).

    Raises:
        ValueError: it cannot be read. The message, one line, begins with the path.
    """
    with _opened(path) as image:
        if at_least:
            image.draft(None, (2 * at_least, 2 * at_least))
        ImageOps.exif_transpose(image, in_place=True)  # decodes it, too
        if image.mode.startswith("I"):  # 16 bits a pixel, and 32 where Pillow knows no better
            values = np.asarray(image).astype(np.int64)
            if values.min() < 0 or values.max() > 65535:
                raise ValueError("has values of more than 16 bits; save it with 8 or 16")
            image = Image.fromarray((values // 257).astype(np.uint8))
        if image.mode == "La":  # which Pillow cannot take to RGBA at once
            image = image.convert("LA")
        if image.mode in ("LA", "PA", "RGBa") or "transparency" in image.info:
            image = image.convert("RGBA")
        if image.mode == "RGBA":
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        return np.array(image.convert("RGB"))


def read_mask(path, colors=None):
    """A mask as class ids.

    Args:
        path: of a gray, palette or RGB picture. Of gray and palette ones the numbers count, unless
            `colors` explains all colors in use: a program that saves space makes such files, and
            numbers colors as it likes. One bit a pixel is 0 and 255.
        colors: dict from (red, green, blue), 0 to 255, to the class id that it means.

    Returns:
        uint8 (H, W, 1), class ids and `VOID`.

    Raises:
        ValueError: it cannot be read. The message, one line, begins with the path.
        ColoredMask: it has colors, and `colors` is None.
    """
    with _opened(path) as image:
        if image.format in ("JPEG", "MPO", "WEBP"):
            raise ValueError(f"{image.format} changes the values of a mask; save it as PNG")
        is_gif = image.format == "GIF"
        ImageOps.exif_transpose(image, in_place=True)
        if image.mode == "1":
            image = image.convert("L")
        if colors and image.mode in ("P", "L", "LA"):
            rgb = image.convert("RGB")
            image = rgb if all(color in colors for _, color in rgb.getcolors(256)) else image
        if is_gif and image.mode == "P" and _is_gray(image):
            image = image.convert("L")
        pixels = np.asarray(image)
        if image.mode in ("RGB", "RGBA", "LA"):
            pixels = pixels[..., : len(image.mode.rstrip("A"))]
            if colors and pixels.shape[-1] == 3:
                return _ids_of_colors(pixels, colors)
            if (pixels != pixels[..., :1]).any():
                raise ColoredMask(count_colors(pixels))
            pixels = pixels[..., 0]
        elif image.mode not in ("L", "P") and not image.mode.startswith("I"):
            raise ValueError(f"a mask cannot be of Pillow's mode {image.mode}; save it as PNG")
        for value in (pixels.min(), pixels.max()):
            if not 0 <= value <= VOID:
                raise ValueError(f"has the value {value}; class ids go from 0 to 254")
        return pixels.astype(np.uint8, copy=False)[..., None]


class ColoredMask(ValueError):
    """A mask in colors of which nobody said what they mean. `counts`: pixels of each color."""

    def __init__(self, counts):
        super().__init__("is in colors")
        self.counts = counts


@contextlib.contextmanager
def _opened(path):
    """A picture with its pixels still to be decoded.

    Of all that its decoder and what follows may raise, one ValueError is made, whose message
    begins with the path.
    """
    try:
        # Given a name, Pillow maps uncompressed TIFF into memory, and mixes up turned ones.
        with open(path, "rb") as file, Image.open(file) as image:
            if image.format == "TIFF" and image.n_frames > 1:
                raise ValueError(f"has {image.n_frames} pages; save each as a file of its own")
            if image.mode == "F":
                raise ValueError("has floating-point pixels; save it with 8 or 16 bits")
            yield image
    except ColoredMask as error:
        error.args = (f"{path}: {error}",)
        raise
    except UnidentifiedImageError as error:
        raise ValueError(f"{path}: cannot identify its format") from error
    except Exception as error:
        raise ValueError(f"{path}: {reason(error)}") from error


def _is_gray(image):
    """Whether a palette's colors are the grays of their own numbers, or white: a mask with 255.

    GIF has no other way to keep such a mask.
    """
    rgb, in_use = np.reshape(image.getpalette("RGB"), (-1, 3)), np.unique(image)
    gray = rgb[in_use, 0]
    return (rgb == rgb[:, :1]).all() and ((gray == in_use) | (gray == VOID)).all()


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


def _ids_of_colors(pixels, colors):
    known, ids = zip(*sorted((_packed(rgb), number) for rgb, number in colors.items()), strict=True)
    packed = _packed(pixels)
    nearest = np.searchsorted(known, packed).clip(max=len(known) - 1)
    if (unknown := np.array(known)[nearest] != packed).any():
        found = count_colors(pixels[unknown])
        color = max(found, key=found.get)
        more = f" and {len(found) - 1} more colors" if len(found) > 1 else ""
        why = ". JPEG or smooth resizing makes so many" if len(found) > 20 else ""
        raise ValueError(f"{unknown.sum()} pixels of {color}{more}, not in classes.txt{why}")
    return np.uint8(ids)[nearest][..., None]
