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


def test_the_first_eight_colors_are_those_of_okabe_and_ito():
    """In the order of ours, as jfly.uni-koeln.de/color has them."""
    wanted = [(230, 159, 0), (0, 114, 178), (240, 228, 66), (0, 158, 115), (204, 121, 167)]
    wanted += [(86, 180, 233), (213, 94, 0), (0, 0, 0)]
    assert palette(distinct_colors(8))[:8].tolist() == [[*color] for color in wanted]
