"""Colors of classes."""

from support.data.classes import class_colors, distinct_colors, palette
from support.inference.overlay import SHARE, lay_over, legend

import numpy as np
import pytest
from matplotlib.figure import Figure


def test_a_name_with_dollars_is_no_formula(tmp_path):
    figure = Figure(layout="constrained")
    legend(figure, ["a$_$", "US$ or NT$"], ["#010203", "#FF0000"], {0, 1})
    figure.savefig(tmp_path / "a.png")


@pytest.mark.parametrize("count", [2, 8, 9, 40, 255])
def test_no_two_classes_have_the_same_color(count):
    for colors in (distinct_colors(count), class_colors([*"ab", *map(str, range(count - 2))])):
        assert len(set(colors)) == len(colors) == count
        assert len({tuple(color) for color in palette(colors)[:count].tolist()}) == count


def test_background_is_black_and_no_other_class_is():
    colors = class_colors(["road", "Background", *map(str, range(20))])
    assert [number for number, color in enumerate(colors) if color == "#000000"] == [1]


def test_what_is_no_class_is_white():
    table = palette(["#010203", "#FF0000"])
    assert table[:3].tolist() == [[1, 2, 3], [255, 0, 0], [255, 255, 255]]
    assert table[255].tolist() == [255, 255, 255]


@pytest.mark.parametrize("full", [255, 1])
def test_classes_are_laid_over_a_picture_and_background_is_not(full):
    kind = np.uint8 if full == 255 else np.float32
    image = np.array([[(full, 0, full), (0, 0, full)]], kind)
    over = lay_over(image, np.uint8([[0, 1]]), ["Background", "cat"], ["#000000", "#FF0000"])
    wanted = [[(full, 0, full), (SHARE * full, 0, (1 - SHARE) * full)]]
    np.testing.assert_allclose(over, wanted, rtol=1e-6)
    assert over.max() <= full
