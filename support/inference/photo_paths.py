"""Which photos `--predict` means, and what their results are called."""

import collections
import glob
import itertools
import os
from pathlib import Path

from support.data.image_io import is_picture

_ENDINGS = {"mask": "-mask.png", "overlay": "-overlay.png", "probabilities": ".npz"}


def find_photos(wanted, output, problems):
    """Files by name, in folders, and by patterns, which on Windows are left to the program.

    Args:
        wanted: list of str.
        output: Path of the folder of results, which are no photos.
        problems: list of str, to which is added what names no picture.

    Returns:
        list of Path.
    """
    found = {}
    for one in wanted:
        path = Path(os.path.expanduser(one))
        matches = [path]
        if not path.exists():
            matches = sorted(
                path.parent / name for name in glob.glob(path.name, root_dir=path.parent)
            )
        paths = [inside for match in matches for inside in _pictures(match, output)]
        if not paths:
            problems.append(f"{one}: there is no such picture")
        found |= {path.resolve(): path for path in paths}
    return list(found.values())


def _pictures(path, output):
    """The file, or the pictures in the folder."""
    if not path.is_dir():
        return [path]
    results = tuple(_ENDINGS.values()) if path.resolve() == output.resolve() else ()
    return [
        one for one in sorted(path.iterdir()) if is_picture(one) and not one.name.endswith(results)
    ]


def places(photos, output):
    """The files that each photo may get: dict from `mask`, `overlay`, `probabilities` to Path.

    They have the photo's name, with its ending in it where others have that name, too.
    """
    stems, taken = collections.Counter(photo.stem.casefold() for photo in photos), set()
    for photo in photos:
        alone = stems[photo.stem.casefold()] == 1
        name = photo.stem if alone else photo.name.replace(".", "-")
        numbered = (f"{name}-{number}" for number in itertools.count(2))
        name = next(one for one in itertools.chain([name], numbered) if one.casefold() not in taken)
        taken.add(name.casefold())
        yield {kind: output / f"{name}{ending}" for kind, ending in _ENDINGS.items()}
