"""The callback by which a run that was cut short goes on exactly where it was.

Weights alone would not bring a training to the end it would have had undisturbed. For that one
also needs the optimizer's moments, the counters of dropout's random numbers, the history, the best
weights so far and what early stopping has counted. `Checkpoint` keeps all of it after every
epoch; the order of the pictures follows from the epoch.
"""

import math
import os
import time

from support.runtime.files import replace, write
from support.runtime.startup import UserError
from support.training.checkpoint_file import broadcast_checkpoint, load, save

import keras
import numpy as np
from keras import ops

NAMES = ("checkpoint.npz", "checkpoint-before.npz")


class Checkpoint(keras.callbacks.Callback):
    """After every epoch, keeps the best weights and all that it takes to go on.

    One object serves all `fit` calls of a run, the stages of its training. At the beginning of
    each it brings the model back to where an interrupted run was, and lets `fit` begin with that
    epoch. At the end the model gets the best weights of all stages so far; a further stage goes
    on with those of the last epoch.

    Args:
        folder: Path of the run's folder. What was kept there is taken up. None in a process that
            writes nothing: it takes up what process 0 has.
        metric: what `fit` calls the score by which the best weights are chosen.
        patience: epochs without a better score after which a stage ends; 0 for never.

    Attributes:
        callbacks: list for `fit`: a watch for NaN, history, early stopping, this one.
        progress: dict. `epochs`, `steps` and `seconds` over all stages; `stages`, how many epochs
            were over when each began; `stage_over`, whether the last of them was stopped early;
            `best`, the best score; `early_stopping` and `history`, what these callbacks know.
    """

    def __init__(self, folder, metric, patience=0):
        super().__init__()
        self.folder, self.metric = folder, metric
        self.progress = {"epochs": 0, "steps": 0, "seconds": 0.0, "stages": [], "best": None}
        self.progress |= {"stage_over": False, "early_stopping": {}, "history": ""}
        self.stage, self.arrays, self.best, self.last = -1, None, None, None
        if folder:
            self._take_up()
        self.progress, self.arrays = broadcast_checkpoint(self.progress, self.arrays)
        _, self.best = broadcast_checkpoint(None, self.best)

        goal = {"monitor": f"val_{metric}", "mode": "max", "patience": patience, "verbose": 1}
        self.stopping = keras.callbacks.EarlyStopping(**goal) if patience else None
        # This one last: it keeps what the others have made of the epoch.
        self.callbacks = [_StopOnNaN(), _History(self), *filter(None, [self.stopping]), self]

    def _take_up(self):
        folder = self.folder
        best = load(folder / "best.npz")  # without which no training could end
        if not best and any((folder / name).exists() for name in NAMES):
            print(f"Without best.npz, {folder} begins anew.")
        for name in NAMES:
            if best and (kept := load(folder / name)):
                self.progress, self.arrays = kept
                self.best = best[1]
                break
            (folder / name).unlink(missing_ok=True)  # damaged: it must not replace the good one
        # What is there may be an epoch ahead, or end in half a line.
        history = self.progress["history"].encode()
        write(folder / "history.csv", lambda beside: beside.write_bytes(history))

    def on_train_begin(self, logs=None):
        self.stage += 1
        stages, done = self.progress["stages"], self.progress["epochs"]
        epochs = self.params["epochs"]
        # `fit` begins with epoch `_initial_epoch`, which Keras' own BackupAndRestore sets, too.
        if self.stage < len(stages) - 1:
            self.model._initial_epoch = epochs  # over before the interruption
            return
        self.model.optimizer.build(self.model.trainable_variables)  # else TensorFlow traces twice
        if self.stage == len(stages):
            stages.append(done)
            self.progress |= {"stage_over": False, "early_stopping": {}}
            if self.last:
                _assign(self.model.variables, self.last)
        else:
            _assign(_state(self.model), self.arrays)
        self.arrays = self.last = None
        over = self.progress["stage_over"]
        self.model._initial_epoch = epochs if over else done - stages[self.stage]
        if self.stopping:
            vars(self.stopping).update(self.progress["early_stopping"])
        self.begun = time.perf_counter() - self.progress["seconds"]
        if self.model._initial_epoch < epochs:
            trained = sum(math.prod(weight.shape) for weight in self.model.trainable_weights)
            all_of_them = self.model.count_params()
            print(f"Training {self.model.name}: {trained:,} of {all_of_them:,} weights")

    def on_epoch_end(self, epoch, logs=None):
        if self.progress["best"] is None or logs[f"val_{self.metric}"] > self.progress["best"]:
            self.progress["best"] = float(logs[f"val_{self.metric}"])
            self.best = _arrays(self.model.variables)
            if self.folder:
                save(self.folder / "best.npz", self.best)
        self.progress["epochs"] += 1
        self.progress["steps"] += self.params["steps"]
        self.progress["seconds"] = time.perf_counter() - self.begun
        self.progress["stage_over"] = self.model.stop_training
        if self.stopping:
            names = ("wait", "best", "stopped_epoch")
            self.progress["early_stopping"] = {name: getattr(self.stopping, name) for name in names}
        if not self.folder:
            return
        self.progress["history"] = (self.folder / "history.csv").read_bytes().decode()
        newest, before = (self.folder / name for name in NAMES)
        if newest.exists():
            replace(newest, before)
        save(newest, _arrays(_state(self.model)), self.progress)

    def on_train_end(self, logs=None):
        self.last = _arrays(self.model.variables)
        if self.best:
            _assign(self.model.variables, self.best)


class _History(keras.callbacks.CSVLogger):
    """Counts epochs over all stages."""

    def __init__(self, checkpoint):
        folder = checkpoint.folder
        super().__init__(folder / "history.csv" if folder else os.devnull, append=True)
        self.checkpoint = checkpoint

    def on_train_begin(self, logs=None):
        super().on_train_begin(logs)
        self.csv_file.reconfigure(newline="")  # else Windows has an empty line after each

    def on_epoch_end(self, epoch, logs=None):
        super().on_epoch_end(self.checkpoint.progress["epochs"], logs)


class _StopOnNaN(keras.callbacks.Callback):
    async_safe = True  # Keras looks at losses in another thread then, and waits for no step

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch + 1

    def on_train_batch_end(self, batch, logs=None):
        if not np.isfinite(loss := logs["loss"]):  # what would follow is not worth waiting for
            where = f"epoch {self.epoch}, step {batch + 1}"
            raise UserError(f"\nThe loss became {loss} in {where}: try a lower learning rate.")


def _state(model):
    """`model.variables` has weights, statistics and the seeds of dropout."""
    return [*model.variables, *model.optimizer.variables]


def _assign(variables, arrays):
    for variable, value in zip(variables, arrays, strict=True):
        variable.assign(value)


def _arrays(variables):
    # Copies: PyTorch's arrays share memory with their variables.
    return [np.array(ops.convert_to_numpy(variable)) for variable in variables]
