"""Which pictures of a folder train, validate and test."""

import hashlib
import itertools
import unicodedata

from support.data.folder_forms import find_pairs, subfolder
from support.data.image_io import count_pages
from support.runtime.files import read_lines
from support.runtime.startup import UserError

SPLITS = {
    "train": ("train", "training"),
    "validation": ("val", "validation", "valid"),
    "test": ("test", "testing"),
}
_SPLIT_OF = {name: split for split, names in SPLITS.items() for name in names}
_LISTS = "ImageSets/Segmentation"  # of PASCAL VOC: a name a line in train.txt, val.txt, test.txt


def cut(names, missing=("test", "validation")):
    """Give about a tenth of the names to each missing split, at least one, the rest to training.

    A hash of each name decides, so that another picture moves none of the others; only splits
    that would be empty borrow the one that is nearest.

    Returns:
        dict from split to list of names.
    """

    def share(name):
        digest = hashlib.sha256(name.encode(errors="surrogateescape")).hexdigest()
        return int(digest[:13], 16) / 16**13

    rest, splits, above = sorted(names, key=share), {}, 1.0
    for still_empty, split in zip(range(len(missing), 0, -1), missing, strict=True):
        above -= 0.1
        splits[split] = [name for name in rest[still_empty:] if share(name) >= above] or rest[-1:]
        rest = rest[: len(rest) - len(splits[split])]
    return {"train": rest} | splits


def find_splits(path, problems):
    """The pictures of a folder, split by split.

    Args:
        path: Path of the folder.
        problems: list of str, to which is added what is wrong.

    Returns:
        dict from split to a sorted list of (name, (picture, mask, page)), both Paths, with the
        number of the page if they are stacks of which one split has a part, else None; and str,
        what is remarkable about them, or "".

    Raises:
        UserError: there are no such folders.
    """
    folders = {
        split: [path / name for name in names if (path / name).is_dir()]
        for split, names in SPLITS.items()
    }
    if any(folders.values()):
        found, words = _from_folders(path, folders, problems)
    else:
        lists = _lists(path)
        pairs, words = find_pairs(path, problems, {*itertools.chain(*lists.values())})
        found = _from_lists(lists, pairs, problems) or _from_names(pairs, problems)
        found = found or {"train": pairs}
    missing = [split for split in ("test", "validation") if split not in found]
    if any(folders.values()) or len(found) > 1:
        for split in reversed(missing):
            print(f"{path} has no folder for {split}: a tenth of train/ is kept for it")
    train = {name: (*pair, None) for name, pair in found["train"].items()}
    if missing and len(train) <= len(missing):
        train = _pages(train)
        if len(train) > len(missing):
            words += "; pages of one stack in several splits, so scores on them say little"
    parts = {
        split: {n: (*pair, None) for n, pair in found.get(split, {}).items()} for split in SPLITS
    }
    parts |= {split: {n: train[n] for n in names} for split, names in cut(train, missing).items()}
    return {split: sorted(pairs.items()) for split, pairs in parts.items()}, words.removeprefix(
        "; "
    )


def _from_folders(path, folders, problems):
    """Pictures in train/, val/ and test/, each with a form of its own."""
    if not folders["train"] or (path / "images").is_dir():
        raise UserError(f"{path} needs either images/ and masks/, or train/ with these in it.")
    problems += [
        f"{path} has {' and '.join(path.name for path in several)}, which mean the same: keep one"
        for several in folders.values()
        if len(several) > 1
    ]
    problems += [
        f"{folder} is no split: they are train/, val/ and test/"
        for folder in sorted(path.iterdir())
        if folder.is_dir() and folder.name not in _SPLIT_OF and subfolder(folder)
    ]
    found = {
        split: find_pairs(several[0], problems) for split, several in folders.items() if several
    }
    words = dict.fromkeys(words for _, words in found.values() if words)
    return {split: pairs for split, (pairs, _) in found.items()}, ", ".join(words)


def _lists(path):
    """dict from each file of `_LISTS` to its names; empty if none says what to train on."""
    files = [file for file in sorted((path / _LISTS).glob("*.txt")) if file.stem in _SPLIT_OF]
    lists = {}
    for file in files:
        try:
            lines = [unicodedata.normalize("NFC", line.strip()) for line in read_lines(file)]
        except ValueError as error:
            raise UserError(str(error)) from error
        if names := [*filter(None, lines)]:
            lists[file] = names
    return lists if any(_SPLIT_OF[file.stem] == "train" for file in lists) else {}


def _from_lists(lists, pairs, problems):
    """Pictures in the splits of `_lists`; None if there are none."""
    found = {}
    for file, names in lists.items():
        unknown = [name for name in names if name not in pairs]
        problems += [f"{file}: there is no picture {name} with a mask" for name in unknown]
        found[_SPLIT_OF[file.stem]] = {name: pairs[name] for name in names if name in pairs}
    for one, other in itertools.combinations(found, 2):
        if both := found[one].keys() & found[other].keys():
            problems.append(
                f"{file.parent}: {len(both)} pictures are in {one} and in {other}, {min(both)} "
                "for one: scores of what was trained on say nothing"
            )
    return found or None


def _from_names(pairs, problems):
    """Pictures of images/train/, images/val/ and so on; None if these are no splits."""
    found = {}
    for name, pair in pairs.items():
        found.setdefault(_SPLIT_OF.get(name.split("/")[0] if "/" in name else ""), {})[name] = pair
    others = found.pop(None, {})
    if not found or (others and [*found] == ["train"]):  # pictures of trains, perhaps
        return None
    problems += [
        f"{picture}: is neither in train/ nor in val/ nor in test/, as others are"
        for picture, _ in others.values()
    ]
    return {"train": {}} | found


def _pages(pairs):
    """Pictures with each page of a stack for itself."""
    found = {}
    for name, (picture, mask, _) in pairs.items():
        pages = count_pages(picture)
        for page in range(pages) if pages > 1 else (None,):
            found[name if page is None else f"{name}/{page:05}"] = picture, mask, page
    return found
