"""What all pictures and masks of a folder have to say together, before they are prepared."""

import itertools
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from support.data import labelme
from support.data.classes import Classes
from support.data.folder_splits import pages_of
from support.data.folder_summary import refuse
from support.data.image_io import VOID, value_range
from support.runtime.startup import VERBOSE
from support.runtime.threads import map_ahead

import keras


@dataclass
class Survey:
    """What is known of a folder."""

    path: Path
    classes: Classes
    records: dict  # from split to list of (picture, mask, page); page None is the whole file
    words: list  # of str, what is remarkable
    values: tuple | None = None  # (lowest, highest), 0 and 255 in pictures of more than 8 bits
    polygons: bool = False  # whether masks are files of labelme

    def look(self):
        """Look at every picture and mask for what none of them can say alone; return the records.

        Raises:
            UserError: pages are missing, all pictures are of one value, or JSON is not labelme's.
        """
        problems = []
        for split, stacks in self.records.items():
            self.records[split] = [page for stack in stacks for page in pages_of(stack, problems)]
        refuse(self.path, problems)
        everything = [*itertools.chain(*self.records.values())]
        print(f"Looking at {len(everything)} pictures of {self.path}", flush=True)
        bar, looked = keras.utils.Progbar(len(everything), verbose=VERBOSE, unit_name="picture"), []
        with ThreadPoolExecutor() as threads:
            for found in map_ahead(_look, everything, threads, count=16):
                looked.append(found)
                bar.add(1)
        self._choose_range(looked)
        self._name_labels([mask for _, mask, _ in everything if labelme.is_file(mask)])
        return self.records

    def _choose_range(self, ranges):
        """One linear scale for all pictures, where most have more than 8 bits."""
        wide = [values for values in ranges if values]
        if len(wide) <= len(ranges) / 2:
            return
        self.values = lowest, highest = min(low for low, _ in wide), max(high for _, high in wide)
        if lowest == highest:
            refuse(self.path, [f"all pixels of all pictures have the value {lowest:g}"])
        self.words.append(
            f"pictures of more than 8 bits, of which {lowest:,g} to {highest:,g} become 0 to 255"
        )

    def _name_labels(self, files):
        """Names for the labels of labelme, in alphabetical order, if nobody has given any."""
        if not files:
            return
        self.polygons, labels, problems = True, set(), []
        for file in files:
            try:
                labels |= labelme.labels(file)
            except ValueError as error:
                problems.append(str(error))
        refuse(self.path, problems)
        names = self.classes.names or sorted(labels)
        names = [labelme.BACKGROUND if labelme.is_background(n) else n for n in names]
        if names.count(labelme.BACKGROUND) > 1:
            refuse(self.path, [f"{self.classes.file} has two names for background: keep one"])
        shift = labelme.BACKGROUND not in names
        names = [labelme.BACKGROUND] * shift + names
        if len(names) < 2:
            refuse(self.path, ["labelme's files have no shape but background: nothing is labelled"])
        colors = {  # for overlays
            color: number if number == VOID else number + shift
            for color, number in (self.classes.colors or {}).items()
        }
        self.classes = Classes(names, colors or None, file=self.classes.file)


def _look(record):
    """`value_range` of a picture."""
    picture, _, page = record
    try:
        return value_range(picture, page)
    except ValueError:
        return None  # it is told when it is decoded
