r"""U-Net: an encoder, a decoder, and skip connections between them.

Ronneberger, Fischer, Brox 2015, "U-Net: Convolutional Networks for Biomedical Image
Segmentation", arXiv:1505.04597.

    picture -> [64]----------- skip -----------> [64] -> class probabilities
                 \ pool                         / up
                 [128]-------- skip -------> [128]
                    \                       /
                    [256]----- skip ----> [256]
                       \                 /
                       [512]-- skip -> [512]
                          \           /
                           [  1024   ]

Going down, each level halves the resolution and doubles the channels: it learns what is in the
picture and loses where. Going up, each level is given the encoder's features of its own
resolution, which still know where. That is why outlines come out sharp.

The layers depart from the paper in two ways, both usual today: convolutions are padded, so that
the output has the size of the input, and each is followed by batch normalization.

    python Unet-keras.py                      trains on Oxford-IIIT Pet
    python Unet-keras.py --dataset synthetic  needs no download; --help lists all flags
"""

import common  # first: it quiets TensorFlow's import

import keras
from keras import layers

DATASET = "oxford_iiit_pet"  # oxford_iiit_pet, synthetic, or a folder of your own pictures
DATA_DIR = "~/tensorflow_datasets"  # where tfds keeps prepared datasets
RUNS_DIR = "runs"  # results go into a new folder below this one
IMAGE_SIZE = 128  # side of the square the network sees, pixels
FIT = "resize"  # resize squeezes a picture into that square; tiles cuts squares out of it
BATCH_SIZE = 8  # pictures per step
PRECISION = "auto"  # auto: mixed where it is faster; or float32, mixed_bfloat16, mixed_float16
SEED = 1  # same seed, same result
PRETRAINED = "none"  # weights to begin with: none, or the folder of an earlier run
EPOCHS = 40  # passes over the training pictures
PATIENCE = 0  # stop after so many epochs without a better validation mean IoU; 0 never stops
LEARNING_RATE = 2e-2  # peak of the cosine schedule
AUGMENTATION = 0.5  # strength of the random changes to training pictures; 0 for none
BASE_FILTERS = 64  # channels of the first level; each level below doubles them
DROPOUT = 0.3  # share of the deepest features dropped in training
BATCH_NORM_MOMENTUM = 0.9  # of its averages, which lag behind where an epoch has few steps


def conv_block(x, filters, momentum):
    """Twice 3x3 convolution, batch normalization, ReLU: (N, H, W, any) to (N, H, W, filters)."""
    for _ in range(2):
        # No bias: batch normalization would subtract it again.
        x = layers.Conv2D(
            filters, 3, padding="same", use_bias=False, kernel_initializer="he_normal"
        )(x)
        x = layers.BatchNormalization(momentum=momentum)(x)
        x = layers.ReLU()(x)
    return x


def build_model(
    image_size=None,
    base_filters=BASE_FILTERS,
    num_classes=3,
    dropout=DROPOUT,
    batch_norm_momentum=BATCH_NORM_MOMENTUM,
):
    """U-Net with four levels, as in Fig. 1 of the paper.

    Args:
        image_size: side of the input, pixels, a multiple of 16; None for any sides.
        base_filters: channels of the first level.
        num_classes: classes to tell apart.
        dropout: share of the deepest features dropped in training, 0 to 1.
        batch_norm_momentum: share of the old in the moving averages, 0 to 1.

    Returns:
        keras.Model, float32 RGB (N, H, W, 3) in [0, 1] to logits (N, H, W, num_classes), whose
        softmax are the probabilities of the classes.
    """
    *widths, deepest = (base_filters * 2**level for level in range(5))
    inputs = keras.Input((image_size, image_size, 3), name="image")
    x, skips = inputs, []
    for filters in widths:
        x = conv_block(x, filters, batch_norm_momentum)
        skips.append(x)
        x = layers.MaxPooling2D()(x)
    x = conv_block(x, deepest, batch_norm_momentum)
    x = layers.Dropout(dropout)(x)
    for filters, skip in zip(reversed(widths), reversed(skips), strict=True):
        x = layers.Conv2DTranspose(filters, 2, strides=2)(x)
        x = layers.Concatenate()([skip, x])
        x = conv_block(x, filters, batch_norm_momentum)
    x = layers.Conv2D(num_classes, 1, name="scores")(x)
    logits = layers.Activation("linear", dtype="float32", name="logits")(x)  # x may have 16 bits
    return keras.Model(inputs, logits, name="unet")


def main():
    flags = common.parse_flags(  # a flag for each constant above; what some of them may be
        globals(), {"image_size": range(32, 2049, 16), "base_filters": range(1, 513)}
    )
    if common.use_trained_model("unet", flags):  # for --predict and --export
        return
    common.set_up(flags)
    data = common.load_data(flags)
    model = build_model(
        base_filters=flags.base_filters,
        num_classes=len(data.class_names),
        dropout=flags.dropout,
        batch_norm_momentum=flags.batch_norm_momentum,
    )
    common.begin_with_run(model, flags.pretrained, data.class_names)
    schedule = common.warmup_cosine(flags.learning_rate, len(data.train) * flags.epochs)
    model.compile(
        optimizer=common.Muon(schedule),
        loss=common.segmentation_loss,
        metrics=[common.mean_iou(len(data.class_names))],
    )
    run = common.Run("unet", flags, data)  # callbacks that end fit with the best weights
    model.fit(
        data.train,
        validation_data=data.validation,
        epochs=flags.epochs,
        callbacks=run.callbacks,
        verbose=common.VERBOSE,
    )
    common.finish(run, model)


if __name__ == "__main__":
    common.launch(main)
