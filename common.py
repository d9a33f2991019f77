"""What the three scripts share: the way of the data, loss, scores, evaluation and pictures.

Data flows one way: a source yields `image` uint8 (H, W, 3) RGB and `mask` uint8 (H, W, 1)
class ids; after that nothing knows which source it was. `support/` makes a program of it.
"""

import functools
from dataclasses import dataclass
from pathlib import Path

from support.data.augmentation import change, random_affine, random_colors
from support.data.batches import Epochs, filled_batches, look_up, own_batches
from support.data.classes import palette
from support.data.dataset import Records, Source, Split, stamp_of
from support.data.folder import load_folder
from support.data.image_io import VOID
from support.data.prepared import prepare
from support.data.synthetic import load_synthetic
from support.data.tiles import Tiles
from support.inference.evaluation import class_iou, evaluate, predict_classes
from support.inference.export import export_model
from support.inference.label_photos import label_photos
from support.inference.model_file import in_float32
from support.inference.overlay import lay_over, legend
from support.runtime import distributed, network
from support.runtime.files import write
from support.runtime.flags import parse_flags, refuse  # noqa: F401  (for the scripts, as below)
from support.runtime.startup import VERBOSE, UserError, launch  # noqa: F401
from support.training.figures import plot_attention
from support.training.metric import MeanIoU
from support.training.muon import Muon  # noqa: F401
from support.training.pretrained import begin_with_run  # noqa: F401
from support.training.run import Run, set_up  # noqa: F401

import keras
import numpy as np
import tensorflow as tf
from keras import ops
from matplotlib.figure import Figure
from PIL import Image
from tensorflow.data import AUTOTUNE

# --- Data -----------------------------------------------------------------------------------


@dataclass
class Data:
    """The three splits as finite batches of float32 (N, S, S, 3) in [0, 1] and uint8 (N, S, S, 1).

    S is `IMAGE_SIZE`. What `train` yields follows from the seed and the epoch alone, however often
    it is read. In tiles, `test` has whole pictures, each a batch of its own, and the others have
    squares. Of several processes, each has its share of every batch, and every n-th picture of
    `test`. The last batch of validation is filled up with void, so that its loss counts every batch
    alike.
    """

    train: tf.data.Dataset
    validation: tf.data.Dataset
    test: tf.data.Dataset
    epochs: Epochs  # the order in `train`; `Run` tells it which epoch is next
    counts: dict  # from split to its number of pictures
    title: str  # names the data in every figure
    identity: str  # hash of all pixels and class names: an interrupted run knows its data by it
    class_names: tuple  # of str, in the order of the class ids
    class_colors: tuple  # of "#RRGGBB", in the same order
    value_range: tuple | None  # what became 0 and 255 in pictures of more than 8 bits
    tile: int | None  # side of the squares that pictures are cut into; None if they are resized


def load_data(flags):
    """The chosen dataset as `Data`: prepared once, shuffled, batched, augmented, normalized.

    Args:
        flags: Namespace with `dataset`, `data_dir`, `runs_dir`, `image_size`, `fit`,
            `batch_size`, `seed` and `augmentation`.

    Raises:
        UserError: the dataset cannot be had, is damaged, or is too small to train on.
    """
    if flags.dataset == "oxford_iiit_pet":
        source = load_oxford_iiit_pet(flags.data_dir)
    elif flags.dataset == "synthetic":
        source = load_synthetic()
    else:
        source = load_folder(flags.dataset)

    # Decoded, checked and resized once, into a file that is mapped into memory.
    tile, size = (flags.image_size, None) if flags.fit == "tiles" else (None, flags.image_size)
    pictures, facts = prepare(source, Path(flags.runs_dir) / "prepared", size, resize)
    counts = {name: len(some) for name, some in pictures.items()}
    counted = ", ".join(f"{count} {name}" for name, count in counts.items())
    print(f"Data: {source.title}: {counted} pictures, {flags.fit} to {flags.image_size} px")
    train, validation, test = pictures.values()
    if tile:
        train, validation = Tiles(train, tile), Tiles(validation, tile)
    if len(train) < flags.batch_size or not validation or not test:
        needed = f"--batch-size {flags.batch_size} needs as many to train on, and one in each other"
        raise UserError(f"{flags.dataset} is too small: {counted} pictures. {needed} split.")

    epochs = Epochs(len(train), flags.batch_size, flags.seed)
    train = (
        epochs.batches()  # shuffled: numbers of pictures, and what chance has drawn for each
        .map(look_up(train), AUTOTUNE)
        .map(functools.partial(augment, strength=flags.augmentation), AUTOTUNE)
        .map(normalize, AUTOTUNE)
        .prefetch(AUTOTUNE)
    )
    validation = filled_batches(len(validation), flags.batch_size).map(look_up(validation))
    test = own_batches(len(test), 1 if tile else flags.batch_size).map(look_up(test))
    return Data(
        train=train,
        validation=validation.map(normalize).prefetch(AUTOTUNE),
        test=test.map(normalize).prefetch(1),  # in tiles whole pictures, which may be large
        epochs=epochs,
        counts=counts,
        title=source.title,
        identity=facts["identity"],
        class_names=tuple(facts["class_names"]),
        class_colors=tuple(facts["class_colors"]),
        value_range=facts.get("value_range"),
        tile=tile,
    )


def load_oxford_iiit_pet(data_dir):
    """Oxford-IIIT Pet (Parkhi et al., "Cats and Dogs", CVPR 2012) through tensorflow-datasets.

    Args:
        data_dir: str, where tfds keeps prepared datasets; missing ones are downloaded there.

    Returns:
        `Source`: `train`, `validation` (a fixed tenth of the official training split) and
        `test`. The trimap's 1, 2, 3 are classes 0, 1, 2.

    Raises:
        UserError: it is neither prepared nor can it be downloaded.
    """
    builder = network.open_dataset("oxford_iiit_pet", "Oxford-IIIT Pet", data_dir)
    splits = {"train": "train[:90%]", "validation": "train[90%:]", "test": "test"}
    records = {
        name: Records(builder, official, "image", "segmentation_mask", values=(1, 3))
        for name, official in splits.items()
    }
    files = (path for split in builder.info.splits.values() for path in split.filepaths)
    return Source(
        title="Oxford-IIIT Pet",
        stamp=stamp_of(files, *splits.values()),
        splits={name: Split(some, some.decode) for name, some in records.items()},
    )


def resize(image, mask, size):
    """Resize to a square: the picture smoothly, the mask by nearest neighbour.

    Args:
        image: uint8 (H, W, 3). mask: uint8 (H', W', 1). size: side of the square, pixels.

    Returns:
        uint8 (size, size, 3) and uint8 (size, size, 1).
    """
    smoothly, nearest = Image.Resampling.BILINEAR, Image.Resampling.NEAREST
    image = Image.fromarray(image).resize((size, size), smoothly, reducing_gap=3)
    mask = Image.fromarray(mask[..., 0]).resize((size, size), nearest)
    return np.array(image), np.array(mask)[..., None]


def augment(images, masks, draws, strength):
    """Change pictures at random in ways that leave their meaning alone.

    Geometry (flip, scale by up to 1.5 either way, rotation up to 15 degrees, shift up to 15 %
    of the side) is shared by picture and mask; what comes in from outside is a mirror image.
    Contrast, saturation (up to 1.4 either way) and brightness (a fifth) change the picture only.

    Args:
        images: uint8 (N, S, S, 3). masks: uint8 (N, S, S, 1).
        draws: float32 (N, 8 or more) in [-1, 1]. The same draws give the same change.
        strength: multiplies the ranges; 0 returns the arguments as they are.

    Returns:
        uint8 (N, S, S, 3) and uint8 (N, S, S, 1).
    """
    if not strength:
        return images, masks
    transforms = random_affine(draws[:, :5], images.shape[1], strength)
    return change(images, masks, transforms, *random_colors(draws[:, 5:8], images, strength))


def normalize(image, mask):
    """uint8 picture in 0..255 to float32 in [0, 1]; the mask stays as it is."""
    return tf.cast(image, tf.float32) / 255, mask


# --- Training ---------------------------------------------------------------------------------


def warmup_cosine(peak, steps):
    """Learning rate that rises from 0 for a twentieth of the steps, then falls along a cosine to 0.

    Loshchilov and Hutter 2017, arXiv:1608.03983, without restarts. Below 20 steps it only falls.
    """
    warmup = steps // 20
    return keras.optimizers.schedules.CosineDecay(
        0.0, steps - warmup, warmup_target=peak, warmup_steps=warmup
    )


def one_hot(y_true, num_classes):
    """Class ids, integer (N, H, W, 1), as float (N, H, W, num_classes): all 0 where void."""
    ids = ops.cast(ops.squeeze(y_true, -1), "int32")
    return ops.one_hot(ops.where(ids == VOID, -1, ids), num_classes)


def segmentation_loss(y_true, logits):
    """Cross-entropy plus Dice loss (Milletari et al. 2016, arXiv:1606.04797), weighted alike.

    Cross-entropy gives every pixel the same say; Dice gives it to every class, so that the thin
    border counts as much as the wide background.

    Args:
        y_true: integer (N, H, W, 1), class ids; `VOID` pixels (255) do not count. Or what `one_hot`
            makes of them, where several outputs have the same truth.
        logits: float (N, H, W, C), not yet softmax: pixels that are surely wrong would round to 0.

    Returns:
        float (N,), one loss per picture, whose mean is that of the pictures not void all over. Dice
        is taken over the whole batch, of the classes that are there: one that is not would add a
        constant without a gradient.

    Raises:
        ValueError: there is one class only.
    """
    if logits.shape[-1] < 2:
        raise ValueError("segmentation_loss takes the logits of two classes or more")
    truth = one_hot(y_true, logits.shape[-1]) if y_true.shape[-1] == 1 else y_true
    known = ops.max(truth, axis=-1)
    cross_entropy = keras.losses.categorical_crossentropy(truth, logits, from_logits=True)
    pixels = ops.sum(known, axis=(1, 2))
    judged = ops.mean(ops.cast(pixels > 0, logits.dtype))  # share of pictures not void all over
    probabilities = ops.softmax(logits) * known[..., None]
    dice = keras.losses.dice(truth, probabilities, axis=(0, 1, 2))  # one per class
    present = ops.max(truth, axis=(0, 1, 2))
    dice = ops.sum(dice * present) / ops.maximum(ops.sum(present), 1)
    per_pixel = ops.sum(cross_entropy * known, axis=(1, 2)) / ops.maximum(pixels, 1)
    return per_pixel / ops.maximum(judged, 1e-6) + dice


# --- Evaluation -------------------------------------------------------------------------------


def mean_iou(num_classes):
    """Keras' mean intersection over union of integer masks and logits or probabilities."""
    return MeanIoU(num_classes, sparse_y_pred=False, ignore_class=VOID, name="mean_iou")


def scores_from_confusion(confusion, class_names):
    """IoU and Dice of every class, their means, and pixel accuracy.

    Counted in pixels, IoU = TP / (TP + FP + FN) and Dice = 2 TP / (2 TP + FP + FN). A class that
    is neither there nor predicted has neither (None) and stays out of the means.

    Args:
        confusion: int (C, C), rows the truth, columns the prediction.
        class_names: C names.

    Returns:
        dict with `mean_iou`, `iou`, `mean_dice`, `dice`, `pixel_accuracy`.
    """
    iou = class_iou(confusion)
    dice = 2 * iou / (1 + iou)

    def by_name(scores):
        named = zip(class_names, scores.tolist(), strict=True)
        return {name: None if np.isnan(score) else score for name, score in named}

    return {
        "mean_iou": float(np.nanmean(iou)),
        "iou": by_name(iou),
        "mean_dice": float(np.nanmean(dice)),
        "dice": by_name(dice),
        "pixel_accuracy": float(np.trace(confusion) / confusion.sum()),
    }


def finish(run, model, attention=None):
    """Evaluate on the test split, save, draw and report.

    Args:
        run: `Run` whose training is over.
        model: keras.Model, float32 (N, S, S, 3) in [0, 1] to logits (N, S, S, C), with the best
            weights. Of several outputs only the first counts.
        attention: the model's tensor of attention scores, which `plot_attention` draws, if any.
    """
    data, kept = run.data, run.keep(model)
    confusion, ious = evaluate(kept, data.test, len(data.class_names), data.tile)
    scores = scores_from_confusion(distributed.all_reduce_sum(confusion), data.class_names)
    if not distributed.is_main_process():
        return
    title = f"{model.name} on {data.title}"
    plot_predictions(run.folder / "predictions.png", kept, data, ious, title)
    if attention is not None:
        attention = in_float32(keras.Model(model.input, attention))
        plot_attention(run.folder / "attention.png", attention, kept, data)
    run.report(kept, scores, title)


# --- Pictures ---------------------------------------------------------------------------------


def plot_predictions(path, model, data, ious, title, rows=6):
    """Draw picture, truth, prediction and overlay of test pictures, from the best to the worst.

    Args:
        path: Path of the file to write.
        model: keras.Model from pictures to probabilities.
        data: `Data`.
        ious: float (pictures,), mean IoU of each in `data.test`, as `evaluate` returned it.
        title: str, above the figure.
        rows: number of pictures, spread evenly over the ranks.
    """
    best_first = [n for n in np.argsort(-ious, kind="stable") if not np.isnan(ious[n])]
    if not best_first:  # all are void all over
        return
    ranks = np.unique(np.linspace(0, len(best_first) - 1, rows).round().astype(int))
    chosen = np.array(best_first)[ranks]
    pictures = enumerate(data.test.unbatch().as_numpy_iterator())
    shown = {number: picture for number, picture in pictures if number in chosen}
    colors, seen = palette(data.class_colors) / 255, set()

    figure = Figure(figsize=(9, 2.4 * len(chosen) + 0.7), layout="constrained")
    axes = figure.subplots(len(chosen), 4, squeeze=False)
    for row, number, rank in zip(axes, chosen, ranks, strict=True):
        image, mask = shown[number]
        (predicted,) = predict_classes(model, image[None], data.tile)
        step = 1 + max(predicted.shape) // 1000  # no panel shows more pixels than that
        image, mask, predicted = (x[::step, ::step] for x in (image, mask[..., 0], predicted))
        seen |= {*np.unique(mask), *np.unique(predicted)}
        panels = {
            f"picture, rank {rank + 1} of {len(best_first)}": image,
            "truth": colors[mask],
            f"prediction, mean IoU {ious[number]:.2f}": colors[predicted],
            "overlay": lay_over(image, predicted, data.class_names, data.class_colors),
        }
        for axis, (name, panel) in zip(row, panels.items(), strict=True):
            axis.imshow(panel, interpolation="nearest")
            axis.set_title(name, fontsize=9)
            axis.set(xticks=[], yticks=[])  # the frame stays: void is as white as the paper
    figure.suptitle(f"{title}: test pictures from best to worst")
    legend(figure, data.class_names, data.class_colors, seen)
    write(path, figure.savefig)


def use_trained_model(network, flags):
    """Do what `--predict` or `--export` asks for, if either is given; return whether one was."""
    if flags.predict:
        label_photos(network, flags, resize, normalize)
    if flags.export:
        export_model(network, flags)
    return bool(flags.predict or flags.export)
