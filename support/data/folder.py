"""A folder of the user's own pictures and masks: what is in it, and what is wrong with it."""

import functools
import os
from collections import Counter
from pathlib import Path

from support.data import labelme, mask_io
from support.data.classes import CLASS_FILES, class_colors, example, hex_color, read_classes
from support.data.dataset import Source, Split, stamp_of
from support.data.folder_splits import find_splits
from support.data.folder_summary import (
    different_palettes,
    refuse,
    share_table,
    spread,
    unlearnable,
    warnings,
)
from support.data.folder_survey import Survey
from support.data.image_io import VOID, ColoredMask, histogram, picture_size, read_image
from support.data.mask_values import find_meaning

import numpy as np


def load_folder(path):
    """Find the pictures of a folder, and refuse what cannot be trained on.

    It has `images/` and `masks/`, or another form of `folder_forms.FORMS`, or `train/`, `val/` and
    `test/` with one of these in each. Masks hold class ids or what a file of `CLASS_FILES` says.

    Args:
        path: str or Path.

    Returns:
        `Source`. Without split folders pictures are cut as `folder_splits.cut` describes.

    Raises:
        UserError: all that is wrong, file by file; the first five and the number of the others.
            What is wrong inside of files is known when they are prepared.
    """
    path, problems = Path(path), []
    classes = read_classes(path, problems)
    refuse(path, problems)
    splits, words = find_splits(path, problems)
    if not problems and not all(splits.values()):
        counted = ", ".join(f"{len(named)} {split}" for split, named in splits.items())
        problems.append(f"too few pictures: {counted}; each needs one")
    refuse(path, problems)
    records = {split: [files for _, files in named] for split, named in splits.items()}
    found = [file for pairs in records.values() for *pair, _ in pairs for file in pair]
    counted = [f"{split} {len(pairs)}" for split, pairs in records.items()]
    survey = Survey(path, classes, records, [words] * bool(words))

    def look():
        survey.look()
        decode = functools.partial(_decode, survey)
        return {split: Split(some, decode) for split, some in survey.records.items()}

    return Source(
        title=os.fsencode(path.name).decode(errors="replace"),  # an old name, not in UTF-8
        stamp=stamp_of([*found, *(path / name for name in CLASS_FILES)], *counted),
        splits=look,
        conclude=functools.partial(_conclude, survey),
    )


def _decode(survey, record, at_least):
    """The `Split.decode` of a folder.

    Its facts: `size`, (height, width); `pixels`, int (256,), how many have each value of the
    mask; `levels`, int (256,), how often each value occurs in the picture; `mask`, its path;
    `palette`, of `palette_in_use`; and `digest` of the mask.
    """
    (picture, mask, page), known, palette = record, survey.classes, {}
    if labelme.is_file(mask):
        ids = labelme.read_mask(mask, known.names)
    else:
        ids = mask_io.read_mask(mask, known.colors, known.values, page)
        if not known.colors and not known.values:
            palette = mask_io.palette_in_use(mask, histogram(ids))
    size = picture_size(picture, page)
    if size != ids.shape[:2]:
        (height, width), (mask_height, mask_width) = size, ids.shape[:2]
        raise ValueError(
            f"{mask}: has {mask_width}x{mask_height} pixels, its picture {width}x{height}"
        )
    image = read_image(picture, at_least, page, survey.values)
    fact = {"size": size, "mask": mask, "pixels": histogram(ids), "levels": histogram(image)}
    return image, ids, fact | {"palette": palette, "digest": hash(ids.tobytes())}


def _conclude(survey, facts):
    """The `Source.conclude` of a folder."""
    every = [fact for split in facts.values() for fact in split]
    problems = [fact for fact in every if isinstance(fact, ValueError)]
    unexplained = Counter()
    for problem in problems:
        unexplained.update(problem.counts if isinstance(problem, ColoredMask) else {})
    problems = [str(problem) for problem in problems if not isinstance(problem, ColoredMask)]
    problems += different_palettes([fact for fact in every if isinstance(fact, dict)])
    if unexplained:
        problems.append(example(survey.path, unexplained, survey.classes.names))
    refuse(survey.path, problems)

    names, ids = _meaning(survey, every, problems)
    by_class = {"pixels": {}, "kept": {}}  # pixels of each class in each mask, int (masks, 256)
    for split, some in facts.items():
        for key, found in by_class.items():
            found[split] = np.int64([np.bincount(ids, fact[key], 256) for fact in some])
    counts = {split: each.sum(axis=0) for split, each in by_class["pixels"].items()}
    problems += unlearnable(names, counts)
    levels = sum(fact["levels"] for fact in every)
    if survey.upper_bits and not levels[128:].any():
        problems.append(
            "pictures are TIFFs in color with 16 bits a value, of which only the upper 8 can be "
            f"read, and these end at {np.flatnonzero(levels)[-1]}: save them as PNG of 16 bits"
        )
    refuse(survey.path, problems)
    summary = [
        f"{survey.path}: {'; '.join(survey.words)}",
        spread([f["size"] for f in every], levels),
    ]
    summary += share_table(names, counts)
    summary += warnings(names, counts, by_class, VOID in _known(survey).values())
    if len({fact["digest"] for fact in every}) == 1:
        summary.append("  All masks are the same: are these the right ones?")
    shown = {number: hex_color(color) for color, number in (survey.classes.colors or {}).items()}
    return {
        "class_names": names,
        "class_colors": [shown.get(id, color) for id, color in enumerate(class_colors(names))],
        "ids": None if (ids == np.arange(256)).all() else ids.tolist(),
        "value_range": survey.values,
        "summary": "\n".join(summary),
    }


def _meaning(survey, facts, problems):
    """Names of the classes, and the class id (256,) of each value that was read."""
    names, ids = survey.classes.names, np.arange(256, dtype=np.uint8)
    words = f"what {survey.classes.file} names" if _known(survey) and not survey.labels else ""
    is_explained = survey.classes.values or VOID in _known(survey).values() or survey.labels
    if not is_explained:
        try:
            counts = np.array([fact["pixels"] for fact in facts])
            names, ids, found = find_meaning(names, counts)
            words = words or found
        except ValueError as error:
            refuse(survey.path, [str(error)])
    survey.words.insert(0, f"masks hold {words or 'polygons of labelme'}")
    for fact in facts:
        found = np.unique(ids[np.flatnonzero(fact["pixels"])])
        value = max(found[found != VOID], default=0)
        if value >= len(names):
            problems.append(
                f"{fact['mask']}: has the value {value}, but {survey.classes.file} has "
                f"{len(names)} classes, from 0: allowed are 0 to {len(names) - 1}, and 255 for "
                "void, unless its lines are `name VALUE`"
            )
    return names, ids


def _known(survey):
    return survey.classes.values or survey.classes.colors or {}
