"""Polygons that labelme has written, drawn into masks."""

import contextlib
import json

from support.data.image_io import VOID
from support.runtime.startup import UserError

import numpy as np
from PIL import Image, ImageDraw

BACKGROUND = "background"  # what has no shape
_VOID, _LABELMES_BACKGROUND = "__ignore__", "_background_"  # labelme's own words


def is_file(path):
    """Whether a file's name is that of one of labelme's."""
    return path.suffix.lower() == ".json"


def is_background(label):
    """Whether a label means what has no shape, in letters of any case."""
    return label.lower() in (BACKGROUND, _LABELMES_BACKGROUND)


def labels(path):
    """The set of labels in a file, without those that mean background and void.

    Raises:
        ValueError: it is no file of labelme. The message, one line, begins with the path.
    """
    found = {shape["label"] for shape in _read(path)["shapes"]} - {_VOID}
    return {label for label in found if not is_background(label)}


def read_mask(path, names):
    """A mask of what a file says of its picture; where shapes overlap, the later one counts.

    Args:
        path: Path.
        names: list of str, the labels in the order of their class ids, `BACKGROUND` among them.

    Returns:
        uint8 (H, W, 1), class ids and `VOID`.

    Raises:
        ValueError: it is no file of labelme, has a label that is not in `names`, or a shape without
            an area. The message, one line, begins with the path.
    """
    known = {name: number for number, name in enumerate(names)} | {_VOID: VOID}
    content = _read(path)
    mask = Image.new("L", (content["imageWidth"], content["imageHeight"]), known[BACKGROUND])
    draw = ImageDraw.Draw(mask)
    for shape in content["shapes"]:
        kind, points = shape.get("shape_type", "polygon"), [*map(tuple, shape["points"])]
        label = BACKGROUND if is_background(shape["label"]) else shape["label"]
        if label not in known:
            raise ValueError(
                f"{path}: has the label {label}, which the file of classes does not name"
            )
        fill = known[label]
        if kind in ("polygon", "rectangle") and len(points) > 2:  # X-AnyLabeling: 4 corners
            draw.polygon(points, fill=fill)
        elif kind == "rectangle" and len(points) == 2:
            (left, right), (top, bottom) = map(sorted, zip(*points, strict=True))
            draw.rectangle((left, top, right, bottom), fill=fill)
        elif kind == "circle" and len(points) == 2:
            (x, y), radius = points[0], np.hypot(*np.subtract(*points))
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=fill)
        else:
            raise ValueError(
                f"{path}: has a {kind} of {len(points)} points for {shape['label']}; polygons, "
                "rectangles and circles are drawn"
            )
    return np.array(mask)[..., None]


def _read(path):
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: cannot be read as JSON: {error}") from error
    with contextlib.suppress(KeyError, TypeError, ValueError):
        sizes = content["imageWidth"], content["imageHeight"]
        whole = all(isinstance(size, int) and size > 0 for size in sizes)
        if whole and all(map(_is_shape, content["shapes"])):
            return content
    raise ValueError(f"{path}: is no file of labelme: its shapes or its size are missing or wrong")


def _is_shape(shape):
    numbers = [number for x, y in shape["points"] for number in (x, y)]
    return isinstance(shape["label"], str) and all(isinstance(n, int | float) for n in numbers)


def refuse_coco(folder):
    """Refuse a folder that has COCO's annotations in place of masks.

    Raises:
        UserError: it has, and how to turn them into masks.
    """
    for path in sorted(folder.glob("*.json")):
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if isinstance(content, dict) and {"annotations", "categories"} <= {*content}:
            raise UserError(
                f"{path} has COCO's annotations. Draw them into masks/, a gray PNG for each, "
                "with category ids as values:\nmask[coco.annToMask(a) > 0] = a['category_id'] with "
                "pycocotools, and a line `name VALUE` for each category in classes.txt."
            )
