"""Mean IoU by the number of training pictures, for docs/results.md.

    python docs/few_pictures.py    writes few-pictures.svg to docs/figures/

from the table in that text, so that figure and table say the same.
"""

import re
from pathlib import Path

from drawing import DECODER, ENCODER, INK, plain_axis, save
from matplotlib.figure import Figure

DOCS = Path(__file__).resolve().parent
OUTPUT = DOCS / "figures" / "few-pictures.svg"


def read_table(text):
    """The table whose first column is "training pictures".

    Returns:
        list of int, the numbers of pictures; and dict from the title of each other column to list
        of float, what stands in its cells before anything else.
    """
    (table,) = re.findall(r"^\| training pictures \|(?:.*\n\|)*.*", text, re.M)
    lines = [line.strip("|").split("|") for line in table.split("\n")]
    header, _, *rows = [[cell.strip() for cell in line] for line in lines]
    numbers, *columns = zip(*rows, strict=True)
    scores = [[float(cell.split()[0]) for cell in column] for column in columns]
    return [int(number) for number in numbers], dict(zip(header[1:], scores, strict=True))


def draw(text):
    """A figure with a line for each network."""
    numbers, columns = read_table(text)
    figure = Figure(figsize=(6, 3.4), layout="constrained")
    axis = plain_axis(figure, "training pictures", "mean IoU")
    for (title, scores), color in zip(columns.items(), (ENCODER, DECODER), strict=True):
        axis.plot(numbers, scores, "o-", color=color, lw=2.2, label=title)
    axis.set_xscale("log")
    axis.set_xticks(numbers, map(str, numbers), minor=False)
    axis.minorticks_off()
    axis.legend(frameon=False, labelcolor=INK, loc="lower right")
    return figure


if __name__ == "__main__":
    save(draw((DOCS / "results.md").read_text(encoding="utf-8")), OUTPUT)
