"""Weights of an earlier run of the same network, to go on with."""

import re
from collections import Counter
from pathlib import Path

from support.inference.model_file import finalize, load_model
from support.runtime.flags import is_run
from support.runtime.startup import UserError

import keras


def has_layer(pretrained, name):
    """Whether the model of a run has a layer of that name, nested models included."""
    return any(layer.name == name for layer in _weighted(_load(pretrained)[0]))


def has_kind(pretrained, kind):
    """Whether the model of a run has a layer of a kind, a class of Keras."""
    return any(isinstance(layer, kind) for layer in _load(pretrained)[0].layers)


def begin_with_run(model, pretrained, class_names):
    """Give a model the weights of an earlier run, but for what puts out other classes.

    Args:
        model: keras.Model to train.
        pretrained: str, the folder of a run or its `model.keras`. "none" changes nothing.
        class_names: of the classes that are to be trained.

    Raises:
        UserError: it is no run, or the run of another network or width.
    """
    if pretrained == "none":
        return
    if not is_run(pretrained):
        raise UserError(f"--pretrained {pretrained} is neither none nor the folder of a run")
    earlier, facts = _load(pretrained)
    names = [entry["name"] for entry in facts["classes"]]
    old, new = (_by_creation(_weighted(found)) for found in (earlier, model))
    differ = {key for key in old.keys() ^ new.keys() if not _puts_out_classes(key[0])}
    if differ:
        name = min(differ)[0]
        raise UserError(f"--pretrained {pretrained} is of another network: only one has {name}")
    anew = []
    for key, layer in new.items():
        if key not in old:  # of more classes FCN's upsampling has more layers
            anew.append(layer.name)
            continue
        shapes = [[tuple(weight.shape) for weight in some.weights] for some in (old[key], layer)]
        if _puts_out_classes(layer.name) and (shapes[0] != shapes[1] or names != [*class_names]):
            anew.append(layer.name)
        elif shapes[0] != shapes[1]:
            raise UserError(
                f"--pretrained {pretrained} is of another width: its {layer.name} is "
                f"{shapes[0][0]}, here it is {shapes[1][0]}"
            )
        else:
            layer.set_weights(old[key].get_weights())
    finalize(model)
    others = f"; anew, for other classes: {', '.join(sorted(anew))}" if anew else ""
    print(f"Begins with {pretrained}{others}")


def _puts_out_classes(name):
    return name.startswith(("score", "upsample_"))


def _load(pretrained):
    path = Path(pretrained)
    return load_model(path / "model.keras" if path.is_dir() else path)


def _weighted(model):
    """All layers with weights of their own, those of nested models in place of these."""
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from _weighted(layer)
        elif layer.weights:
            yield layer


def _by_creation(some):
    """dict from (name without Keras' number, how many of that name came before) to layer."""
    named = [(*re.fullmatch(r"(.*?)_?(\d*)", layer.name).groups(), layer) for layer in some]
    before, found = Counter(), {}
    for base, _, layer in sorted(named, key=lambda entry: (entry[0], int(entry[1] or 0))):
        found[base, before[base]] = layer
        before[base] += 1
    return found
