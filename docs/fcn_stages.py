"""Validation mean IoU of five ways to train an FCN, for the README.

    python docs/fcn_stages.py    writes fcn-stages.svg to docs/figures/

from fcn-stages.csv beside it, which has a line for each epoch of each run: the minutes of training
at which it ends, by the time that such epochs take, and what the run's history.csv calls
`val_mean_iou`. docs/results.md has the commands.
"""

import csv
from collections import defaultdict
from pathlib import Path

import numpy as np
from drawing import DECODER, ENCODER, INK, MIDDLE, POOL, SKIP, plain_axis, save
from matplotlib.figure import Figure

FIGURES = Path(__file__).resolve().parent / "figures"
COLORS = {
    "pretrained, two stages": DECODER,
    "pretrained, all at once": ENCODER,
    "pretrained, frozen to the end": SKIP,
    "random, all at once": POOL,
    "random and frozen": MIDDLE,
}


def read_curves(path):
    """From the name of a way to its minutes (epochs,) and the scores then (epochs, seeds)."""
    curves = defaultdict(lambda: defaultdict(list))
    with open(path, newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            curves[row["way"]][float(row["minutes"])].append(float(row["validation"]))
    return {way: ([*curve], np.array([*curve.values()])) for way, curve in curves.items()}


def draw(curves):
    """A figure with a line for each way: the mean of its seeds, in a band from low to high."""
    figure = Figure(figsize=(9, 4), layout="constrained")
    axis = plain_axis(figure, "minutes of training", "validation mean IoU")
    for way, color in COLORS.items():
        minutes, scores = curves[way]
        axis.fill_between(minutes, scores.min(1), scores.max(1), color=color, alpha=0.15, lw=0)
        axis.plot(minutes, scores.mean(1), color=color, lw=2.2, label=way)
    axis.legend(frameon=False, labelcolor=INK, loc="lower right")
    return figure


if __name__ == "__main__":
    save(draw(read_curves(FIGURES / "fcn-stages.csv")), FIGURES / "fcn-stages.svg")
