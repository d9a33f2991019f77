"""VGG-16 with its weights from ImageNet or a file, or a word on why they cannot be had."""

import os
import socket

from support.runtime.network import check_network
from support.runtime.startup import UserError, reason

import keras

_FOLDER = "https://storage.googleapis.com/tensorflow/keras-applications/vgg16"
_FILE = "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5"


def open_vgg16(pretrained):
    """The `load_vgg16` of `FCN-keras.py`, before anything is made of it.

    Args:
        pretrained: "imagenet", "none" for random weights, or the path of a weights file.

    Returns:
        keras.Model from (N, H, W, 3) to (N, H / 32, W / 32, 512).

    Raises:
        UserError: the weights cannot be downloaded or read.
    """
    folder = os.path.expanduser(os.path.join(os.environ.get("KERAS_HOME", "~/.keras"), "models"))
    advice = "Give a weights file of VGG-16 without its top"
    socket.setdefaulttimeout(15)  # seconds; a stalled download would hang for ever
    try:
        if pretrained == "imagenet":
            advice = f"Put {_FILE} into {folder}"
            if not os.path.exists(os.path.join(folder, _FILE)):
                check_network(f"{_FOLDER}/{_FILE}")
        weights = None if pretrained == "none" else pretrained
        return keras.applications.VGG16(include_top=False, weights=weights)
    except Exception as error:
        raise UserError(
            f"--pretrained {pretrained}: {reason(error)}\n{advice}, or train all at once from "
            "nothing: --pretrained none --decoder-epochs 0 --fine-tune-learning-rate 5e-3"
        ) from error
    finally:
        socket.setdefaulttimeout(None)
