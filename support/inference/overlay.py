"""A mask that looks right in any viewer, and the photo with its classes laid over it."""

import functools

from support.data.classes import palette
from support.data.image_io import VOID

import matplotlib
import numpy as np
from matplotlib import font_manager
from matplotlib.patches import Patch
from PIL import Image, ImageDraw, ImageFont

SHARE = 0.45  # of the color where a class is laid over a picture

# What Linux, Windows and macOS come with, Traditional Chinese first.
_CANDIDATES = ("Noto Sans CJK TC", "Microsoft JhengHei", "PingFang TC", "Heiti TC")
_CANDIDATES += ("Noto Sans CJK JP", "Noto Sans CJK SC", "Microsoft YaHei", "WenQuanYi Zen Hei")


def mask_image(ids, colors):
    """A palette picture whose values are class ids and whose palette has the classes' colors.

    Args:
        ids: uint8 (H, W). colors: list of "#RRGGBB", one a class.
    """
    image = Image.fromarray(ids)
    image.putpalette(palette(colors)[: len(colors)].tobytes())
    return image


def draw_overlay(image, mask, names, colors):
    """The classes laid over a photo, and below it a legend of those that occur.

    Args:
        image: uint8 (H, W, 3). mask: what `mask_image` returned. names, colors: of the classes.

    Returns:
        PIL.Image.Image, as wide as the photo (or as the legend takes), and higher.
    """
    blend = lay_over(image, np.asarray(mask), names, colors)
    blend = Image.fromarray(np.rint(blend).astype(np.uint8))
    font = for_overlays(names, min(max(12, blend.width // 40), 80))
    line = round(1.5 * font.size)
    entries, x, y = [], line // 2, blend.height + line // 2
    widest = blend.width
    for number in np.flatnonzero(mask.histogram()[: len(names)]):
        width = round(line + font.getlength(names[number]) + line)
        if x + width > blend.width and entries and x > line // 2:  # goes on in the next line
            x, y = line // 2, y + line
        entries.append((x, y, names[number], colors[number]))
        x += width
        widest = max(widest, x)
    page = Image.new("RGB", (widest, y + round(1.3 * line)), "white")
    page.paste(blend)
    draw = ImageDraw.Draw(page)
    for x, y, name, color in entries:
        draw.rectangle((x, y, x + font.size, y + font.size), fill=color, outline="black")
        draw.text((x + line, y), name, fill="black", font=font)
    return page


def lay_over(image, ids, names, colors):
    """The classes laid over a picture, which shines through; `background` leaves it as it is.

    Args:
        image: (H, W, 3) from 0 to 255, or float from 0 to 1. ids: uint8 (H, W).
        names, colors: of the classes.

    Returns:
        float32 (H, W, 3), in the range of the picture.
    """
    share = np.full((256, 1), SHARE, np.float32)
    share[[number for number, name in enumerate(names) if name.lower() == "background"]] = 0
    full = 1 if image.dtype.kind == "f" else 255
    table = np.float32(palette(colors)) * (full / np.float32(255))
    return image + share[ids] * (table[ids] - image)


def legend(figure, names, colors, ids):
    """A legend below a figure with constrained layout, of the classes that occur in it.

    Args:
        figure: matplotlib Figure.
        names, colors: of all classes.
        ids: set of those that occur, `VOID` too.
    """
    listed = [*zip(names, colors, strict=True)]
    shown = [listed[one] for one in sorted(ids - {VOID})] + [("void", "white")] * (VOID in ids)
    patches = [Patch(facecolor=color, edgecolor="black", label=name) for name, color in shown]
    columns = min(len(patches), 6)
    figure.legend(handles=patches, loc="outside lower center", ncols=columns, frameon=False)


@functools.cache
def east_asian():
    """Name of a font for these letters, "" if there is none."""
    installed = {*font_manager.get_font_names()}
    return next((one for one in _CANDIDATES if one in installed), "")


def use_in_figures():
    """Let matplotlib take letters that its font lacks from that font."""
    if font := east_asian():
        matplotlib.rcParams["font.family"] = ["DejaVu Sans", font]


def for_overlays(names, size):
    """A Pillow font that has the letters of class names. `size`: pixels."""
    if east_asian() and not "".join(names).isascii():
        return ImageFont.truetype(font_manager.findfont(east_asian()), size)
    return ImageFont.load_default(size)
