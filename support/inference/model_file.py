"""`model.keras`, with what it takes to use it: its classes, and how pictures were fitted."""

import json
import os
import re
import zipfile
from pathlib import Path

from support.runtime.flags import refuse
from support.runtime.startup import UserError, reason

import keras

_ENTRY = "segmentation.json"  # beside Keras' own entries of the zip file, which do not mind it


def save_model(model, facts, path):
    """Save a model and the facts about it in one file.

    Args:
        model: keras.Model, float32 (N, H, W, 3) in [0, 1] to probabilities (N, H, W, C).
        facts: dict, which becomes the JSON of the file:
            `classes`: list of C dicts with `name` and `color` ("#RRGGBB"), in the order of the ids.
            `image_size`: int, side of the squares that it was trained on, pixels.
            `fit`: "resize" or "tiles", how pictures became such squares.
            `value_range`: the two values that became 0 and 1 in pictures of more than 8 bits; None
            where it was trained on pictures of 8.
            `trained_on`: str, names the data; missing in the file of a published network.
        path: Path of the file to write.
    """
    model.save(path)
    with zipfile.ZipFile(path, "a") as file:
        file.writestr(_ENTRY, json.dumps(facts, indent=2))


def in_float32(model):
    """Copy a model, whatever precision it was trained in, into one that computes in float32."""
    config = re.sub('"mixed_b?float16"', '"float32"', model.to_json())
    copy = keras.models.model_from_json(config)
    copy.set_weights(model.get_weights())
    finalize(copy)
    return copy


def finalize(model):
    """Make up for what `set_weights` leaves out of a `Normalization` layer that was adapted.

    It computes with another form of its weights, which only this brings up to date.
    """
    for layer in model.layers:
        if isinstance(layer, keras.layers.Normalization):
            layer.finalize_state()


def model_path(name):
    """Path of a model's file, given that or the folder of its run."""
    path = Path(os.path.expanduser(name))
    return path / "model.keras" if path.is_dir() else path


def find_model(network, flags):
    """Return the Path of the model that `--model` names, or of the newest finished run.

    Raises:
        UserError: there is no finished run.
    """
    if flags.model:
        return model_path(flags.model)
    if flags.pretrained != "none":
        refuse(f"--pretrained {flags.pretrained} is for training: --model names a model to use")
    parent = Path(os.path.expanduser(flags.runs_dir)) / network
    finished = [*parent.glob("*/metrics.json")]
    finished.sort(key=lambda file: (file.parent.name[:1].isdigit(), file))  # "best" is older
    if not finished:
        raise UserError(f"There is no finished run in {parent}: train first, or give --model FILE")
    return finished[-1].with_name("model.keras")


def load_model(path):
    """Load what `save_model` saved: keras.Model, not compiled, and dict of facts.

    Raises:
        UserError: there is no such file, or it is of another origin.
    """
    try:
        with zipfile.ZipFile(path) as file:
            facts = json.loads(file.read(_ENTRY))
        return keras.models.load_model(path, compile=False), facts
    except FileNotFoundError as error:
        raise UserError(f"There is no model {path}") from error
    except Exception as error:  # a file may be wrong in a dozen ways
        why = f"{path} cannot be read as the model of a finished run: {reason(error)}"
        raise UserError(why) from error
