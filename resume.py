"""What lets a run survive: a folder of its own, files never half written, a checkpoint.

Weights alone would not bring a training to the end it would have had undisturbed. The same end
takes the optimizer's moments, the counters of dropout's random numbers, the history, the best
weights so far and what early stopping has counted. `Checkpoint` keeps all of it after every
epoch; the position in the data follows from the epoch.
"""

import contextlib
import json
import os
import time
from datetime import datetime

import keras
import numpy as np
from keras import ops

BESIDE = "unfinished-"


def write(path, save):
    """Write a file beside its place, then rename it: nobody ever finds half of it.

    Args:
        path: Path of the file.
        save: callable that writes a file, given its Path; the name ends as that of `path`.

    Raises:
        OSError: the disk is full, the folder not writable or gone. What was there stays.
    """
    beside = path.with_name(BESIDE + path.name)
    save(beside)
    with open(beside, "rb+") as file:
        os.fsync(file.fileno())  # else a power loss could keep the new name and lose the content
    beside.replace(path)


def write_json(path, content):
    """`write` a dict as JSON."""
    text = json.dumps(content, indent=2) + "\n"
    write(path, lambda beside: beside.write_text(text, encoding="utf-8"))


def lock(folder):
    """Keep a folder for this process, until it closes the lock or ends, in whatever way.

    Returns:
        open file, or None if another process has the folder or the disk knows no locks.
    """
    file = open(folder / "lock", "ab")  # noqa: SIM115 (open as long as the process wants it)
    try:
        try:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except ImportError:  # on Windows
            import msvcrt

            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
    except OSError:
        file.close()
        return None
    return file


def find_unfinished(parent, used):
    """The newest run below a folder that was cut short, and that had the same settings.

    Args:
        parent: Path of the folder with one folder per run.
        used: dict, what `hyperparameters.json` must hold.

    Returns:
        Path and lock of its folder, or (None, None).
    """
    for path in sorted(parent.glob("*/hyperparameters.json"), reverse=True):
        folder = path.parent
        with contextlib.suppress(OSError, ValueError):  # a foreign file, or a folder not ours
            same = json.loads(path.read_text(encoding="utf-8")) == used
            if same and not (folder / "metrics.json").exists() and (held := lock(folder)):
                # Once more: its owner may have finished it just before letting go.
                if not (folder / "metrics.json").exists():
                    return folder, held
                held.close()
    return None, None


def new_folder(parent):
    """Make a folder named after this second, never an existing one, even if two runs race.

    Returns:
        Path and lock of the folder.

    Raises:
        OSError: it cannot be made.
    """
    parent.mkdir(parents=True, exist_ok=True)
    while True:
        folder = parent / datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
        with contextlib.suppress(FileExistsError):
            folder.mkdir()
            if not (held := lock(folder)):
                print(f"The disk of {folder} knows no locks: runs cut short there are not resumed.")
            return folder, held
        time.sleep(0.2)


NAMES = ("checkpoint.npz", "checkpoint-before.npz")


def _load(path):
    """Progress and arrays of a checkpoint, or None if it is not there or damaged.

    Raises:
        OSError: it cannot be read, which may pass.
    """
    try:
        # Zip files check their content. Without pickle they hold numbers and no code.
        with np.load(path, allow_pickle=False) as file:
            progress = json.loads(str(file["progress"]))
            return progress, [file[str(number)] for number in range(len(file.files) - 1)]
    except FileNotFoundError:
        return None
    except OSError:
        raise
    except Exception as error:  # depending on the bit that is wrong, of a dozen kinds
        print(f"{path} is damaged, so it is left out: {error}")
        return None


class Checkpoint(keras.callbacks.Callback):
    """After every epoch, keeps the best weights and all that it takes to go on.

    Stands after `CSVLogger` and `EarlyStopping` in the list of callbacks: it saves what they
    have made of the epoch.

    Args:
        folder: Path of the run's folder. What was kept there is taken up.
        metric: what `fit` calls the score by which the best weights are chosen.
        early_stopping: keras.callbacks.EarlyStopping or None.

    Attributes:
        progress: dict. `epochs`, `steps` and `seconds` over all stages; `stages`, how many epochs
            were over when each began; `stage_over`, whether the last of them was stopped early;
            `best`, the best score.
    """

    def __init__(self, folder, metric, early_stopping=None):
        super().__init__()
        self.folder, self.metric, self.early_stopping = folder, metric, early_stopping
        self.progress = {"epochs": 0, "steps": 0, "seconds": 0.0, "stages": [], "best": None}
        self.progress |= {"stage_over": False, "early_stopping": {}, "history": ""}
        self.stage, self.arrays = -1, None
        best = _load(folder / "best.npz")  # without which no training could end
        for name in NAMES:
            if best and (kept := _load(folder / name)):
                self.progress, self.arrays = kept
                break
            (folder / name).unlink(missing_ok=True)  # damaged: it must not replace the good one
        # What is there may be an epoch ahead, or end in half a line.
        history = self.progress["history"].encode()
        write(folder / "history.csv", lambda beside: beside.write_bytes(history))

    def begin_stage(self, model, epochs):
        """Count a stage, and bring a compiled model back to where it was interrupted.

        Returns:
            `initial_epoch` and `epochs` for `fit`. They are equal if nothing is left to do.
        """
        self.stage += 1
        stages, done = self.progress["stages"], self.progress["epochs"]
        if self.stage < len(stages) - 1:
            return stages[self.stage + 1], stages[self.stage + 1]
        # Variables made while the step is traced would have TensorFlow trace it twice: the
        # optimizer's, and the means of each loss that a model of several outputs reports.
        model.optimizer.build(model.trainable_variables)
        guess = keras.tree.map_structure(lambda one: np.ones((1, *one.shape[1:])), model.output)
        truth = keras.tree.map_structure(lambda one: np.zeros((*one.shape[:-1], 1), int), guess)
        model.compute_loss(y=truth, y_pred=guess)
        # Keras on JAX would draw from the pictures to make these, and so change their order.
        model.compute_metrics(None, truth, guess)
        if self.stage == len(stages):
            stages.append(done)
            self.progress |= {"stage_over": False, "early_stopping": {}}
        else:
            _assign(_state(model), self.arrays)
        self.arrays = None
        return done, done if self.progress["stage_over"] else stages[self.stage] + epochs

    def on_train_begin(self, logs=None):
        if self.early_stopping:
            vars(self.early_stopping).update(self.progress["early_stopping"])
        self.begun = time.perf_counter() - self.progress["seconds"]

    def on_train_batch_end(self, batch, logs=None):
        self.progress["steps"] += 1

    def on_epoch_end(self, epoch, logs=None):
        if self.progress["best"] is None or logs[f"val_{self.metric}"] > self.progress["best"]:
            self.progress["best"] = float(logs[f"val_{self.metric}"])
            _save(self.folder / "best.npz", self.model.variables)
        self.progress["epochs"] += 1
        self.progress["seconds"] = time.perf_counter() - self.begun
        self.progress["stage_over"] = self.model.stop_training
        self.progress["history"] = (self.folder / "history.csv").read_bytes().decode()
        if self.early_stopping:
            counted = ("wait", "best", "best_epoch", "stopped_epoch")
            kept = {name: getattr(self.early_stopping, name) for name in counted}
            self.progress["early_stopping"] = kept | {"best": float(kept["best"])}
        newest, before = (self.folder / name for name in NAMES)
        if newest.exists():
            newest.replace(before)
        _save(newest, _state(self.model), self.progress)

    def load_best(self, model):
        """Give a model the weights of the best epoch.

        Raises:
            OSError: they cannot be read.
        """
        kept = _load(self.folder / "best.npz")
        if kept is None:
            raise OSError(f"the best weights, {self.folder / 'best.npz'}, are gone or damaged")
        _assign(model.variables, kept[1])

    def clear(self, lock):
        """Remove what only an unfinished run needs, and let go of its folder."""
        if lock:
            lock.close()  # first: Windows removes no open file
        for name in (*NAMES, "best.npz", "lock", f"{BESIDE}*"):
            for path in self.folder.glob(name):
                with contextlib.suppress(OSError):  # Windows: a virus scanner may be reading it
                    path.unlink()


def _state(model):
    """`model.variables` has weights, statistics and the seeds of dropout."""
    return [*model.variables, *model.optimizer.variables]


def _assign(variables, arrays):
    for variable, value in zip(variables, arrays, strict=True):
        variable.assign(value)


def _save(path, variables, progress=None):
    arrays = {str(number): ops.convert_to_numpy(one) for number, one in enumerate(variables)}
    text = np.array(json.dumps(progress))
    write(path, lambda beside: np.savez(beside, progress=text, **arrays))
