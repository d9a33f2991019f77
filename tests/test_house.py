"""Who imports whom, and how long files may be: what CONTRIBUTING.md says of the house."""

import ast
from graphlib import TopologicalSorter

import pytest
from conftest import ROOT

ROOMS = ["runtime", "data", "inference", "training"]  # each may import those before it
SCRIPTS = ["FCN-keras.py", "Unet-keras.py", "U2Net-keras.py"]
SUPPORT = sorted(ROOT.glob("support/**/*.py"))
LINES = {"Unet-keras.py": 134, "FCN-keras.py": 225, "U2Net-keras.py": 225, "common.py": 360}


def module_name(path):
    """support/data/tiles.py is support.data.tiles, and support/data/__init__.py support.data."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def shown(path):
    return path.relative_to(ROOT).as_posix()


OURS = {module_name(path) for path in SUPPORT} | {"common"}


def imports_of(path):
    """The modules of ours that a file imports, at its top or in a function."""
    package = [*path.relative_to(ROOT).parts[:-1]]
    named = set()
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            named |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) + 1 - node.level] if node.level else []
            module = ".".join([*above, *filter(None, [node.module])])
            inside = {f"{module}.{alias.name}" for alias in node.names}
            named |= inside & OURS or {module}
    return {name for name in named if name in OURS or name.split(".")[0] == "support"}


def test_the_rooms_are_those_that_are_known():
    assert sorted(path.parent.name for path in ROOT.glob("support/*/__init__.py")) == sorted(ROOMS)
    assert all(path.parent.name in ROOMS for path in SUPPORT if path.parent != ROOT / "support")


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_itself_and_those_before_it_and_nothing_else_of_ours(room):
    allowed = tuple(f"support.{name}" for name in ROOMS[: ROOMS.index(room) + 1])
    wrong = {
        (path.name, name)
        for path in ROOT.glob(f"support/{room}/*.py")
        for name in imports_of(path)
        if not name.startswith(allowed)
    }
    assert not wrong


def test_no_modules_import_each_other_in_a_circle():
    TopologicalSorter({module_name(path): imports_of(path) for path in SUPPORT}).prepare()


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_imports_common_and_nothing_else_of_ours(script):
    files = () if script == "Unet-keras.py" else ("pretrained", "published_u2net")
    weights = {f"support.training.{file}" for file in files}
    assert {"common"} <= imports_of(ROOT / script) <= {"common"} | weights


@pytest.mark.parametrize("path", [*map(ROOT.joinpath, LINES), *SUPPORT], ids=shown)
def test_nothing_imports_a_script(path):
    """Their names have a hyphen, so no import statement can: it would take one of these."""
    text = path.read_text(encoding="utf-8")
    assert "import_module" not in text
    assert "__import__" not in text


def test_common_names_no_network():
    text = (ROOT / "common.py").read_text(encoding="utf-8").lower()
    assert not [name for name in ("unet", "u-net", "u2-net", "fcn", "vgg") if name in text]


@pytest.mark.parametrize("path", [*map(ROOT.joinpath, LINES), *SUPPORT], ids=shown)
def test_no_file_is_longer_than_it_may_be(path):
    lines = path.read_bytes().count(b"\n")
    assert lines <= LINES.get(path.name, 200)
