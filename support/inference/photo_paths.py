"""Which photos `--predict` means, and which files they get."""

import collections
import glob
import itertools
import os
from pathlib import Path

from support.data.image_io import is_picture

_ENDINGS = {"mask": "-mask.png", "overlay": "-overlay.jpg", "probabilities": ".npz"}


def find_photos(names, output, problems):
    """Find the photos that files, folders and patterns name, each photo once.

    Args:
        names: list of str. Patterns are for Windows, whose shell leaves them to the program.
        output: Path of the folder of results, which are no photos.
        problems: list of str, which gets a line for each name without a picture.

    Returns:
        list of Path.
    """
    photos = {}
    for name in names:
        path = Path(os.path.expanduser(name))
        matches = [path]
        if not path.exists():  # a pattern; in its folder's name, brackets may be just brackets
            inside = [path.parent / match for match in glob.glob(path.name, root_dir=path.parent)]
            matches = sorted(inside or map(Path, glob.glob(str(path))))
        found = [photo for match in matches for photo in _pictures(match, output)]
        if not found:
            problems.append(f"{name}: there is no such picture")
        photos |= {os.path.abspath(photo): photo for photo in found}
    wanted = [photo for photo in photos.values() if not _is_result(photo, output)]
    if photos and not wanted:
        problems.append(f"{', '.join(names[:3])}: these are results in {output}, and no photos")
    return wanted


def _is_result(path, output):
    """Whether it is a mask or an overlay in the folder of results, with the other one beside it."""
    endings = _ENDINGS["mask"], _ENDINGS["overlay"]
    stem = path.name.removesuffix(endings[0]).removesuffix(endings[1])
    are_there = all(os.path.exists(output / f"{stem}{ending}") for ending in endings)
    return stem != path.name and are_there and path.parent.resolve() == output.resolve()


def _pictures(path, output):
    """Return the file, or the pictures in the folder."""
    if not path.is_dir():
        return [path]
    endings = (*_ENDINGS.values(), "-overlay.png")  # which earlier versions wrote
    results = endings if path.resolve() == output.resolve() else ()
    files = sorted(filter(is_picture, path.iterdir()))
    return [file for file in files if not file.name.endswith(results)]


def plan_jobs(photos, output, overwrite, problems):
    """Pair each photo with the paths of its results; no photo is replaced by a result.

    Args:
        photos: list of Path.
        output: Path of the folder of results.
        overwrite: whether to label photos that have results already.
        problems: list of str, which gets a line for what is left alone.

    Returns:
        list of (Path, dict from "mask", "overlay" and "probabilities" to Path).
    """
    jobs, done = [], []
    originals, folder = {photo.resolve() for photo in photos}, output.resolve()
    for photo, results in zip(photos, _result_paths(photos, output), strict=True):
        # An overlay without a mask, which is written last, is of an interrupted program; without
        # both, probabilities are of another. `os.path` bears names that are too long.
        mask, overlay, probabilities = map(os.path.exists, results.values())
        if replaced := originals & {folder / path.name for path in results.values()}:
            problems.append(
                f"{photo}: its result would replace {replaced.pop()}: give another --output"
            )
        elif not overwrite and (mask or (probabilities and not overlay)):
            done.append(photo)
        else:
            jobs.append((photo, results))
    if done:
        more = f" and {len(done) - 1} more" if done[1:] else ""
        problems.append(
            f"{done[0]}{more}: left alone, for there are files of that name in {output}. Give "
            "another --output, or --overwrite to replace them."
        )
    return jobs


def _result_paths(photos, output):
    """Name the results of each photo after it; where photos share a name, with more of its path.

    That is its ending and then its folder, so that it does not matter how many share the name.
    """
    stems = collections.Counter(photo.stem.casefold() for photo in photos)
    names, taken = collections.Counter(photo.name.casefold() for photo in photos), set()
    for photo in photos:
        name = photo.name.replace(".", "-")
        if stems[photo.stem.casefold()] == 1:
            name = photo.stem
        elif names[photo.name.casefold()] > 1:
            name = f"{Path(os.path.abspath(photo)).parent.name}-{name}"
        choices = itertools.chain([name], (f"{name}-{number}" for number in itertools.count(2)))
        name = next(choice for choice in choices if choice.casefold() not in taken)
        taken.add(name.casefold())
        yield {kind: output / f"{name}{ending}" for kind, ending in _ENDINGS.items()}
