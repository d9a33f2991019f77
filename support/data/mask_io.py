"""Masks in every common form to class ids."""

from support.data.image_io import BITS_PER_SAMPLE, PHOTOMETRIC, VOID, ColoredMask, opened
from support.data.wide_values import is_wide

import numpy as np
from PIL import Image, ImageOps


def read_mask(path, colors=None, values=None, page=None):
    """A mask as class ids.

    Args:
        path: of a gray, palette or RGB picture. Of gray and palette ones the numbers count, unless
            `colors` explains all colors in use: a program that saves space makes such files, and
            numbers colors as it likes. In a GIF it always does: grays count there, not numbers.
            One bit a pixel is 0 and 255; so are 16 bits, most of them 0 and 65535 and none a small
            number, and fractions from 0 to 1 are as many 255ths.
        colors: dict from (red, green, blue), 0 to 255, to the class id that it means.
        values: dict from the number of a pixel to the class id that it means.
        page: as for `read_image`.

    Returns:
        uint8 (H, W, 1), class ids and `VOID`; without `colors` and `values` what the file has.

    Raises:
        ValueError: it cannot be read. The message, one line, begins with the path.
        ColoredMask: it has colors, and `colors` is None.
    """
    with opened(path, page) as image:
        in_tiff = {"jpeg": "JPEG", "tiff_jpeg": "JPEG", "webp": "WEBP"}
        kind = in_tiff.get(image.info.get("compression"), image.format)
        if kind in ("JPEG", "MPO", "WEBP"):
            raise ValueError(f"{kind} changes the values of a mask; save it as PNG")
        bits = image.tag_v2.get(BITS_PER_SAMPLE, ()) if image.format == "TIFF" else ()
        is_cut = is_wide(image) or max(bits, default=8) > 8
        if image.mode in ("RGB", "RGBA", "LA") and is_cut and not colors:
            raise ValueError("has 16 bits a channel, of which 8 are read; save it as gray, 8 bits")
        is_gif, is_bits = image.format == "GIF", image.mode == "1"
        white_is_0 = image.format == "TIFF" and image.tag_v2.get(PHOTOMETRIC) == 0
        if image.mode == "P" and not is_gif:
            white_is_0 = image.getpalette("RGB") == [255, 255, 255, 0, 0, 0]
        if white_is_0 and not colors and not values:
            raise ValueError(
                "declares its 0 to be white, so whether numbers or brightness tell the object is "
                "not known; save it as gray PNG, or say it in classes.txt: name VALUE, or a color"
            )
        ImageOps.exif_transpose(image, in_place=True)
        if is_bits:
            image = image.convert("L")
        if white_is_0 and values and image.mode == "L":  # Pillow has turned the numbers round
            image = ImageOps.invert(image)
        if is_gif and image.mode == "P":  # who writes one numbers its colors as it likes
            rgb = image.convert("RGB")
            is_gray = all(red == green == blue for _, (red, green, blue) in rgb.getcolors(256))
            image = image.convert("L") if is_gray else rgb
        if colors and (image.mode == "F" or image.mode.startswith("I")):
            numbers = _whole_numbers(np.asarray(image), values)
            if numbers.min() >= 0 and numbers.max() <= VOID:  # else no gray of 8 bits
                image = Image.fromarray(numbers.astype(np.uint8))
        if colors and image.mode in ("P", "L", "LA"):
            if image.has_transparency_data:
                _without_opacity(np.asarray(image.convert("RGBA")), 3)
            rgb = image.convert("RGB")
            if all(color in colors for _, color in rgb.getcolors(256)):
                image = rgb
            else:
                _refuse_other_numbers(np.asarray(image.getchannel(0)), np.asarray(rgb), colors)
        pixels = np.asarray(image)
        if image.mode in ("RGB", "RGBA", "LA"):
            pixels = _without_opacity(pixels, len(image.mode.rstrip("A")))
            if colors and pixels.shape[-1] == 3:
                return _ids_of_colors(pixels, colors)
            if (pixels != pixels[..., :1]).any():
                raise ColoredMask(path, count_colors(pixels))
            pixels = pixels[..., 0]
        elif image.mode not in ("L", "P", "F") and not image.mode.startswith("I"):
            raise ValueError(f"a mask cannot be of Pillow's mode {image.mode}; save it as PNG")
        if is_bits and values and {1, VOID} <= {*values} and pixels.any():
            raise ValueError(
                "has one bit a pixel, and the file of classes names both 1 and 255: which of these "
                "its white is, is not known; save it with 8 bits"
            )
        if is_bits and values and VOID not in values:
            pixels = pixels // 255
        pixels = _whole_numbers(pixels, values)
        if values:
            return _ids_of_values(pixels, values)
        for value in (pixels.min(), pixels.max()):
            if not 0 <= value <= VOID:
                raise ValueError(
                    f"has the value {value}; ids go from 0 to 254: name values in classes.txt, "
                    "a line `name VALUE` each"
                )
        return pixels.astype(np.uint8, copy=False)[..., None]


def _without_opacity(pixels, channels):
    """The first `channels` of pixels (H, W, any), unless opacity alone tells them apart."""
    colors, opacity = pixels[..., :channels], pixels[..., channels:]
    if opacity.size and opacity.min() < opacity.max():
        is_plain = (colors == colors[0, 0]).all()
        if is_plain or (channels == 3 and len(count_colors(colors)) > 256):  # or a photo, cut out
            raise ValueError("tells its classes by opacity; save opacity alone as a gray PNG")
    return colors


def _refuse_other_numbers(numbers, rgb, colors):
    """Refuse numbers (H, W) whose colors (H, W, 3) are explained in part, and as other classes."""
    for number, at in zip(*np.unique(numbers, return_index=True), strict=True):
        color = tuple(rgb.reshape(-1, 3)[at].tolist())
        if (known := colors.get(color, number)) != number:
            raise ValueError(
                "has colors that are not in the file of classes, so its numbers count; but "
                f"{color}, its number {number}, is {known} there: give each color a line, or use "
                "`name VALUE`"
            )


def palette_in_use(path, counts):
    """dict from each number of a palette picture that occurs to its (red, green, blue).

    It is empty without a palette, and for a GIF, whose numbers mean nothing. `counts`: int (256,),
    pixels of each number.
    """
    with opened(path, 0) as image:
        if image.mode != "P" or image.format == "GIF":
            return {}
        colors = np.reshape(image.getpalette("RGB"), (-1, 3)).tolist()
        return {n: tuple(colors[n]) for n in np.flatnonzero(counts).tolist() if n < len(colors)}


def _whole_numbers(pixels, values):
    """What a mask's pixels (H, W) are as numbers of a class, or from 0 to 255 if it has two."""
    if pixels.dtype.kind == "f":
        whole = np.isfinite(pixels).all() and (pixels == np.rint(pixels)).all()
        if not whole and not (pixels.min() >= 0 and pixels.max() <= 1):
            raise ValueError("has floating-point values that are no whole numbers; save ids")
        pixels = (pixels if whole else np.rint(pixels * 255)).astype(np.int64)
    if not values and pixels.max() == 65535:
        has_ids = ((pixels > 0) & (pixels < VOID)).any()
        if not has_ids and ((pixels == 0) | (pixels == 65535)).mean() > 0.5:
            return pixels // 257  # of two classes, with outlines that may be smooth
    return pixels


def _ids_of_values(pixels, values):
    ids, unknown = _look_up(pixels, values)
    if unknown.any():
        value = pixels[unknown][0]
        what = f"{(pixels == value).sum()} pixels of the value {value}"
        raise ValueError(
            f"{what}, which the file of classes does not name: give their class this VALUE, or "
            f"leave them out with a line `void {value}`"
        )
    return ids[..., None]


def _look_up(pixels, known):
    """What a dict says of numbers (H, W), uint8 (H, W), and where it says nothing, bool (H, W)."""
    numbers, ids = zip(*sorted(known.items()), strict=True)
    at = np.searchsorted(numbers, pixels).clip(max=len(numbers) - 1)
    return np.uint8(ids)[at], np.array(numbers)[at] != pixels


def count_colors(pixels):
    """dict from (red, green, blue) to the number of pixels of uint8 (..., 3)."""
    line = Image.fromarray(pixels.reshape(1, -1, 3))
    return dict(sorted((color, count) for count, color in line.getcolors(line.width)))


def _ids_of_colors(pixels, colors):
    as_number = np.int32([1 << 16, 1 << 8, 1])  # which is much faster to compare than three
    known = {int(rgb @ as_number): number for rgb, number in colors.items()}
    ids, unknown = _look_up(pixels @ as_number, known)
    if unknown.any():
        found = count_colors(pixels[unknown])
        color = max(found, key=found.get)
        more = f" and {len(found) - 1} more colors" if len(found) > 1 else ""
        why = ". JPEG or smooth resizing makes so many" if len(found) > 20 else ""
        raise ValueError(
            f"{unknown.sum()} pixels of {color}{more}, not in the file of classes{why}"
        )
    return ids[..., None]
