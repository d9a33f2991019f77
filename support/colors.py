"""The colors of classes, and how they are laid over pictures."""

import colorsys

from support.picture_files import VOID

import numpy as np
from matplotlib.patches import Patch

# Okabe and Ito's palette, made for color-blind readers (jfly.uni-koeln.de/color).
COLORS = ("#E69F00", "#0072B2", "#F0E442", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#000000")
SHARE = 0.45  # of the color where a class is laid over a picture


def distinct_colors(count):
    """So many different colors, "#RRGGBB": Okabe and Ito's eight, then hues spread evenly."""
    more = []
    for number in range(count - len(COLORS)):
        hue, value = number * 0.618 % 1, (0.95, 0.65, 0.4)[number % 3]  # the golden section's turn
        rgb = colorsys.hsv_to_rgb(hue, (0.75, 0.5)[number // 3 % 2], value)
        more.append(hex_color(round(255 * one) for one in rgb))
    return (*COLORS, *more)[:count]


def class_colors(names):
    """A color for each class. `background` is black, as in the masks of PASCAL VOC."""
    black = COLORS[-1]
    others = (color for color in distinct_colors(len(names) + len(COLORS)) if color != black)
    return tuple(black if name.lower() == "background" else next(others) for name in names)


def hex_color(rgb):
    """From red, green and blue, 0 to 255, to "#RRGGBB"."""
    return "#" + "".join(f"{one:02X}" for one in rgb)


def palette(colors):
    """uint8 (256, 3): the color of each class id; what is no class, void too, is white."""
    table = np.full((256, 3), 255, np.uint8)
    for number, color in enumerate(colors):
        table[number] = list(bytes.fromhex(color[1:]))
    return table


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
