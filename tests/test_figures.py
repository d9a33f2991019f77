"""The drawn networks: the committed files are those of today's models, and say what is in them."""

import importlib
import json
import re
import sys
from collections import Counter
from itertools import combinations
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest
from conftest import ROOT

sys.path.insert(0, str(ROOT / "docs"))

import draw_figures
import drawing
import fcn_stages
import few_pictures
import learning_curves

u2net = importlib.import_module("U2Net-keras")

NAMES = ("fcn", "unet", "u2net", "rsu")
# One worker builds the models once.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("figures")]


@pytest.fixture(autouse=True, scope="module")
def matplotlib_as_it_comes():
    """Another test of this process may have chosen a font."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        yield


@pytest.fixture(scope="module")
def drawn(matplotlib_as_it_comes):
    return draw_figures.draw_all()


def written(one):
    """How often each text stands in a drawing."""
    return Counter(text.get_text() for text in one.axes.texts)


def numbers(one):
    return Counter(int(text) for text in written(one).elements() if text.isdecimal())


def sides(one):
    return {int(text[:-1]) for text in written(one) if re.fullmatch(r"\d+²", text)}


def texts_of(path):
    svg = ElementTree.parse(path)
    return Counter(
        "".join(text.itertext()) for text in svg.iter("{http://www.w3.org/2000/svg}text")
    )


def matplotlib_of(path):
    return re.search(r"Matplotlib v([^,]+),", path.read_text(encoding="utf-8")).group(1)


@pytest.mark.parametrize("name", NAMES)
def test_committed_figure_is_drawn_from_the_model_of_today(drawn, name, tmp_path):
    committed, anew = ROOT / "docs" / "figures" / f"{name}.svg", tmp_path / "anew.svg"
    drawn[name].save(anew)
    assert texts_of(anew) == texts_of(committed) == written(drawn[name])
    if matplotlib_of(anew) == matplotlib_of(committed):
        assert anew.read_bytes() == committed.read_bytes(), "run python docs/draw_figures.py"


@pytest.mark.parametrize("name", NAMES)
def test_saving_twice_gives_the_same_bytes_in_the_colors_of_both_modes(drawn, name, tmp_path):
    first, second = tmp_path / "first.svg", tmp_path / "second.svg"
    drawn[name].save(first)
    drawn[name].save(second)
    assert first.read_bytes() == second.read_bytes()
    svg = first.read_text(encoding="utf-8")
    assert drawing.INK not in svg
    assert "fill: currentColor" in svg
    assert "stroke: currentColor" in svg
    assert "prefers-color-scheme: dark" in svg


@pytest.mark.parametrize("name", NAMES)
def test_no_text_lies_on_another_or_off_the_sheet(drawn, name):
    sheet = drawn[name].axes.get_window_extent()
    boxes = {text: text.get_window_extent().padded(-2) for text in drawn[name].axes.texts}
    for box in boxes.values():
        assert sheet.x0 < box.x0 < box.x1 < sheet.x1
        assert sheet.y0 < box.y0 < box.y1 < sheet.y1
    for (one, its), (other, its_own) in combinations(boxes.items(), 2):
        assert not its.overlaps(its_own), (one, other)


def test_unet_shows_every_output_of_the_paper(drawn):
    down, pooled = 2 * [64, 128, 256, 512, 1024], [64, 128, 256, 512]
    joined, up = [128, 256, 512, 1024], 2 * [64, 128, 256, 512]
    assert numbers(drawn["unet"]) == Counter([3, *down, *pooled, *joined, *up, 3])
    assert sides(drawn["unet"]) == {128, 64, 32, 16, 8}


def test_fcn_shows_every_output_of_vgg16_and_every_score(drawn):
    vgg16 = [64] * 3 + [128] * 3 + [256] * 4 + [512] * 8  # with the pooled
    picture, scores = [3], [3] * 6  # of fc7, of two taps, and three upsampled
    assert numbers(drawn["fcn"]) == Counter(picture + vgg16 + [512, 512] + scores)
    assert sides(drawn["fcn"]) == {128, 64, 32, 16, 8, 4}
    factors = Counter(text for text in written(drawn["fcn"]).elements() if text[0] == "×")
    assert factors == {"×2": 2, "×8": 1}


def test_rsu_shows_every_output_of_the_first_stage(drawn):
    depth, middle, filters = u2net._ENCODER["full"][0]
    down, pooled, joined, up = depth * [middle], depth - 2, depth - 1, (depth - 2) * [middle]
    inner = [*down, *pooled * [middle], *joined * [2 * middle], *up]
    assert numbers(drawn["rsu"]) == Counter([3, filters, *inner, filters, filters])
    assert sides(drawn["rsu"]) == {128, 64, 32, 16, 8, 4}
    assert written(drawn["rsu"])["dilation 2"] == 1


def stages_of_the_paper(variant):
    """As they are written: every stage with its block, side and channels."""
    stages = []
    for number, (depth, _, filters) in enumerate(u2net._ENCODER[variant], start=1):
        stages += [f"En_{number} RSU-{depth}", f"{256 >> number}²·{filters}"]
    for number, (depth, _, filters) in zip(range(5, 0, -1), u2net._DECODER[variant], strict=True):
        stages += [f"De_{number} RSU-{depth}", f"{256 >> number}²·{filters}"]
    for number in range(1, 7):
        stages += [f"side {number}", f"{256 >> number}²·3"]
    return Counter(stages)


def test_u2net_shows_every_stage_and_side_output(drawn):
    wanted = stages_of_the_paper("full")
    assert wanted <= written(drawn["u2net"])
    assert wanted["De_5 RSU-4F"] == wanted["En_1 RSU-7"] == wanted["128²·3"] == 1
    assert numbers(drawn["u2net"]) == {3: 2, 18: 1}


def test_other_models_are_written_otherwise(drawn):
    narrow = draw_figures.draw_u(draw_figures.build("Unet-keras", base_filters=16).layers, wide=2)
    wanted = {width if width == 3 else width // 4: n for width, n in numbers(drawn["unet"]).items()}
    assert numbers(narrow) == wanted

    settings = {"pretrained": "none", "num_classes": 7, "fc_filters": 96}
    fcn = draw_figures.draw_fcn(draw_figures.build("FCN-keras", **settings))
    assert numbers(fcn) - numbers(drawn["fcn"]) == {7: 6, 96: 2}

    lite = draw_figures.draw_u2net(
        draw_figures.build("U2Net-keras", variant="lite", self_attention=False)
    )
    assert stages_of_the_paper("lite") <= written(lite)


def a_run(folder, dataset="synthetic", metric="mean_iou"):
    folder.mkdir(parents=True)
    (folder / "metrics.json").write_text(json.dumps({"dataset": dataset}))
    rows = [f"epoch,loss,{metric},val_loss,val_{metric}", "0,1,0.25,1,0.2", "1,1,0.5,1,0.4"]
    (folder / "history.csv").write_text("\n".join(rows) + "\n")
    return folder


def test_learning_curves_show_what_the_runs_have_left(tmp_path):
    runs = [
        a_run(tmp_path / "unet" / "1"),
        a_run(tmp_path / "u2net" / "2", metric="fused_mean_iou"),  # as it was called once
    ]
    figure = learning_curves.draw(runs)
    lines = {line.get_label(): line.get_xydata().tolist() for line in figure.axes[0].lines}
    validation, training = [[1, 0.2], [2, 0.4]], [[1, 0.25], [2, 0.5]]
    assert lines == {
        "U-Net": validation,
        "U-Net, training": training,
        "U2-Net": validation,
        "U2-Net, training": training,
    }
    drawing.save(figure, tmp_path / "curves.svg")
    assert {*lines, "epoch", "mean IoU"} < {*texts_of(tmp_path / "curves.svg")}
    assert drawing.INK not in (tmp_path / "curves.svg").read_text()


def test_scores_by_number_of_pictures_are_those_of_the_table(tmp_path):
    """What is committed is of today's text, and its points are the cells of a table."""
    rows = ["| 270 | 0.7 (8 epochs) | 0.65 |", "| 60 | 0.6 (20) | 0.5 |", "", "| 9 | 0.1 | 0.2 |"]
    table = ["| other |", "", "| training pictures | one, a | two |", "| --- | --- | --- |", *rows]
    figure = few_pictures.draw("\n".join(table))
    lines = {line.get_label(): line.get_xydata().tolist() for line in figure.axes[0].lines}
    assert lines == {"one, a": [[270, 0.7], [60, 0.6]], "two": [[270, 0.65], [60, 0.5]]}

    text = (few_pictures.DOCS / "results.md").read_text(encoding="utf-8")
    drawing.save(few_pictures.draw(text), tmp_path / "anew.svg")
    anew, committed = (path.read_bytes() for path in (tmp_path / "anew.svg", few_pictures.OUTPUT))
    if matplotlib_of(tmp_path / "anew.svg") == matplotlib_of(few_pictures.OUTPUT):
        assert anew == committed, "run python docs/few_pictures.py"


def test_the_five_ways_to_train_an_fcn_are_drawn_from_their_runs(tmp_path):
    lines = [
        f"{way},{seed},{minutes},{score + seed / 100 + minutes / 10:.2f}"
        for score, way in enumerate(f'"{way}"' for way in fcn_stages.COLORS)
        for seed in (1, 2, 3)
        for minutes in (0.5, 1.5)
    ]
    (tmp_path / "ways.csv").write_text("\n".join(["way,seed,minutes,validation", *lines]))
    axis = fcn_stages.draw(fcn_stages.read_curves(tmp_path / "ways.csv")).axes[0]
    drawn = {line.get_label(): line.get_xydata() for line in axis.lines}
    for (way, points), score in zip(drawn.items(), range(5), strict=True):
        assert way == [*fcn_stages.COLORS][score]
        np.testing.assert_allclose(points, [(0.5, score + 0.07), (1.5, score + 0.17)])
        edges = axis.collections[score].get_paths()[0].vertices[:, 1]
        assert (edges.min(), edges.max()) == pytest.approx((score + 0.06, score + 0.18))


def test_the_committed_curves_of_an_fcn_are_drawn_anew_and_in_the_readme(tmp_path):
    curves = fcn_stages.read_curves(fcn_stages.FIGURES / "fcn-stages.csv")
    drawing.save(fcn_stages.draw(curves), tmp_path / "anew.svg")
    committed = fcn_stages.FIGURES / "fcn-stages.svg"
    if matplotlib_of(tmp_path / "anew.svg") == matplotlib_of(committed):
        anew = (tmp_path / "anew.svg").read_bytes()
        assert anew == committed.read_bytes(), "run python docs/fcn_stages.py"
    for name in ("README.md", "docs/README.zh-TW.md"):
        text = (ROOT / name).read_text(encoding="utf-8")
        text = text.replace("\uff08", " (").replace("\uff09", ")")
        for _, scores in curves.values():
            best = scores.max(0)  # of each seed
            cell = f"| {best.mean():.3f} ({best.min():.3f}\u2013{best.max():.3f}) |"
            assert cell in text


def test_learning_curves_of_unlike_data_are_not_drawn_together(tmp_path):
    runs = [a_run(tmp_path / "a"), a_run(tmp_path / "b", "photos")]
    with pytest.raises(SystemExit, match="different data: photos, synthetic"):
        learning_curves.draw(runs)
