"""FCN: a classifier turned into a network that labels every pixel.

Long, Shelhamer, Darrell 2015, "Fully Convolutional Networks for Semantic Segmentation",
arXiv:1411.4038.

    picture -> VGG-16 -> pool3 -----> pool4 -----> pool5 -> 7x7 conv -> 1x1 conv
                         (1/8)        (1/16)       (1/32)                  |
                           |            |                                score
                         score        score                                | up 2
                           |            +--------------------------------> + (FCN-16s)
                           |                                               | up 2
                           +---------------------------------------------> + (FCN-8s)
                                                                           | up 8
                                                                 class probabilities

VGG-16 ended in fully connected layers, which need one fixed input size and forget where things
are. As convolutions, the same layers give a coarse map of class scores. The decoder adds to it
the scores of two earlier, finer layers and upsamples with transposed convolutions.

Training all of it at once from nothing is hard, so encoder and decoder are trained apart: VGG-16
comes pretrained on ImageNet and stays frozen while the decoder learns; then all of it is
fine-tuned at a low learning rate. `python FCN-keras.py --help` lists all flags.
"""

import os
from pathlib import Path

import common
import keras
import numpy as np
from keras import layers, ops

DATASET = "oxford_iiit_pet"  # oxford_iiit_pet or synthetic
DATA_DIR = "~/tensorflow_datasets"  # where tfds keeps prepared datasets
RUNS_DIR = "runs"  # results go into a new folder below this one
IMAGE_SIZE = 128  # side of the square the network sees, pixels
BATCH_SIZE = 8  # pictures per step
SEED = 1  # same seed, same result
PRETRAINED = "imagenet"  # encoder weights: imagenet, none, or the path of a notop weights file
DECODER_EPOCHS = 10  # stage one: passes over the training pictures with the encoder frozen
FINE_TUNE_EPOCHS = 10  # stage two: passes with all of the network in training
PATIENCE = 0  # stop a stage after so many epochs without a better validation mean IoU; 0 never
LEARNING_RATE = 1e-3  # stage one: peak of the cosine schedule
FINE_TUNE_LEARNING_RATE = 1e-4  # stage two: peak of the cosine schedule
WEIGHT_DECAY = 1e-4  # decoupled, as in AdamW
AUGMENTATION = 0.7  # strength of the random changes to training pictures; 0 for none
STRIDE = 8  # of the finest scores, pixels: 8, 16 or 32 for FCN-8s, FCN-16s or FCN-32s
FC_FILTERS = 512  # channels of the two convolutionalized fully connected layers; paper: 4096
DROPOUT = 0.5  # share of their features dropped in training
BATCH_NORM_MOMENTUM = 0.9  # the default 0.99 lags behind on short trainings

_IMAGENET_MEAN = (123.68, 116.779, 103.939)  # red, green and blue, 0 to 255
_WEIGHTS_FOLDER = "https://storage.googleapis.com/tensorflow/keras-applications/vgg16"
_WEIGHTS_FILE = "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5"


def load_vgg16(pretrained):
    """VGG-16 without its classifier (Simonyan and Zisserman 2015, arXiv:1409.1556).

    Args:
        pretrained: "imagenet", "none" for random weights, or the path of a weights file.

    Returns:
        keras.Model, 14,714,688 weights.

    Raises:
        common.UserError: the weights cannot be downloaded or read.
    """
    folder = Path(os.environ.get("KERAS_HOME", "~/.keras")).expanduser() / "models"
    try:
        if pretrained == "imagenet" and not (folder / _WEIGHTS_FILE).exists():
            common.check_network(f"{_WEIGHTS_FOLDER}/{_WEIGHTS_FILE}")  # Keras itself would hang
        weights = None if pretrained == "none" else pretrained
        return keras.applications.VGG16(include_top=False, weights=weights)
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        advice = "Give a weights file of VGG-16 without its top"
        if pretrained == "imagenet":
            advice = f"Put {_WEIGHTS_FILE} into {folder}"
        raise common.UserError(
            f"--pretrained {pretrained}: {reason}\n{advice}, or do without: --pretrained none"
        ) from error


def bilinear_kernel(factor, channels):
    """Bilinear upsampling as weights, float32 (2 factor, 2 factor, channels, channels)."""
    line = 1 - np.abs((np.arange(2 * factor) + 0.5) / factor - 1)
    return np.einsum("h,w,io->hwio", line, line, np.eye(channels)).astype("float32")


def upsample(x, factor, name):
    """Transposed convolution that starts as bilinear interpolation and may learn better."""
    classes = x.shape[-1]
    options = {"strides": factor, "padding": "same", "use_bias": False, "name": name}
    layer = layers.Conv2DTranspose(classes, 2 * factor, **options)
    x = layer(x)
    layer.set_weights([bilinear_kernel(factor, classes)])
    return x


def build_model(
    image_size=IMAGE_SIZE,
    pretrained=PRETRAINED,
    num_classes=3,
    stride=STRIDE,
    fc_filters=FC_FILTERS,
    dropout=DROPOUT,
    batch_norm_momentum=BATCH_NORM_MOMENTUM,
):
    """FCN-8s, FCN-16s or FCN-32s on VGG-16, as in Fig. 3 of the paper.

    Args:
        image_size: side of the input, pixels; a multiple of 32.
        pretrained: encoder weights, as for `load_vgg16`.
        num_classes: classes to tell apart.
        stride: 8, 16 or 32, pixels between the finest scores.
        fc_filters: channels of the convolutionalized fully connected layers.
        dropout: share of their features dropped in training, 0 to 1.
        batch_norm_momentum: share of the old in the moving averages, 0 to 1.

    Returns:
        keras.Model, float32 RGB (N, image_size, image_size, 3) in [0, 1] to class
        probabilities (N, image_size, image_size, num_classes).
    """
    inputs = keras.Input((image_size, image_size, 3), name="image")
    x = layers.Rescaling(255.0, offset=[-mean for mean in _IMAGENET_MEAN], name="centered")(inputs)
    x = ops.flip(x, axis=-1)  # VGG-16 was trained on blue, green, red
    encoder = keras.applications.VGG16(include_top=False, weights=None, input_tensor=x)
    encoder.set_weights(load_vgg16(pretrained).get_weights())

    def normalized(pool):
        # VGG's features run to the hundreds: Adam's first steps on them would throw the scores
        # far off. The paper takes tiny learning rates instead.
        features = encoder.get_layer(pool).output
        return layers.BatchNormalization(momentum=batch_norm_momentum)(features)

    def score(x, name):
        return layers.Conv2D(num_classes, 1, kernel_initializer="zeros", name=f"score_{name}")(x)

    x = normalized("block5_pool")
    for name, size in (("fc6", 7), ("fc7", 1)):
        x = layers.Conv2D(fc_filters, size, padding="same", activation="relu", name=name)(x)
        x = layers.Dropout(dropout)(x)
    x = score(x, "fc7")
    for pool, pool_stride in (("block4_pool", 16), ("block3_pool", 8)):
        if pool_stride >= stride:
            x = upsample(x, 2, f"upsample_to_{pool}")
            x = layers.Add()([x, score(normalized(pool), pool)])
    x = upsample(x, stride, "upsample_to_image")
    outputs = layers.Softmax(name="probabilities")(x)
    return keras.Model(inputs, outputs, name=f"fcn-{stride}s")


def set_encoder_trainable(model, trainable):
    """Freeze or release VGG-16's layers, which are all called block1_conv1 and so on."""
    for layer in model.layers:
        if layer.name.startswith("block"):
            layer.trainable = trainable


def main():
    flags = common.parse_flags(
        globals(),
        {
            "image_size": range(32, 2049, 32),
            "pretrained": str,
            "decoder_epochs": range(100_001),
            "fine_tune_epochs": range(100_001),
            "fine_tune_learning_rate": (1e-8, 1.0),
            "stride": [8, 16, 32],
            "fc_filters": range(1, 8193),
        },
    )
    if not flags.decoder_epochs + flags.fine_tune_epochs:
        common.refuse("--decoder-epochs and --fine-tune-epochs are both 0: nothing to train")
    keras.utils.set_random_seed(flags.seed)
    data = common.load_data(flags)
    model = build_model(
        image_size=flags.image_size,
        pretrained=flags.pretrained,
        num_classes=len(data.class_names),
        stride=flags.stride,
        fc_filters=flags.fc_filters,
        dropout=flags.dropout,
        batch_norm_momentum=flags.batch_norm_momentum,
    )
    run = common.Run("fcn", flags)
    stages = (
        (False, flags.decoder_epochs, flags.learning_rate),
        (True, flags.fine_tune_epochs, flags.fine_tune_learning_rate),
    )
    for train_encoder, epochs, learning_rate in (stage for stage in stages if stage[1]):
        set_encoder_trainable(model, train_encoder)
        steps = data.steps_per_epoch * epochs
        schedule = keras.optimizers.schedules.CosineDecay(
            0.0, steps, warmup_target=learning_rate, warmup_steps=steps // 20
        )
        model.compile(
            optimizer=keras.optimizers.AdamW(schedule, weight_decay=flags.weight_decay),
            loss=common.segmentation_loss,
            metrics=[common.mean_iou(len(data.class_names))],
            jit_compile=common.JIT_COMPILE,
        )
        model.fit(
            data.train_from(run.watch.epochs),
            steps_per_epoch=data.steps_per_epoch,
            initial_epoch=run.watch.epochs,
            epochs=run.watch.epochs + epochs,
            validation_data=data.validation,
            callbacks=run.callbacks,
            shuffle=False,  # they come shuffled
            verbose=common.VERBOSE,
        )
    run.finish(model, data)


if __name__ == "__main__":
    main()
