"""Learning curves of several runs beside each other, for the README.

    python docs/learning_curves.py RUN [RUN [RUN]]    folders of finished runs on the same data

writes learning-curves.svg to docs/figures/, from what the runs have left. It follows the reader's
light or dark mode.
"""

import csv
import json
import sys
from pathlib import Path

from drawing import DECODER, ENCODER, INK, SKIP, plain_axis, save
from matplotlib.figure import Figure

NAMES = {"fcn": "FCN", "unet": "U-Net", "u2net": "U2-Net"}
COLORS = (ENCODER, DECODER, SKIP)
OUTPUT = Path(__file__).resolve().parent / "figures" / "learning-curves.svg"


def read_run(folder):
    """Name, training and validation mean IoU by epoch, of a run's folder.

    Args:
        folder: Path, `runs/<network>/<timestamp>`.

    Returns:
        tuple of str, list of float, list of float.
    """
    with open(folder / "history.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    # Until 2026-11-29, U2-Net called it fused_mean_iou.
    (metric,) = {"mean_iou", "fused_mean_iou"} & rows[0].keys()
    curves = ([float(row[key]) for row in rows] for key in (metric, f"val_{metric}"))
    return NAMES.get(folder.parent.name, folder.parent.name), *curves


def draw(folders):
    """A figure of all runs: training dashed, validation solid."""
    datasets = {json.loads((one / "metrics.json").read_text())["dataset"] for one in folders}
    if len(datasets) > 1:
        sys.exit(f"These runs are on different data: {', '.join(sorted(datasets))}")
    figure = Figure(figsize=(9, 4), layout="constrained")
    axis = plain_axis(figure, "epoch", "mean IoU")
    for folder, color in zip(folders, COLORS, strict=False):
        name, training, validation = read_run(folder)
        epochs = range(1, len(training) + 1)
        axis.plot(epochs, validation, color=color, lw=2.2, label=name)
        axis.plot(epochs, training, color=color, lw=1.2, ls="--", label=f"{name}, training")
    axis.legend(frameon=False, labelcolor=INK, ncols=2, loc="lower right")
    return figure


if __name__ == "__main__":
    if not 1 <= len(sys.argv[1:]) <= len(COLORS):
        sys.exit(__doc__)
    save(draw([Path(one).resolve() for one in sys.argv[1:]]), OUTPUT)
