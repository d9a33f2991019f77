"""A folder for each run: whole files or none, its lock, what tells two runs apart, their table."""

import ast
import contextlib
import hashlib
import json
import os
import platform
import sys
import time
from datetime import datetime
from pathlib import Path

from support.startup import UserError

import keras

BESIDE = "unfinished-"
_ONLY_UNFINISHED = ("checkpoint*.npz", "best.npz", "lock", f"{BESIDE}*")

# Files of this folder whose code has no say in what a training ends with.
_DECIDES_NOTHING = {"startup", "command_line", "run_folder", "checks", "class_list", "colors"}
_DECIDES_NOTHING |= {"attention_picture", "history_picture", "model_file", "outlook"}


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


def fingerprint(*paths):
    """A few characters that change with what the code in any of the files does.

    Comments, docstrings, and functions that only draw or print (`plot_...`, `print_...`) do not
    count: another caption must not throw a night of training away.
    """
    digest = hashlib.sha256()
    for path in paths:
        tree = ast.parse(Path(path).read_bytes())
        for node in ast.walk(tree):
            if isinstance(getattr(node, "body", None), list):
                node.body = [one for one in node.body if not _only_shows(one)]
        digest.update(ast.dump(tree).encode())
    return digest.hexdigest()[:12]


def _only_shows(node):
    if isinstance(node, ast.FunctionDef):
        return node.name.lstrip("_").startswith(("plot_", "print_"))
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _support_that_decides():
    """Paths of the files of this folder that were imported and have a say in the result."""
    names = {name.rpartition(".")[2] for name in sys.modules if name.startswith("support.")}
    return [Path(__file__).with_name(f"{name}.py") for name in sorted(names - _DECIDES_NOTHING)]


def begin(network, flags, facts, code):
    """The folder of an unfinished run with the same settings if there is one, else a new one.

    Args:
        network: str, name of the folder of its runs, below `flags.runs_dir`.
        flags: Namespace of `parse_flags`.
        facts: dict of what else decides the result.
        code: paths of files that do so too, besides the script and this folder's.

    Returns:
        Path of the folder and its lock, an open file (None where the disk knows no locks).

    Raises:
        UserError: it cannot be made.
    """
    backend = keras.backend.backend()
    versions = {
        one: sys.modules[one].__version__ for one in ("keras", "tensorflow", "numpy", backend)
    }
    versions["python"] = platform.python_version()
    used = vars(flags) | facts | {"backend": backend, "versions": versions}
    used["script"] = Path(flags.script).name
    used["code"] = fingerprint(flags.script, *code, *_support_that_decides())
    parent = Path(os.path.expanduser(flags.runs_dir)) / network
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
            row = f"{run['image_size']:4} {run['epochs']:7} {run['train_seconds']:8.0f}"
            if run["dataset"] == dataset:
                rows += [(float(run["mean_iou"]), f"{row} {run['parameters']:11,}  {path.parent}")]
    print(f"\nFinished runs on {dataset}, by mean IoU on its test split")
    print("  mean IoU   px  epochs  seconds  parameters  folder")
    for mean_iou, row in sorted(rows, reverse=True):
        print(f"  {mean_iou:8.3f} {row}")
