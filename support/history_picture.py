"""The figure of a training's course."""

import csv

from support.colors import COLORS
from support.run_folder import write

from matplotlib.figure import Figure


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
    figure = Figure(figsize=(11, 4), layout="constrained")
    axes = figure.subplots(1, 2)
    for axis, name in zip(axes, ("loss", metric), strict=True):
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
    best = max(epochs, key=lambda epoch: float(rows[epoch - 1][f"val_{metric}"]))
    axes[1].axvline(best, color="gray", linestyle=":", label=f"best: epoch {best}")
    for axis in axes:
        axis.legend()
    figure.suptitle(title)
    write(table.with_suffix(".png"), figure.savefig)
