"""A folder of the user's own pictures and masks: what is in it, and what is wrong with it."""

import functools
import os
from collections import Counter
from pathlib import Path

from support.data import folder_summary, image_io, labelme, mask_io
from support.data.classes import CLASS_FILES, class_colors, example, hex_color, read_classes
from support.data.dataset import Source, Split, stamp_of
from support.data.folder_splits import find_splits
from support.data.folder_summary import refuse
from support.data.folder_survey import Survey
from support.data.image_io import VOID, ColoredMask, histogram, upper_bits_alone
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
    records, words = find_splits(path, problems)
    counted = [f"{len(some)} {split}" for split, some in records.items()]
    if not problems and not all(records.values()):
        problems.append(f"too few pictures: {', '.join(counted)}; each needs one")
    refuse(path, problems)
    found = [file for some in records.values() for *pair, _ in some for file in pair]
    survey = Survey(path, classes, records, words)
    decode = functools.partial(_decode, survey)
    return Source(
        title=os.fsencode(path.name).decode(errors="replace"),  # an old name, not in UTF-8
        stamp=stamp_of([*found, *(path / name for name in CLASS_FILES)], *counted),
        splits=lambda: {split: Split(some, decode) for split, some in survey.look().items()},
        conclude=functools.partial(_conclude, survey),
    )


def _decode(survey, record, at_least):
    """The `Split.decode` of a folder.

    Its facts: `size`, (height, width); `pixels`, int (256,), how many have each value of the
    mask; `levels`, int (256,), how often each value occurs in the picture; `upper`, its highest
    value if the upper 8 of 16 bits are all that is read, else 0; `mask`, the path of the mask;
    `palette`, of `palette_in_use`; `bit`, whether it has one bit a pixel, and nobody has said what
    its white is; and `digest` of the mask.
    """
    (picture, mask, page), classes, palette = record, survey.classes, {}
    is_bit = False
    if labelme.is_file(mask):
        ids = labelme.read_mask(mask, classes.names)
    else:
        ids = mask_io.read_mask(mask, classes.colors, classes.values, page)
        if not classes.colors and not classes.values:
            palette = mask_io.palette_in_use(mask, histogram(ids))
        if not classes.values and (VOID,) * 3 not in (classes.colors or {}):
            with image_io.opened(mask, page) as image:
                is_bit = image.mode == "1"
    height, width = size = image_io.picture_size(picture, page)
    if ids.shape[:2] != size:
        raise ValueError(
            f"{mask}: has {ids.shape[1]}x{ids.shape[0]} pixels, its picture {width}x{height}"
        )
    image = image_io.read_image(picture, at_least, page, survey.values)
    fact = {"size": size, "mask": mask, "pixels": histogram(ids), "levels": histogram(image)}
    fact["upper"] = image.max() if upper_bits_alone(picture, page) else 0
    return image, ids, fact | {"palette": palette, "bit": is_bit, "digest": hash(ids.tobytes())}


def _conclude(survey, facts):
    """The `Source.conclude` of a folder."""
    every = [fact for split in facts.values() for fact in split]
    problems = [fact for fact in every if isinstance(fact, ValueError)]
    unexplained = Counter()
    for problem in problems:
        unexplained.update(problem.counts if isinstance(problem, ColoredMask) else {})
    problems = [str(problem) for problem in problems if not isinstance(problem, ColoredMask)]
    problems += folder_summary.different_palettes([f for f in every if isinstance(f, dict)])
    if unexplained:
        problems.append(example(survey.path, unexplained, survey.classes))
    refuse(survey.path, problems)

    known = survey.classes.values or survey.classes.colors or {}
    names, ids = _meaning(survey, every, known, problems)
    for fact in every:  # from pixels of each value to pixels of each class
        fact |= {key: np.int64(np.bincount(ids, fact[key], 256)) for key in ("pixels", "kept")}
    counts = {split: sum(fact["pixels"] for fact in some) for split, some in facts.items()}
    problems += folder_summary.unlearnable(names, counts)
    levels = sum(fact["levels"] for fact in every)
    upper = max(fact["upper"] for fact in every)
    if 0 < upper < 128:
        problems.append(
            "pictures are TIFFs in color with 16 bits a value, of which only the upper 8 can be "
            f"read, and these end at {upper}: save them as PNG of 16 bits"
        )
    refuse(survey.path, problems)
    summary = [
        f"{survey.path}: {'; '.join(survey.words)}",
        folder_summary.spread([f["size"] for f in every], levels),
    ]
    summary += folder_summary.share_table(names, counts)
    summary += folder_summary.warnings(names, counts, every, VOID in known.values())
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


def _meaning(survey, facts, known, problems):
    """Names of the classes, and the class id (256,) of each value that was read."""
    names, ids = survey.classes.names, np.arange(256, dtype=np.uint8)
    words = "polygons of labelme" if survey.polygons else f"what {survey.classes.file} names"
    if not (survey.polygons or survey.classes.values or VOID in known.values()):
        try:
            names, ids, form = find_meaning(names, np.array([fact["pixels"] for fact in facts]))
        except ValueError as error:
            refuse(survey.path, [str(error)])
        words = words if known else form
    survey.words.insert(0, f"masks hold {words}")
    for fact in facts:
        found = ids[fact["pixels"] > 0]
        if fact["bit"] and VOID in found and not all(other["bit"] for other in facts):
            problems.append(
                f"{fact['mask']}: has one bit a pixel, and others more: whether its white is "
                "number 1 or 255, void, is not known; save it with 8 bits"
            )
        value = max(found[found != VOID], default=0)
        if value >= len(names):
            problems.append(
                f"{fact['mask']}: has the value {value}, but {survey.classes.file} has "
                f"{len(names)} classes, from 0: allowed are 0 to {len(names) - 1}, and 255 for "
                "void, unless its lines are `name VALUE`"
            )
    return names, ids
