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
        dict from split to a list of (picture, mask, page) in the order of their names, both Paths,
        with the number of the page if they are stacks of which one split has a part, else None; and
        list of str, what is remarkable about them.

    Raises:
        UserError: there are no such folders.
    """
    folders = {
        split: [folder for folder in sorted(path.glob("*/")) if _split_of(folder.name) == split]
        for split in SPLITS
    }
    if any(folders.values()):
        found, words = _from_folders(path, folders, problems)
    else:
        lists = _lists(path)
        pairs, words = find_pairs(path, problems, {*itertools.chain(*lists.values())})
        found = _from_lists(lists, pairs, problems) or _from_names(pairs, problems)
    words = [words] if words else []
    missing = [split for split in ("test", "validation") if split not in found]
    if any(folders.values()) or len(found) > 1:
        for split in reversed(missing):
            print(f"{path} has no folder for {split}: a tenth of train/ is kept for it")
    train = found["train"]
    if missing and len(train) <= len(missing):
        train = {
            name if page is None else f"{name}/{page:05}": (picture, mask, page)
            for name, record in train.items()
            for picture, mask, page in pages_of(record, problems)
        }
        if len(train) > len(missing):
            words.append("pages of one stack in several splits, so scores on them say little")
    found |= {split: {n: train[n] for n in names} for split, names in cut(train, missing).items()}
    return {split: [files for _, files in sorted(found[split].items())] for split in SPLITS}, words


def _from_folders(path, folders, problems):
    """Pictures in train/, val/ and test/, each with a form of its own."""
    if not folders["train"] or (path / "images").is_dir():
        there = ", ".join(f"{folder.name}/" for folder in itertools.chain(*folders.values()))
        other = "images/, if train/ counts" if folders["train"] else "make train/"
        raise UserError(
            f"{path} needs either images/ and masks/, or train/ with these in it; it has {there}, "
            f"which is read as a split: move it away, or {other}."
        )
    problems += [
        f"{path} has {' and '.join(path.name for path in several)}, which mean the same: keep one"
        for several in folders.values()
        if len(several) > 1
    ]
    problems += [
        f"{folder} is no split: they are train/, val/ and test/"
        for folder in sorted(path.iterdir())
        if folder.is_dir() and not _split_of(folder.name) and subfolder(folder)
    ]
    found = {
        split: find_pairs(several[0], problems) for split, several in folders.items() if several
    }
    words = dict.fromkeys(words for _, words in found.values() if words)
    return {split: pairs for split, (pairs, _) in found.items()}, ", ".join(words)


def _lists(path):
    """dict from each file of `_LISTS` to its names; empty if none says what to train on."""
    files = [file for file in sorted((path / _LISTS).glob("*.txt")) if _split_of(file.stem)]
    lists = {}
    for file in files:
        try:
            lines = [unicodedata.normalize("NFC", line.strip()) for line in read_lines(file)]
        except ValueError as error:
            raise UserError(str(error)) from error
        if names := [*filter(None, lines)]:
            lists[file] = names
    splits = [_split_of(file.stem) for file in lists]
    if twice := [file for file in lists if splits.count(_split_of(file.stem)) > 1]:
        names = " and ".join(file.name for file in twice)
        raise UserError(f"{twice[0].parent} has {names}, which mean the same: keep one")
    if lists and "train" not in splits:
        print(f"{path / _LISTS} has no train.txt: its lists are not obeyed, all may be trained on")
    return lists if "train" in splits else {}


def _split_of(name):
    """The split that a folder or list of that name means, in letters of any case; else None."""
    return _SPLIT_OF.get(name.lower())


def _from_lists(lists, pairs, problems):
    """Pictures in the splits of `_lists`; empty if there are none."""
    found = {}
    for file, names in lists.items():
        unknown = [name for name in names if name not in pairs]
        problems += [f"{file}: there is no picture {name} with a mask" for name in unknown]
        found[_split_of(file.stem)] = {name: pairs[name] for name in names if name in pairs}
    for one, other in itertools.combinations(found, 2):
        if both := found[one].keys() & found[other].keys():
            problems.append(
                f"{file.parent}: {len(both)} pictures are in {one} and in {other}, {min(both)} "
                "for one: scores of what was trained on say nothing"
            )
    return found


def _from_names(pairs, problems):
    """Pictures of images/train/, images/val/ and so on; if these are no splits, all may train."""
    found = {}
    for name, pair in pairs.items():
        folder, slash, _ = name.partition("/")
        found.setdefault(_split_of(folder) if slash else None, {})[name] = pair
    others = found.pop(None, {})
    if not found or (others and [*found] == ["train"]):  # pictures of trains, perhaps
        return {"train": pairs}
    problems += [
        f"{picture}: is neither in train/ nor in val/ nor in test/, as others are"
        for picture, *_ in others.values()
    ]
    return {"train": {}} | found


def pages_of(record, problems):
    """The pages of a stack that is not cut apart, each as a record; any other record alone."""
    picture, mask, page = record
    pages = count_pages(picture) if page is None else 1
    if pages > 1 and pages != (others := count_pages(mask)):
        problems.append(f"{picture}: has {pages} pages, its mask {others}")
    return [(picture, mask, number) for number in (range(pages) if pages > 1 else (page,))]
