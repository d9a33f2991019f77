"""One training: how it begins, its callbacks, and what it leaves."""

import contextlib
import functools
import json
import time

from support.inference.model_file import in_float32, save_model
from support.inference.overlay import set_figure_font
from support.runtime import devices, distributed
from support.runtime.files import write, write_json
from support.runtime.fingerprint import settings
from support.runtime.flags import refuse
from support.training import batch_norm, run_folder
from support.training.checkpoint import Checkpoint
from support.training.figures import plot_history
from support.training.pretrained import weights_stamp

import keras


def set_up(flags):
    """Find other processes and all devices, seed, choose the precision; refuse what cannot be."""
    distributed.initialize(flags)
    keras.utils.set_random_seed(flags.seed)
    devices.choose_precision(flags.precision)
    size, count = flags.batch_size, devices.device_count()
    if rest := size % count:
        more = size + count - rest
        refuse(f"--batch-size {size} cannot be shared evenly by {count} devices: try {more}")
    devices.use_all()
    batch_norm.use_fused_kernel()


class Run:
    """One training: its folder, its callbacks, and what it leaves.

    The folder is that of an unfinished run with the same hyperparameters, data, code and library
    versions if there is one, else a new one; either way it is this process's own.

    Args:
        network: str, the folder below `flags.runs_dir`: `runs/unet/<timestamp>/`.
        flags: what `parse_flags` returned; written to `hyperparameters.json`.
        data: `Data` that it trains on.

    Attributes:
        folder: Path; None in all processes but the first.
        callbacks: list for `fit`. They bring an interrupted run back to where it was; after `fit`
            the model has the weights with the best validation mean IoU. Pass the same list to
            every `fit` of a run: best weights, history and clock go on.

    Raises:
        UserError: the folder cannot be made, or other processes have other settings.
    """

    def __init__(self, network, flags, data):
        self.flags, self.data = flags, data
        self._fit = {"image_size": flags.image_size, "fit": flags.fit}
        set_figure_font("".join([data.title, *data.class_names]))
        weights = weights_stamp(flags.pretrained)
        used = settings(flags, {"data": data.identity, "weights": weights, **devices.facts()})
        alike = run_folder.rounded("device", used["device"])  # processors of other numbers of cores
        distributed.check_same(used | {"device": alike})
        self.folder = self._lock = None
        if distributed.is_main_process():  # who alone writes
            self.folder, self._lock = run_folder.begin(flags.runs_dir, network, used)
        checkpoint = Checkpoint(self.folder, "mean_iou", flags.patience)
        self.progress = progress = checkpoint.progress

        def next_epoch(epoch, logs):
            data.epochs.number = progress["epochs"]  # which counts over all stages

        follow = keras.callbacks.LambdaCallback(on_epoch_begin=next_epoch)
        self.callbacks = [follow, *checkpoint.callbacks, Estimate()]
        devices.print_facts()
        print(f"Results: {self.folder}")
        if done := progress["epochs"]:
            print(f"Goes on after epoch {done}. To begin anew, delete that folder.")

    def keep(self, model):
        """Save the trained model without what only training needs, and with a softmax.

        Args:
            model: keras.Model, float32 (N, S, S, 3) in [0, 1] to logits (N, S, S, C). Of several
                outputs only the first is kept.

        Returns:
            keras.Model that was saved: it gives probabilities (N, S, S, C), computes in float32 and
            has no optimizer.
        """
        devices.use_local()
        probabilities = keras.layers.Softmax(name="probabilities")(model.outputs[0])
        model = in_float32(keras.Model(model.input, probabilities, name=model.name))
        classes = zip(self.data.class_names, self.data.class_colors, strict=True)
        entries = [{"name": name, "color": color} for name, color in classes]
        facts = self._fit | {"classes": entries, "value_range": self.data.value_range}
        facts["trained_on"] = self.data.title
        if distributed.is_main_process():
            write(self.folder / "model.keras", functools.partial(save_model, model, facts))
        return model

    def report(self, model, scores, title):
        """Write and print what `scores_from_confusion` gave, draw the history, free the folder."""
        progress = self.progress
        rate = progress["steps"] * self.flags.batch_size / progress["seconds"]
        metrics = scores | {
            "parameters": model.count_params(),
            "dataset": self.flags.dataset,
            **self._fit,
            "epochs": progress["epochs"],
            "train_seconds": round(progress["seconds"], 1),
            "images_per_second": round(rate, 2),
        }
        plot_history(self.folder / "history.csv", title, progress["stages"])
        # Last, because who has metrics is a finished run.
        write_json(self.folder / "metrics.json", metrics)
        run_folder.finish(self.folder, self._lock)
        print_scores(scores, self.data.counts["test"])
        print_runs(self.folder.parent.parent, self.flags.dataset)


class Estimate(keras.callbacks.Callback):
    """Says how long a `fit` will take: at most, after its first epoch; about, after the second.

    The first epoch has compilation in it.
    """

    def on_train_begin(self, logs=None):
        self._begins = []

    def on_epoch_begin(self, epoch, logs=None):
        if not self._begins:
            print("Compiling the first step, which may take a minute ...", flush=True)
        self._begins.append(time.perf_counter())
        if how_exactly := {2: "At most", 3: "About"}.get(len(self._begins)):
            left = self.params["epochs"] - epoch
            seconds = left * (self._begins[-1] - self._begins[-2])
            print(f"{how_exactly} {duration(seconds)} for the epochs to come: {left}", flush=True)


def duration(seconds):
    """In words, as precise as an estimate is."""
    if seconds < 90:
        return f"{round(seconds)} s"
    return f"{round(seconds / 60)} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"


def print_scores(scores, pictures):
    """A table of what `scores_from_confusion` returned for so many test pictures."""
    print(f"\nTest split, {pictures} pictures    IoU   Dice")
    rows = [(name, iou, scores["dice"][name]) for name, iou in scores["iou"].items()]
    for name, iou, dice in [*rows, ("mean", scores["mean_iou"], scores["mean_dice"])]:
        print(f"  {name:<24}" + ("   --     --" if iou is None else f"{iou:.3f}  {dice:.3f}"))
    print(f"  pixel accuracy          {scores['pixel_accuracy']:.3f}")


def print_runs(runs_dir, dataset):
    """A table of all finished runs on a dataset, best first."""
    rows = []
    for path in runs_dir.glob("*/*/metrics.json"):
        # Whatever else lies there must not spoil the end of a long training.
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            run = json.loads(path.read_text(encoding="utf-8"))
            row = f"{run['fit']:>6} {run['image_size']:4} {run['epochs']:7}"
            row += f" {run['train_seconds']:8.0f} {run['parameters']:11,}  {path.parent}"
            if run["dataset"] == dataset:
                rows += [(float(run["mean_iou"]), row)]
    print(f"\nFinished runs on {dataset}, by mean IoU on its test split")
    print("  mean IoU    fit   px  epochs  seconds  parameters  folder")
    for mean_iou, row in sorted(rows, reverse=True):
        print(f"  {mean_iou:8.3f} {row}")
