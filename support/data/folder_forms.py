"""The forms in which people keep pictures and their masks, and how the two find each other."""

import itertools
import re
import unicodedata

from support.data import labelme
from support.data.image_io import is_picture
from support.runtime.files import below
from support.runtime.startup import UserError

# Names of folders that mean the same, whatever their letters' case.
_PICTURES = ("images", "image", "imgs", "img", "jpegimages", "img_dir", "imagestr")
_MASKS = ("masks", "mask", "labels", "label", "annotations", "segmentationclass", "ann_dir", "gt")
_MASKS += ("ground_truth", "labelstr")
# Names of masks that lie beside their pictures.
_MASK_NAME = re.compile(
    r"(?P<name>.+)[_\-. ](masks?|seg|segmentation|labels?|gt|annotation)(?P<number>[_\-. ]?\d+)?",
    re.IGNORECASE,
)
_SYSTEMS_OWN = {"thumbs.db", "desktop.ini"}  # that systems leave in folders
_SEPARATORS = "_-. "


def find_pairs(folder, problems, listed=()):
    """The pictures of a folder and their masks.

    Args:
        folder: Path.
        problems: list of str, to which is added what is wrong.
        listed: set of the names that count, if a list names some: PASCAL VOC has more pictures than
            masks.

    Returns:
        dict from name to (picture, mask, None), Paths; str, what is remarkable about them, or "".

    Raises:
        UserError: the folder is of no form that is known.
    """
    for find in FORMS:
        if found := find(folder, problems):
            return _pair(*found, problems, listed)
    with_pictures = subfolder(folder)
    for path in (with_pictures or folder, folder, *folder.glob("annotations")):
        labelme.refuse_coco(path)
    missing = "masks" if with_pictures else "images"
    others = [f"{path.name}/" for path in sorted(folder.glob("*/")) if path != with_pictures]
    what = f" Rename those of {', '.join(others)}." if others else ""
    raise UserError(f"{folder} has no folder {missing}/: it takes images/ and masks/.{what}")


def _two_folders(folder, problems):
    """Pictures in one folder and masks in another, those of folders below with them."""
    pictures, masks = subfolder(folder), subfolder(folder, _MASKS)
    if not (pictures and masks):
        return None
    for path in sorted(folder.glob("[!.]*/")):
        if path not in (pictures, masks) and any(map(is_picture, below(path))):
            print(f"{path} is not read: masks are those in {masks.name}/")
    if any(map(is_picture, below(masks))):
        return _named(pictures, problems), _named(masks, problems)
    labelme.refuse_coco(masks)
    return _named(pictures, problems), _named(masks, problems, labelme.is_file)


def _beside(folder, problems):
    """Masks beside their pictures, told by their endings."""
    files = _named(subfolder(folder) or folder, problems, told=False)
    found = {name: _MASK_NAME.fullmatch(name) for name in files}
    masks = {name: files[name] for name, fits in found.items() if fits}
    pictures = {name: path for name, path in files.items() if name not in masks}
    by_name = any(fits and fits["name"] in pictures for fits in found.values())
    if not by_name and not _pair(pictures, masks, [])[0]:
        return None
    for name in [name for name, fits in found.items() if fits and fits["number"]]:
        problems.append(f"{masks.pop(name)}: a picture has one mask; unite those of it in one file")
    return pictures, masks


def _polygons(folder, problems):
    """JSON of labelme beside the pictures."""
    folder = subfolder(folder) or folder
    pictures, polygons = (
        _named(folder, [], is_wanted, told=False) for is_wanted in (is_picture, labelme.is_file)
    )
    return (pictures, polygons) if pictures.keys() & polygons.keys() else None


# Each takes a folder and a list of problems and returns two dicts from name to Path, pictures and
# masks, or None if the folder is of another form. The first that fits counts.
FORMS = (_two_folders, _beside, _polygons)


def subfolder(folder, names=_PICTURES):
    """The folder below `folder` that has one of these names, or None.

    Raises:
        UserError: there are several.
    """
    there = [path for path in sorted(folder.glob("*/")) if path.name.lower() in names]
    if len(there) > 1:  # PASCAL VOC has boxes in Annotations/, beside its masks
        there = [path for path in there if any(map(is_picture, below(path)))] or there
    if len(there) > 1:
        several = " and ".join(f"{path.name}/" for path in there)
        raise UserError(f"{folder} has {several}, which mean the same: keep one.")
    return there[0] if there else None


def _named(folder, problems, is_wanted=is_picture, told=True):
    """dict from name to Path of the files below a folder; the name is the path without ending.

    It is the same whether a system writes an accent as a letter of its own, as macOS does.
    """
    by_name, others = {}, []
    for path in sorted(below(folder)):
        inside = path.relative_to(folder)
        if path.is_dir() or "__MACOSX" in inside.parts:
            continue
        name = unicodedata.normalize("NFC", inside.with_suffix("").as_posix())
        if not is_wanted(path):
            others += [path.name] if path.name.lower() not in _SYSTEMS_OWN else []
        elif name in by_name:
            problems.append(f"{path}: {by_name[name].name} is there, too; rename one of them")
        else:
            by_name[name] = path
    if others and told:
        print(f"{folder}: {len(others)} files are no pictures, such as {others[0]}")
    return by_name


def _pair(pictures, masks, problems, listed=()):
    """Pictures and masks of the same name, but for what all names of their kind have in common."""
    pictures, words = {n: pictures[n] for n in pictures if not listed or n in listed}, ""
    own = {path: name for name, path in pictures.items()}  # by which they are cut into splits
    if pictures.keys() != masks.keys():
        pictures, masks, words = _without_common_parts(pictures, masks)
    masks = {n: masks[n] for n in masks if not listed or n in pictures}
    if pictures and masks and not pictures.keys() & masks.keys():
        picture, mask = (next(iter(found.values())) for found in (pictures, masks))
        problems.append(f"no picture has a mask of its name: there are {picture} and {mask}")
        return {}, words
    problems += [f"{pictures[name]}: has no mask" for name in pictures if name not in masks]
    problems += [f"{masks[name]}: has no picture" for name in masks if name not in pictures]
    return {own[p]: (p, masks[n], None) for n, p in pictures.items() if n in masks}, words


def _without_common_parts(pictures, masks):
    """Both with shorter names, if more of them are equal then; and in words what was left out."""
    best, most = ((0, pictures, ""), (0, masks, "")), len(pictures.keys() & masks.keys())
    for pair in itertools.product(_shortened(pictures), _shortened(masks)):
        numbers = [re.findall(r"\d+", part) for *_, part in pair]
        if all(numbers) and numbers[0] != numbers[1]:  # of patients, say, who are not the same
            continue
        equal = len(pair[0][1].keys() & pair[1][1].keys())
        if equal > most or (equal == most and sum(n for n, *_ in pair) < sum(n for n, *_ in best)):
            best, most = pair, equal
    left_out = [
        f"names of {kind} without {part}"
        for kind, (*_, part) in zip(("pictures", "masks"), best, strict=True)
        if part
    ]
    return best[0][1], best[1][1], " and ".join(left_out)


def _shortened(found):
    """The ways to leave out how all names begin or end, down to a separator or a digit.

    Args:
        found: dict from name to Path.

    Yields:
        int, the number of letters left out; the dict with shorter names; str, what was left out.
    """
    names = [name.rpartition("/")[2] for name in found]
    begin, end = _common_beginning(names), _common_beginning([name[::-1] for name in names])[::-1]

    def ends_a_word(size):
        before, after = begin[size - 1], (name[size : size + 1] for name in names)
        return before in _SEPARATORS or (not before.isdigit() and all(map(str.isdigit, after)))

    begins = [begin[:size] for size in range(1, len(begin) + 1) if ends_a_word(size)]
    ends = [end[first:] for first in range(len(end)) if end[first] in _SEPARATORS]
    for first, last in itertools.product(["", *begins[-3:]], ["", *ends[:3]]):
        left_out = len(first) + len(last)
        if left_out < min(map(len, names), default=0):
            shorter = {}
            for name, path in found.items():
                parent, slash, name = name.rpartition("/")
                shorter[parent + slash + name.removeprefix(first).removesuffix(last)] = path
            yield left_out, shorter, " and ".join(f'"{part}"' for part in (first, last) if part)


def _common_beginning(names):
    same = itertools.takewhile(lambda letters: len({*letters}) == 1, zip(*names, strict=False))
    return "".join(letters[0] for letters in same)
