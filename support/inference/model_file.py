"""`model.keras` with what it takes to use it: the classes, and how pictures were fitted."""

import json
import zipfile

from support.runtime.devices import JIT_COMPILE, PRECISIONS
from support.runtime.startup import UserError, reason

import keras

_ENTRY = "segmentation.json"  # beside Keras' own entries of the zip file, which do not mind it


def save_model(model, facts, path):
    """Save a model and a dict of facts about it in one file."""
    model.save(path)
    with zipfile.ZipFile(path, "a") as file:
        file.writestr(_ENTRY, json.dumps(facts, indent=2))


def in_float32(model):
    """The same network and weights, computing in float32 whatever it was trained in."""
    text = model.to_json()
    for mixed in PRECISIONS[2:]:
        text = text.replace(f'"{mixed}"', '"float32"')
    again = keras.models.model_from_json(text)
    again.set_weights(model.get_weights())
    return again


def load_model(path):
    """What `save_model` saved.

    Returns:
        keras.Model and dict.

    Raises:
        UserError: there is no such file, or it is of another origin.
    """
    try:
        with zipfile.ZipFile(path) as file:
            facts = json.loads(file.read(_ENTRY))
        model = keras.models.load_model(path, compile=False)
        model.compile(jit_compile=JIT_COMPILE)
        return model, facts
    except FileNotFoundError as error:
        raise UserError(f"There is no model {path}") from error
    except Exception as error:  # a file may be wrong in a dozen ways
        why = f"{path} is no model of a finished run of these scripts: {reason(error)}"
        raise UserError(why) from error
