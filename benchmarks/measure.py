"""How fast networks and pipeline are, and how near to what the machine can do.

    python benchmarks/measure.py share      a training step of each network beside its convolutions
    python benchmarks/measure.py pipeline   pictures a second: prepared, and augmented after that
    python benchmarks/measure.py growth     a step by size, batch and width
    python benchmarks/measure.py startup    from the shell to the end of the first step
    python benchmarks/measure.py precision  a step in float32 and in bfloat16
    python benchmarks/measure.py folded     seconds a photo, with batch normalization and without

`--json FILE` keeps the figures, `--plot FILE` draws them. Two machines of one kind may differ by
half, so only ratios of one run mean anything; what is compared is measured in turn.
"""

import argparse
import functools
import importlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import common  # noqa: E402  (before Keras, which it quiets)
from support.inference.fold_batch_norm import fold_batch_norm  # noqa: E402
from support.runtime import devices  # noqa: E402
from support.training import batch_norm  # noqa: E402
from support.training.pretrained import open_vgg16  # noqa: E402

import keras  # noqa: E402
import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402


def unet(size, **more):
    return importlib.import_module("Unet-keras").build_model(image_size=size, **more)


def fcn(size, frozen):
    with tempfile.TemporaryDirectory() as folder:  # with ImageNet's weights it would take as long
        weights = f"{folder}/vgg16.weights.h5"
        open_vgg16("none")[0].save_weights(weights)
        build_model = importlib.import_module("FCN-keras").build_model
        model = build_model(image_size=size, pretrained=weights)
    model.get_layer("vgg16").trainable = not frozen
    return model


def u2net(size, variant):
    return importlib.import_module("U2Net-keras").build_model(image_size=size, variant=variant)


NETWORKS = {
    "unet": unet,
    "unet, 32 filters": lambda size: unet(size, base_filters=32),
    "fcn": lambda size: fcn(size, frozen=False),
    "fcn, encoder frozen": lambda size: fcn(size, frozen=True),
    "u2net full": lambda size: u2net(size, "full"),
    "u2net lite": lambda size: u2net(size, "lite"),
}


def random_batch(size, batch_size):
    """Pictures, float32 (N, size, size, 3), and masks, uint8 (N, size, size, 1), of 3 classes."""
    rng = np.random.default_rng(0)
    images = rng.random((batch_size, size, size, 3), np.float32)
    return images, rng.integers(0, 3, (batch_size, size, size, 1), np.uint8)


def compiled(model):
    """The model that a script would fit, compiled as it does."""
    loss = common.segmentation_loss
    if model.name.startswith("u2net"):
        joined = keras.layers.Concatenate(dtype="float32")(model.outputs)
        model = keras.Model(model.input, joined)
        loss = importlib.import_module("U2Net-keras").deep_supervision
    optimizer = keras.optimizers.Adam if model.name.startswith("fcn") else common.Muon
    metrics = [common.mean_iou(3)]
    model.compile(optimizer(1e-3), loss, metrics=metrics)
    return model


def training_step(model, size, batch_size):
    """A function that trains a model for a step on random numbers, as the scripts do."""
    model, batch = compiled(model), random_batch(size, batch_size)
    return lambda: model.train_on_batch(*batch)  # returns numbers, so the step is over


def measure_in_turn(functions, rounds):
    """Median seconds of each of several functions, by name: a drifting machine is fair to all."""
    seconds = {name: [] for name in functions}
    for function in functions.values():
        for _ in range(2):  # compile, then warm up
            function()
    for _ in range(rounds):
        for name, function in functions.items():
            begin = time.perf_counter()
            function()
            seconds[name].append(time.perf_counter() - begin)
    return {name: statistics.median(some) for name, some in seconds.items()}


# --- share ------------------------------------------------------------------------------------


def convolutions(model, behind=False):
    """Each convolution, whether trained weights come before it, and whether its own are trained."""
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from convolutions(layer, behind)
        elif isinstance(layer, keras.layers.Conv2D | keras.layers.Conv2DTranspose):
            yield layer, behind, bool(layer.trainable_weights)
        behind = behind or bool(layer.trainable_weights)


def input_shapes(model, size, batch_size):
    """The shape of what each convolution gets, by the layer's name."""
    shapes = {}

    def recorded(layer, call):
        def record(x, *arguments, **options):
            shapes[layer.name] = tuple(x.shape)
            return call(x, *arguments, **options)

        return record

    for layer, *_ in convolutions(model):
        layer.call = recorded(layer, layer.call)
    model(np.zeros((batch_size, size, size, 3), np.float32))
    for layer, *_ in convolutions(model):
        del layer.call
    return shapes


def flop(layer, shape, behind, trained):
    """FLOP of a convolution in a training step, given the shape of what it gets.

    That is forward; backward to the weights if they are trained; and backward to the input if
    trained weights come before it.
    """
    upsamples = isinstance(layer, keras.layers.Conv2DTranspose)
    positions = (shape if upsamples else layer.compute_output_shape(shape))[:3]
    return 2.0 * np.prod(positions) * np.prod(layer.kernel.shape) * (1 + behind + trained)


def bare_convolution(layer, shape, behind, trained):
    """The convolutions whose `flop` these are and nothing else, as a function."""
    x, kernel = tf.random.normal(shape), tf.convert_to_tensor(layer.kernel)

    def convolve(x, kernel):
        if isinstance(layer, keras.layers.Conv2DTranspose):
            count, height, width, _ = shape
            step = layer.strides[0]
            result = (count, step * height, step * width, layer.filters)
            return tf.nn.conv2d_transpose(x, kernel, result, step)
        return tf.nn.conv2d(x, kernel, layer.strides, "SAME", dilations=layer.dilation_rate)

    @tf.function
    def forward_and_back(x, kernel, along):
        with tf.GradientTape() as tape:
            wanted = [one for one, counts in ((x, behind), (kernel, trained)) if counts]
            tape.watch(wanted)
            result = convolve(x, kernel)
        results = [result, *(tape.gradient(result, wanted, along) if wanted else [])]
        return sum(one[0, 0, 0, 0] for one in results)  # a number, so that fetching it is nothing

    result = convolve(x, kernel)
    along = tf.random.normal(result.shape)
    return lambda: forward_and_back(x, kernel, along).numpy()


def share(flags):
    """Rows of what part of a step its bare convolutions would take."""
    if keras.backend.backend() != "tensorflow":
        sys.exit("share compares with convolutions of TensorFlow: leave KERAS_BACKEND out")
    rows = []
    for name in flags.only:
        model = NETWORKS[name](flags.image_size)
        shapes = input_shapes(model, flags.image_size, flags.batch_size)
        functions, keys, done = {}, [], 0  # what is alike is measured once
        for layer, behind, trained in convolutions(model):
            done += flop(layer, shapes[layer.name], behind, trained)
            key = (shapes[layer.name], layer.kernel.shape, layer.strides, layer.dilation_rate)
            key = (type(layer), *key, behind, trained)
            keys.append(key)
            if key not in functions:
                functions[key] = bare_convolution(layer, shapes[layer.name], behind, trained)
        functions["step"] = training_step(model, flags.image_size, flags.batch_size)
        seconds = measure_in_turn(functions, flags.rounds)
        step = seconds["step"]
        limit = sum(seconds[key] for key in keys)
        rows.append(
            {
                "network": name,
                "parameters": model.count_params(),
                "step, s": step,
                "GFLOP": done / 1e9,
                "GFLOP/s": done / step / 1e9,
                "convolutions, s": limit,
                "share of the limit": limit / step,
            }
        )
        keras.backend.clear_session()
    return rows


# --- pipeline ---------------------------------------------------------------------------------


def pipeline(flags):
    """Rows of pictures a second, prepared and augmented, and of what training takes."""
    options = {"dataset": flags.dataset, "data_dir": flags.data_dir, "image_size": flags.image_size}
    options |= {"fit": "resize", "batch_size": flags.batch_size, "seed": 1, "augmentation": 0.5}
    rows = []
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as runs:  # Windows: it is mapped
        for what in ("prepare", "open what is prepared"):
            begin = time.perf_counter()
            data = common.load_data(SimpleNamespace(**options, runs_dir=runs))
            rate = sum(data.counts.values()) / (time.perf_counter() - begin)
            rows.append({"what": f"{what}: {flags.dataset}", "pictures/s": rate})

    def epoch():
        for _ in data.train:
            pass

    seconds = measure_in_turn({"": epoch}, flags.rounds)[""]
    pictures = len(data.train) * flags.batch_size
    rows.append({"what": "augment, from the prepared file", "pictures/s": pictures / seconds})
    for name in flags.only:
        step = training_step(NETWORKS[name](flags.image_size), flags.image_size, flags.batch_size)
        seconds = measure_in_turn({"": step}, flags.rounds)[""]
        rows.append({"what": f"{name} takes", "pictures/s": flags.batch_size / seconds})
        keras.backend.clear_session()
    return rows


# --- growth -----------------------------------------------------------------------------------


def growth(flags):
    """Rows of U-Net's step by size, batch and width."""
    rows = []
    base = {"size": 64, "batch": 8, "filters": 16}
    for what, values in {
        "size": (64, 128, 256),
        "batch": (4, 8, 16, 32),
        "filters": (8, 16, 32, 64),
    }.items():
        functions = {}
        for value in values:
            size, batch, filters = (base | {what: value}).values()
            functions[value] = training_step(unet(size, base_filters=filters), size, batch)
        for value, seconds in measure_in_turn(functions, flags.rounds).items():
            rows.append({"by": what, "value": value, "step, s": seconds})
    return rows


# --- precision --------------------------------------------------------------------------------


def precision(flags):
    """Rows of each network's step in float32 and in bfloat16; weights are float32 in both."""
    rows = []
    for name in flags.only:
        steps = {}
        for dtype in ("float32", "mixed_bfloat16"):
            devices.choose_precision(dtype)
            model = NETWORKS[name](flags.image_size)
            steps[f"{dtype}, s"] = training_step(model, flags.image_size, flags.batch_size)
        seconds = measure_in_turn(steps, flags.rounds)
        ratio = seconds["mixed_bfloat16, s"] / seconds["float32, s"]
        rows.append({"network": name, **seconds, "ratio": ratio})
        keras.backend.clear_session()
    return rows


# --- folded -----------------------------------------------------------------------------------


def folded(flags):
    """Rows of each network's seconds a photo with batch normalization and, as --predict, without.

    Reading, resizing and writing photos is not in it.
    """
    rows = []
    shape = flags.batch_size, flags.image_size, flags.image_size, 3
    images = np.random.default_rng(0).random(shape, np.float32)
    for name in flags.only:
        model = NETWORKS[name](flags.image_size)
        model = keras.Model(model.input, model.outputs[0])
        models = {"as it is": model, "folded": fold_batch_norm(model)}
        labelling = {
            way: functools.partial(one.predict_on_batch, images) for way, one in models.items()
        }
        seconds = measure_in_turn(labelling, flags.rounds)
        photo = {way: one / len(images) for way, one in seconds.items()}
        rows.append({"network": name, **photo, "ratio": photo["folded"] / photo["as it is"]})
    return rows


# --- startup ----------------------------------------------------------------------------------

STARTUP = """
import sys, time
sys.path.insert(0, sys.argv[2])
import importlib
script = importlib.import_module(sys.argv[3])
import common, keras
begin, marks = float(sys.argv[1]), [("imports", time.time())]
load = common.load_data
def load_data(flags):
    data = load(flags)
    marks.append(("data", time.time()))
    return data
common.load_data = load_data
class Stop(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        marks.append(("first step", time.time()))
        before = begin
        for name, moment in marks:
            print("PHASE", name, moment - before, sep=";")
            before = moment
        sys.stdout.flush()
        import os
        os._exit(0)
fit = keras.Model.fit
def timed(model, *arguments, callbacks, **options):
    marks.append(("network", time.time()))
    return fit(model, *arguments, callbacks=[*callbacks, Stop()], **options)
keras.Model.fit = timed
sys.argv = [script.__file__, *sys.argv[4:]]
common.launch(script.main)
"""


def first_step(script, more, flags):
    """Seconds of each phase of a script from its start to the end of its first step."""
    with tempfile.TemporaryDirectory() as runs:
        options = {"dataset": flags.dataset, "data-dir": flags.data_dir, "runs-dir": runs}
        options |= {"image-size": flags.image_size, "batch-size": flags.batch_size}
        given = [f"--{name}={value}" for name, value in options.items()]
        command = [sys.executable, "-c", STARTUP, str(time.time()), str(ROOT)]
        command += [script, *given, *more]
        out = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    phases = [line.split(";")[1:] for line in out.splitlines() if line.startswith("PHASE")]
    return {name: float(seconds) for name, seconds in phases}


def startup(flags):
    """Rows of seconds by phase, medians of `rounds` after one that warms the disk's cache up."""
    scripts = {
        "Unet-keras": [],
        "U2Net-keras --variant lite": ["--variant", "lite"],
        "U2Net-keras": [],
        "FCN-keras --pretrained none": ["--pretrained", "none"],
    }
    rounds = [
        {name: first_step(name.split()[0], more, flags) for name, more in scripts.items()}
        for _ in range(1 + flags.rounds)
    ]
    rows = []
    for name in scripts:
        some = [one[name] for one in rounds[1:]]
        row = {phase: statistics.median(one[phase] for one in some) for phase in some[0]}
        whole = statistics.median(sum(one.values()) for one in some)
        rows.append({"script": name} | row | {"in all, s": whole})
    return rows


# --- output -----------------------------------------------------------------------------------


def print_table(rows):
    """Rows, which are dicts of the same keys, as a table; a column for each key."""

    def text(value):
        if isinstance(value, str):
            return value
        is_small = isinstance(value, float) and abs(value) < 1000
        return f"{value:,.3g}" if is_small else f"{value:,.0f}"

    table = [[*rows[0]], *([*map(text, row.values())] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for line in table:
        print("  ".join(value.rjust(width) for value, width in zip(line, widths, strict=True)))


def plot(path, title, rows):
    """A bar for each row, a panel for each column of numbers."""
    numbers = [key for key, value in rows[0].items() if isinstance(value, float)]
    labels = [
        " ".join(str(row[key]) for key in row if key not in (*numbers, "parameters"))
        for row in rows
    ]
    figure = Figure(figsize=(3.2 * len(numbers), 1.2 + 0.4 * len(rows)), layout="constrained")
    for axis, key in zip(figure.subplots(1, len(numbers), squeeze=False)[0], numbers, strict=True):
        axis.barh(labels, [row[key] for row in rows], color="#0072B2")
        axis.invert_yaxis()
        axis.set_title(key)
    figure.suptitle(title)
    figure.savefig(path)


def main():
    tf.get_logger().setLevel("ERROR")  # each bare convolution is a function of its own, on purpose
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    what = ["share", "pipeline", "growth", "startup", "precision", "folded"]
    parser.add_argument("what", choices=what)
    parser.add_argument("--only", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--dataset", default="synthetic")
    parser.add_argument("--data-dir", default="~/tensorflow_datasets")
    parser.add_argument("--image-size", type=int, default=128)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path)
    flags = parser.parse_args()
    devices.choose_precision("auto")
    batch_norm.use_fused_kernel()  # as in a training
    rows = globals()[flags.what](flags)
    title = f"{devices.device()}, {flags.image_size} px, {flags.batch_size} pictures a step"
    if flags.what == "growth":
        title = f"{devices.device()}, U-Net: 64 px, 8 pictures, 16 filters, but for what is named"
    print(title)
    print_table(rows)
    if flags.json:
        flags.json.write_text(json.dumps({"machine": title, "rows": rows}, indent=2) + "\n")
    if flags.plot:
        plot(flags.plot, title, rows)


if __name__ == "__main__":
    common.launch(main)
