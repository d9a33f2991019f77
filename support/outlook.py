"""How long a training will take, told as soon as it can be known."""

import time

import keras


class Outlook(keras.callbacks.Callback):
    """Says that a network is being compiled and, before the second epoch, how long it will take.

    The first step counts as compilation, so it has no say in the estimate. Each `fit`, a stage of
    its own, has its own.

    Args:
        later: function that returns how many epochs are to come in later stages.
    """

    def __init__(self, later):
        super().__init__()
        self._later = later

    def on_train_begin(self, logs=None):
        self._epoch_seconds, self._told = None, False

    def on_epoch_begin(self, epoch, logs=None):
        left = self.params["epochs"] - epoch
        if self._epoch_seconds is None:
            print("Compiling the first step, which may take a minute ...", flush=True)
        elif not self._told:
            self._told = True
            epochs = f"{left} epochs" if left > 1 else "last epoch"
            later = self._later()
            stages = f"; then {later} of another stage, timed when they begin" if later else ""
            print(f"About {duration(left * self._epoch_seconds)} for the {epochs} to come{stages}")
        self._first_step_over = None

    def on_train_batch_end(self, batch, logs=None):
        self._first_step_over = self._first_step_over or time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        steps = self.params["steps"]
        since = time.perf_counter() - self._first_step_over
        # Of so many steps, one was not counted. (With validation, which is not a matter of steps,
        # this is a little too long.)
        self._epoch_seconds = self._epoch_seconds or since * steps / max(steps - 1, 1)


def duration(seconds):
    """In words, as precise as an estimate is."""
    if seconds < 90:
        return f"{round(seconds)} s"
    if seconds < 90 * 60:
        return f"{round(seconds / 60)} min"
    return f"{seconds / 3600:.1f} h"
