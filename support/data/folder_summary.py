"""What is told of a folder before it is trained on: its pictures, its classes, its faults."""

import re
from pathlib import PurePath

from support.data.image_io import VOID
from support.runtime.startup import UserError

import numpy as np


def refuse(path, problems, most=5):
    """Raise UserError with the first problems of a folder, if there are any.

    Files with the same problem share a line.
    """
    if not problems:
        return
    files_with = {}
    for problem in problems:
        file, colon, why = problem.partition(": ")
        files_with.setdefault(f": {why}" if colon else problem, []).append(file if colon else "")
    lines = []
    for why, (first, *others) in files_with.items():
        names = [first, *(PurePath(other).name for other in others[: most - 1])]
        more = f" and {len(others) + 1 - most} more" if len(others) >= most else ""
        lines.append(f"{', '.join(names)}{more}{why}")
    more = [f"and {len(lines) - most} more like these"] if len(lines) > most else []
    raise UserError("\n  ".join([f"{path} cannot be trained on:", *lines[:most], *more]))


def unlearnable(names, counts):
    """Lines on what cannot be learned or judged, as classes are spread over the splits.

    Args:
        names: list of str. counts: dict from split to int64 (256,), pixels of each class.
    """
    learned = [name for name, trained in zip(names, counts["train"], strict=False) if trained]
    if len(learned) < 2:
        yield (
            f"the train split has no class but {', '.join(learned) or 'void'}: there is nothing to "
            "tell apart. Do classes and values of the masks belong together?"
        )
    for split in ("validation", "test"):
        if not counts[split][:VOID].any():
            yield f"the {split} split is void all over"
        for name, trained, there in zip(names, counts["train"], counts[split], strict=False):
            if there and not trained:
                yield f"{name} is in the {split} split, but not in training: move pictures"


def different_palettes(facts):
    """A line on a number that has another color in another mask, if there is one.

    Args:
        facts: list of dicts with `mask` and `palette`, as of `palette_in_use`.
    """
    seen = {}
    for fact in facts:
        for number, color in fact["palette"].items():
            other, mask = seen.setdefault(number, (color, fact["mask"]))
            if color != other:
                yield (
                    f"{fact['mask']}: its number {number} is {color}, that of {mask} is {other}: "
                    "write colors into classes.txt, a line `name RED GREEN BLUE` each"
                )
                return


def spread(sizes, levels):
    """A line on the pictures' sizes, list of (height, width), and values, int (256,)."""
    by_area = sorted(sizes, key=lambda size: size[0] * size[1])
    smallest, largest = (f"{width}x{height}" for height, width in (by_area[0], by_area[-1]))
    used = np.flatnonzero(levels)
    line = f"  Pictures of {smallest} to {largest} pixels, values from {used[0]} to {used[-1]}"
    few = ", which is little to learn from" if len(used) < 32 else ""
    return f"{line} in {len(used)} levels{few}; share of each class in them:"


def share_table(names, counts):
    """Lines with the share of each class, and of void, in the pixels of each split."""
    yield f"  {'':<24}" + "".join(f"{split:>12}" for split in counts)
    void = [("void", VOID)] if any(pixels[VOID] for pixels in counts.values()) else []
    for name, number in [*zip(names, range(VOID), strict=False), *void]:
        shares = [pixels[number] / pixels.sum() for pixels in counts.values()]
        shown = ["<0.01%" if 0 < share < 5e-5 else f"{share:.2%}" for share in shares]
        yield f"  {name:<24}" + "".join(f"{share:>12}" for share in shown)


def warnings(names, counts, facts, void_was_named):
    """Lines on what may go wrong, though it can be trained on.

    Args:
        names: list of str.
        counts: dict from split to int64 (256,), pixels of each class.
        facts: list of dicts with `pixels` and `kept`, int64 (256,), pixels of each class in a mask
            before and after resizing.
        void_was_named: whether somebody has said which pixels are void.
    """
    before, after = (sum(fact[key] > 0 for fact in facts) for key in ("pixels", "kept"))
    for name, masks, left in zip(names, before, after, strict=False):
        if left < masks / 2:
            yield (
                f"  {name} is in {masks} masks, after resizing in {left}: it is too small for this "
                "--image-size. --fit tiles keeps it."
            )
    for split in ("validation", "test"):
        missing = [n for id, n in enumerate(names) if counts["train"][id] and not counts[split][id]]
        if missing:
            yield f"  The {split} split has no {', '.join(missing)}: its scores leave that out."
    total = sum(counts.values())
    if absent := [name for name, seen in zip(names, total, strict=False) if not seen]:
        more = f" and {len(absent) - 5} more" if absent[5:] else ""
        first = ", ".join(absent[:5])
        yield f"  No mask has {first}{more}: not to be learned, and wrong wherever predicted."
    side = re.compile(r"(?<![a-z])(left|right)(?![a-z])|[\u5de6\u53f3]", re.IGNORECASE)
    if sides := ", ".join(filter(side.search, names)):
        yield (
            f"  {sides}: in training, every second picture is mirrored, so that left and right are "
            "mixed up. --augmentation 0 leaves that out, and photos go without --mirrored."
        )
    if not void_was_named and total[VOID] > total.sum() / 100:
        yield (
            f"  {total[VOID] / total.sum():.1%} of all pixels are 255, void: not trained on "
            "and not scored. If it is a class, give each class a line `name VALUE` in classes.txt."
        )
