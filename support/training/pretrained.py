"""Weights to begin with: VGG-16's, from ImageNet or a file, and those of an earlier run."""

import contextlib
import hashlib
import os
import re
import socket
from collections import Counter
from pathlib import Path

from support.inference.model_file import finalize, load_model, model_path
from support.runtime.flags import PRETRAINED, is_run
from support.runtime.network import check_network
from support.runtime.startup import UserError, reason

import keras

_FOLDER = "https://storage.googleapis.com/tensorflow/keras-applications/vgg16"
_FILE = "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5"


def open_vgg16(pretrained):
    """The `load_vgg16` of `FCN-keras.py`, before anything is made of it.

    Args:
        pretrained: "imagenet", "none" for random weights, or the path of a weights file or run.

    Returns:
        keras.Model from (N, H, W, 3) to (N, H / 32, W / 32, 512), to which a run's weights have
        still to come; and whether batch normalization has to be put into it.

    Raises:
        UserError: the weights cannot be downloaded or read.
    """
    folder = keras_cache()
    advice = "Give a weights file of VGG-16 without its top"
    socket.setdefaulttimeout(15)  # seconds; a stalled download would hang for ever
    try:
        if pretrained == "imagenet":
            advice = f"Put {_FILE} into {folder}"
            if not (folder / _FILE).exists():
                with contextlib.suppress(OSError):  # where Keras takes another one
                    folder.mkdir(parents=True, exist_ok=True)  # the user may have to put it there
                check_network(f"{_FOLDER}/{_FILE}")
        of_run = is_run(pretrained)
        weights = None if of_run or pretrained == "none" else pretrained
        vgg16 = keras.applications.VGG16(include_top=False, weights=weights)
        normalized = has_layer(pretrained, "block1_conv1_norm") if of_run else weights is None
        return vgg16, normalized
    except Exception as error:
        raise UserError(
            f"--pretrained {pretrained}: {reason(error)}\n{advice}, or train all at once from "
            "nothing: --pretrained none --decoder-epochs 0 --fine-tune-epochs 24 "
            "--fine-tune-learning-rate 5e-3"
        ) from error
    finally:
        socket.setdefaulttimeout(None)


def weights_stamp(pretrained):
    """A hash of the file that --pretrained names; None for a word."""
    if pretrained in PRETRAINED:
        return None
    with open(model_path(pretrained), "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:12]


def keras_cache():
    """Path of the folder of weights that Keras has downloaded."""
    return Path(os.environ.get("KERAS_HOME", "~/.keras")).expanduser() / "models"


def has_layer(pretrained, name):
    """Whether the model of a run has a layer whose name begins so, nested models included."""
    model, _ = load_model(model_path(pretrained))
    return any(layer.name.startswith(name) for layer in _flat(model))


def begin_with_run(model, pretrained, class_names):
    """Give a model the weights of an earlier run, but for what puts out other classes.

    Args:
        model: keras.Model to train.
        pretrained: str, the folder of a run or its `model.keras`. "none" changes nothing.
        class_names: of the classes that are to be trained.

    Returns:
        list of the layers that get none of them; empty for "none".

    Raises:
        UserError: it is no run, or the run of another network or width.
    """
    if pretrained == "none":
        return []
    if not is_run(pretrained):
        raise UserError(f"--pretrained {pretrained} is neither none nor the folder of a run")
    earlier, facts = load_model(model_path(pretrained))
    names = [entry["name"] for entry in facts["classes"]]
    old, new = map(_by_creation, (earlier, model))
    if differ := {key for key in old.keys() ^ new.keys() if not _puts_out_classes(key[0])}:
        name = min(differ)[0]
        raise UserError(f"--pretrained {pretrained} is of another network: only one has {name}")
    anew = []
    for key, layer in new.items():
        if key not in old:  # of more classes FCN's upsampling has more layers
            anew.append(layer)
            continue
        shapes = [[tuple(weight.shape) for weight in some.weights] for some in (old[key], layer)]
        if _puts_out_classes(layer.name) and (shapes[0] != shapes[1] or names != [*class_names]):
            anew.append(layer)
        elif shapes[0] != shapes[1]:
            raise UserError(
                f"--pretrained {pretrained} is of another width: its {layer.name} is "
                f"{shapes[0][0]}, here it is {shapes[1][0]}"
            )
        else:
            layer.set_weights(old[key].get_weights())
    finalize(model)
    names = ", ".join(sorted(layer.name for layer in anew))
    print(f"Begins with {pretrained}" + (f"; anew, for other classes: {names}" if anew else ""))
    return anew


def _puts_out_classes(name):
    return name.startswith(("score", "upsample_"))


def _flat(model):
    """All layers, those of nested models in place of these."""
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from _flat(layer)
        else:
            yield layer


def _by_creation(model):
    """dict from (name without Keras' number, how many of that name came before) to layer.

    Of all layers with weights of their own.
    """
    some = [layer for layer in _flat(model) if layer.weights]
    named = [(*re.fullmatch(r"(.*?)_?(\d*)", layer.name).groups(), layer) for layer in some]
    before, found = Counter(), {}
    for base, _, layer in sorted(named, key=lambda entry: (entry[0], int(entry[1] or 0))):
        found[base, before[base]] = layer
        before[base] += 1
    return found
