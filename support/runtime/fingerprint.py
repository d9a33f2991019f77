"""What decides the result of a run, and so tells two runs apart."""

import ast
import hashlib
import platform
import sys
from pathlib import Path

import keras
import PIL  # noqa: F401  (its version counts: it decodes the user's pictures)

_SUPPORT = Path(__file__).parent.parent
_DECIDES_NOTHING = {
    "runtime",
    "inference",
}  # rooms whose code has no say in what a training ends with


def settings(flags, facts):
    """All that decides what a run ends with, as a dict for JSON.

    Args:
        flags: Namespace of `parse_flags`.
        facts: dict of what else decides.
    """
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


def _code_that_decides():
    """Paths of `common.py` and of the files of rooms that have a say and were imported."""
    names = [name.split(".") for name in sys.modules if name.startswith("support.")]
    files = [name[1:] for name in names if len(name) == 3 and name[1] not in _DECIDES_NOTHING]
    paths = sorted(_SUPPORT / room / f"{name}.py" for room, name in files)
    return [_SUPPORT.parent / "common.py", *paths]
