"""Letters that matplotlib's own font lacks: class names may be Chinese, Japanese or Korean."""

import functools

import matplotlib
from matplotlib import font_manager
from PIL import ImageFont

# What Linux, Windows and macOS come with, Traditional Chinese first.
_CANDIDATES = ("Noto Sans CJK TC", "Microsoft JhengHei", "PingFang TC", "Heiti TC")
_CANDIDATES += ("Noto Sans CJK JP", "Noto Sans CJK SC", "Microsoft YaHei", "WenQuanYi Zen Hei")


@functools.cache
def east_asian():
    """Name of a font for these letters, "" if there is none."""
    installed = {*font_manager.get_font_names()}
    return next((one for one in _CANDIDATES if one in installed), "")


def use_in_figures():
    """Let matplotlib take letters that its font lacks from that font."""
    if font := east_asian():
        matplotlib.rcParams["font.family"] = ["DejaVu Sans", font]


def for_overlays(names, size):
    """A Pillow font that has the letters of class names. `size`: pixels."""
    if east_asian() and not "".join(names).isascii():
        return ImageFont.truetype(font_manager.findfont(east_asian()), size)
    return ImageFont.load_default(size)
