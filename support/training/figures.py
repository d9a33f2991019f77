"""Figures of a training's course, and of where a network with self-attention looks."""

import csv

from support.data.classes import COLORS
from support.data.tiles import cut_out
from support.runtime.files import write

import numpy as np
from keras import ops
from matplotlib.figure import Figure


def plot_history(table, title, stages=()):
    """Draw loss and mean IoU by epoch, from a CSVLogger's table into a PNG beside it.

    Args:
        table: Path of the CSV file.
        title: str, above the figure.
        stages: epochs, counted from 0, with which a further stage of the training began.
    """
    rows = list(csv.DictReader(table.read_text(encoding="utf-8").splitlines()))
    epochs = range(1, len(rows) + 1)
    figure = Figure(figsize=(11, 4), layout="constrained")
    axes = figure.subplots(1, 2)
    for axis, name in zip(axes, ("loss", "mean_iou"), strict=True):
        for key, label, color in ((name, "training", 1), (f"val_{name}", "validation", 6)):
            values = [float(row[key]) for row in rows]
            axis.plot(epochs, values, label=label, color=COLORS[color], marker="o", markersize=3)
        for stage in {*stages} & {*epochs}:
            axis.axvline(stage + 0.5, color="black", linestyle="--", label="next stage")
        axis.set(xlabel="epoch", ylabel="loss" if name == "loss" else "mean IoU")
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.grid(alpha=0.3)
    # At first, batch normalization's averages lag behind and validation losses may be in the tens.
    largest = max(float(row["loss"]) for row in rows)
    axes[0].set_ylim(0, min(axes[0].get_ylim()[1], 2 * largest))
    best = max(epochs, key=lambda epoch: float(rows[epoch - 1]["val_mean_iou"]))
    axes[1].axvline(best, color="gray", linestyle=":", label=f"best: epoch {best}")
    for axis in axes:
        axis.legend()
    figure.suptitle(title)
    write(table.with_suffix(".png"), figure.savefig)


def plot_attention(path, attention, model, data, rows=5):
    """Light up where the surest position of each class looks, over the first test pictures.

    Args:
        path: Path of the file to write.
        attention: keras.Model from pictures to attention scores (N, heads, P, P, Q, Q): how much
            a position of a P x P grid looks at each of a Q x Q grid; the latter sum to 1.
        model: keras.Model from pictures to probabilities.
        data: `Data`.
        rows: number of pictures.
    """
    images = [image for image, _ in data.test.unbatch().take(rows).as_numpy_iterator()]
    if data.tile:
        images = [cut_out(image, 0, 0, data.tile) for image in images]
    images = np.stack(images)
    one_by_one = images[:, None]  # batches of one, for memory's sake
    scores = [ops.convert_to_numpy(attention(image)) for image in one_by_one]
    scores = np.concatenate(scores).mean(1)  # over the heads
    probabilities = np.concatenate([ops.convert_to_numpy(model(image)) for image in one_by_one])
    count, side, grid = len(images), images.shape[1], scores.shape[1]
    cell = side // grid
    names = data.class_names[:6]  # more would be too small to see
    columns = 1 + len(names)
    figure = Figure(figsize=(2.3 * columns, 2.4 * count + 0.6), layout="constrained")
    axes = figure.subplots(count, columns, squeeze=False)
    cells = (count, grid, cell, grid, cell, probabilities.shape[-1])
    sureness = probabilities.reshape(cells).mean(axis=(2, 4)).reshape(count, grid * grid, -1)
    for row, image, looks, sure in zip(axes, images, scores, sureness, strict=True):
        row[0].imshow(image)
        row[0].set_title("picture", fontsize=9)
        for axis, name, position in zip(row[1:], names, sure.argmax(0), strict=False):
            y, x = np.divmod(position, grid)
            light = ops.image.resize(looks[y, x, ..., None], (side, side), interpolation="bicubic")
            light = np.clip(ops.convert_to_numpy(light) / looks[y, x].max(), 0, 1)
            axis.imshow(image * (0.15 + 0.85 * light))
            center = (x + 0.5) * cell, (y + 0.5) * cell
            axis.plot(*center, "o", color="cyan", markeredgecolor="black")
            axis.set_title(f"surest {name} looks at", fontsize=9)
        for axis in row:
            axis.axis("off")
    figure.suptitle(f"Self-attention on {data.title}: what the marked position looks at is lit")
    write(path, figure.savefig)
