"""From a script's constants to checked flags."""

import argparse
import os
import re
import sys
from pathlib import Path

from support.runtime.devices import PRECISIONS

DATASETS = ("oxford_iiit_pet", "synthetic")


def _no_dataset(value):
    known = value in DATASETS or (value.strip() and os.path.isdir(os.path.expanduser(value)))
    return None if known else f"one of {', '.join(DATASETS)} or a folder that exists"


# What every script allows, by flag name; `parse_flags` explains the forms.
SHARED_LIMITS = {
    "dataset": _no_dataset,
    "fit": ["resize", "tiles"],
    "precision": PRECISIONS,
    "data_dir": str,
    "runs_dir": str,
    "batch_size": range(1, 4097),
    "seed": range(2**31),
    "epochs": range(1, 100_001),
    "patience": range(10_001),
    "learning_rate": (1e-8, 1.0),
    "augmentation": (0.0, 2.0),
    "dropout": (0.0, 0.95),
    "batch_norm_momentum": (0.0, 0.999),
}

# Flags that go with --predict: default and help.
_USE = {
    "model": ("", "the model to use, a file or a run's folder (default: the newest finished run)"),
    "output": ("predictions", "folder of the masks and overlays (default: predictions)"),
    "probabilities": (False, "keep the probabilities of all classes, too, as NAME.npz"),
    "mirrored": (False, "average with the mirror image, which takes twice as long"),
    "overwrite": (False, "replace results that are there"),
}

# Without these nothing can be loaded or kept. The others are looked for in the script.
_NEEDED = ("dataset", "data_dir", "runs_dir", "image_size", "batch_size", "seed", "patience")
_NEEDED += ("augmentation", "fit", "precision")


def parse_flags(script, limits, arguments=None):
    """Turn a script's UPPER_CASE constants into command-line flags and check their values.

    `IMAGE_SIZE = 128  # side, pixels` becomes `--image-size`, an int with default 128 and
    "side, pixels" as its help. Constants edited in the file are checked like flags.

    Args:
        script: dict, the script's `globals()`.
        limits: dict from flag name (`image_size`) to what it may be: a `range` of whole
            numbers, a tuple `(lowest, highest)` of numbers, a list of choices, `str` for any
            text, or a function from a value to what it must be (None: it is). Comes on top of
            `SHARED_LIMITS`; without an entry, anything goes.
        arguments: list of str, in place of `sys.argv[1:]`.

    Returns:
        argparse.Namespace with one attribute per constant, in lower case, and `script`, its path;
        `predict`, `model`, `output`, `probabilities`, `mirrored` and `overwrite` are there if
        photos are to be labelled, else `predict` alone, an empty list.

    Raises:
        SystemExit: status 2 and one line on stderr, for an unknown flag, a refused value or a
            constant that is missing.
    """
    about = script["__doc__"].split("\n\n")[0]
    parser = argparse.ArgumentParser(description=about, allow_abbrev=False)
    parser.error = refuse  # one line instead of argparse's three
    source = Path(script["__file__"]).read_text(encoding="utf-8")
    limits = SHARED_LIMITS | limits
    for name, comment in re.findall(r"^([A-Z][A-Z0-9_]*) *=[^#\n]*(?:# *(.*))?$", source, re.M):
        default = script.get(name)
        if not isinstance(default, bool | int | float | str):
            continue
        about = f"{comment} (default: {default})".replace("%", "%%")
        if isinstance(default, bool):
            kind = {"action": argparse.BooleanOptionalAction}
        else:
            is_number = isinstance(limits.get(name.lower()), tuple)
            kind = {"type": float if is_number else type(default), "metavar": ""}
        parser.add_argument(_flag(name), default=default, help=about, **kind)
    use = parser.add_argument_group("to use a trained model instead of training one")
    use.add_argument("--predict", nargs="+", default=[], metavar="PHOTO", help="photos or folders")
    for name, (default, about) in _USE.items():
        kind = {"action": "store_true"} if default is False else {"metavar": ""}
        use.add_argument(_flag(name), default=default, help=about, **kind)
    flags = parser.parse_args(arguments)
    for name, (default, _) in _USE.items() if not flags.predict else ():
        if vars(flags).pop(name) != default:
            refuse(f"{_flag(name)} goes with --predict, and there is none")
    for name in (*_NEEDED, *re.findall(r"\bflags\.(\w+)", source)):
        if name not in flags:
            refuse(f"the constant {name.upper()}, a number or text, is missing in the script")
    if flags.predict:  # which needs no dataset, and a model knows what it was trained on
        limits["dataset"] = str
    for name, value in vars(flags).items():
        if wanted := _refusal(value, limits.get(name)):
            refuse(f"{_flag(name)} {value!r} cannot work: must be {wanted}")
    if flags.dataset not in DATASETS:  # so that the same folder is the same dataset
        flags.dataset = str(Path(os.path.expanduser(flags.dataset)).resolve())
    flags.script = script["__file__"]
    return flags


def refuse(message):
    """End the program because of its flags: one line on stderr, status 2."""
    print(f"{Path(sys.argv[0]).name}: {message} (--help lists all flags)", file=sys.stderr)
    sys.exit(2)


def _flag(name):
    return "--" + name.lower().replace("_", "-")


def _refusal(value, limit):
    """What `value` must be, in words, if `limit` forbids it; else None."""
    if limit is None:
        return None
    if callable(limit) and limit is not str:
        return limit(value)
    if limit is str:
        return None if value.strip() else "some text"
    if isinstance(limit, list):
        return None if value in limit else "one of " + ", ".join(map(str, limit))
    if isinstance(limit, range):
        kind = "a whole number" if limit.step == 1 else f"a multiple of {limit.step}"
        fits = isinstance(value, int) and value in limit  # 8.0 is in a range, too
        return None if fits else f"{kind} from {limit[0]} to {limit[-1]}"
    lowest, highest = limit
    return None if lowest <= value <= highest else f"a number from {lowest:g} to {highest:g}"
