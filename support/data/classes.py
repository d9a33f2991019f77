"""Names and colors of classes, and `classes.txt` of a folder that gives both."""

import colorsys

from support.data.image_io import VOID

import numpy as np

# Okabe and Ito's palette, made for color-blind readers (jfly.uni-koeln.de/color).
COLORS = ("#E69F00", "#0072B2", "#F0E442", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#000000")

_VOID_NAMES = ("void", "ignore")  # with a color: what is neither trained on nor scored


def read_classes(path, problems):
    """Read the names and colors of the classes, one a line: `name`, or `name RED GREEN BLUE`.

    Args:
        path: Path of a file, which may be missing.
        problems: list of str, which gets a line for each fault of the file.

    Returns:
        list of str or None, the names in the order of the ids; dict or None, from
        (red, green, blue), 0 to 255, to class id, with `VOID` for a line `void RED GREEN BLUE`.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        return None, None
    except (OSError, UnicodeDecodeError) as error:
        problems.append(f"{path}: cannot be read as UTF-8 text: {error}")
        return None, None
    names, colors = [], {}
    for number, line in enumerate(lines, start=1):
        words = line.split()
        if not words:
            continue
        color = ()
        if len(words) > 3 and all(word.isdecimal() for word in words[-3:]):
            *words, red, green, blue = words
            color = int(red), int(green), int(blue)
        name = " ".join(words)
        is_void = name.lower() in _VOID_NAMES
        if name in names or color in colors or max(color, default=0) > 255:
            problems.append(f"{path}, line {number}: twice there, or a color beyond 255: {line}")
        if color:
            colors[color] = VOID if is_void else len(names)
        if not is_void:
            names.append(name)
        elif not color:
            problems.append(f"{path}, line {number}: {name} takes a color; as a number it is 255")
    if problems:
        return None, None
    if colors and len(names) > sum(class_id != VOID for class_id in colors.values()):
        problems.append(f"{path}: gives some classes a color and others none")
    if not 2 <= len(names) <= VOID:
        problems.append(f"{path}: has {len(names)} classes; 2 to {VOID} can be told apart")
    return names, colors or None


def example(folder, counts, names):
    """Say what to write into classes.txt, for masks in colors that it does not explain.

    Args:
        folder: Path of the folder that has or needs the file.
        counts: Counter of pixels by (red, green, blue).
        names: list of the names that classes.txt has, without colors; or None.

    Returns:
        str of several lines.
    """
    most_common = counts.most_common(12)
    lines = [
        f"    class{number} {red} {green} {blue}"
        for number, ((red, green, blue), _) in enumerate(most_common)
    ]
    if len(counts) > len(most_common):
        lines.append(
            f"    ... {len(counts)} colors in all. So many? Then JPEG or smoothing made them."
        )
    return "\n".join(
        [
            "masks are in colors that nobody has explained"
            + (": classes.txt has names alone." if names else "."),
            f"  Write {folder / 'classes.txt'} with a line for each color, but with your names",
            "  (a line with the name void leaves its pixels out):",
            *lines,
        ]
    )


def distinct_colors(count):
    """Return so many different colors: Okabe and Ito's eight, then hues spread evenly.

    Args:
        count: int.

    Returns:
        tuple of "#RRGGBB".
    """
    more = []
    for number in range(count - len(COLORS)):
        hue, value = number * 0.618 % 1, (0.95, 0.65, 0.4)[number % 3]  # turned by the golden ratio
        rgb = colorsys.hsv_to_rgb(hue, (0.75, 0.5)[number // 3 % 2], value)
        more.append(hex_color(round(255 * channel) for channel in rgb))
    return (*COLORS, *more)[:count]


def class_colors(names):
    """Return a color for each class: black for `background`, as in PASCAL VOC, and for no other."""
    black = COLORS[-1]
    others = (color for color in distinct_colors(len(names) + len(COLORS)) if color != black)
    return tuple(black if name.lower() == "background" else next(others) for name in names)


def hex_color(rgb):
    """Turn red, green and blue, each an int from 0 to 255, into "#RRGGBB"."""
    return "#" + "".join(f"{channel:02X}" for channel in rgb)


def palette(colors):
    """Return the color of every value of a mask; white where it is no class, as void is.

    Args:
        colors: list of "#RRGGBB", one for each class.

    Returns:
        uint8 (256, 3).
    """
    table = np.full((256, 3), 255, np.uint8)
    for class_id, color in enumerate(colors):
        table[class_id] = list(bytes.fromhex(color[1:]))
    return table
