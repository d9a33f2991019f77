r"""U2-Net: a U-Net whose every block is itself a U-Net.

Qin, Zhang, Huang, Dehghan, Zaiane, Jagersand 2020, "U2-Net: Going Deeper with Nested U-Structure
for Salient Object Detection", arXiv:2005.09007.

    picture -> En_1 RSU-7 ------------------- skip -> De_1 RSU-7  -> side 1 -+
                 \ pool                                / up                  |
                 En_2 RSU-6 ---------------- skip -> De_2 RSU-6   -> side 2 -+
                   ...                                ...                    +-> fused
                     En_5 RSU-4F ----------- skip -> De_5 RSU-4F  -> side 5 -+
                       \                             /                       |
                        En_6 RSU-4F -------------------------------> side 6 -+

An RSU ("residual U-block") of depth 7 halves its input five times and comes back up inside one
block, so that even the first stage sees far beyond a 3x3 neighbourhood at full resolution. Its
output is added to its input, as in a residual network. Depth falls with resolution; where pictures
are too small to halve, RSU-4F dilates its convolutions instead.

*Deep supervision*: the loss looks at six side outputs and at what a 1x1 convolution makes of them.
Pretrained weights are frozen while new heads learn; then all learns. With `--self-attention`, which
is not in the paper, each position of En_4, at 1/8 of the size, gathers from all others.
"""

import common  # first: it quiets TensorFlow's import
from support.training import published_u2net

import keras
from keras import layers, ops

DATASET = "oxford_iiit_pet"  # oxford_iiit_pet, synthetic, or a folder of your own pictures
DATA_DIR = "~/tensorflow_datasets"  # where tfds keeps prepared datasets
RUNS_DIR = "runs"  # results go into a new folder below this one
IMAGE_SIZE = 128  # side of the square the network sees, pixels
FIT = "resize"  # resize squeezes a picture into that square; tiles cuts squares out of it
BATCH_SIZE = 8  # pictures per step
PRECISION = "auto"  # auto: mixed where it is faster; or float32, mixed_bfloat16, mixed_float16
SEED = 1  # same seed, same result
EPOCHS = 20  # passes over the training pictures in which all layers learn
HEAD_EPOCHS = 3  # passes before those, with pretrained weights: only new layers learn
PATIENCE = 0  # stop a stage after so many epochs without a better validation mean IoU; 0 never
VARIANT = "full"  # full (44 million weights) or lite (1.1 million), the paper's U2-Net-dagger
PRETRAINED = "none"  # weights to begin with: none, published, or a path: u2net.onnx, or a run
SELF_ATTENTION = False  # relate the features of all positions at 1/8 of the size
LEARNING_RATE = 5e-3  # peak of the cosine schedule, for layers that begin with random weights
FINE_TUNE_LEARNING_RATE = 2e-4  # its peak when all layers learn from pretrained weights
AUGMENTATION = 0.5  # strength of the random changes to training pictures; 0 for none
BATCH_NORM_MOMENTUM = 0.9  # of its averages, which lag behind where an epoch has few steps

_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's pictures

# Table 1 of the paper, stage by stage: depth of the RSU, middle and output channels.
_ENCODER = {
    "full": [(7, 32, 64), (6, 32, 128), (5, 64, 256), (4, 128, 512)] + 2 * [("4F", 256, 512)],
    "lite": [(depth, 16, 64) for depth in (7, 6, 5, 4, "4F", "4F")],
}
_DECODER = {
    "full": [("4F", 256, 512), (4, 128, 256), (5, 64, 128), (6, 32, 64), (7, 16, 64)],
    "lite": [(depth, 16, 64) for depth in ("4F", 4, 5, 6, 7)],
}


def convolution(x, filters, momentum, dilation=1):
    """3x3 convolution, batch normalization and ReLU: (N, H, W, any) to (N, H, W, filters)."""
    x = layers.Conv2D(filters, 3, padding="same", dilation_rate=dilation)(x)
    x = layers.BatchNormalization(momentum=momentum, epsilon=1e-5)(x)
    return layers.ReLU()(x)


def upsample(x, factor=2):
    """Bilinear, with half-pixel centers: (N, H, W, C) to (N, factor * H, factor * W, C)."""
    return layers.UpSampling2D(factor, interpolation="bilinear")(x)


def rsu(x, depth, middle, filters, momentum):
    """Residual U-block (Fig. 2 e): RSU-7 to RSU-4 by their depth, or "4F", which is `rsu_4f`.

    From (N, H, W, any), sides multiples of 2^(depth - 2), to (N, H, W, filters).
    """
    if depth == "4F":
        return rsu_4f(x, middle, filters, momentum)
    x = residual = convolution(x, filters, momentum)
    skips = []
    for level in range(depth - 1):
        if level:
            x = layers.MaxPooling2D()(x)
        x = convolution(x, middle, momentum)
        skips.append(x)
    x = convolution(x, middle, momentum, dilation=2)
    for level in reversed(range(depth - 1)):
        x = layers.Concatenate()([x, skips[level]])
        x = convolution(x, middle if level else filters, momentum)
        if level:
            x = upsample(x)
    return layers.Add()([x, residual])


def rsu_4f(x, middle, filters, momentum):
    """RSU-4F: keeps the resolution, and sees farther by dilation where RSU-4 would pool."""
    x = residual = convolution(x, filters, momentum)
    skips = []
    for dilation in (1, 2, 4):
        x = convolution(x, middle, momentum, dilation)
        skips.append(x)
    x = convolution(x, middle, momentum, dilation=8)
    for dilation, width in ((4, middle), (2, middle), (1, filters)):
        x = layers.Concatenate()([x, skips.pop()])
        x = convolution(x, width, momentum, dilation)
    return layers.Add()([x, residual])


def attend(x, heads=4):
    """Multi-head self-attention: each position gathers from all (arXiv:1706.03762, section 3.2.2).

    From (N, H, W, C) to the same, C a multiple of `heads`. A depthwise convolution tells positions
    apart (arXiv:2102.10882), and what is gathered from is pooled (arXiv:2102.12122).
    """
    x = layers.Add()([x, layers.DepthwiseConv2D(3, padding="same", name="positions")(x)])
    queries = layers.LayerNormalization(name="attention_norm")(x)
    size, over = x.shape[-1] // heads, (1, 2)  # one head's width; height and width of the picture
    attention = layers.MultiHeadAttention(heads, size, attention_axes=over, name="attention")
    pooled = layers.AveragePooling2D(2)(queries)
    gathered, _ = attention(queries, pooled, return_attention_scores=True)
    return layers.Add()([x, gathered])


def build_model(
    image_size=None,
    variant=VARIANT,
    num_classes=3,
    self_attention=SELF_ATTENTION,
    batch_norm_momentum=BATCH_NORM_MOMENTUM,
    normalize_input=False,
):
    """U2-Net, as in Fig. 5 and Table 1 of the paper, with seven outputs for deep supervision.

    Args:
        image_size: side of the input, pixels, a multiple of 32; None for any sides.
        variant: "full" or "lite".
        num_classes: classes to tell apart; 1, the paper's, is built but not trained here.
        self_attention: whether the features of En_4 attend to each other.
        batch_norm_momentum: share of the old in the moving averages, 0 to 1.
        normalize_input: by ImageNet's mean and deviation, which the published weights need.

    Returns:
        keras.Model, float32 RGB (N, H, W, 3) in [0, 1] to a list of logits (N, H, W, num_classes),
        whose softmax are the probabilities of the classes: fused, then side 1 to 6.
    """
    inputs = keras.Input((image_size, image_size, 3), name="image")
    normalize = layers.Normalization(mean=_MEAN, variance=[d**2 for d in _DEVIATION])
    x = normalize(inputs) if normalize_input else inputs
    *encoder, deepest = _ENCODER[variant]
    skips = []
    for depth, middle, filters in encoder:
        x = rsu(x, depth, middle, filters, batch_norm_momentum)
        if self_attention and len(skips) == 3:
            x = attend(x)
        skips.append(x)
        x = layers.MaxPooling2D()(x)
    x = rsu(x, *deepest, batch_norm_momentum)
    stages = [x]
    for depth, middle, filters in _DECODER[variant]:
        x = layers.Concatenate()([upsample(x), skips.pop()])
        x = rsu(x, depth, middle, filters, batch_norm_momentum)
        stages.append(x)

    logits = []
    for level, features in enumerate(reversed(stages)):
        side = layers.Conv2D(num_classes, 3, padding="same", name=f"scores_{level + 1}")(features)
        logits.append(upsample(side, 2**level) if level else side)
    logits.insert(0, layers.Conv2D(num_classes, 1, name="scores")(layers.Concatenate()(logits)))
    outputs = [layers.Activation("linear", dtype="float32")(scores) for scores in logits]
    return keras.Model(inputs, outputs, name=f"u2net-{variant}")


def deep_supervision(y_true, logits):
    """Equation 1: masks (N, H, W, 1), logits of all outputs (N, H, W, 7 * classes) to loss (N,)."""
    outputs = ops.split(logits, 7, axis=-1)
    truth = common.one_hot(y_true, outputs[0].shape[-1])
    return sum(common.segmentation_loss(truth, output) for output in outputs)  # each weighs 1


def main():
    limits = {"image_size": range(64, 2049, 32), "variant": [*_ENCODER]}
    flags = common.parse_flags(globals(), limits)
    published_u2net.use_published(build_model, flags)  # if --pretrained is the model to use
    if common.use_trained_model("u2net", flags):  # for --predict and --export
        return
    common.set_up(flags)
    data = common.load_data(flags)
    model = build_model(
        variant=flags.variant,
        num_classes=len(data.class_names),
        self_attention=flags.self_attention,
        batch_norm_momentum=flags.batch_norm_momentum,
        normalize_input=published_u2net.is_normalized(flags.pretrained),
    )
    new = published_u2net.begin_with_u2net(model, flags, data)  # layers it has no weights for
    joined = layers.Concatenate(dtype="float32")(model.outputs)  # they have one truth
    trained = keras.Model(model.input, joined, name=model.name)
    run = common.Run("u2net", flags, data)
    rate = flags.learning_rate if flags.pretrained == "none" else flags.fine_tune_learning_rate
    stages = [(model.layers, flags.epochs, rate, common.Muon)]
    if new and flags.head_epochs:  # the rest frozen: gradients of random heads would spoil it
        stages.insert(0, (new, flags.head_epochs, flags.learning_rate, keras.optimizers.Adam))
    for trainable, epochs, rate, optimizer in stages:
        for layer in model.layers:
            layer.trainable = layer in trainable
        trained.compile(
            optimizer=optimizer(common.warmup_cosine(rate, len(data.train) * epochs)),
            loss=deep_supervision,
            metrics=[common.mean_iou(len(data.class_names))],
        )
        trained.fit(
            data.train,
            validation_data=data.validation,
            epochs=epochs,
            callbacks=run.callbacks,
            verbose=common.VERBOSE,
        )
    scores = model.get_layer("attention").output[1] if flags.self_attention else None
    common.finish(run, model, attention=scores)


if __name__ == "__main__":
    common.launch(main)
