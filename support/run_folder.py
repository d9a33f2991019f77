"""A folder for each run: whole files or none, its lock, the table of all runs."""

import contextlib
import json
import os
import time
from datetime import datetime
from pathlib import Path

from support.startup import UserError

BESIDE = "unfinished-"
_ONLY_UNFINISHED = ("checkpoint*.npz", "best.npz", "lock", f"{BESIDE}*")


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
            if not (held := lock(folder)):
                print(f"The disk of {folder} knows no locks: runs cut short there are not resumed.")
            return folder, held
        time.sleep(0.2)


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
