"""VGG-16 with its weights from ImageNet or a file, or a word on why they cannot be had."""

import os
import socket
from pathlib import Path

from support.runtime.network import check_network
from support.runtime.startup import UserError, reason
from support.training.own_run import has_layer, is_run

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
                check_network(f"{_FOLDER}/{_FILE}")
        of_run = is_run(pretrained)
        weights = None if of_run or pretrained == "none" else pretrained
        vgg16 = keras.applications.VGG16(include_top=False, weights=weights)
        is_normalized = pretrained == "none" or (
            of_run and has_layer(pretrained, "block1_conv1_norm")
        )
        return vgg16, is_normalized
    except Exception as error:
        raise UserError(
            f"--pretrained {pretrained}: {reason(error)}\n{advice}, or train all at once from "
            "nothing: --pretrained none --decoder-epochs 0 --fine-tune-learning-rate 5e-3"
        ) from error
    finally:
        socket.setdefaulttimeout(None)


def keras_cache():
    """Path of the folder of weights that Keras has downloaded."""
    return Path(os.environ.get("KERAS_HOME", "~/.keras")).expanduser() / "models"
