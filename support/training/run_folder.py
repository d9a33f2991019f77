"""A folder for each run: whole files or none, its lock, the table of all runs."""

import contextlib
import json
import os
import time
from datetime import datetime
from pathlib import Path

from support.runtime.files import UNFINISHED, lock, write_json
from support.runtime.startup import UserError

_ONLY_UNFINISHED = ("checkpoint*.npz", "best.npz", "lock", f"{UNFINISHED}*")


def begin(runs_dir, network, used):
    """The folder of an unfinished run with the same settings if there is one, else a new one.

    Args:
        runs_dir: str, where all runs are.
        network: str, name of the folder of its runs in there.
        used: dict, the settings that `hyperparameters.json` gets.

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
    for name in _ONLY_UNFINISHED:
        for path in folder.glob(name):
            with contextlib.suppress(OSError):  # Windows: a virus scanner may be reading it
                path.unlink()


def find_unfinished(parent, used):
    """The newest run below a folder that was cut short, and that had the same settings.

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
    """
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
