"""Turns a script's constants into command-line flags and checks what they are set to."""

import argparse
import ast
import contextlib
import math
import os
import re
import sys
from pathlib import Path

EXPORTS = ["onnx", "litert", "saved_model"]
PRECISIONS = ["auto", "float32", "mixed_bfloat16", "mixed_float16"]
DATASETS = ("oxford_iiit_pet", "synthetic")
PRETRAINED = ("none", "imagenet", "published")  # words; all else is a path


def _dataset_refusal(value):
    known = value in DATASETS or os.path.isdir(os.path.expanduser(value))
    return None if known else f"one of {', '.join(DATASETS)} or a folder that exists"


def _pretrained_refusal(value):
    known = value in PRETRAINED or os.path.exists(value)
    return None if known else "a word that its comment names, or a path that exists"


def is_run(pretrained):
    """Whether the value of --pretrained is the folder of a run, or its `model.keras`."""
    is_word = pretrained in PRETRAINED  # whatever folder has that name
    return not is_word and (os.path.isdir(pretrained) or pretrained.endswith(".keras"))


# What every script allows, by the name of the flag. `parse_flags` says what the values mean.
SHARED_LIMITS = {
    "dataset": _dataset_refusal,
    "predict": lambda photos: "names of photos" if "" in photos else None,
    "output": str,
    "fit": ["resize", "tiles"],
    "precision": PRECISIONS,
    "pretrained": _pretrained_refusal,
    "data_dir": str,
    "runs_dir": str,
    "batch_size": range(1, 4097),
    "seed": range(2**31),
    "epochs": range(1, 100_001),
    "patience": range(10_001),
    "learning_rate": (1e-8, 1.0),
    "fine_tune_learning_rate": (1e-8, 1.0),
    "head_epochs": range(100_001),
    "augmentation": (0.0, 2.0),
    "dropout": (0.0, 0.95),
    "batch_norm_momentum": (0.0, 0.999),
}

# Flags that go with --predict, the first of them with --export, too: default and help.
_WITH_PREDICT = {
    "model": ("", "the model to use, a file or a run's folder (default: the newest finished run)"),
    "output": ("predictions", "folder of the masks and overlays (default: predictions)"),
    "probabilities": (False, "keep the probabilities of all classes, too, as NAME.npz"),
    "mirrored": (False, "average with the mirror image, which takes twice as long"),
    "overwrite": (False, "replace results that are there"),
}

# `common` and `support` read these; which others a script reads is looked up in its source.
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
            text but an empty one, or a function that returns None for a value that can work,
            and else what it must be, in words. Adds to `SHARED_LIMITS`; without an entry,
            anything goes.
        arguments: list of str, in place of `sys.argv[1:]`.

    Returns:
        argparse.Namespace with an attribute for each constant, in lower case; `script`, the path
        of the script; `predict`, a list of photos, and `export`, a format, both of which are empty
        in a training. If `export` is not, also `model`; if `predict` is not, also `model`,
        `output`, `probabilities`, `mirrored` and `overwrite`; and then `pretrained` is "none"
        unless it was given as a flag.

    Raises:
        SystemExit: status 2 and one line on stderr, for an unknown flag, a refused value or a
            constant that is missing.
    """
    about = (script["__doc__"] or "").split("\n\n")[0]
    parser = argparse.ArgumentParser(description=about, allow_abbrev=False)
    parser.error = refuse  # one line instead of argparse's three
    source = Path(script["__file__"]).read_text(encoding="utf-8")
    limits = SHARED_LIMITS | limits
    for name, comment in re.findall(r"^([A-Z][A-Z0-9_]*) *=[^#\n]*(?:# *(.*))?$", source, re.M):
        default = script.get(name)
        if not isinstance(default, int | float | str):
            continue
        about = f"{comment} (default: {default})".replace("%", "%%")
        is_number = isinstance(limits.get(name.lower()), tuple)
        kind = {"type": float if is_number else type(default), "metavar": ""}
        if isinstance(default, bool):
            kind = {"action": argparse.BooleanOptionalAction}
        parser.add_argument(_flag(name), default=default, help=about, **kind)
    formats = ", ".join(EXPORTS)
    use = parser.add_argument_group("to use a trained model instead of training one")
    several = {"nargs": "+", "action": "extend", "default": []}  # also where it is given twice
    use.add_argument("--predict", **several, metavar="PHOTO", help="photos or folders")
    use.add_argument("--export", default="", metavar="FORMAT", help=f"write the model as {formats}")
    for name, (default, about) in _WITH_PREDICT.items():
        kind = {"action": "store_true"} if default is False else {"metavar": ""}
        use.add_argument(_flag(name), default=default, help=about, **kind)
    flags = parser.parse_args(arguments)
    asked = parser.parse_args(arguments, argparse.Namespace(**dict.fromkeys(vars(flags))))
    given = {name for name, value in vars(asked).items() if value is not None}  # without defaults
    for name, (default, _) in _WITH_PREDICT.items() if not flags.predict else ():
        if not (name == "model" and flags.export) and vars(flags).pop(name) != default:
            refuse(f"{_flag(name)} goes with --predict, and there is none")
    if "export" in given and (flags.predict or flags.export not in EXPORTS):
        refuse(f"--export {flags.export} takes one of {formats}, without --predict")
    for name in (*_NEEDED, *re.findall(r"\bflags\.(\w+)", source)):
        if name not in flags:
            refuse(f"the constant {name.upper()}, a number or text, is missing in the script")
    flags.pretrained = os.path.expanduser(str(getattr(flags, "pretrained", "none")))
    if flags.predict or flags.export:
        limits["dataset"] = str  # it needs none, and a model knows what it was trained on
        if "pretrained" not in given:
            flags.pretrained = "none"  # the constant is for training
        counts = {"predict", "export", *_WITH_PREDICT, "runs_dir", "pretrained"}
        counts |= {"variant"} if flags.pretrained != "none" else set()
        if wrong := given - counts:
            refuse(f"{_flag(min(wrong))} is for training: a trained model has its own")
        if flags.pretrained != "none" and (flags.model or is_run(flags.pretrained)):
            refuse("a run to use is named by --model alone, without --pretrained")
    elif flags.pretrained in PRETRAINED[1:] and flags.pretrained not in source:
        refuse(f"--pretrained {flags.pretrained} is a word of another script")
    for name, value in vars(flags).items():
        if wanted := _refusal(value, limits.get(name)):
            refuse(f"{_flag(name)} {value!r} cannot work: must be {wanted}")
    if flags.dataset not in DATASETS:  # so that the same folder is the same dataset
        flags.dataset = str(Path(os.path.expanduser(flags.dataset)).resolve())
        runs_dir = Path(os.path.expanduser(flags.runs_dir)).resolve()
        if runs_dir.is_relative_to(flags.dataset) and not (flags.predict or flags.export):
            refuse(f"--runs-dir {runs_dir} is in --dataset: give another, outside of your pictures")
    flags.script = script["__file__"]
    return flags


def answer_early():
    """Answer --help and refuse flags of the script before TensorFlow is imported, which takes long.

    Read from the script's text, as far as that goes: the limits of its own flags come later.
    """
    path = getattr(sys.modules["__main__"], "__file__", None) or ""
    with contextlib.suppress(OSError, SyntaxError, ValueError):  # not one of ours, or edited freely
        source = Path(path).read_text(encoding="utf-8")
        if "common.launch(main)" not in source:
            return
        tree = ast.parse(source)
        lines = [node for node in tree.body if isinstance(node, ast.Assign)]
        named = {getattr(node.targets[0], "id", ""): node.value for node in lines}
        constants = [name for name in named if re.fullmatch(r"[A-Z][A-Z0-9_]*", name)]
        found = {name: ast.literal_eval(named[name]) for name in constants}
        script = {"__doc__": ast.get_docstring(tree), "__file__": path} | found
        own = {name.lower() for name, value in found.items() if type(value) in (int, float)}
        parse_flags(script, dict.fromkeys(own - {*SHARED_LIMITS}, (-math.inf, math.inf)))


def refuse(message):
    """End the program because its flags cannot work: one line on stderr, status 2."""
    print(f"{Path(sys.argv[0]).name}: {message} (--help lists all flags)", file=sys.stderr)
    sys.exit(2)


def _flag(name):
    return "--" + name.lower().replace("_", "-")


def _refusal(value, limit):
    """What `value` must be, in words, if `limit` forbids it; else None."""
    if limit is str:
        return None if value.strip() else "some text"
    if limit is None or callable(limit):
        return limit and limit(value)
    if isinstance(limit, list):
        return None if value in limit else "one of " + ", ".join(map(str, limit))
    if isinstance(limit, range):
        kind = "a whole number" if limit.step == 1 else f"a multiple of {limit.step}"
        fits = isinstance(value, int) and value in limit  # 8.0 is in a range, too
        return None if fits else f"{kind} from {limit[0]} to {limit[-1]}"
    lowest, highest = limit
    span = f" from {lowest:g} to {highest:g}" if math.isfinite(lowest) else ""  # known later
    return None if lowest <= value <= highest else f"a number{span}"
