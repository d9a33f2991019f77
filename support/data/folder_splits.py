"""Where the pictures and masks of a folder lie, and which of them train, validate and test."""

import hashlib

from support.data.image_io import is_picture
from support.runtime.startup import UserError

SPLITS = {"train": ("train",), "validation": ("val", "validation"), "test": ("test",)}
_NO_PICTURES = {"thumbs.db", "desktop.ini"}  # that systems leave in folders


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
        dict from split to a sorted list of (name, (picture, mask)), both Paths.

    Raises:
        UserError: there are no such folders.
    """
    folders = {
        split: [path / name for name in names if (path / name).is_dir()]
        for split, names in SPLITS.items()
    }
    if not any(folders.values()):
        folders["train"] = [path]
    elif not folders["train"] or (path / "images").is_dir():
        raise UserError(f"{path} needs either images/ and masks/, or train/ with these in it.")
    problems += [
        f"{path} has {' and '.join(path.name for path in several)}, which mean the same: keep one"
        for several in folders.values()
        if len(several) > 1
    ]
    if folders["train"] != [path]:
        known = {name for names in SPLITS.values() for name in names}
        problems += [
            f"{images.parent} is no split: they are train/, val/ and test/"
            for images in sorted(path.glob("*/images"))
            if images.parent.name not in known
        ]
        for split in [split for split, several in folders.items() if not several]:
            print(f"{path} has no folder for {split}: a tenth of train/ is kept for it")
    found = {split: {} for split in SPLITS}
    for split, several in folders.items():
        for folder in several:
            found[split] |= _find_pairs(folder, problems)
    train = found["train"]
    missing = [split for split in ("test", "validation") if not folders[split]]
    for split, names in cut(train, missing).items():
        found[split] = {name: train[name] for name in names}
    return {split: sorted(pairs.items()) for split, pairs in found.items()}


def _find_pairs(folder, problems):
    """dict from name to (picture, mask), of files in a folder's `images` and `masks`."""
    found = {"images": {}, "masks": {}}
    for kind, by_name in found.items():
        if not (folder / kind).is_dir():
            raise UserError(f"{folder} has no folder {kind}/: it takes images/ and masks/.")
        others = []
        for path in sorted((folder / kind).rglob("*")):
            inside = path.relative_to(folder / kind)
            if path.is_dir() or any(
                part.startswith(".") or part == "__MACOSX" for part in inside.parts
            ):
                continue
            name = inside.with_suffix("").as_posix()
            if not is_picture(path):
                others += [path.name] if path.name.lower() not in _NO_PICTURES else []
            elif name in by_name:
                problems.append(f"{path}: {by_name[name].name} is there, too; rename one of them")
            else:
                by_name[name] = path
        if others:
            print(f"{folder / kind}: {len(others)} files are no pictures, such as {others[0]}")
    images, masks = found.values()
    problems += [f"{images[name]} has no mask in masks/" for name in images if name not in masks]
    problems += [f"{masks[name]} has no picture in images/" for name in masks if name not in images]
    return {name: (images[name], masks[name]) for name in images if name in masks}
