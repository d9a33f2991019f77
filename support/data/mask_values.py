"""What the values of all masks of a folder mean, where nobody has said it."""

from support.data.image_io import VOID

import numpy as np

_MOST_UNNAMED = 64  # classes without names; more are gray levels rather than ids


def find_meaning(names, counts):
    """Class ids of the masks' values, from 0 to 255, and the names of the classes.

    Args:
        names: list of str, or None if nobody has named the classes.
        counts: int64 (masks, 256), pixels of each value in each mask.

    Returns:
        names; uint8 (256,), the class id that each value stands for; str, what the masks were
        taken for.

    Raises:
        ValueError: it cannot be known. The message says what there is, and what to write.
    """
    total = counts.sum(axis=0)
    values = np.flatnonzero(total)
    if names is None or len(names) == 2:
        for words, fits, is_object in FORMS:
            if fits(counts, total, values):
                _refuse_two_scales(counts, is_object)
                return names or ["background", "foreground"], is_object.astype(np.uint8), words
        _refuse_strays(total, values)
    return names or _unnamed(values), np.arange(256).astype(np.uint8), "class numbers"


def _is_smooth(counts, total, values):
    """Mostly 0 and 255, and of what smooth outlines have in between some of everything."""
    between, ends = total[1:VOID], min(total[0], total[VOID]) and total[0] + total[VOID]
    return (between > 0).sum() >= 8 and between[199:].any() and between.sum() < ends / 2


def _is_mixed(counts, total, values):
    """0 and 1 in some masks and 0 and 255 in others, but never 1 and 255 in the same."""
    return values.tolist() == [0, 1, VOID] and not (counts[:, 1] * counts[:, VOID]).any()


_VALUES = np.arange(256)

# What masks of two classes look like: in words, how it is known, and which values are the object.
FORMS = (
    ("0 and 255", lambda counts, total, values: values.tolist() == [0, VOID], _VALUES == VOID),
    ("0 and 255 with smooth edges, cut at 128", _is_smooth, _VALUES >= 128),
    ("0 and 1 in some, 0 and 255 in others, both the object", _is_mixed, _VALUES > 0),
)


def _refuse_two_scales(counts, is_object):
    """Refuse masks of 0 and 1 among others of 0 to 255, where 1 would not be the object."""
    zero_one = (counts[:, 1] > 0) & ~counts[:, 2:].any(axis=1)
    if zero_one.any() and not is_object[1]:
        raise ValueError(
            f"{zero_one.sum()} masks have 0 and 1, the others 0 to 255 with smooth edges: save all "
            "masks alike"
        )


def _refuse_strays(total, values):
    """Ask what 255 is, if it is frequent and what lies between 0 and 255 is next to nothing."""
    strays, between = total[1:VOID].sum(), values[(values > 0) & (values < VOID)].tolist()
    if 0 < strays < total[VOID] / 100 and total[VOID] > total.sum() / 100:
        found = ", ".join(map(str, between[:4])) + (" ..." if between[4:] else "")
        is_class = " / ".join(f"void {value}" for value in between)
        is_void = " / ".join(f"class{value} {value}" for value in between)
        raise ValueError(
            f"masks have 0, 255 and {strays} pixels of {found}: is 255 a class or void? Write into "
            f"classes.txt, a line each: background 0 / foreground 255 / {is_class}; or: "
            f"background 0 / {is_void} / void 255"
        )


def _unnamed(values):
    """Names of classes that nobody has named."""
    ids = values[values != VOID].tolist()
    if not ids:
        raise ValueError("masks hold 255 and nothing else, which is void: nothing is labelled")
    count = ids[-1] + 1
    if len(ids) == count > _MOST_UNNAMED:
        raise ValueError(
            f"masks have {count} values, from 0 to {ids[-1]}: if these are classes and no shades "
            f"of gray, name them in classes.txt; up to {_MOST_UNNAMED} need no names"
        )
    if len(ids) < count or count < 2:
        shown = ", ".join(map(str, ids[:8])) + (" ..." if len(ids) > 8 else "")
        raise ValueError(
            f"masks have the values {shown}: ids must be 0, 1, 2 and so on, two classes at least, "
            "none left out. Say in classes.txt what there is, a line `name VALUE` for each class, "
            "or if some ids do not occur, all names in their order."
        )
    return [f"class {number}" for number in range(count)]
