"""The published U2-Net: its file, its way into our network, its batch normalization."""

import functools
import hashlib
import importlib.util
import os
import re
import socket
from pathlib import Path

from support.data.classes import COLORS
from support.inference.model_file import save_model
from support.runtime import distributed
from support.runtime.files import write
from support.runtime.network import check_network
from support.runtime.startup import UserError, reason
from support.training.pretrained import begin_with_run, has_layer, is_run, keras_cache

import keras
import numpy as np
from keras import layers, ops

_FOLDER = "https://github.com/danielgatis/rembg/releases/download/v0.0.0"
_FILES = {  # by variant: the name of the file, and its MD5
    "full": ("u2net.onnx", "60024c5c889badc19c04ad937298a77b"),
    "lite": ("u2netp.onnx", "8e83ca70e441ab06c318d82300c84806"),
}
_HEADS = 7  # convolutions that put out scores, the last ones of a U2-Net
_NEW = ("scores", "positions", "attention")  # how the names of layers begin that get no weights


def is_normalized(pretrained):
    """Whether weights expect pictures normalized by ImageNet's mean and deviation."""
    return has_layer(pretrained, "normalization") if is_run(pretrained) else pretrained != "none"


def begin_with_u2net(model, flags, data):
    """Give a U2-Net the weights that `flags.pretrained` names.

    Args:
        model: keras.Model of `U2Net-keras.py`.
        flags: Namespace with `pretrained`: "none", "published", an ONNX file or a run; `variant`.
        data: `Data` to train on.

    Returns:
        list of the layers that get none of them; empty for "none".

    Raises:
        UserError: they cannot be had, or are of another network.
    """
    if flags.pretrained == "none" or is_run(flags.pretrained):
        new = begin_with_run(model, flags.pretrained, data.class_names)
    else:
        put_u2net(model, open_u2net(flags.pretrained, flags.variant), flags.pretrained)
        heads = f"the {_HEADS} heads" + " and self-attention" * flags.self_attention
        print(f"Begins with {flags.pretrained}: all but {heads}, which are new")
        new = [layer for layer in model.layers if layer.name.startswith(_NEW)]
    means = [norm.moving_mean for norm in _of_kind(model, layers.BatchNormalization)]
    if flags.pretrained != "none" and not any(ops.any(mean) for mean in means):
        unfold(model, data.train)  # also where --predict has written them as a run
    return new


def open_u2net(pretrained, variant):
    """The convolutions of a U2-Net that rembg distributes, with batch normalization folded in.

    Args:
        pretrained: "published", or the path of an ONNX file. variant: "full" or "lite".

    Returns:
        list of (kernel (height, width, in, out), bias (out,)), float32, in the order of the paper's
        Fig. 5: encoder, decoder, side outputs 1 to 6, fusion.

    Raises:
        UserError: the `onnx` package is missing, or the file cannot be downloaded or read.
    """
    if not importlib.util.find_spec("onnx"):
        raise UserError(f"--pretrained {pretrained} needs onnx: pip install onnx")
    import onnx  # here, because nothing else needs it

    try:
        path = _download(variant) if pretrained == "published" else pretrained
        graph = onnx.load(path).graph
        arrays = {array.name: onnx.numpy_helper.to_array(array) for array in graph.initializer}
        found = [node.input for node in graph.node if node.op_type == "Conv"]
        return [(arrays[kernel].transpose(2, 3, 1, 0), arrays[bias]) for _, kernel, bias in found]
    except Exception as error:
        raise UserError(
            f"--pretrained {pretrained}: {reason(error)}\nPut {_FILES[variant][0]} of rembg's "
            f"release v0.0.0 into {keras_cache()}, or give its path"
        ) from error


def _download(variant):
    """Path of a published file: that of rembg, if it is on this machine, else in Keras' cache."""
    name, md5 = _FILES[variant]
    of_rembg = Path(os.environ.get("U2NET_HOME", "~/.u2net")).expanduser() / name
    for path in (of_rembg, keras_cache() / name):
        if path.is_file() and hashlib.md5(path.read_bytes()).hexdigest() == md5:
            return path
    check_network(f"{_FOLDER}/{name}")
    keras_cache().mkdir(parents=True, exist_ok=True)  # else Keras would take another folder
    socket.setdefaulttimeout(15)
    try:
        options = {"file_hash": md5, "cache_dir": keras_cache().parent, "cache_subdir": "models"}
        return keras.utils.get_file(name, f"{_FOLDER}/{name}", **options)
    finally:
        socket.setdefaulttimeout(None)


def put_u2net(model, convolutions, pretrained, with_heads=False):
    """Put what `open_u2net` returned into a U2-Net; its batch normalization then changes nothing.

    Args:
        model: keras.Model of `U2Net-keras.py`. convolutions: list of (kernel, bias).
        pretrained: str, named in errors.
        with_heads: also take the published heads, in a model of the two classes background and
            object: the sigmoid of a logit z is the softmax of 0 and z.

    Raises:
        UserError: they are of another network or variant.
    """
    own = sorted(_of_kind(model, layers.Conv2D), key=_creation)
    for number, (layer, (kernel, _)) in enumerate(zip(own[:-_HEADS], convolutions, strict=False)):
        if layer.kernel.shape != kernel.shape:
            raise UserError(
                f"--pretrained {pretrained} is of another network or --variant: convolution "
                f"{number + 1} is {kernel.shape}, expected was {layer.kernel.shape}"
            )
    if (given := len(convolutions)) != len(own):
        raise UserError(f"--pretrained {pretrained} has {given} convolutions, not {len(own)}")
    if with_heads:
        for number in range(-_HEADS, 0):
            kernel, bias = convolutions[number]
            if number == -1:  # fused: it weighs the logits of background and object of each side
                kernel = np.repeat(kernel, 2, axis=2) * np.tile([0, 1], 6)[:, None]
            convolutions[number] = kernel * np.float32([0, 1]), bias * np.float32([0, 1])
    for layer, weights in [*zip(own, convolutions, strict=True)][: None if with_heads else -_HEADS]:
        layer.set_weights(weights)
    for norm in _of_kind(model, layers.BatchNormalization):
        ones, zeros = np.ones(norm.gamma.shape), np.zeros(norm.gamma.shape)
        norm.set_weights([np.sqrt(1 + norm.epsilon) * ones, zeros, zeros, ones])


def _of_kind(model, kind):
    return [layer for layer in model.layers if type(layer) is kind]


def _creation(layer):
    """Sorts convolutions as they were made: Keras numbers those without a name of their own."""
    number = int(re.search(r"\d*$", layer.name)[0] or 0)
    return layer.name.startswith("scores"), layer.name == "scores", number


def unfold(model, pictures):
    """Give batch normalization the statistics of pictures, without a change of what a model says.

    With the mean and variance of what comes in, gamma sqrt(variance + epsilon) and beta the mean,
    it changes nothing, and in training, where it normalizes by each batch, nearly nothing.

    Args:
        model: keras.Model in which batch normalization changes nothing.
        pictures: tf.data.Dataset of batches of float32 (N, H, W, 3) and masks.

    Raises:
        UserError: other processes train, too.
    """
    if distributed.process_count() > 1:
        raise UserError("--pretrained published takes one process; --pretrained RUN takes several")
    norms = _of_kind(model, layers.BatchNormalization)
    inputs = [ops.cast(norm.input, "float32") for norm in norms]  # in mixed precision, too
    # var subtracts the mean first: mean square less squared mean cancels where mean >> deviation
    moments = [ops.stack([ops.mean(x, (0, 1, 2)), ops.var(x, (0, 1, 2))]) for x in inputs]
    measure = keras.Model(model.input, moments)
    seen = [measure(images) for images, *_ in pictures.take(4).as_numpy_iterator()]
    for norm, *found in zip(norms, *seen, strict=True):
        means, variances = np.stack([*map(ops.convert_to_numpy, found)], axis=1)
        mean = means.mean(0)
        variance = variances.mean(0) + means.var(0)  # within the batches, and between them
        norm.set_weights([np.sqrt(variance + norm.epsilon), mean, mean, variance])


def use_published(build_model, flags):
    """Write the published U2-Net, made by `build_model`, and let `flags.model` name its file.

    Does nothing unless --predict or --export goes with --pretrained.
    """
    if flags.pretrained == "none" or not (flags.predict or flags.export):
        return
    options = {"self_attention": False, "normalize_input": True}  # whatever the script's constants
    model = build_model(variant=flags.variant, num_classes=2, **options)
    put_u2net(model, open_u2net(flags.pretrained, flags.variant), flags.pretrained, with_heads=True)
    softmax = layers.Softmax(name="probabilities")(model.outputs[0])
    classes = [{"name": "background", "color": "#000000"}, {"name": "object", "color": COLORS[0]}]
    facts = {"image_size": 320, "fit": "resize", "classes": classes, "value_range": None}
    path = Path(os.path.expanduser(flags.runs_dir)) / f"published/u2net-{flags.variant}/model.keras"
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = keras.Model(model.input, softmax, name=model.name)
    write(path, functools.partial(save_model, whole, facts))
    flags.model = str(path)
