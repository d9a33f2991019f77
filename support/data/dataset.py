"""Where pictures come from, whichever dataset it is."""

import hashlib
import os
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from support.data.classes import distinct_colors
from support.runtime.startup import UserError, reason

import tensorflow as tf

PET_CLASSES = ("pet", "background", "border")  # the trimap's 1, 2, 3 in that order


@dataclass
class Split:
    """Pictures that are decoded only when they are prepared.

    `decode` takes a record and `at_least`, a number of pixels below which no side of the picture
    need be decoded (None: its own size). It returns uint8 image (H, W, 3) and uint8 mask
    (H', W', 1) of class ids, of which only the mask must be of the picture's own size, and facts
    for `Source.conclude`. It raises ValueError, one line that names the picture.
    """

    records: Iterable  # of a known length, cheap to read
    decode: Callable


def of_pets(facts):
    """What pictures of pets mean, which is known beforehand, if all of them are sound."""
    for problem in (fact for split in facts.values() for fact in split):
        if isinstance(problem, ValueError):
            raise UserError(str(problem)) from problem
    return {"class_names": PET_CLASSES, "class_colors": distinct_colors(len(PET_CLASSES))}


@dataclass
class Source:
    """Pictures in splits, and what their classes are.

    `conclude` is called when all pictures were decoded. It takes a dict from split to a list of
    what `decode` said of each picture, or the ValueError that it raised, and returns a dict for
    JSON: `class_names`, `class_colors` ("#RRGGBB"), and if need be `ids`, the class ids that the
    masks' values 0 to 255 stand for, and `summary`, lines to print. It raises UserError if the
    pictures cannot be trained on.
    """

    title: str  # names the data in every figure
    stamp: str  # another one for other data; known before any picture is read
    splits: dict  # train, validation, test: `Split`
    conclude: Callable = of_pets


def stamp_of(paths, *more):
    """A hash of files' names, sizes and times, which tells quickly whether one has changed.

    Args:
        paths: of files that may be missing.
        more: str that count as well.
    """
    digest = hashlib.sha256("\n".join(more).encode(errors="surrogateescape"))
    for path in paths:
        try:
            facts = os.stat(path)
            line = f"\n{path} {facts.st_size} {facts.st_mtime_ns}"
        except OSError:
            line = f"\n{path}"
        digest.update(line.encode(errors="surrogateescape"))
    return digest.hexdigest()


class Records:
    """The records of a split that tfds has prepared, with the pictures in them not yet decoded.

    Iterating yields dicts of tensors. It raises UserError if a file of the dataset is missing, cut
    short or changed.

    Args:
        builder: tfds.core.DatasetBuilder, prepared, with a feature `file_name`.
        split: str, such as "train[:90%]".
        pictures: names of the features that are left as the bytes of a file.
    """

    def __init__(self, builder, split, pictures):
        self._builder, self._split, self._pictures = builder, split, pictures

    def __len__(self):
        return self._builder.info.splits[self._split].num_examples

    def __iter__(self):
        import tensorflow_datasets as tfds  # here, because other pictures do without it

        options = tfds.ReadConfig(try_autocache=False)  # each is read once
        undecoded = dict.fromkeys(self._pictures, tfds.decode.SkipDecoding())
        records = self._builder.as_dataset(self._split, decoders=undecoded, read_config=options)
        count, last = 0, ""
        try:
            for record in records:
                yield record
                count, last = count + 1, f" ({self.name(record)})"
            if count < len(self):
                raise ValueError(f"the files end, but should have {len(self)} pictures")
        except (tf.errors.OpError, ValueError) as error:
            where = f"{self._split}, after {count} pictures{last}"
            raise UserError(self.damage(where, error)) from error

    def name(self, record):
        """The name that a picture had before tfds prepared it."""
        return record["file_name"].numpy().decode()

    def damage(self, where, error):
        """Two lines for the user: what is damaged, and what to do."""
        path, why = self._builder.data_path, getattr(error, "message", reason(error))
        why = re.sub(r"\{\{.*?\}\} | \[Op:.*", "", why)  # names of TensorFlow's own functions
        return f"Oxford-IIIT Pet is damaged: {where}: {why}\nDelete {path}: it comes back."
