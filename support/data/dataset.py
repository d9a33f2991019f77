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
    for `Source.conclude`, None or a dict, which gets `kept`: int (256,), how many pixels have each
    value of the mask after it was resized. It raises ValueError, one line that names the picture.
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
    masks' values 0 to 255 stand for, `value_range`, the values that have become 0 and 255 in
    pictures of more than 8 bits, and `summary`, lines to print. It raises UserError if the
    pictures cannot be trained on.
    """

    title: str  # names the data in every figure
    stamp: str  # another one for other data; known before any picture is read
    splits: dict | Callable  # train, validation, test: `Split`; or what returns it, given nothing
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
        image, mask: names of the features that are left as the bytes of a file.
        values: (lowest, highest) that a mask may have; the lowest is class 0.
    """

    def __init__(self, builder, split, image, mask, values):
        self._builder, self._split, self._values = builder, split, values
        self._features = {name: builder.info.features[name] for name in (image, mask)}

    def __len__(self):
        return self._builder.info.splits[self._split].num_examples

    def __iter__(self):
        import tensorflow_datasets as tfds  # here, because other pictures do without it

        options = tfds.ReadConfig(try_autocache=False)  # each is read once
        undecoded = dict.fromkeys(self._features, tfds.decode.SkipDecoding())
        records = self._builder.as_dataset(self._split, decoders=undecoded, read_config=options)
        count, last = 0, ""
        try:
            for record in records:
                yield record
                count, last = count + 1, f" ({_file_name(record)})"
        except tf.errors.OpError as error:
            where = f"{self._split}, after {count} pictures{last}"
            raise UserError(self._damage(where, error)) from error

    def decode(self, record, at_least):
        """The `Split.decode` of these records, at their own size whatever is asked for.

        Raises:
            ValueError: one is damaged, or the mask does not fit the picture.
        """
        try:
            image, mask = (
                feature.decode_example(record[name]).numpy()
                for name, feature in self._features.items()
            )
            if image.shape[:2] != mask.shape[:2]:
                raise ValueError(f"{image.shape[:2]} pixels, its mask {mask.shape[:2]}")
            lowest, highest = self._values
            if mask.min() < lowest or mask.max() > highest:
                found = f"its mask goes from {mask.min()} to {mask.max()}"
                raise ValueError(f"{found}, not {lowest} to {highest}")
        except (ValueError, tf.errors.OpError) as error:
            raise ValueError(self._damage(_file_name(record), error)) from error
        return image, mask - lowest, None

    def _damage(self, where, error):
        """Two lines for the user: what is damaged, and what to do."""
        path, why = self._builder.data_path, getattr(error, "message", reason(error))
        why = re.sub(r"\{\{.*?\}\} | \[Op:.*", "", why)  # names of TensorFlow's own functions
        return f"Oxford-IIIT Pet is damaged: {where}: {why}\nDelete {path}: it comes back."


def _file_name(record):
    return record["file_name"].numpy().decode()
