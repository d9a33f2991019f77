"""The README, docs/ and their Chinese twins: the same content, and all they name is there."""

import re

import pytest
from conftest import ROOT

DOCS = ROOT / "docs"
PAIRS = {"README": (ROOT / "README.md", DOCS / "README.zh-TW.md")} | {
    path.stem: (path, DOCS / f"{path.stem}.zh-TW.md")
    for path in sorted(DOCS.glob("*.md"))
    if ".zh-TW" not in path.name
}
TEXTS = [path for pair in PAIRS.values() for path in pair]
CODE = re.compile(r"^```\w*\n(.*?)^```", re.DOTALL | re.MULTILINE)

each_pair = pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS)
each_text = pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.name)


def without_code(path):
    return CODE.sub("", path.read_text(encoding="utf-8"))


def without_comments(block):
    return [line.partition("  #")[0].rstrip() for line in block.splitlines()]


def headings(text):
    return re.findall(r"^#+ (.*)$", text, re.MULTILINE)


def anchors(path):
    """What a link can lead to in a text, as GitHub names it."""
    titles = headings(without_code(path))
    return {re.sub(r"[^\w\- ]", "", one.lower()).replace(" ", "-") for one in titles}


def test_the_readme_can_be_read_in_one_sitting():
    assert set(PAIRS) == {"README", "machines", "own-pictures", "results", "runs"}
    text = PAIRS["README"][0].read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 260
    assert len(CODE.findall(text)) >= 9
    assert text.count("](") > 15
    assert len(set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]+", text))) > 15
    assert text.count('src="docs/figures/') >= 5


@each_pair
def test_both_have_the_same_commands_in_the_same_order(pair):
    blocks = [
        [without_comments(block) for block in CODE.findall(path.read_text(encoding="utf-8"))]
        for path in pair
    ]
    assert blocks[0] == blocks[1]


@each_pair
def test_both_have_the_same_sections_tables_and_figures(pair):
    def structure(path):
        text = without_code(path)
        levels = re.findall(r"^(#+) ", text, re.MULTILINE)
        columns = [row.count("|") for row in re.findall(r"^\|.*", text, re.MULTILINE)]
        figures = re.findall(r'src="(?:docs/)?(figures/[^"]+)"', text)
        return levels, columns, figures, len(re.findall(r"\]\(", text))

    assert structure(pair[0]) == structure(pair[1])
    assert len(structure(pair[0])[0]) >= 4


def measured(text):
    """Scores, as 0.728 and 2.4e-5: what a translation must not change."""
    return sorted(re.findall(r"\d\.\d{2,}|\d+(?:\.\d+)?e-\d+", text))


@each_pair
def test_both_quote_the_same_scores(pair):
    one, other = (measured(without_code(path)) for path in pair)
    assert one == other


@each_text
def test_links_lead_somewhere(path):
    text = without_code(path)
    targets = re.findall(r"\]\(([^)]+)\)", text) + re.findall(r'src="([^"]+)"', text)
    assert len(targets) >= 2
    for target in targets:
        if target.startswith("http"):
            continue
        name, _, anchor = target.partition("#")
        file = path.parent / name if name else path
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), target


@each_text
def test_every_flag_it_names_exists(path):
    flags = set(re.findall(r"(?<![\w-])--([a-z][a-z0-9-]+)", path.read_text(encoding="utf-8")))
    scripts = "".join((ROOT / f"{one}-keras.py").read_text() for one in ("FCN", "Unet", "U2Net"))
    constants = re.findall(r"^([A-Z][A-Z_]+) = ", scripts, re.MULTILINE)
    known = {one.lower().replace("_", "-") for one in constants}
    known |= {f"no-{one}" for one in known}
    known |= {"help", "predict", "export", "model", "output", "overwrite", "probabilities"}
    known |= {"mirrored", "nodes", "ntasks-per-node", "gpus-per-node", "xla"}  # of SLURM and JAX
    assert flags <= known
    assert flags or path.stem.startswith("results")
