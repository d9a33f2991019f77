"""What the three scripts share: command line, data, training, evaluation and pictures.

Data flows one way: a source yields `image` uint8 (H, W, 3) RGB and `mask` uint8 (H, W, 1)
class ids; after that nothing knows which source it was.
"""

import argparse
import contextlib
import csv
import hashlib
import json
import logging
import math
import os
import platform
import re
import signal
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@contextlib.contextmanager
def _quiet_imports():
    """Send what C++ code prints to file descriptor 2 nowhere for a while; end on Ctrl-C."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)  # nothing has begun yet, so there is nothing to tell
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # both read when TensorFlow is imported
os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")  # not all of the GPU's memory at once
for _name in ("absl", "urllib3"):
    logging.getLogger(_name).setLevel(logging.ERROR)
warnings.filterwarnings("ignore", message="Explicitly requested dtype int64")  # Keras on JAX
with _quiet_imports():  # TensorFlow greets with a page that no log level holds back
    import keras
    import numpy as np
    import tensorflow as tf
    from keras import ops
    from matplotlib.colors import ListedColormap
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    import checks
    import resume

    if keras.backend.backend() != "tensorflow":
        tf.config.set_visible_devices([], "GPU")  # TensorFlow only feeds pictures then
    ON_GPU = bool(tf.config.get_visible_devices("GPU"))

# XLA speeds a step up on a GPU and slows it down on a CPU. The other backends decide themselves.
JIT_COMPILE = "auto" if ON_GPU or keras.backend.backend() != "tensorflow" else False

PET_CLASSES = ("pet", "background", "border")  # the trimap's 1, 2, 3 in that order

# Okabe and Ito's palette, made for color-blind readers (jfly.uni-koeln.de/color).
COLORS = ("#E69F00", "#0072B2", "#F0E442", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#000000")

# Keras' progress bar on a terminal, a line an epoch in a file.
VERBOSE = 1 if sys.stdout is not None and sys.stdout.isatty() else 2


class UserError(SystemExit):
    """Something that the user can mend. Python prints it without a traceback and exits with 1."""


# --- Command line ---------------------------------------------------------------------------


def launch(main):
    """Run a script's `main`, with one line in place of a traceback for what is no bug.

    That is: Ctrl-C, being told to end (SIGTERM), files that cannot be read or written, and too
    little memory.
    """
    go_on = "The same command, given again, goes on after the last finished epoch."

    def stop(number, frame):
        with contextlib.suppress(Exception):  # it may have been interrupted while printing
            sys.stdout.flush()
        os.write(2, f"\nStopped. {go_on}\n".encode())
        os._exit(128 + number)  # as shells count; and at once: a download would be waited for

    for stream in filter(None, (sys.stdout, sys.stderr)):
        stream.reconfigure(errors="replace")  # a folder's name may not fit into the code page
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    try:
        main()
    except OSError as error:
        raise UserError(f"{error}\nIs the disk full, or a folder gone? {go_on}") from error
    except Exception as error:
        full = isinstance(error, MemoryError | tf.errors.ResourceExhaustedError)
        if full or "RESOURCE_EXHAUSTED" in str(error):  # as JAX says it
            advice = "Try a smaller --batch-size, --image-size or network."
            raise UserError(f"Out of memory on {device()}. {advice}") from error
        raise


# What every script allows, by flag name; `parse_flags` explains the forms.
SHARED_LIMITS = {
    "dataset": ["oxford_iiit_pet", "synthetic"],
    "data_dir": str,
    "runs_dir": str,
    "batch_size": range(1, 4097),
    "seed": range(2**31),
    "epochs": range(1, 100_001),
    "patience": range(10_001),
    "learning_rate": (1e-8, 1.0),
    "augmentation": (0.0, 2.0),
    "dropout": (0.0, 0.95),
    "batch_norm_momentum": (0.0, 0.999),
}


def parse_flags(script, limits, arguments=None):
    """Turn a script's UPPER_CASE constants into command-line flags and check their values.

    `IMAGE_SIZE = 128  # side, pixels` becomes `--image-size`, an int with default 128 and
    "side, pixels" as its help. Constants edited in the file are checked like flags.

    Args:
        script: dict, the script's `globals()`.
        limits: dict from flag name (`image_size`) to what it may be: a `range` of whole
            numbers, a tuple `(lowest, highest)` of numbers, a list of choices, or `str` for
            any text. Comes on top of `SHARED_LIMITS`; without an entry, anything goes.
        arguments: list of str, in place of `sys.argv[1:]`.

    Returns:
        argparse.Namespace with one attribute per constant, in lower case, and `code`, a
        fingerprint of the source.

    Raises:
        SystemExit: status 2 and one line on stderr, for an unknown flag or a refused value.
    """
    about = script["__doc__"].split("\n\n")[0]
    parser = argparse.ArgumentParser(description=about, allow_abbrev=False)
    parser.error = refuse  # one line instead of argparse's three
    source = Path(script["__file__"]).read_text(encoding="utf-8")
    limits = SHARED_LIMITS | limits
    for name, comment in re.findall(r"^([A-Z][A-Z0-9_]*) *=[^#\n]*(?:# *(.*))?$", source, re.M):
        if not isinstance(script[name], bool | int | float | str):
            continue
        about = f"{comment} (default: {script[name]})".replace("%", "%%")
        if isinstance(script[name], bool):
            kind = {"action": argparse.BooleanOptionalAction}
        else:
            is_number = isinstance(limits.get(name.lower()), tuple)
            kind = {"type": float if is_number else type(script[name]), "metavar": ""}
        flag = "--" + name.lower().replace("_", "-")
        parser.add_argument(flag, default=script[name], help=about, **kind)
    flags = parser.parse_args(arguments)
    for name, value in vars(flags).items():
        if wanted := _refusal(value, limits.get(name)):
            parser.error(f"--{name.replace('_', '-')} {value!r} cannot work: must be {wanted}")
    # Who edits the code wants a new run, not the rest of an old one.
    flags.code = _fingerprint(script["__file__"], __file__, resume.__file__)
    return flags


def _fingerprint(*paths):
    """A few characters that change with the content of any of the files."""
    return hashlib.sha256(b"".join(Path(path).read_bytes() for path in paths)).hexdigest()[:12]


def refuse(message):
    """End the program because of its flags: one line on stderr, status 2."""
    print(f"{Path(sys.argv[0]).name}: {message} (--help lists all flags)", file=sys.stderr)
    sys.exit(2)


def _refusal(value, limit):
    """What `value` must be, in words, if `limit` forbids it; else None."""
    if limit is None:
        return None
    if limit is str:
        return None if value.strip() else "some text"
    if isinstance(limit, list):
        return None if value in limit else "one of " + ", ".join(map(str, limit))
    if isinstance(limit, range):
        kind = "a whole number" if limit.step == 1 else f"a multiple of {limit.step}"
        fits = isinstance(value, int) and value in limit  # 8.0 is in a range, too
        return None if fits else f"{kind} from {limit[0]} to {limit[-1]}"
    lowest, highest = limit
    return None if lowest <= value <= highest else f"a number from {lowest:g} to {highest:g}"


# --- Data -----------------------------------------------------------------------------------


@dataclass
class Data:
    """The three splits as batches of float32 (N, S, S, 3) in [0, 1] and uint8 (N, S, S, 1).

    `train_from(epoch)` is what is seen from that epoch on, counted from 0. It never ends, so
    `fit` needs `steps_per_epoch`; the others end.
    """

    train_from: Callable[[int], tf.data.Dataset]
    validation: tf.data.Dataset
    test: tf.data.Dataset
    counts: dict  # pictures in each of the three
    steps_per_epoch: int
    class_names: tuple
    title: str  # names the data in every figure
    identity: str  # the same for the same pictures


def load_data(flags):
    """Load, resize, cache, shuffle, augment, normalize and batch the chosen dataset.

    Everything random follows from `flags.seed` and the position in the stream alone, so the
    same seed gives the same batches, whatever the number of threads.

    Args:
        flags: Namespace with `dataset`, `data_dir`, `image_size`, `batch_size`, `seed` and
            `augmentation`.

    Returns:
        `Data`.

    Raises:
        UserError: the dataset cannot be had, or is too small to train on.
    """
    if flags.dataset == "synthetic":
        title = "synthetic pictures (drawn, not photographed)"
        splits, identity = load_synthetic()
    else:
        title = "Oxford-IIIT Pet"
        splits, identity = load_oxford_iiit_pet(flags.data_dir)
    counts = {name: int(split.cardinality()) for name, split in splits.items()}
    counted = ", ".join(f"{count} {name}" for name, count in counts.items())
    steps = counts["train"] // flags.batch_size
    if not steps or not counts["validation"] or not counts["test"]:
        raise UserError(
            f"{flags.dataset} is too small: {counted} pictures. --batch-size "
            f"{flags.batch_size} needs as many to train on, and one each to validate and test."
        )

    def small(image, mask):
        return resize(image, mask, flags.image_size)

    def augmented(position, picture):
        return augment(*picture, (flags.seed, position), flags.augmentation)

    splits = {name: split.map(small, tf.data.AUTOTUNE) for name, split in splits.items()}
    pictures = steps * flags.batch_size  # whole batches only: one shape, one compiled step
    cached = splits["train"].cache()

    def batches(split):
        split = split.map(normalize, tf.data.AUTOTUNE)
        return split.batch(flags.batch_size).prefetch(tf.data.AUTOTUNE)

    def train_from(epoch):
        # A shuffle of its own: one that is shared would go on from wherever it was left.
        shuffled = cached.shuffle(counts["train"], seed=flags.seed).take(pictures)
        stream = shuffled.repeat().enumerate().skip(epoch * pictures)
        return batches(stream.map(augmented, tf.data.AUTOTUNE))

    print(f"Data: {title}: {counted} pictures, {flags.image_size} px")
    return Data(
        train_from=train_from,
        validation=batches(splits["validation"].cache()),
        test=batches(splits["test"]),
        counts=counts,
        steps_per_epoch=steps,
        class_names=PET_CLASSES,
        title=title,
        identity=identity,
    )


def load_oxford_iiit_pet(data_dir):
    """Oxford-IIIT Pet (Parkhi et al., "Cats and Dogs", CVPR 2012) through tensorflow-datasets.

    Args:
        data_dir: str, where tfds keeps prepared datasets; missing ones are downloaded there.

    Returns:
        dict of tf.data.Dataset, `train`, `validation` (a fixed tenth of the official training
        split) and `test`, of uint8 image (H, W, 3) RGB and uint8 mask (H, W, 1), 0 to 2;
        str, the same for the same pictures.

    Raises:
        UserError: it is neither prepared nor can it be downloaded, or it is damaged.
    """
    import tensorflow_datasets as tfds  # here, because synthetic pictures do without it

    data_dir = os.path.expanduser(data_dir)
    try:
        builder = tfds.builder("oxford_iiit_pet", data_dir=data_dir)
        with checks.impatient_downloads():
            builder.download_and_prepare()
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise UserError(
            f"Oxford-IIIT Pet is not in --data-dir {data_dir} and could not be prepared there: "
            f"{reason}\nCheck network and disk, copy a prepared oxford_iiit_pet folder there from "
            "another machine, or try --dataset synthetic, which needs no download."
        ) from error
    try:
        checks.check_pictures(builder)
    except ValueError as error:
        raise UserError(
            f"Oxford-IIIT Pet is damaged: {error}\nDelete {builder.data_path}: "
            "it is then prepared anew."
        ) from error

    def load(split):
        # Without PartialDecoding tfds would also parse breed, species and head box.
        wanted = tfds.decode.PartialDecoding({"image": True, "segmentation_mask": True})
        options = tfds.ReadConfig(try_autocache=False)  # cached later, when they are small
        dataset = builder.as_dataset(split=split, decoders=wanted, read_config=options)
        return dataset.map(lambda pet: (pet["image"], pet["segmentation_mask"] - 1))

    splits = {"train": "train[:90%]", "validation": "train[90%:]", "test": "test"}
    sizes = [f"{split.num_bytes} bytes" for split in builder.info.splits.values()]
    identity = f"{builder.info.full_name}, {', '.join(sizes)}"
    return {name: load(split) for name, split in splits.items()}, identity


def load_synthetic(counts=(720, 80, 160)):
    """Drawn animals in the form of Oxford-IIIT Pet: always the same, and nothing to download.

    Args:
        counts: pictures in training, validation and test.

    Returns:
        As `load_oxford_iiit_pet`.
    """

    import synthetic_pets  # here: who has pictures needs no drawn ones

    def draw(split, number):
        image, trimap = synthetic_pets.draw_animal(np.random.default_rng((split, number)))
        return image, trimap - np.uint8(1)

    def load(split, count):
        def element(number):
            image, mask = tf.numpy_function(draw, (split, number), (tf.uint8, tf.uint8))
            return tf.ensure_shape(image, (None, None, 3)), tf.ensure_shape(mask, (None, None, 1))

        return tf.data.Dataset.range(count).map(element, tf.data.AUTOTUNE)

    names = ("train", "validation", "test")
    identity = _fingerprint(synthetic_pets.__file__)
    return {name: load(split, counts[split]) for split, name in enumerate(names)}, identity


def resize(image, mask, size):
    """Resize to a square: the picture smoothly, the mask by nearest neighbour.

    Args:
        image: uint8 (H, W, 3). mask: uint8 (H, W, 1). size: side of the square, pixels.

    Returns:
        uint8 (size, size, 3) and uint8 (size, size, 1).
    """
    image = tf.image.resize(image, (size, size), antialias=True)
    mask = tf.image.resize(mask, (size, size), method="nearest")
    return tf.cast(tf.round(image), tf.uint8), mask


def augment(image, mask, seed, strength):
    """Change a picture at random in ways that leave its meaning alone.

    Geometry (flip, scale by up to 1.5 either way, rotation up to 15 degrees, shift up to 15 %
    of the side) is shared by picture and mask; what comes in from outside is a mirror image.
    Brightness, contrast and saturation change the picture only.

    Args:
        image: uint8 (S, S, 3). mask: uint8 (S, S, 1).
        seed: two integers. The same seed gives the same change.
        strength: multiplies all ranges; 0 returns the arguments as they are.

    Returns:
        uint8 (S, S, 3) and uint8 (S, S, 1).
    """
    if not strength:
        return image, mask
    seeds = tf.random.split(tf.cast(tf.stack(seed), tf.int32), 4)
    transform = _random_affine(seeds[0], image.shape[0], strength)
    image = _warp(image, transform, "BILINEAR")
    mask = _warp(mask, transform, "NEAREST")
    image = tf.image.stateless_random_brightness(image, 0.2 * strength, seeds[1])
    spread = 1 + 0.4 * strength
    image = tf.image.stateless_random_contrast(image, 1 / spread, spread, seeds[2])
    image = tf.image.stateless_random_saturation(image, 1 / spread, spread, seeds[3])
    return image, mask


def _random_affine(seed, size, strength):
    """Eight numbers that map a pixel of the result to where it comes from in the picture."""
    flip, scale, angle, right, down = tf.unstack(tf.random.stateless_uniform([5], seed, -1.0, 1.0))
    scale = 1.5 ** (scale * strength)
    angle = angle * strength * np.pi / 12
    across, along = tf.sign(flip) * scale, scale
    matrix = [
        [across * tf.cos(angle), -along * tf.sin(angle)],
        [across * tf.sin(angle), along * tf.cos(angle)],
    ]
    center = (size - 1) / 2  # turn and scale about the middle of the picture
    offset = [
        center * (1 - sum(row)) + 0.15 * strength * size * shift
        for row, shift in zip(matrix, (right, down), strict=True)
    ]
    return tf.stack([*matrix[0], offset[0], *matrix[1], offset[1], 0.0, 0.0])


def _warp(image, transform, interpolation):
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=image[None],
        transforms=transform[None],
        output_shape=image.shape[:2],
        fill_value=0.0,
        interpolation=interpolation,
        fill_mode="REFLECT",
    )[0]


def normalize(image, mask):
    """uint8 picture in 0..255 to float32 in [0, 1]; the mask stays as it is."""
    return tf.cast(image, tf.float32) / 255, mask


# --- Training ---------------------------------------------------------------------------------


class Run:
    """One training: its folder, its callbacks, and what it leaves.

    The folder is that of an unfinished run with the same hyperparameters, data, code and library
    versions if there is one, else a new one; either way it is this process's own.

    Args:
        network: str, the folder below `flags.runs_dir`: `runs/unet/<timestamp>/`.
        flags: what `parse_flags` returned; written to `hyperparameters.json`.
        data: `Data` that it trains on.
        metric: what `fit` calls the mean IoU by which the best weights are chosen.

    Attributes:
        folder: Path.
        callbacks: list for `fit`. Pass the same list to every `fit` of a run: best weights,
            history and clock go on from one stage to the next.

    Raises:
        UserError: the folder cannot be made.
    """

    def __init__(self, network, flags, data, metric="mean_iou"):
        self.flags, self.metric = flags, metric
        backend = keras.backend.backend()
        versions = {module.__name__: module.__version__ for module in (keras, tf, np)}
        versions[backend] = sys.modules[backend].__version__
        versions["python"] = platform.python_version()
        used = {**vars(flags), "data": data.identity, "backend": backend, "device": device()}
        used["versions"] = versions
        parent = Path(os.path.expanduser(flags.runs_dir)) / network
        try:
            self.folder, self._lock = resume.find_unfinished(parent, used)
            if not self.folder:
                self.folder, self._lock = resume.new_folder(parent)
                resume.write_json(self.folder / "hyperparameters.json", used)
        except OSError as error:
            raise UserError(f"--runs-dir: cannot make a folder in {parent}: {error}") from error
        goal = {"monitor": f"val_{metric}", "mode": "max", "patience": flags.patience}
        stopping = keras.callbacks.EarlyStopping(**goal) if flags.patience else None
        self.checkpoint = resume.Checkpoint(self.folder, metric, stopping)
        history = keras.callbacks.CSVLogger(self.folder / "history.csv", append=True)
        callbacks = (_StopOnNaN(), history, stopping, self.checkpoint)
        self.callbacks = [callback for callback in callbacks if callback]
        print(f"Device: {device()}, Keras {keras.__version__} on {backend}")
        print(f"Results: {self.folder}")
        if epochs := self.checkpoint.progress["epochs"]:
            print(f"Goes on after epoch {epochs}. To begin anew, delete that folder.")

    def stage(self, model, epochs):
        """Begin a stage of the training, or what an interrupted run has left of it.

        Call it once before each `fit`, in the order of the stages.

        Args:
            model: keras.Model, compiled for this stage.
            epochs: int, the length of the stage.

        Returns:
            `initial_epoch` and `epochs` for `fit`, counted over all stages.
        """
        first, last = self.checkpoint.begin_stage(model, epochs)
        trained = sum(math.prod(weight.shape) for weight in model.trainable_weights)
        if last > first:
            print(f"Training {model.name}: {trained:,} of {model.count_params():,} weights")
        return first, last

    def load_best(self, model):
        """Give the model its weights of the epoch with the best validation mean IoU."""
        self.checkpoint.load_best(model)

    def finish(self, model, data):
        """Evaluate on the test split, save, draw and report.

        Args:
            model: keras.Model, float32 (N, S, S, 3) in [0, 1] to probabilities (N, S, S, C), with
                the best weights. Of several outputs only the first is kept.
            data: `Data`; its test split is read here and nowhere else.

        Returns:
            dict, what `metrics.json` holds.
        """
        # Saved without its compilation: no optimizer state in the file, no custom loss to find.
        model = keras.Model(model.input, model.outputs[0], name=model.name)
        resume.write(self.folder / "model.keras", model.save)
        model.compile(jit_compile=JIT_COMPILE)

        confusions = evaluate(model, data.test, len(data.class_names))
        scores = scores_from_confusion(confusions.sum(axis=0), data.class_names)
        progress = self.checkpoint.progress
        pictures_seen = progress["steps"] * self.flags.batch_size
        metrics = scores | {
            "parameters": model.count_params(),
            "dataset": self.flags.dataset,
            "image_size": self.flags.image_size,
            "epochs": progress["epochs"],
            "train_seconds": round(progress["seconds"], 1),
            "images_per_second": round(pictures_seen / progress["seconds"], 2),
        }
        title = f"{model.name} on {data.title}"
        plot_history(self.folder / "history.csv", title, self.metric, progress["stages"][1:])
        plot_predictions(self.folder / "predictions.png", model, data, confusions, title)
        # Last, because who has metrics is a finished run.
        resume.write_json(self.folder / "metrics.json", metrics)
        self.checkpoint.clear(self._lock)
        _print_scores(scores, data)
        _print_runs(self.folder.parent.parent, self.flags.dataset)
        return metrics


def device():
    """The hardware that Keras computes on, in words."""
    names = keras.distribution.list_devices() if keras.backend.backend() == "jax" else []
    for gpu in tf.config.list_physical_devices("GPU") if ON_GPU else []:
        names.append(tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name))
    return ", ".join(names) or f"CPU with {os.cpu_count()} cores"


def warmup_cosine(peak, steps):
    """Learning rate that rises for a twentieth of the steps, then falls along a cosine to 0.

    Loshchilov and Hutter 2017, arXiv:1608.03983, without restarts.
    """
    warmup = steps // 20
    return keras.optimizers.schedules.CosineDecay(
        0.0, steps - warmup, warmup_target=peak, warmup_steps=warmup
    )


def segmentation_loss(y_true, y_pred):
    """Cross-entropy plus Dice loss (Milletari et al. 2016, arXiv:1606.04797), weighted alike.

    Cross-entropy gives every pixel the same say; Dice gives it to every class, so that the thin
    border counts as much as the wide background.

    Args:
        y_true: integer (N, H, W, 1), class ids.
        y_pred: float (N, H, W, C), probabilities.

    Returns:
        float (N,), one loss per picture. Dice is taken over the whole batch, of the classes that
        are there: one that is not would add a constant without a gradient.
    """
    truth = ops.one_hot(ops.squeeze(y_true, -1), y_pred.shape[-1])
    cross_entropy = keras.losses.categorical_crossentropy(truth, y_pred)
    dice = keras.losses.dice(truth, y_pred, axis=(0, 1, 2))  # one per class
    present = ops.max(truth, axis=(0, 1, 2))
    return ops.mean(cross_entropy, axis=(1, 2)) + ops.sum(dice * present) / ops.sum(present)


class _StopOnNaN(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch + 1

    def on_train_batch_end(self, batch, logs=None):
        if not np.isfinite(logs["loss"]):  # whatever would follow is not worth waiting for
            where = f"epoch {self.epoch}, step {batch + 1}"
            raise UserError(
                f"\nThe loss became {logs['loss']} in {where}: try a lower learning rate."
            )


# --- Evaluation -------------------------------------------------------------------------------


def mean_iou(num_classes):
    """Keras' mean intersection over union of integer masks and class probabilities."""
    return keras.metrics.MeanIoU(num_classes, sparse_y_pred=False, name="mean_iou")


def evaluate(model, batches, num_classes):
    """Confusion matrix of every picture.

    Args:
        model: keras.Model from pictures to probabilities (N, S, S, C).
        batches: tf.data.Dataset of float32 (N, S, S, 3) and uint8 (N, S, S, 1).

    Returns:
        int64 (pictures, C, C): pixels of true class (row) that were given a class (column).
    """
    confusions = []
    for images, masks in batches.as_numpy_iterator():
        predicted = np.argmax(model.predict_on_batch(images), axis=-1)
        pairs = num_classes * masks[..., 0].astype(np.int64) + predicted
        confusions += [np.bincount(pair.ravel(), minlength=num_classes**2) for pair in pairs]
    return np.array(confusions).reshape(-1, num_classes, num_classes)


def scores_from_confusion(confusion, class_names):
    """IoU and Dice of every class, their means, and pixel accuracy.

    With TP, FP and FN counted in pixels: IoU = TP / (TP + FP + FN) and
    Dice = 2 TP / (2 TP + FP + FN). A class that is neither there nor predicted has neither
    (None) and stays out of the means.

    Args:
        confusion: int (C, C), rows the truth, columns the prediction.
        class_names: C names.

    Returns:
        dict with `mean_iou`, `iou`, `mean_dice`, `dice`, `pixel_accuracy`.
    """
    hits = np.diag(confusion)
    sizes = confusion.sum(axis=0) + confusion.sum(axis=1)
    seen = sizes > 0
    iou = hits[seen] / (sizes - hits)[seen]
    dice = 2 * hits[seen] / sizes[seen]
    by_name = dict.fromkeys(class_names)
    present = [name for name, there in zip(class_names, seen, strict=True) if there]
    return {
        "mean_iou": float(iou.mean()),
        "iou": by_name | dict(zip(present, iou.tolist(), strict=True)),
        "mean_dice": float(dice.mean()),
        "dice": by_name | dict(zip(present, dice.tolist(), strict=True)),
        "pixel_accuracy": float(hits.sum() / confusion.sum()),
    }


def _print_scores(scores, data):
    print(f"\nTest split, {data.counts['test']} pictures    IoU   Dice")
    rows = [(name, scores["iou"][name], scores["dice"][name]) for name in data.class_names]
    for name, iou, dice in [*rows, ("mean", scores["mean_iou"], scores["mean_dice"])]:
        print(f"  {name:<24}" + ("   --     --" if iou is None else f"{iou:.3f}  {dice:.3f}"))
    print(f"  pixel accuracy          {scores['pixel_accuracy']:.3f}")


def _print_runs(runs_dir, dataset):
    """A table of all finished runs on a dataset, best first."""
    rows = []
    for path in runs_dir.glob("*/*/metrics.json"):
        # Whatever else lies there must not spoil the end of a long training.
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            run = json.loads(path.read_text(encoding="utf-8"))
            row = f"{run['image_size']:4} {run['epochs']:7} {run['train_seconds']:8.0f}"
            if run["dataset"] == dataset:
                rows += [(float(run["mean_iou"]), f"{row} {run['parameters']:11,}  {path.parent}")]
    print(f"\nFinished runs on {dataset}, by mean IoU on its test split")
    print("  mean IoU   px  epochs  seconds  parameters  folder")
    for mean_iou, row in sorted(rows, reverse=True):
        print(f"  {mean_iou:8.3f} {row}")


# --- Pictures ---------------------------------------------------------------------------------


def plot_history(table, title, metric="mean_iou", stages=()):
    """Draw loss and mean IoU by epoch, from a CSVLogger's table into a PNG beside it.

    Args:
        table: Path of the CSV file.
        title: str, above the figure.
        metric: column of the mean IoU.
        stages: epochs, counted from 0, with which a further stage of the training began.
    """
    with open(table, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    epochs = range(1, len(rows) + 1)
    figure = Figure(figsize=(11, 4), layout="constrained", dpi=120)
    axes = figure.subplots(1, 2)
    for axis, name in zip(axes, ("loss", metric), strict=True):
        for key, label, color in ((name, "training", 1), (f"val_{name}", "validation", 6)):
            values = [float(row[key]) for row in rows]
            axis.plot(epochs, values, label=label, color=COLORS[color], marker="o", markersize=3)
        for stage in stages:
            axis.axvline(stage + 0.5, color="black", linestyle="--", label="next stage")
        axis.set(xlabel="epoch", ylabel="loss" if name == "loss" else "mean IoU")
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.grid(alpha=0.3)
    best = max(epochs, key=lambda epoch: float(rows[epoch - 1][f"val_{metric}"]))
    axes[1].axvline(best, color="gray", linestyle=":", label=f"best: epoch {best}")
    for axis in axes:
        axis.legend()
    figure.suptitle(title)
    resume.write(table.with_suffix(".png"), figure.savefig)


def plot_predictions(path, model, data, confusions, title, rows=6):
    """Draw picture, truth, prediction and overlay of test pictures, from the best to the worst.

    Args:
        path: Path of the file to write.
        model: keras.Model from pictures to probabilities.
        data: `Data`.
        confusions: what `evaluate` returned for `data.test`.
        title: str, above the figure.
        rows: number of pictures, spread evenly over the ranks.
    """
    scores = [scores_from_confusion(one, data.class_names)["mean_iou"] for one in confusions]
    ranks = np.unique(np.linspace(0, len(scores) - 1, rows).round().astype(int))
    chosen = np.argsort(scores)[::-1][ranks]
    pictures = enumerate(data.test.unbatch().as_numpy_iterator())
    shown = {number: picture for number, picture in pictures if number in chosen}
    colors = ListedColormap(COLORS[: len(data.class_names)])

    figure = Figure(figsize=(9, 2.4 * len(chosen) + 0.6), dpi=120)
    axes = figure.subplots(len(chosen), 4, squeeze=False)
    for row, number, rank in zip(axes, chosen, ranks, strict=True):
        image, mask = shown[number]
        predicted = np.argmax(model.predict_on_batch(image[None])[0], axis=-1)
        overlay = 0.55 * image + 0.45 * colors(predicted)[..., :3]
        panels = {
            f"picture, rank {rank + 1} of {len(scores)}": image,
            "truth": colors(mask[..., 0]),
            f"prediction, IoU {scores[number]:.2f}": colors(predicted),
            "overlay": overlay,
        }
        for axis, (name, panel) in zip(row, panels.items(), strict=True):
            axis.imshow(panel, interpolation="nearest")
            axis.set_title(name, fontsize=9)
            axis.axis("off")
    patches = [
        Patch(facecolor=color, edgecolor="black", label=name)
        for color, name in zip(colors.colors, data.class_names, strict=True)
    ]
    figure.suptitle(f"{title}: test pictures from best to worst")
    figure.tight_layout(rect=(0, 0.03, 1, 0.99))
    figure.legend(handles=patches, loc="lower center", ncols=len(patches), frameon=False)
    resume.write(path, figure.savefig)


def plot_attention(path, attention, model, data, rows=5):
    """Draw where the surest position of each class looks, over the first test pictures.

    Args:
        path: Path of the file to write.
        attention: keras.Model from pictures to attention scores (N, heads, P, P), which sum to 1
            over the last axis; P positions are a square grid over the picture.
        model: keras.Model from pictures to a list of probabilities; the first is looked at.
        data: `Data`.
        rows: number of pictures.
    """
    images = next(iter(data.test.unbatch().batch(rows)))[0].numpy()
    scores = ops.convert_to_numpy(attention(images)).mean(axis=1)
    probabilities = ops.convert_to_numpy(model(images)[0])
    count, side, grid = len(images), images.shape[1], round(scores.shape[-1] ** 0.5)
    cell = side // grid
    columns = 1 + len(data.class_names)
    figure = Figure(figsize=(2.3 * columns, 2.4 * count + 0.6), layout="constrained", dpi=120)
    axes = figure.subplots(count, columns, squeeze=False)
    limits = {"vmin": 0, "vmax": scores.max()}
    shape = (count, grid, cell, grid, cell, len(data.class_names))
    sureness = probabilities.reshape(shape).mean(axis=(2, 4)).reshape(count, grid * grid, -1)
    for row, image, looks, sure in zip(axes, images, scores, sureness, strict=True):
        row[0].imshow(image)
        row[0].set_title("picture", fontsize=9)
        for axis, name, position in zip(row[1:], data.class_names, sure.argmax(0), strict=True):
            heat = looks[position].reshape(grid, grid)
            axis.imshow(image.mean(axis=-1), cmap="gray")
            drawn = axis.imshow(heat, "inferno", alpha=0.6, extent=(0, side, side, 0), **limits)
            y, x = np.divmod(position, grid)
            axis.plot(
                (x + 0.5) * cell, (y + 0.5) * cell, "o", color="cyan", markeredgecolor="black"
            )
            axis.set_title(f"surest {name}: most {heat.max():.0%}", fontsize=9)
        for axis in row:
            axis.axis("off")
    figure.colorbar(drawn, ax=axes, shrink=0.4, label="share of the attention")
    figure.suptitle(f"Self-attention on {data.title}: where the marked position looks")
    resume.write(path, figure.savefig)
