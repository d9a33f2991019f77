"""Colors of classes."""

from support.data.classes import class_colors, distinct_colors, palette

import pytest


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
