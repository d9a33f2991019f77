"""Classes laid over pictures, legends, and fonts for the names of classes."""

from support.inference import overlay
from support.inference.overlay import OPACITY, lay_over, legend

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure


def test_a_name_with_dollars_is_no_formula(tmp_path):
    figure = Figure(layout="constrained")
    legend(figure, ["a$_$", "US$ or NT$"], ["#010203", "#FF0000"], {0, 1})
    figure.savefig(tmp_path / "a.png")


@pytest.mark.parametrize("full", [255, 1])
def test_classes_are_laid_over_a_picture_and_background_is_not(full):
    kind = np.uint8 if full == 255 else np.float32
    image = np.array([[(full, 0, full), (0, 0, full)]], kind)
    over = lay_over(image, np.array([[0, 1]]), ["Background", "cat"], ["#000000", "#FF0000"])
    wanted = [[(255, 0, 255), (OPACITY * 255, 0, (1 - OPACITY) * 255)]]
    np.testing.assert_allclose(np.array(over), wanted, atol=1)


def test_class_names_may_be_chinese(monkeypatch, capsys):
    """The font that is tried here comes with matplotlib: not every machine has a Chinese one."""
    overlay.east_asian_font.cache_clear()
    monkeypatch.setattr(overlay, "_EAST_ASIAN", ("None Such", "DejaVu Sans Mono"))
    assert overlay.overlay_font(["road", "\u9053\u8def"], 20).getname()[0] == "DejaVu Sans Mono"
    assert overlay.overlay_font(["road"], 20).getname()[0] != "DejaVu Sans Mono"
    with matplotlib.rc_context():
        overlay.set_figure_font("road \u00e9")
        assert matplotlib.rcParams["font.family"] == ["DejaVu Sans", "DejaVu Sans Mono"]
        assert capsys.readouterr().out == ""
    monkeypatch.setattr(overlay, "_EAST_ASIAN", ())
    overlay.east_asian_font.cache_clear()
    letters = overlay.overlay_font(["\u00e9\u00df\u0416\u03b1"], 20)
    for letter in "\u00e9\u00df\u0416\u03b1":  # a letter without a glyph would be a box
        assert bytes(letters.getmask(letter)) != bytes(letters.getmask("\ufffe"))
    assert letters.size == 20
    overlay.east_asian_font.cache_clear()


def test_letters_without_a_font_are_told_once(monkeypatch, capsys, tmp_path, recwarn):
    monkeypatch.setattr(overlay, "_EAST_ASIAN", ())
    overlay.east_asian_font.cache_clear()
    with matplotlib.rc_context():
        overlay.set_figure_font("\u9053 road\u8def")
        figure = Figure(layout="constrained")
        legend(figure, ["\u9053\u8def", "road"], ["#010203", "#FF0000"], {0, 1})
        figure.savefig(tmp_path / "a.png")
    overlay.east_asian_font.cache_clear()
    told = capsys.readouterr().out
    assert told.count("\n") == 1
    assert told.startswith("No font is installed for \u8def\u9053: figures show boxes there.")
    assert not [warning for warning in recwarn if "Glyph" in str(warning.message)]


def test_of_several_fonts_the_one_named_first_is_taken(monkeypatch):
    fonts = ("DejaVu Sans Mono", "DejaVu Serif")  # both come with matplotlib
    for names in (fonts, fonts[::-1]):
        monkeypatch.setattr(overlay, "_EAST_ASIAN", names)
        overlay.east_asian_font.cache_clear()
        assert overlay.east_asian_font() == names[0]
    overlay.east_asian_font.cache_clear()


def test_the_legend_of_a_figure_names_what_occurs_void_too_in_its_color():
    figure = Figure(layout="constrained")
    legend(figure, ["a", "b", "c"], ["#010203", "#FF0000", "#00FF00"], {0, 1})
    (found,) = figure.legends
    assert [text.get_text() for text in found.get_texts()] == ["a", "b"]
    colors = [matplotlib.colors.to_hex(patch.get_facecolor()) for patch in found.get_patches()]
    assert colors == ["#010203", "#ff0000"]


def test_the_legend_of_an_overlay_has_the_names_of_the_classes_there(monkeypatch):
    written = []

    def text(draw, place, words, **options):
        written.append(words)

    monkeypatch.setattr(overlay.ImageDraw.ImageDraw, "text", text)
    colors = ["#000000", "#FF0000", "#00FF00"]
    mask = overlay.mask_image(np.uint8([[1, 2]] * 9), colors)
    overlay.draw_overlay(np.zeros((9, 2, 3), np.uint8), mask, ["a", "b", "c"], colors)
    assert written == ["b", "c"]


def test_a_legend_goes_on_in_the_next_line_before_it_is_wider_than_the_photo():
    names, colors = [f"class number {n}" for n in range(6)], ["#102030"] * 6
    ids = np.uint8(np.arange(300) // 50)[None].repeat(90, axis=0)
    mask = overlay.mask_image(ids, colors)
    page = overlay.draw_overlay(np.zeros((90, 300, 3), np.uint8), mask, names, colors)
    assert page.width == 300


@pytest.mark.parametrize(("width", "size"), [(100, 12), (2000, 50), (8000, 80)])
def test_the_letters_of_a_legend_grow_with_the_photo(monkeypatch, width, size):
    sizes, font = [], overlay.overlay_font

    def noting(names, size):
        sizes.append(size)
        return font(names, size)

    monkeypatch.setattr(overlay, "overlay_font", noting)
    mask = overlay.mask_image(np.zeros((1, width), np.uint8), ["#FF0000"])
    overlay.draw_overlay(np.zeros((1, width, 3), np.uint8), mask, ["a"], ["#FF0000"])
    assert sizes == [size]
