"""Names, colors and values of classes, and the files of a folder that give them."""

import colorsys
import re
from dataclasses import dataclass

from support.data.image_io import VOID
from support.runtime.files import read_lines

import numpy as np

# Okabe and Ito's palette, made for color-blind readers (jfly.uni-koeln.de/color).
COLORS = ("#E69F00", "#0072B2", "#F0E442", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#000000")

CLASS_FILES = ("classes.txt", "labelmap.txt", "label_colors.txt", "class_dict.csv")
_VOID_NAMES = ("void", "ignore", "__ignore__")  # what is neither trained on nor scored
_LINES = (  # the forms of a line, of which the first that fits counts
    r"(?P<name>[^:]+):(?P<numbers>\d+,\d+,\d+)(:.*)?",  # labelmap.txt of CVAT
    r"(?P<numbers>\d+\s+\d+\s+\d+)\s+(?P<name>.*\D.*)",  # label_colors.txt of CamVid
    r"(?P<name>.+?)(?P<numbers>([\s:=,]+\d+){3})",  # name RED GREEN BLUE, class_dict.csv
    r"(?P<numbers>-?\d+)[\s:=,]+(?P<name>.*[^\d\s:=,-]\d*)",  # VALUE name,
    r"(?P<name>.+?)[\s:=,]+(?P<numbers>-?\d+)",  # name VALUE,
    r"(?P<name>.+)(?P<numbers>)",  # or the name alone
)


@dataclass
class Classes:
    """What is known of a folder's classes before any mask is read; None is what nobody has said."""

    names: list | None = None  # of str, in the order of the ids
    colors: dict | None = None  # from (red, green, blue), 0 to 255, to class id; `VOID` for void
    values: dict | None = None  # from a mask's value to class id; `VOID` for void
    file: str = CLASS_FILES[0]  # the name of the file that says it, or that could


def read_classes(folder, problems):
    """Read the first of `CLASS_FILES` that a folder has.

    Args:
        folder: Path.
        problems: list of str, which gets a line for each fault of the file.

    Returns:
        `Classes`, empty if there is no such file or it has faults.
    """
    path = next((folder / name for name in CLASS_FILES if (folder / name).is_file()), None)
    if not path:
        return Classes()
    try:
        lines = read_lines(path)
    except ValueError as error:
        problems.append(str(error))
        return Classes()
    if path.suffix == ".csv" and lines and not re.search(r"\d", lines[0]):
        lines[0] = ""  # the names of its columns
    entries = []
    for number, line in enumerate(map(str.strip, lines), start=1):
        if line and not line.startswith("#"):
            fits = next(filter(None, (re.fullmatch(form, line) for form in _LINES)))
            numbers = tuple(map(int, re.findall(r"-?\d+", fits["numbers"])))
            entries.append((f"{path}, line {number}", line, fits["name"].strip(), numbers))
    named = [entry for entry in entries if entry[2].lower() not in _VOID_NAMES]
    numbered = [name for *_, name, numbers in named if len(numbers) == 1]
    bare = [where for where, *_, numbers in named if not numbers]
    if bare and 1 < len(numbered) == len({*numbered}):
        problems.append(
            f"{bare[0]}: has no number, and {len(numbered)} others have: give each class one, "
            "`name VALUE`; or, if these are parts of names, write them without a blank"
        )
    # "lane 1" and "lane 2" are names; "car 1" and "road 2" have values.
    if len({*numbered}) < len(named):
        for place, (where, line, name, numbers) in enumerate(entries):
            if len(numbers) == 1 and name.lower() not in _VOID_NAMES:
                entries[place] = where, line, line, ()
    found = _check(entries, problems)
    found.file = path.name
    if not problems:
        count = len(found.names)
        if not 2 <= count <= VOID:
            problems.append(f"{path}: has {count} classes; 2 to {VOID} can be told apart")
        elif found.colors and {*range(count)} - {*found.colors.values()}:
            problems.append(f"{path}: gives some classes a color and others none")
    return Classes() if problems else found


def _check(entries, problems):
    """`Classes` of (where, line, name, numbers), if no problem is found."""
    names, colors, values = [], {}, {}
    for where, line, name, numbers in entries:
        is_void, is_color = name.lower() in _VOID_NAMES, len(numbers) == 3
        known, key = (colors, numbers) if is_color else (values, sum(numbers))
        if name in names or (numbers and key in known) or (is_color and max(numbers) > 255):
            problems.append(f"{where}: twice there, or a color beyond 255: {line}")
        if numbers:
            known[key] = VOID if is_void else len(names)
        if not is_void:
            names.append(name)
        elif not numbers and name != "__ignore__":  # of labelme, which leaves its number out
            problems.append(f"{where}: {name} takes a color; as a number it is 255")
    if {*values.values()} == {VOID}:  # the others are the ids in their order
        if taken := values.keys() & {*range(len(names))}:
            where = next(where for where, *_, numbers in entries if numbers == (min(taken),))
            problems.append(
                f"{where}: void is {min(taken)}, so which numbers the classes have is not known: "
                "give each of them one, `name VALUE`, or void a color, too, if they have colors"
            )
        values |= {number: number for number in range(len(names))}
    return Classes(names, colors or None, values or None)


def example(folder, counts, classes):
    """What to write into classes.txt, in lines, for masks in colors that it does not explain.

    Args:
        folder: Path of the folder that has or needs the file.
        counts: Counter of pixels by (red, green, blue).
        classes: `Classes`, without colors.
    """
    why = f": {classes.file} has names alone." if classes.names else "."
    lines = [
        f"masks are in colors that nobody has explained{why}",
        f"  Write {folder / 'classes.txt'} with a line for each color, but with your names",
        "  (a line with the name void leaves its pixels out):",
    ]
    for number, ((red, green, blue), _) in enumerate(counts.most_common(12)):
        lines.append(f"    class{number} {red} {green} {blue}")
    if len(counts) > 12:
        lines.append(
            f"    ... {len(counts)} colors in all. So many? Then JPEG or smoothing made them."
        )
    return "\n".join(lines)


def distinct_colors(count):
    """So many different colors, "#RRGGBB": Okabe and Ito's eight, then hues spread evenly."""
    more = []
    for number in range(count - len(COLORS)):
        hue, value = number * 0.618 % 1, (0.95, 0.65, 0.4)[number % 3]  # turned by the golden ratio
        rgb = colorsys.hsv_to_rgb(hue, (0.75, 0.5)[number // 3 % 2], value)
        more.append(hex_color(round(255 * channel) for channel in rgb))
    return (*COLORS, *more)[:count]


def class_colors(names):
    """Return a color for each class: black for `background`, as in PASCAL VOC, and for no other."""
    black = COLORS[-1]
    others = (color for color in distinct_colors(len(names) + 1) if color != black)
    return tuple(black if name.lower() == "background" else next(others) for name in names)


def hex_color(rgb):
    """Turn red, green and blue, each an int from 0 to 255, into "#RRGGBB"."""
    return "#" + "".join(f"{channel:02X}" for channel in rgb)


def palette(colors):
    """The color of every value of a mask, uint8 (256, 3); white where it is no class, as void is.

    Args:
        colors: list of "#RRGGBB", one for each class.
    """
    table = np.full((256, 3), 255, np.uint8)
    table[: len(colors)] = [list(bytes.fromhex(color[1:])) for color in colors]
    return table
