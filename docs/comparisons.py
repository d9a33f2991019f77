"""Figures of the README that compare many runs, drawn from what these have left.

    python docs/comparisons.py stages FOLDER    fcn-stages.svg: ways to train FCN, by time
    python docs/comparisons.py few FOLDER       few-pictures.svg: scores by number of pictures

FOLDER has a folder of runs (`--runs-dir`) for each training: `fcn-WAY-SEED` (the ways are those of
`WAYS`), or `unet-PICTURES` and `u2net-PICTURES`. docs/results.md has the commands.
"""

import csv
import json
import sys
from pathlib import Path

import numpy as np
from drawing import DECODER, ENCODER, INK, MIDDLE, SKIP, save, score_axis
from matplotlib.figure import Figure

FIGURES = Path(__file__).resolve().parent / "figures"
WAYS = {
    "two": ("pretrained, two stages", DECODER),
    "once": ("pretrained, all at once", ENCODER),
    "frozen": ("pretrained, frozen to the end", SKIP),
    "random": ("random, all at once", INK),
    "randomfrozen": ("random and frozen", MIDDLE),
}
# Seconds of a step by docs/machines.md, encoder frozen and not; random weights need more.
FROZEN, RELEASED = 0.30, 0.73
NETWORKS = {"u2net": ("U2-Net, published weights", DECODER), "unet": ("U-Net, random", ENCODER)}


def curve(folder, way):
    """Time that has gone by after each epoch, % of the training, and validation mean IoU."""
    (table,) = folder.glob("fcn/*/history.csv")
    with open(table, newline="", encoding="utf-8") as file:
        scores = [float(row["val_mean_iou"]) for row in csv.DictReader(file)]
    seconds = np.full(len(scores), RELEASED)
    if way == "two":
        seconds[: len(scores) // 2] = FROZEN
    return 100 * np.cumsum(seconds) / seconds.sum(), scores


def draw_stages(folder):
    """Each way's mean over the seeds, and between which values these lie."""
    figure = Figure(figsize=(9, 4), layout="constrained")
    axis = score_axis(figure, "time of training, %")
    for way, (label, color) in WAYS.items():
        curves = [curve(one, way) for one in sorted(folder.glob(f"fcn-{way}-*"))]
        time, scores = curves[0][0], np.array([scores for _, scores in curves])
        axis.plot(time, scores.mean(axis=0), color=color, lw=2.2, label=label)
        axis.fill_between(time, scores.min(axis=0), scores.max(axis=0), color=color, alpha=0.15)
    axis.legend(frameon=False, labelcolor=INK, loc="lower right")
    return figure


def draw_few(folder):
    """Mean IoU on the test pictures, by the number of training pictures."""
    figure = Figure(figsize=(6.5, 4), layout="constrained")
    axis = score_axis(figure, "training pictures")
    for network, (label, color) in NETWORKS.items():
        scores = {}
        for one in folder.glob(f"{network}-*"):
            (metrics,) = one.glob("*/*/metrics.json")
            scores[int(one.name.split("-")[1])] = json.loads(metrics.read_text())["mean_iou"]
        pictures = sorted(scores)
        axis.plot(pictures, [scores[n] for n in pictures], "o-", color=color, lw=2.2, label=label)
    axis.set_xscale("log")
    axis.set_xticks(pictures, [str(n) for n in pictures])
    axis.minorticks_off()
    axis.legend(frameon=False, labelcolor=INK, loc="lower right")
    return figure


if __name__ == "__main__":
    draw = {"stages": draw_stages, "few": draw_few}
    if len(sys.argv) != 3 or sys.argv[1] not in draw:
        sys.exit(__doc__)
    name = {"stages": "fcn-stages.svg", "few": "few-pictures.svg"}[sys.argv[1]]
    save(draw[sys.argv[1]](Path(sys.argv[2])), FIGURES / name)
