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


def legend(figure, names, colors, ids):
    """A legend at the bottom of a figure, of the classes that occur in it; makes room for it.

    Args:
        figure: matplotlib Figure without a layout of its own.
        names, colors: of all classes.
        ids: set of those that occur, `VOID` too.
    """
    listed = [*zip(names, colors, strict=True)]
    shown = [listed[one] for one in sorted(ids - {VOID})] + [("void", "white")] * (VOID in ids)
    patches = [Patch(facecolor=color, edgecolor="black", label=name) for name, color in shown]
    columns = min(len(patches), 6)
    height = (0.3 * -(-len(patches) // columns) + 0.1) / figure.get_figheight()
    figure.tight_layout(rect=(0, height, 1, 0.99))
    figure.legend(handles=patches, loc="lower center", ncols=columns, frameon=False)
