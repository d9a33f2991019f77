"""`classes.txt` of a folder of own pictures: the names of classes, and their colors in masks."""

from support.picture_files import VOID

_VOID_NAMES = ("void", "ignore")  # with a color: what is neither trained on nor scored


def read_classes(path, problems):
    """Names and colors of the classes, a class a line: `name`, or `name RED GREEN BLUE`.

    Args:
        path: Path, of a file that need not be there.
        problems: list of str, to which is added what is wrong with the file.

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
        if name in names or color in colors or max(color, default=0) > 255:
            problems.append(f"{path}, line {number}: twice there, or a color beyond 255: {line}")
        if color:
            colors[color] = VOID if name.lower() in _VOID_NAMES else len(names)
        if name.lower() not in _VOID_NAMES:
            names.append(name)
        elif not color:
            problems.append(f"{path}, line {number}: {name} takes a color; as a number it is 255")
    if problems:
        return None, None
    if colors and len(names) > len([one for one in colors.values() if one != VOID]):
        problems.append(f"{path}: gives some classes a color and others none")
    if not 2 <= len(names) <= VOID:
        problems.append(f"{path}: has {len(names)} classes; 2 to {VOID} can be told apart")
    return names, colors or None


def example(folder, counts, names):
    """What to write into classes.txt, in words, for masks in colors that it does not explain.

    Args:
        folder: Path. counts: Counter of pixels by (red, green, blue).
        names: list of those that classes.txt has, without colors; or None.
    """
    found = counts.most_common(12)
    lines = [
        f"    class{number} {red} {green} {blue}"
        for number, ((red, green, blue), _) in enumerate(found)
    ]
    if len(counts) > len(found):
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
