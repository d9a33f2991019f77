"""What decides the result of a run: settings, versions and code. Runs that differ in it differ."""

import ast
import functools
import hashlib
import platform
import sys
from pathlib import Path

import keras
import PIL  # noqa: F401  (its version counts: it decodes the user's pictures)

_SUPPORT = Path(__file__).parent.parent
# Files of `support` that change a result: two rooms, and what decides precision, shares and scores.
_DECIDES = ("data/[!.]*", "training/[!.]*", "runtime/devices", "runtime/distributed")
_DECIDES += ("inference/evaluation", "inference/sliding_window")


def settings(flags, facts):
    """Everything that decides a run's result, a dict for JSON; `facts` tell data and hardware."""
    backend = keras.backend.backend()
    found = versions("keras", "tensorflow", "numpy", "PIL", backend)
    found["python"] = platform.python_version()
    used = vars(flags) | facts | {"backend": backend, "versions": found}
    used["script"] = Path(flags.script).name
    used["code"] = fingerprint(flags.script, *_code_that_decides())
    return used


def versions(*libraries):
    """dict from the names of imported libraries to their versions."""
    return {name: sys.modules[name].__version__ for name in libraries}


def fingerprint(*paths):
    """A hash of what the code in some files does, 12 characters.

    Comments, docstrings, and functions that only draw or print (`plot_...`, `print_...`) do not
    count: a new caption must not throw a night of training away.
    """
    digest = hashlib.sha256()
    for path in paths:
        digest.update(_meaning(Path(path).read_bytes()))
    return digest.hexdigest()[:12]


@functools.cache  # a start asks for the same files twice
def _meaning(code):
    tree = ast.parse(code)
    for node in ast.walk(tree):
        if isinstance(getattr(node, "body", None), list):
            node.body = [child for child in node.body if not _only_shows(child)]
    return ast.dump(tree).encode()


def _only_shows(node):
    if isinstance(node, ast.FunctionDef):
        return node.name.lstrip("_").startswith(("plot_", "print_"))
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _code_that_decides():
    """Paths of `common.py` and of the files of all rooms that decide something."""
    paths = [path for name in _DECIDES for path in sorted(_SUPPORT.glob(f"{name}.py"))]
    return [_SUPPORT.parent / "common.py", *paths]
