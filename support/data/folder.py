"""A folder of the user's own pictures and masks: what is in it, and what is wrong with it."""

import functools
import hashlib
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

from support.data.classes import class_colors, example, hex_color, read_classes
from support.data.dataset import Source, numbered
from support.data.folder_splits import SPLITS, find_splits
from support.data.image_io import VOID, ColoredMask, picture_size, read_image, read_mask
from support.runtime.startup import UserError

import numpy as np

_MOST_UNNAMED = 64  # classes without classes.txt; more are gray levels rather than ids


def load_folder(path):
    """Look through a folder, say what is in it, and refuse what cannot be trained on.

    It has `images/` and `masks/`, or `train/`, `val/` and `test/` with these two in each. A
    picture and its mask have the same name but for the ending; what is in folders below counts,
    too. Masks hold class ids or, with a `classes.txt` that names them, colors.

    Args:
        path: str or Path.

    Returns:
        `Source`. Without split folders pictures are cut as `folder_layout.cut` describes.

    Raises:
        UserError: all that is wrong, file by file; the first five and the number of the others.
    """
    path, problems = Path(path), []
    names, colors = read_classes(path / "classes.txt", problems)
    if problems:
        raise UserError(_listed(path, problems))
    splits = find_splits(path, problems)
    if not problems and not all(splits.values()):
        counted = ", ".join(f"{len(named)} {split}" for split, named in splits.items())
        problems.append(f"too few pictures: {counted}; each needs one")
    pairs = [(split, name, *pair) for split, named in splits.items() for name, pair in named]
    found = _look_through(pairs, colors, problems)
    if found.unexplained:
        problems.append(example(path, found.unexplained, names))
    counts = found.counts
    total = sum(counts.values())
    may_be_binary = names is None or (len(names) == 2 and VOID not in (colors or {}).values())
    is_binary = bool(may_be_binary and total[0] and total[VOID] and not total[1:VOID].any())
    for pixels in counts.values() if is_binary else ():
        pixels[[1, VOID]] = pixels[VOID], 0
    if not problems:
        names = names or _unnamed(is_binary, total, problems)
        problems += [
            f"{mask}: has the value {highest}, but classes.txt has {len(names)} classes, from 0: "
            f"allowed are 0 to {len(names) - 1}, and 255 for void"
            for mask, highest in found.highest.items()
            if highest >= len(names)
        ]
        problems += _unlearnable(names, counts)
    if problems:
        raise UserError(_listed(path, problems))
    _print_summary(path, names, counts, found.sizes)
    by_id = {number: color for color, number in (colors or {}).items()}
    shown = {number: hex_color(color) for number, color in by_id.items()}
    facts = "\n".join([*sorted(found.digest), *names, *map(str, shown.items())])
    facts = facts.encode(errors="surrogateescape")

    def read(split, number):
        picture, mask = files[split][number]
        image, ids = read_image(picture), read_mask(mask, colors)
        return image, np.minimum(ids, 1) if is_binary else ids

    files = {split: [pair for _, pair in named] for split, named in splits.items()}
    return Source(
        splits={one: numbered(functools.partial(read, one), len(files[one])) for one in files},
        title=path.name,
        identity=hashlib.sha256(facts).hexdigest(),
        class_names=tuple(names),
        class_colors=tuple(shown.get(one, color) for one, color in enumerate(class_colors(names))),
        damage=lambda: _find_damage(path, [picture for _, _, picture, _ in pairs]),
        again=read,
    )


def _look_through(pairs, colors, problems):
    """What all files hold.

    Returns:
        SimpleNamespace with `sizes` of the pictures; `counts`, pixels of each id by split;
        `highest` id by mask; `digest`, a line a pair; `unexplained`, pixels by color.
    """
    counts = {split: np.zeros(256, np.int64) for split in SPLITS}
    found = SimpleNamespace(sizes=[], counts=counts, highest={}, digest=[], unexplained=Counter())
    with ThreadPoolExecutor() as threads:
        facts = threads.map(lambda pair: _examine(*pair[2:], colors), pairs)
        for (split, name, _, mask), fact in zip(pairs, facts, strict=True):
            if isinstance(fact, ColoredMask):
                found.unexplained.update(fact.counts)
            elif isinstance(fact, ValueError):
                problems.append(str(fact))
            else:
                size, pixels, content = fact
                found.sizes.append(size)
                found.counts[split] += pixels
                found.highest[mask] = int(np.flatnonzero(pixels[:VOID]).max(initial=0))
                found.digest.append(f"{split} {name} {content}")
    return found


def _find_damage(path, pictures):
    """Decode every picture; str, the first that are damaged, "" if all are sound."""
    with ThreadPoolExecutor() as threads:
        problems = threads.map(lambda one: _problem(read_image, one), pictures)
        problems = [problem for problem in problems if problem]
    return _listed(path, problems) if problems else ""


def _examine(picture, mask, colors):
    """Size, pixels of each id and a hash of both files; or the ValueError that says why not."""
    try:
        size, ids = picture_size(picture), read_mask(mask, colors)
        if size != ids.shape[:2]:
            (height, width), (mask_height, mask_width) = size, ids.shape[:2]
            raise ValueError(
                f"{mask}: has {mask_width}x{mask_height} pixels, its picture {width}x{height}"
            )
        content = hashlib.sha256(picture.read_bytes()).hexdigest()
        content += hashlib.sha256(mask.read_bytes()).hexdigest()
        return size, np.bincount(ids.ravel(), minlength=256), content
    except ValueError as error:
        return error


def _problem(read, *arguments):
    """What a ValueError of `read` says, or None."""
    try:
        read(*arguments)
    except ValueError as error:
        return str(error)
    return None


def _listed(path, problems, most=5):
    more = len(problems) - most
    lines = [f"{path} cannot be trained on:", *problems[:most]]
    return "\n  ".join([*lines, f"and {more} more like these"] if more > 0 else lines)


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


def _print_summary(path, names, counts, sizes):
    """Sizes of the pictures, and the share of each class in the pixels of each split."""
    by_area = sorted(sizes, key=lambda size: size[0] * size[1])
    smallest, largest = (f"{width}x{height}" for height, width in (by_area[0], by_area[-1]))
    print(f"{path}: pictures of {smallest} to {largest} pixels; share of each class in them:")
    print(f"  {'':<24}" + "".join(f"{split:>12}" for split in counts))
    void = [("void", VOID)] if any(found[VOID] for found in counts.values()) else []
    for name, number in [*zip(names, range(VOID), strict=False), *void]:
        shares = [found[number] / max(found.sum(), 1) for found in counts.values()]
        print(f"  {name:<24}" + "".join(f"{share:12.2%}" for share in shares))
