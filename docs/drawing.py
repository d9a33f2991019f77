"""A sheet to draw networks on: boxes in rows, arrows between them, saved as SVG.

A box is what a layer puts out: as high as its side, as wide as the square root of its channels.
The picture's own side stands in the first row, half of it in the next, and so on.
"""

import math
from collections import namedtuple

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyArrowPatch, Rectangle
from matplotlib.path import Path as Line
from matplotlib.transforms import Bbox

IMAGE_SIZE = 128  # side of the picture, pixels
HIGH = 1.2  # points for a pixel of the side
STEP, DROP = 25, 58  # points between boxes: side by side, and from a row to the next
TEXT = 20  # points that a line of text takes
ENCODER, DECODER, MIDDLE = "#56b4e9", "#e69f00", "#cc79a7"  # boxes; seen on white and on black
POOL, UP, SKIP = "#0072b2", "#d55e00", "#009e73"  # arrows
INK = "#012345"  # all else; `save` puts the reader's own text color in its place
STYLE = "svg{color:#1f2328} @media (prefers-color-scheme: dark){svg{color:#e6edf3}}"

Box = namedtuple("Box", "left right top bottom x y side")  # x and y of its middle


class Drawing:
    """All in points. Each method that draws an output returns its `Box`.

    Args:
        wide: width of a box with one channel; 4 channels are twice as wide.
    """

    def __init__(self, wide=1.1):
        self.wide = wide
        self.axes = Figure(figsize=(20, 20), dpi=72).add_axes((0, 0, 1, 1))
        self.axes.set(xlim=(-320, 1120), ylim=(-1120, 320))  # 20 inches of 72 points
        self.axes.axis("off")

    def text(self, x, y, text, ha="center"):
        self.axes.text(x, y, text, ha=ha, va="center_baseline", color=INK, fontsize=17)

    def arrow(self, *points, color=INK):
        """Straight from point to point, with a tip at the last."""
        look = {"arrowstyle": "-|>", "mutation_scale": 15, "lw": 2.2, "color": color}
        self.axes.add_patch(FancyArrowPatch(path=Line(points), joinstyle="miter", **look))

    def box(self, x, shape, *colors, label=True):
        """An output around `x`, its channels below. In two colors: two outputs, concatenated."""
        _, side, _, channels = shape
        high, wide = HIGH * side, self.wide * math.sqrt(channels)
        # The rows above are 128, 64, ... pixels high: twice 128 less twice what this one has.
        top = -2 * HIGH * (IMAGE_SIZE - side) - DROP * math.log2(IMAGE_SIZE / side)
        for number, color in enumerate(colors):
            corner = x - wide / 2 + number * wide / len(colors), top - high
            self.axes.add_patch(
                Rectangle(corner, wide / len(colors), high, fc=color, ec=INK, lw=0.7)
            )
        if label:
            self.text(x, top - high - TEXT / 2 - 2, f"{channels}")
        return Box(x - wide / 2, x + wide / 2, top, top - high, x, top - high / 2, side)

    def side(self, box, ha="right"):
        """Beside a box; `ha` says which end of the text is near it."""
        self.text(box.left - 6 if ha == "right" else box.right + 6, box.y, f"{box.side}²", ha)

    def first(self, shape, x=0):
        """The picture, its side above."""
        box = self.box(x, shape, ENCODER)
        self.text(x, box.top + TEXT / 2 + 2, f"{box.side}²")
        return box

    def join(self, start, end, color=INK):
        """From one box to another of its row, in either direction."""
        right = start.x < end.x
        x0, x1 = (start.right, end.left) if right else (start.left, end.right)
        self.arrow((x0, start.y), (x1, end.y), color=color)

    def right(self, before, shape, *colors, kernel=3, arrow=INK):
        """The next box of a row, by a convolution that is named where it is not 3x3."""
        step = STEP if kernel == 3 else 1.8 * STEP
        box = self.box(before.right + step + self.wide * math.sqrt(shape[-1]) / 2, shape, *colors)
        self.join(before, box, arrow)
        if kernel != 3:
            self.text(box.left - step / 2, box.y + TEXT / 2 + 4, f"{kernel}×{kernel}")
        return box

    def down(self, above, shape):
        """The first box of the next row, by max pooling."""
        box = self.box(above.x, shape, ENCODER)
        self.arrow((box.x, above.bottom - TEXT - 2), (box.x, box.top), color=POOL)
        return box

    def up(self, below, shape, *colors, label=True):
        """A box of a row above, by upsampling."""
        box = self.box(below.x, shape, *colors, label=label)
        end = box.bottom - (TEXT + 2 if label else 0)
        self.arrow((box.x, below.top), (box.x, end), color=UP)
        self.text(box.x + 8, (below.top + end) / 2, f"×{box.side // below.side}", ha="left")
        return box

    def skip(self, start, end, part=0.25, high=14):
        """Over what stands between two boxes of a row, onto a part of the second's width."""
        x0, x1, y = start.right - 1.5, end.left + part * (end.right - end.left), start.top + high
        self.arrow((x0, start.top), (x0, y), (x1, y), (x1, end.top), color=SKIP)

    def plus(self, x, beside):
        """Where two outputs of a row are added."""
        y, side = beside.y, beside.side
        self.axes.add_patch(Circle((x, y), 10, fc="none", ec=INK, lw=2.2))
        self.axes.plot(x, y, "+", color=INK, markersize=10, markeredgewidth=2.2)
        return Box(x - 10, x + 10, y + 10, y - 10, x, y, side)

    def legend(self, x, y, *rows):
        """Rows of a mark (a box, an arrow's direction or a sign), its color and its meaning."""
        for mark, color, meaning in rows:
            if mark == "box":
                self.axes.add_patch(Rectangle((x + 4, y - 8), 16, 16, fc=color, ec=INK, lw=0.7))
            elif color:
                dx, dy = {"→": (12, 0), "↓": (0, -10), "↑": (0, 10)}[mark]
                self.arrow((x + 12 - dx, y - dy), (x + 12 + dx, y + dy), color=color)
            else:
                self.text(x + 12, y, mark)
            self.text(x + 34, y, meaning, ha="left")
            y -= 1.35 * TEXT

    def save(self, path):
        drawn = (*self.axes.texts, *self.axes.patches)
        # Always of the same kind: texts remember the last renderer, which may be that of SVG.
        renderer = FigureCanvasAgg(self.axes.figure).get_renderer()
        edge = Bbox.union([one.get_window_extent(renderer) for one in drawn]).padded(8)
        save(self.axes.figure, path, Bbox(edge.get_points() / 72))


def plain_axis(figure, across, up):
    """The only axis of a figure, with two edges and what they mean, in the reader's color."""
    axis = figure.subplots()
    axis.set_xlabel(across, color=INK)
    axis.set_ylabel(up, color=INK)
    axis.tick_params(colors=INK)
    axis.spines[:].set_color(INK)
    axis.spines[["top", "right"]].set_visible(False)
    return axis


def save(figure, path, edge="tight"):
    """Write an SVG whose text stays text, in the reader's color for it, and without a date.

    Args:
        figure: matplotlib Figure that draws in `INK` what is to have that color.
        path: Path of the file to write.
        edge: Bbox in inches of what is kept, or "tight" for all that is drawn.
    """
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "figures"}):
        figure.savefig(path, transparent=True, bbox_inches=edge, metadata={"Date": None})
    svg = path.read_text(encoding="utf-8").replace(INK, "currentColor")
    svg = svg.replace("<defs>", f"<style>{STYLE}</style>\n <defs>", 1)
    path.write_text(svg, encoding="utf-8", newline="\n")
