"""Pictures in every common form to RGB of 8 bits."""

import contextlib
import math

from support.data.wide_values import ORIENTATION, in_8_bits, is_wide, wide_values
from support.runtime.startup import reason

import numpy as np
from PIL import Image, ImageOps, TiffImagePlugin, UnidentifiedImageError

VOID = 255  # a mask's value for "ignore": neither trained on nor scored

_PICTURES = {".jpg", ".jpeg", ".png", ".gif", ".bmp", ".tif", ".tiff", ".webp"}
BITS_PER_SAMPLE, PHOTOMETRIC, SAMPLES_PER_PIXEL, EXTRA_SAMPLES = 258, 262, 277, 338  # of TIFF

Image.MAX_IMAGE_PIXELS = None  # pictures are the user's own; the limit is against strangers'


def is_picture(path):
    """Whether a file's name is that of a picture, and of one that is not hidden."""
    return path.suffix.lower() in _PICTURES and not path.name.startswith(".")


def picture_size(path, page=None):
    """Height and width as `read_image` would return them; most formats say it at their beginning.

    Raises:
        ValueError: it is no picture. The message, one line, begins with the path.
    """
    with opened(path, page) as image:
        width, height = image.size  # Pillow has turned that of a TIFF already
        turned = image.format != "TIFF" and image.getexif().get(ORIENTATION) in (5, 6, 7, 8)
    return (width, height) if turned else (height, width)  # turned by a quarter


def count_pages(path):
    """How many pages a TIFF has; 1 for every other file, and for one that cannot be read."""
    if path.suffix.lower() in (".tif", ".tiff"):
        with contextlib.suppress(ValueError), opened(path, 0) as image:  # told when it is decoded
            return image.n_frames
    return 1


def value_range(path, page=None):
    """Where the values of a picture begin and end, (lowest, highest); None if they have 8 bits.

    A ten-thousandth at either end is left out, so that a pixel of the sensor that is broken does
    not decide. It raises ValueError as `read_image` does.
    """
    with opened(path, page) as image:
        if not is_wide(image):
            return None
        values, _ = wide_values(image)
    pixels = values.reshape(-1, values.shape[-1])
    some = pixels[:: 1 + len(pixels) // 1_000_000]  # with all their channels
    return tuple(np.quantile(some, (1e-4, 1 - 1e-4), method="nearest").tolist())


def read_image(path, at_least=None, page=None, values=None):
    """A picture as RGB, turned as its EXIF data say.

    Args:
        path: of the file.
        at_least: side of the square that it will be resized to, pixels. A JPEG is decoded at a
            half, a quarter or an eighth of its size then, if that is whole and at least twice it.
            None: at its own size.
        page: number of the page of a TIFF that has several, from 0.
        values: (lowest, highest), which become 0 and 255, for pictures whose values have more
            than 8 bits, a sign or a fraction: what is between is scaled, what is beyond is cut.
            None for pictures of 8 bits.

    Gray and palette pictures become colored, what is transparent becomes white. A last band of a
    TIFF that is not declared as opacity is left out.

    Returns:
        uint8 (H, W, 3).

    Raises:
        ValueError: it cannot be read, or `values` does not fit it. The message, one line, begins
            with the path.
    """
    with opened(path, page) as image:
        if is_wide(image):
            image = in_8_bits(image, values)
        elif values:
            lowest, highest = values
            raise ValueError(
                f"is read with 8 bits a value, but pictures to train on are from {lowest:g} to "
                f"{highest:g}: how these compare is not known; save all alike"
            )
        elif at_least:
            # Pillow rounds sides up: what is not divided evenly would be shifted against its mask.
            whole = math.gcd(*image.size, 8)
            image.draft(None, [max(2 * at_least, side // whole) for side in image.size])
        opaque = image.format == "TIFF" and not {*image.tag_v2.get(EXTRA_SAMPLES, ())} & {1, 2}
        ImageOps.exif_transpose(image, in_place=True)  # decodes it, too
        if image.format == "TIFF" and image.mode in ("RGBA", "LA"):
            clear, *_, solid = image.getchannel("A").histogram()
            if opaque:
                image = image.convert(image.mode[:-1])
            elif clear + solid < image.width * image.height / 2:
                raise ValueError(
                    "declares a band as opacity that hardly has 0 or 255: leave it out"
                )
        if image.mode == "La":  # which Pillow cannot take to RGBA at once
            image = image.convert("LA")
        if image.has_transparency_data:
            image = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        return np.array(image.convert("RGB"))


class ColoredMask(ValueError):
    """A mask in colors of which nobody said what they mean. `counts`: pixels of each color."""

    def __init__(self, path, counts):
        super().__init__(f"{path}: is in colors")
        self.counts = counts


@contextlib.contextmanager
def opened(path, page=None):
    """A picture with its pixels still to be decoded.

    Several pages are refused unless one is asked for. Whatever is raised becomes one ValueError,
    whose message begins with the path.
    """
    try:
        # Given a name, Pillow maps uncompressed TIFF into memory, and mixes up turned ones.
        with open(path, "rb") as file, Image.open(file) as image:
            if page is not None:
                image.seek(page)
            elif image.format != "MPO" and getattr(image, "n_frames", 1) > 1:  # MPO: of a phone
                raise ValueError(f"has {image.n_frames} pages; save each as a file of its own")
            yield image
    except ColoredMask:
        raise
    except UnidentifiedImageError as error:
        raise ValueError(f"{path}: {_why_unidentified(path)}") from error
    except Exception as error:
        raise ValueError(f"{path}: {reason(error)}") from error


def _why_unidentified(path):
    """What a TIFF has that Pillow does not take, or that it is no picture that is known."""
    with contextlib.suppress(Exception), open(path, "rb") as file:
        tags = TiffImagePlugin.ImageFileDirectory_v2(file.read(8))
        file.seek(tags.next)
        tags.load(file)
        bands, bits = tags.get(SAMPLES_PER_PIXEL, 1), max(tags.get(BITS_PER_SAMPLE, (1,)))
        return (
            f"is a TIFF of {bands} bands of {bits} bits; taken are 1 of up to 32, or 3 declared as "
            "RGB, with or without opacity: save these alone"
        )
    return "cannot identify its format"


def histogram(pixels):
    """How often each value occurs in uint8 (H, W, channels): int64 (256,)."""
    flat = Image.fromarray(pixels.reshape(len(pixels), -1))
    return np.array(flat.histogram())  # four times as fast as bincount


def upper_bits_alone(path, page=None):
    """Whether of 16 bits a value only the upper 8 are read: Pillow does so with TIFFs in color."""
    with opened(path, page) as image:
        bits = image.tag_v2.get(BITS_PER_SAMPLE, ()) if image.format == "TIFF" else ()
        return not is_wide(image) and max(bits, default=8) > 8
