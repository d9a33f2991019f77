"""A folder of the user's own pictures and masks: what is in it, and what is wrong with it."""

import functools
from collections import Counter
from pathlib import Path

from support.data.classes import class_colors, example, hex_color, read_classes
from support.data.dataset import Source, Split, stamp_of
from support.data.folder_splits import find_splits
from support.data.image_io import VOID, ColoredMask, picture_size, read_image, read_mask
from support.runtime.startup import UserError

import numpy as np
from PIL import Image

_MOST_UNNAMED = 64  # classes without classes.txt; more are gray levels rather than ids


def load_folder(path):
    """Find the pictures of a folder, and refuse what cannot be trained on.

    It has `images/` and `masks/`, or `train/`, `val/` and `test/` with these two in each. A
    picture and its mask have the same name but for the ending; what is in folders below counts,
    too. Masks hold class ids or, with a `classes.txt` that names them, colors.

    Args:
        path: str or Path.

    Returns:
        `Source`. Without split folders pictures are cut as `folder_splits.cut` describes.

    Raises:
        UserError: all that is wrong, file by file; the first five and the number of the others.
            What is wrong inside of files is known when they are prepared.
    """
    path, problems = Path(path), []
    classes = path / "classes.txt"
    names, colors = read_classes(classes, problems)
    if not problems:
        splits = find_splits(path, problems)
        if not problems and not all(splits.values()):
            counted = ", ".join(f"{len(named)} {split}" for split, named in splits.items())
            problems.append(f"too few pictures: {counted}; each needs one")
    _refuse(path, problems)
    records = {split: [pair for _, pair in named] for split, named in splits.items()}
    found = [file for pairs in records.values() for pair in pairs for file in pair]
    counted = [f"{split} {len(pairs)}" for split, pairs in records.items()]
    return Source(
        title=path.name,
        stamp=stamp_of([*found, classes], *counted),
        splits={
            split: Split(pairs, functools.partial(_decode, colors=colors))
            for split, pairs in records.items()
        },
        conclude=functools.partial(_conclude, path, names, colors),
    )


def _decode(pair, at_least, colors):
    """Picture, mask, and what the mask holds: `size`, `pixels` of each value, and its path."""
    picture, mask = pair
    ids = read_mask(mask, colors)
    size = picture_size(picture)
    if size != ids.shape[:2]:
        (height, width), (mask_height, mask_width) = size, ids.shape[:2]
        raise ValueError(
            f"{mask}: has {mask_width}x{mask_height} pixels, its picture {width}x{height}"
        )
    pixels = np.array(Image.fromarray(ids[..., 0]).histogram())  # four times as fast as bincount
    fact = {"size": size, "pixels": pixels, "mask": mask}
    return read_image(picture, at_least), ids, fact


def _conclude(path, names, colors, facts):
    """What the masks' values mean, looked at all together: the `Source.conclude` of a folder."""
    problems = [fact for split in facts.values() for fact in split if isinstance(fact, ValueError)]
    unexplained = Counter()
    for problem in problems:
        unexplained.update(problem.counts if isinstance(problem, ColoredMask) else {})
    problems = [str(problem) for problem in problems if not isinstance(problem, ColoredMask)]
    if unexplained:
        problems.append(example(path, unexplained, names))
    _refuse(path, problems)

    sound = [fact for split in facts.values() for fact in split]
    counts = {split: sum(fact["pixels"] for fact in some) for split, some in facts.items()}
    total = sum(counts.values())
    may_be_binary = names is None or (len(names) == 2 and VOID not in (colors or {}).values())
    is_binary = bool(may_be_binary and total[0] and total[VOID] and not total[1:VOID].any())
    if is_binary:
        for pixels in counts.values():
            pixels[[1, VOID]] = pixels[VOID], 0
    names = names or _unnamed(is_binary, total, problems)
    if not is_binary:
        values = [np.flatnonzero(fact["pixels"][:VOID]).max(initial=0) for fact in sound]
        problems += [
            f"{fact['mask']}: has the value {value}, but classes.txt has {len(names)} classes, "
            f"from 0: allowed are 0 to {len(names) - 1}, and 255 for void"
            for fact, value in zip(sound, values, strict=True)
            if value >= len(names)
        ]
    problems += _unlearnable(names, counts)
    _refuse(path, problems)
    shown = {number: hex_color(color) for color, number in (colors or {}).items()}
    return {
        "class_names": names,
        "class_colors": [shown.get(id, color) for id, color in enumerate(class_colors(names))],
        "ids": [*range(VOID), 1] if is_binary else None,  # else each value is its own id
        "summary": _summary(path, names, counts, [fact["size"] for fact in sound]),
    }


def _refuse(path, problems, most=5):
    if problems:
        more = [f"and {len(problems) - most} more like these"] if len(problems) > most else []
        lines = [f"{path} cannot be trained on:", *problems[:most], *more]
        raise UserError("\n  ".join(lines))


def _unnamed(is_binary, total, problems):
    """Names of classes that nobody has named."""
    if is_binary:
        return ["background", "foreground"]
    ids = np.flatnonzero(total[:VOID]).tolist()
    count = max(ids, default=-1) + 1
    if not ids:
        problems.append("masks have the value 255 and no other, which is void")
    elif len(ids) < count or not 2 <= count <= _MOST_UNNAMED:
        values = ", ".join(map(str, ids[:8])) + (" ..." if len(ids) > 8 else "")
        problems.append(
            f"masks have the values {values}: ids must be 0, 1, 2 and so on, two classes at least, "
            "none left out. If some do not occur, name all classes in classes.txt, a line each."
        )
    return [f"class {number}" for number in range(count)]


def _unlearnable(names, counts):
    """What cannot be learned, or not be judged, as the classes are spread over the splits."""
    learned = counts["train"]
    for split in ("validation", "test"):
        if counts[split].sum() and not counts[split][:VOID].sum():
            yield f"the {split} split is void all over"
        for name, trained, there in zip(names, learned, counts[split], strict=False):
            if there and not trained:
                yield f"{name} is in the {split} split, but not in training: move pictures"


def _summary(path, names, counts, sizes):
    """Sizes of the pictures, and the share of each class in the pixels of each split, as lines."""
    by_area = sorted(sizes, key=lambda size: size[0] * size[1])
    smallest, largest = (f"{width}x{height}" for height, width in (by_area[0], by_area[-1]))
    lines = [f"{path}: pictures of {smallest} to {largest} pixels; share of each class in them:"]
    lines.append(f"  {'':<24}" + "".join(f"{split:>12}" for split in counts))
    void = [("void", VOID)] if any(pixels[VOID] for pixels in counts.values()) else []
    for name, number in [*zip(names, range(VOID), strict=False), *void]:
        shares = [pixels[number] / max(pixels.sum(), 1) for pixels in counts.values()]
        lines.append(f"  {name:<24}" + "".join(f"{share:12.2%}" for share in shares))
    return "\n".join(lines)
