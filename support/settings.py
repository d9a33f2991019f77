"""What decides the result of a run, and so tells two runs apart."""

import ast
import hashlib
import platform
import sys
from pathlib import Path

import keras
import PIL  # noqa: F401  (its version counts: it decodes the user's pictures)

# Files of this folder whose code has no say in what a training ends with.
_DECIDES_NOTHING = {"startup", "command_line", "run_folder", "checks", "class_list", "colors"}
_DECIDES_NOTHING |= {"attention_picture", "history_picture", "model_file", "outlook"}
_DECIDES_NOTHING |= {"machines", "meeting", "fonts"}


def settings(flags, facts, code):
    """All that decides what a run ends with, as a dict for JSON.

    Args:
        flags: Namespace of `parse_flags`.
        facts: dict of what else decides.
        code: paths of files that do so too, besides the script and this folder's.
    """
    backend = keras.backend.backend()
    libraries = "keras", "tensorflow", "numpy", "PIL", backend
    versions = {one: sys.modules[one].__version__ for one in libraries}
    versions["python"] = platform.python_version()
    used = vars(flags) | facts | {"backend": backend, "versions": versions}
    used["script"] = Path(flags.script).name
    used["code"] = fingerprint(flags.script, *code, *_support_that_decides())
    return used


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
