"""The house stands as CONTRIBUTING.md draws it: who imports whom, and how long files are."""

import ast

import pytest
from conftest import ROOT

ROOMS = ("runtime", "data", "inference", "training")  # each imports only those before it
SCRIPTS = ("FCN-keras.py", "Unet-keras.py", "U2Net-keras.py")
LIMITS = {"Unet-keras.py": 134, "FCN-keras.py": 225, "U2Net-keras.py": 225, "common.py": 360}
FILES = sorted((ROOT / "support").rglob("*.py"))


def imported(path):
    """Names of the modules that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level or path.name == "__init__.py"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_room_imports_only_those_below_it(path):
    ours = [name.split(".") for name in imported(path)]
    assert not [name for name in ours if name[0] == "common" or name[0].endswith("-keras")]
    if path.parent.name in ROOMS:
        allowed = ROOMS[: ROOMS.index(path.parent.name) + 1]
        assert {name[1] for name in ours if name[0] == "support"} <= {*allowed}


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_imports_common_and_at_most_published_weights(script):
    found = [name for name in imported(ROOT / script) if not name.startswith(("keras", "numpy"))]
    assert "common" in found
    others = {name.rpartition(".")[0] for name in found if name.startswith("support")}
    assert others <= {"support.training.published"}
    assert not [name for name in found if name.endswith("-keras")]


def test_common_knows_no_network():
    text = (ROOT / "common.py").read_text().lower()
    assert not [name for name in ("unet", "u2net", "fcn", "vgg") if name in text]


def test_no_file_is_longer_than_it_may_be():
    files = [*FILES, *(ROOT / name for name in LIMITS)]
    lengths = {
        path.relative_to(ROOT).as_posix(): len(path.read_text().split("\n")) - 1 for path in files
    }
    assert {name: n for name, n in lengths.items() if n > LIMITS.get(name, 200)} == {}
    rooms = {path.parent.name for path in FILES if path.name != "__init__.py"}
    assert rooms == {*ROOMS}
