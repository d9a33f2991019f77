"""A folder for each run: which one is gone on with, and its lock."""

import contextlib
import json
import os
import time
from datetime import datetime
from pathlib import Path

from support.runtime.files import UNFINISHED, lock, write_json
from support.runtime.startup import UserError


def begin(runs_dir, network, used):
    """The folder of an unfinished run with the same settings if there is one, else a new one.

    Returns:
        Path of the folder and its lock, an open file (None where the disk knows no locks).

    Raises:
        UserError: it cannot be made.
    """
    parent = Path(os.path.expanduser(runs_dir)) / network
    try:
        folder, held = find_unfinished(parent, used)
        if not folder:
            folder, held = new_folder(parent)
            write_json(folder / "hyperparameters.json", used)
    except OSError as error:
        raise UserError(f"--runs-dir: cannot make a folder in {parent}: {error}") from error
    return folder, held


def finish(folder, held):
    """Let go of a finished run's folder, and remove what only an unfinished one needs."""
    if held:
        held.close()  # first: Windows removes no open file
    for name in ("checkpoint*.npz", "best.npz", "lock", f"{UNFINISHED}*"):
        for path in folder.glob(name):
            with contextlib.suppress(OSError):  # Windows: a virus scanner may be reading it
                path.unlink()


def find_unfinished(parent, used):
    """The newest run below a folder that was cut short, and that had the same settings.

    A run goes on with another patch of Python or another number of CPU cores, too, which can change
    the last digits, and this is said. What keeps the newest one of the same
    dataset from going on is said as well.

    Returns:
        Path and lock of its folder, or (None, None).
    """
    is_newest = True
    for path in sorted(parent.glob("*/hyperparameters.json"), reverse=True):
        folder = path.parent
        with contextlib.suppress(OSError, ValueError, TypeError):  # no file, or no folder, of ours
            different = differences(json.loads(path.read_text(encoding="utf-8")), used)
            is_finished = (folder / "metrics.json").exists()
            if (is_finished and not (folder / "best.npz").exists()) or not (held := lock(folder)):
                continue
            if is_finished:  # and killed before it had tidied up
                finish(folder, held)
                continue
            words = ", ".join(map(_told, different[:3]))
            if all(rounded(name, was) == rounded(name, now) for name, was, now in different):
                # Once more: its owner may have finished it just before letting go.
                if not (folder / "metrics.json").exists():
                    if different:
                        print(f"Goes on with {words}: its last digits may be others for it.")
                    return folder, held
            elif is_newest and "dataset" not in {name for name, *_ in different}:
                print(f"{folder} was cut short and does not go on: {words}")
                is_newest = False
            held.close()
    return None, None


def _told(difference):
    name, was, now = difference
    is_hash = name in ("data", "code", "weights")
    return f"other {name}" if is_hash else f"{name} {now}, was {was}"


def differences(before, after):
    """List of (name, before, after) of the settings, dicts for JSON, that are not the same."""
    before, after = ({**used, **used.get("versions", {})} for used in (before, after))
    both = ((name, before.get(name), after.get(name)) for name in before | after)
    return [(name, was, now) for name, was, now in both if was != now and name != "versions"]


def rounded(name, setting):
    """A setting without what changes the last bits of a result at most."""
    if name == "device" and str(setting).startswith("CPU with "):
        return "CPU"
    return str(setting).rpartition(".")[0] if name == "python" else setting


def new_folder(parent):
    """Path and lock of a new folder named after this second, also where two runs race."""
    parent.mkdir(parents=True, exist_ok=True)
    while True:
        folder = parent / datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
        with contextlib.suppress(FileExistsError):
            folder.mkdir()
            try:
                return folder, lock(folder)
            except OSError:
                print(f"The disk of {folder} knows no locks: runs cut short there are not resumed.")
                return folder, None
        time.sleep(0.2)
