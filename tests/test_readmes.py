"""Both READMEs say the same, and what they name is there."""

import re

import pytest
from conftest import ROOT

READMES = [ROOT / "README.md", ROOT / "docs" / "README.zh-TW.md"]
CODE = re.compile(r"^```\w*\n(.*?)^```", re.DOTALL | re.MULTILINE)


def without_comments(block):
    return [line.partition("  #")[0].rstrip() for line in block.splitlines()]


def test_they_have_the_same_commands_in_the_same_order():
    blocks = [
        [without_comments(block) for block in CODE.findall(path.read_text(encoding="utf-8"))]
        for path in READMES
    ]
    assert len(blocks[0]) > 10
    assert blocks[0] == blocks[1]


def test_they_have_the_same_sections_tables_and_figures():
    def structure(path):
        text = CODE.sub("", path.read_text(encoding="utf-8"))
        headings = re.findall(r"^(#+) ", text, re.MULTILINE)
        rows = len(re.findall(r"^\|", text, re.MULTILINE))
        figures = re.findall(r'src="(?:docs/)?(figures/[^"]+)"', text)
        return headings, rows, figures

    assert structure(READMES[0]) == structure(READMES[1])
    assert len(structure(READMES[0])[2]) >= 5


@pytest.mark.parametrize("path", READMES, ids=["en", "zh-TW"])
def test_links_lead_somewhere(path):
    text = CODE.sub("", path.read_text(encoding="utf-8"))
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    anchors = {re.sub(r"[^\w\- ]", "", one.lower()).replace(" ", "-") for one in headings}
    targets = re.findall(r"\]\(([^)]+)\)", text) + re.findall(r'src="([^"]+)"', text)
    assert len(targets) > 15
    for target in targets:
        if target.startswith("#"):
            assert target[1:] in anchors, target
        elif not target.startswith("http"):
            assert (path.parent / target).exists(), target


@pytest.mark.parametrize("path", READMES, ids=["en", "zh-TW"])
def test_every_flag_it_names_exists(path):
    flags = set(re.findall(r"(?<![\w-])--([a-z][a-z0-9-]+)", path.read_text(encoding="utf-8")))
    scripts = "".join((ROOT / f"{one}-keras.py").read_text() for one in ("FCN", "Unet", "U2Net"))
    constants = re.findall(r"^([A-Z][A-Z_]+) = ", scripts, re.MULTILINE)
    known = {one.lower().replace("_", "-") for one in constants}
    known |= {f"no-{one}" for one in known}
    known |= {
        "help",
        "predict",
        "export",
        "model",
        "output",
        "overwrite",
        "probabilities",
        "mirrored",
    }
    known |= {"nodes", "ntasks-per-node", "gpus-per-node", "xla"}  # of SLURM and JAX
    assert flags <= known
    assert len(flags) > 15
