"""A mask that looks right in any viewer, and the photo with its classes laid over it."""

import functools
import warnings

from support.data.classes import palette
from support.data.image_io import VOID

import matplotlib
import numpy as np
from matplotlib import font_manager
from matplotlib.patches import Patch
from PIL import Image, ImageDraw, ImageFont

OPACITY = 0.45  # of a class that is laid over a picture

# Fonts that come with Linux, Windows and macOS, Traditional Chinese first.
_EAST_ASIAN = ("Noto Sans CJK TC", "Microsoft JhengHei", "PingFang TC", "Heiti TC")
_EAST_ASIAN += ("Noto Sans CJK JP", "Noto Sans CJK SC", "Microsoft YaHei", "WenQuanYi Zen Hei")


def mask_image(ids, colors):
    """Picture of PIL's mode P: class ids, uint8 (H, W), in the classes' colors, "#RRGGBB" each."""
    mask = Image.fromarray(ids)
    mask.putpalette(palette(colors)[: len(colors)].tobytes())
    return mask


def draw_overlay(image, mask, names, colors):
    """Lay the classes over a photo, and put a legend of those that occur below it.

    Args:
        image: uint8 (H, W, 3).
        mask: what `mask_image` returned.
        names, colors: lists of str, of all classes.

    Returns:
        PIL.Image.Image, higher than the photo, and wider if the legend needs it.
    """
    blend = lay_over(image, np.asarray(mask), names, colors)
    font = overlay_font(names, min(max(12, blend.width // 40), 80))
    line = round(1.5 * font.size)
    entries, x, y = [], line // 2, blend.height + line // 2
    page_width = blend.width
    for number in np.flatnonzero(mask.histogram()[: len(names)]):
        width = round(line + font.getlength(names[number]) + line)
        if x + width > blend.width and x > line // 2:  # goes on in the next line
            x, y = line // 2, y + line
        entries.append((x, y, names[number], colors[number]))
        x += width
        page_width = max(page_width, x)
    page = Image.new("RGB", (page_width, y + round(1.3 * line)), "white")
    page.paste(blend)
    draw = ImageDraw.Draw(page)
    for x, y, name, color in entries:
        draw.rectangle((x, y, x + font.size, y + font.size), fill=color, outline="black")
        draw.text((x + line, y), name, fill="black", font=font)
    return page


def lay_over(image, ids, names, colors):
    """Lay the classes over a picture, which shines through; `background` leaves it as it is.

    Args:
        image: (H, W, 3), uint8 from 0 to 255 or float from 0 to 1.
        ids: integer (H, W), class ids.
        names, colors: lists of str, of all classes.

    Returns:
        PIL.Image.Image of mode RGB, of the picture's size.
    """
    if image.dtype.kind == "f":
        image = np.uint8(255 * image + 0.5)
    ids = np.uint8(ids)
    picture, classes = Image.fromarray(image), mask_image(ids, colors).convert("RGB")
    kept = [255 * (name.lower() == "background") for name in names] + [0] * (256 - len(names))
    blend = Image.blend(picture, classes, OPACITY)
    blend.paste(picture, mask=Image.fromarray(ids).point(kept))
    return blend


def legend(figure, names, colors, ids):
    """Put a legend of the classes that occur below a figure.

    Args:
        figure: matplotlib Figure with constrained layout.
        names, colors: of all classes.
        ids: set of the class ids that occur, `VOID` too.
    """
    known = dict(enumerate(zip(names, colors, strict=True))) | {VOID: ("void", "white")}
    shown = [known[number] for number in sorted(ids)]  # void, the largest number, comes last
    patches = [Patch(facecolor=color, edgecolor="black", label=name) for name, color in shown]
    figure.legend(handles=patches, loc="outside lower center", ncols=6, frameon=False)


@functools.cache
def east_asian_font():
    """Return the name of an installed font for East Asian letters, else of matplotlib's own."""
    installed = {*font_manager.get_font_names()}
    return next((name for name in _EAST_ASIAN if name in installed), "DejaVu Sans")


def set_figure_font(text):
    """Choose the fonts of figures and overlays, and say which letters of a text they lack.

    matplotlib takes from the second font what its own has not. Of letters that neither has, it
    would warn at each one and with each figure.
    """
    family = ["DejaVu Sans", east_asian_font()]
    matplotlib.rcParams["font.family"] = family
    warnings.filterwarnings("ignore", message="Glyph .* missing from font")
    fonts = [font_manager.get_font(font_manager.findfont(name)) for name in family]
    letters = sorted({*text} - {*"\n\t "})
    if missing := [c for c in letters if not any(font.get_char_index(ord(c)) for font in fonts)]:
        shown = "".join(missing[:8]) + (" ..." if missing[8:] else "")
        boxes = f"No font is installed for {shown}: figures show boxes there."
        print(boxes, "Noto Sans CJK has them.")


def overlay_font(names, size):
    """Return a Pillow font of so many pixels that has the letters of class names."""
    family = "DejaVu Sans" if "".join(names).isascii() else east_asian_font()
    return ImageFont.truetype(font_manager.findfont(family), size)
