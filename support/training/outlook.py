"""How long a training will take, told as soon as it can be known."""

import time

import keras


class Outlook(keras.callbacks.Callback):
    """Says that a network is being compiled and, before the second epoch, how long it will take.

    The first step counts as compilation, so it has no say in the estimate; where an epoch has no
    other, the second epoch is timed. Each `fit`, a stage of its own, has its own estimate.

    Args:
        later: function that returns how many epochs are to come in later stages.
    """

    def __init__(self, later):
        super().__init__()
        self._later = later

    def on_train_begin(self, logs=None):
        self._first, self._told, self._epoch_seconds = True, False, None

    def on_epoch_begin(self, epoch, logs=None):
        left = self.params["epochs"] - epoch
        if self._first:
            print("Compiling the first step, which may take a minute ...", flush=True)
        elif self._epoch_seconds and not self._told:
            self._told = True
            epochs = f"{left} epochs" if left > 1 else "last epoch"
            later = self._later()
            stages = f"; then {later} of another stage, timed when they begin" if later else ""
            print(f"About {duration(left * self._epoch_seconds)} for the {epochs} to come{stages}")
        self._times = [] if self._first else [time.perf_counter()]

    def on_train_batch_end(self, batch, logs=None):
        self._times.append(time.perf_counter())

    def on_epoch_end(self, epoch, logs=None):
        self._first, timed = False, len(self._times) - 1
        if timed:
            seconds = (self._times[-1] - self._times[0]) * self.params["steps"] / timed
            self._epoch_seconds = seconds + time.perf_counter() - self._times[-1]  # validation


def duration(seconds):
    """In words, as precise as an estimate is."""
    if seconds < 90:
        return f"{round(seconds)} s"
    if seconds < 90 * 60:
        return f"{round(seconds / 60)} min"
    return f"{seconds / 3600:.1f} h"
