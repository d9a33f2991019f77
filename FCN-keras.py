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
are. As convolutions, such layers give a coarse map of class scores. The decoder adds to it the
scores of two earlier, finer layers and upsamples with transposed convolutions.

Training all of it at once from nothing is hard. So VGG-16 comes pretrained and stays frozen while
the decoder learns, and then all is fine-tuned at a low rate. `--help` lists all flags.

Departures from the paper: two stages (it goes from FCN-32s to 16s to 8s); what follows pool5 starts
at random and is narrower; what comes from pool3, pool4 and pool5 is batch-normalized, and in a
VGG-16 that starts at random so is every convolution; all upsampling is learned; nothing is cropped.
"""

import common  # first: it quiets TensorFlow's import
from support.training.pretrained import is_run, open_vgg16

import keras
import numpy as np
from keras import layers

DATASET = "oxford_iiit_pet"  # oxford_iiit_pet, synthetic, or a folder of your own pictures
DATA_DIR = "~/tensorflow_datasets"  # where tfds keeps prepared datasets
RUNS_DIR = "runs"  # results go into a new folder below this one
IMAGE_SIZE = 128  # side of the square the network sees, pixels
FIT = "resize"  # resize squeezes a picture into that square; tiles cuts squares out of it
BATCH_SIZE = 8  # pictures per step
PRECISION = "auto"  # auto: mixed where it is faster; or float32, mixed_bfloat16, mixed_float16
SEED = 1  # same seed, same result
PRETRAINED = "imagenet"  # weights to begin with: imagenet, none, or a path: a notop file, or a run
DECODER_EPOCHS = 10  # stage one: passes with the encoder frozen, unless it is random
FINE_TUNE_EPOCHS = 10  # stage two: passes with all of the network in training
PATIENCE = 0  # stop a stage after so many epochs without a better validation mean IoU; 0 never
LEARNING_RATE = 1e-3  # stage one: peak of the cosine schedule
FINE_TUNE_LEARNING_RATE = 1e-4  # stage two: peak of the cosine schedule
AUGMENTATION = 0.5  # strength of the random changes to training pictures; 0 for none
STRIDE = 8  # of the finest scores, pixels: 8, 16 or 32 for FCN-8s, FCN-16s or FCN-32s
FC_FILTERS = 512  # channels of the two convolutionalized fully connected layers; paper: 4096
DROPOUT = 0.5  # share of their features dropped in training
BATCH_NORM_MOMENTUM = 0.9  # of its averages, which lag behind where an epoch has few steps

_IMAGENET_MEAN = (103.939, 116.779, 123.68)  # blue, green and red, 0 to 255


def load_vgg16(pretrained, batch_norm_momentum=BATCH_NORM_MOMENTUM):
    """VGG-16 up to its last pooling (Simonyan and Zisserman 2015, arXiv:1409.1556).

    Trained from random weights with Muon its features would grow a billionfold, so there each
    convolution and its ReLU are followed by batch normalization (Ioffe and Szegedy 2015,
    arXiv:1502.03167, who put it before the ReLU).

    Args:
        pretrained: "imagenet", "none" for random weights, or the path of a weights file or a run.
        batch_norm_momentum: share of the old in its moving averages, 0 to 1.

    Returns:
        keras.Model with 14,714,688 weights, and 16,896 of batch normalization if it has that, from
        BGR (N, H, W, 3) in 0..255 less ImageNet's mean to the features of pool3, pool4 and pool5:
        1/8, 1/16 and 1/32 of the size.

    Raises:
        common.UserError: the weights cannot be downloaded or read.
    """

    def normalized(layer, x):
        x = layer(x)  # which also makes its weights
        if not layer.weights:
            return x
        norm = layers.BatchNormalization(momentum=batch_norm_momentum, name=f"{layer.name}_norm")
        return norm(x)

    vgg16, is_normalized = open_vgg16(pretrained)
    if is_normalized:
        vgg16 = keras.models.clone_model(vgg16, call_function=normalized)
    pools = [vgg16.get_layer(f"block{number}_pool").output for number in (3, 4, 5)]
    return keras.Model(vgg16.input, pools, name="vgg16")


def upsample(x, factor, name, together=32):
    """Transposed convolution that starts as bilinear interpolation and may learn better.

    From (N, H, W, C) to (N, factor * H, factor * W, C). More classes than `together` are upsampled
    in groups, a convolution each: the weights of a single one would grow with the square of C.
    """
    classes, line = x.shape[-1], 1 - np.abs((np.arange(2 * factor) + 0.5) / factor - 1)
    parts = []
    for first in range(0, classes, together):
        part, suffix = x[..., first : first + together], f"_{first}" if first else ""
        options = {"padding": "same", "use_bias": False, "name": name + suffix}
        layer = layers.Conv2DTranspose(part.shape[-1], 2 * factor, factor, **options)
        parts.append(layer(part if classes > together else x))
        layer.set_weights([np.einsum("h,w,io->hwio", line, line, np.eye(part.shape[-1]))])
    return layers.Concatenate()(parts) if len(parts) > 1 else parts[0]


def build_model(
    image_size=None,
    pretrained=PRETRAINED,
    num_classes=3,
    stride=STRIDE,
    fc_filters=FC_FILTERS,
    dropout=DROPOUT,
    batch_norm_momentum=BATCH_NORM_MOMENTUM,
):
    """FCN-8s, FCN-16s or FCN-32s on VGG-16, as in Fig. 3 of the paper.

    Args:
        image_size: side of the input, pixels, a multiple of 32; None for any sides.
        pretrained: encoder weights, as for `load_vgg16`.
        num_classes: classes to tell apart.
        stride: of the finest scores, pixels: 8, 16 or 32.
        fc_filters: channels of the convolutionalized fully connected layers.
        dropout: share of their features dropped in training, 0 to 1.
        batch_norm_momentum: share of the old in the moving averages, 0 to 1.

    Returns:
        keras.Model from float32 RGB (N, H, W, 3) in [0, 1] to logits (N, H, W, num_classes), whose
        softmax are the probabilities of the classes.
    """
    inputs = keras.Input((image_size, image_size, 3), name="image")
    # VGG-16 takes BGR in 0..255 less the mean. As a 1x1 convolution that is part of the model.
    to_vgg = layers.Conv2D(3, 1, trainable=False, name="to_vgg_input")
    x = to_vgg(inputs)
    to_vgg.set_weights([255 * np.eye(3)[::-1][None, None], -np.array(_IMAGENET_MEAN)])
    # VGG's features run to the hundreds: Adam's first steps would throw the scores far off.
    pool3, pool4, pool5 = (
        layers.BatchNormalization(momentum=batch_norm_momentum, name=f"pool{number}")(features)
        for number, features in enumerate(load_vgg16(pretrained, batch_norm_momentum)(x), start=3)
    )

    def score(x, name):
        return layers.Conv2D(num_classes, 1, kernel_initializer="zeros", name=f"score_{name}")(x)

    x = pool5
    for name, size in (("fc6", 7), ("fc7", 1)):
        x = layers.Conv2D(fc_filters, size, padding="same", activation="relu", name=name)(x)
        x = layers.Dropout(dropout)(x)
    x = score(x, "fc7")
    if stride <= 16:
        x = layers.Add()([upsample(x, 2, "upsample_fc7"), score(pool4, "pool4")])
    if stride <= 8:
        x = layers.Add()([upsample(x, 2, "upsample_pool4"), score(pool3, "pool3")])
    x = upsample(x, stride, "upsample_to_image")
    logits = layers.Activation("linear", dtype="float32", name="logits")(x)
    return keras.Model(inputs, logits, name=f"fcn-{stride}s")


def main():
    flags = common.parse_flags(
        globals(),
        {
            "image_size": range(32, 2049, 32),
            "decoder_epochs": range(100_001),
            "fine_tune_epochs": range(100_001),
            "stride": [8, 16, 32],
            "fc_filters": range(1, 8193),
        },
    )
    if common.use_trained_model("fcn", flags):  # for --predict and --export
        return
    if not flags.decoder_epochs + flags.fine_tune_epochs:
        common.refuse("--decoder-epochs and --fine-tune-epochs are both 0")
    common.set_up(flags)
    data = common.load_data(flags)
    model = build_model(
        pretrained=flags.pretrained,
        num_classes=len(data.class_names),
        stride=flags.stride,
        fc_filters=flags.fc_filters,
        dropout=flags.dropout,
        batch_norm_momentum=flags.batch_norm_momentum,
    )
    if is_run(flags.pretrained):
        common.begin_with_run(model, flags.pretrained, data.class_names)
    run = common.Run("fcn", flags, data)
    optimizer = common.Muon if flags.pretrained == "none" else keras.optimizers.Adam
    stages = (
        (flags.pretrained == "none", flags.decoder_epochs, flags.learning_rate),
        (True, flags.fine_tune_epochs, flags.fine_tune_learning_rate),
    )
    for train_encoder, epochs, learning_rate in stages:
        if not epochs:
            continue
        model.get_layer("vgg16").trainable = train_encoder
        model.compile(
            optimizer=optimizer(common.warmup_cosine(learning_rate, len(data.train) * epochs)),
            loss=common.segmentation_loss,
            metrics=[common.mean_iou(len(data.class_names))],
        )
        model.fit(
            data.train,
            validation_data=data.validation,
            epochs=epochs,
            callbacks=run.callbacks,
            verbose=common.VERBOSE,
        )
    common.finish(run, model)


if __name__ == "__main__":
    common.launch(main)
