"""Pictures that are prepared once: decoded, checked, resized, and kept in a file.

Every later start, every resumed run and every process on the machine maps that file into memory.
"""

import functools
import hashlib
import inspect
import json
import os
import re
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from support.data.image_io import VOID, histogram
from support.runtime.files import UNFINISHED, lock, replace, write_json
from support.runtime.fingerprint import fingerprint, versions
from support.runtime.startup import VERBOSE, UserError
from support.runtime.threads import map_ahead

import keras
import numpy as np

CHANNELS = 3  # of a picture; in the file its mask is one more
_LATER = {"augmentation.py", "batches.py", "tiles.py"}  # of this room, what comes after the file


class Pictures:
    """The pictures and masks of one split, in a file that is mapped into memory.

    Args:
        pixels: uint8 (bytes,), all pictures one after the other, each (H, W, CHANNELS + 1).
        sizes: list of (height, width).

    Attributes:
        shape: (height, width) that all of them have; (None, None) if they differ.
    """

    def __init__(self, pixels, sizes):
        self.sizes = [tuple(size) for size in sizes]
        lengths = [height * width * (CHANNELS + 1) for height, width in self.sizes]
        self._begins = np.cumsum([0, *lengths])
        self._pixels = pixels
        self.shape = self.sizes[0] if len({*self.sizes}) == 1 else (None, None)

    def __len__(self):
        return len(self.sizes)

    def __getitem__(self, number):
        """uint8 (H, W, CHANNELS) and (H, W, 1), both read-only. -1: black, and void all over."""
        if number < 0:
            black = np.zeros((*self.sizes[0], CHANNELS), np.uint8)
            return black, np.full((*self.sizes[0], 1), VOID, np.uint8)
        pixels = self._pixels[self._begins[number] : self._begins[number + 1]]
        pixels = pixels.reshape(*self.sizes[number], CHANNELS + 1)
        return pixels[..., :CHANNELS], pixels[..., CHANNELS:]

    def take(self, numbers, draws=None):
        """uint8 (N, H, W, CHANNELS) and (N, H, W, 1), from numbers (N,) of pictures of one size.

        Whole pictures leave nothing to chance: `draws` is there because `Tiles.take` needs it.
        """
        images, masks = zip(*map(self.__getitem__, numbers), strict=True)
        return np.stack(images), np.stack(masks)


def prepare(source, parent, size, resize):
    """Decode, check and resize every picture of a source, unless that was done before.

    Args:
        source: `Source`.
        parent: str or Path, of the folder below which prepared pictures are kept, each set in a
            folder of its own. It is named after the data, the size, and the code and libraries
            that make it, so that what has changed is prepared anew.
        size: side of the squares that `resize` makes, pixels; None keeps every picture's own size.
        resize: function of uint8 image (H, W, CHANNELS), uint8 mask (H', W', 1) and `size`, to
            both as (size, size, channels).

    Returns:
        dict from split to `Pictures`; dict of what `Source.conclude` returned and `identity`, a
        hash of all pixels and class names.

    Raises:
        UserError: pictures cannot be trained on, or there is no room for them.
    """
    folder = Path(os.path.expanduser(parent)) / _name(source, size, resize)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not _is_whole(folder):
            _prepare_alone(source, folder, size, resize)
        facts = json.loads((folder / "index.json").read_text(encoding="utf-8"))
        pixels = np.memmap(folder / "pixels", np.uint8, "r")
    except OSError as error:
        raise UserError(
            f"Pictures cannot be prepared in {folder}: {error}\n"
            "Give a --runs-dir where there is room and files can be written."
        ) from error
    if summary := facts.pop("summary", ""):
        print(summary)
    pictures, begin = {}, 0
    for name, sizes in facts.pop("sizes").items():
        pictures[name] = Pictures(pixels[begin:], sizes)
        begin += sum(height * width for height, width in sizes) * (CHANNELS + 1)
    return pictures, facts


def _name(source, size, resize):
    """The name of a folder of prepared pictures: another one for all that makes others of them."""
    room = sorted(Path(__file__).parent.glob("[!.]*.py"))  # macOS leaves ._NAME.py on some disks
    made_by = [path for path in room if path.name not in _LATER]
    libraries = versions("numpy", "PIL", "tensorflow")
    facts = [source.stamp, size, fingerprint(*made_by), inspect.getsource(resize)]
    key = hashlib.sha256("\n".join(map(str, [*facts, libraries])).encode()).hexdigest()
    title = re.sub(r"\W+", "-", source.title).strip("-").lower()[:40]
    return f"{title}-{f'{size}px' if size else 'tiles'}-{key[:12]}"


def _is_whole(folder):
    return (folder / "index.json").exists() and (folder / "pixels").exists()


def _prepare_alone(source, folder, size, resize):
    """Prepare pictures, or wait for the process that is at it."""
    try:
        if not (held := lock(folder)):
            print(f"Another process prepares the pictures in {folder}: waiting", flush=True)
        while not (held := held or lock(folder)):
            time.sleep(0.2)
    except OSError:
        held = None  # the disk knows no locks: then two processes may do the same
    unfinished = folder / f"{UNFINISHED}{os.getpid()}"
    try:
        if _is_whole(folder):
            return
        for left in folder.glob(f"{UNFINISHED}*") if held else ():  # by a process that was killed
            left.unlink()
        facts = _decode_all(source, unfinished, size, resize)
        replace(unfinished, folder / "pixels")
        write_json(folder / "index.json", facts)
    finally:
        unfinished.unlink(missing_ok=True)
        if held:
            held.close()


def _decode_all(source, path, size, resize):
    """Write all pixels to a file; return what `index.json` holds."""
    splits = source.splits() if callable(source.splits) else source.splits
    count = sum(len(split.records) for split in splits.values())
    print(f"Preparing {count} pictures, once, in {path.parent}: {source.title}", flush=True)
    bar = keras.utils.Progbar(count, verbose=VERBOSE, unit_name="picture")
    digest, written, sound, free = hashlib.sha256(), 0, True, shutil.disk_usage(path.parent).free
    known = 1 if size else min(count, 32)  # pictures that tell how much room all will take
    sizes, facts = ({name: [] for name in splits} for _ in range(2))
    with open(path, "wb") as file, ThreadPoolExecutor() as threads:
        for name, split in splits.items():
            decode = functools.partial(_decode, split.decode, size=size, resize=resize)
            for pixels, fact in map_ahead(decode, split.records, threads, 2 * os.cpu_count()):
                facts[name].append(fact)
                bar.add(1)
                sound = sound and pixels is not None
                if not sound:  # the others are still looked at, so that all is told at once
                    continue
                sizes[name].append(pixels.shape[:2])
                file.write(pixels.data)
                digest.update(pixels.data)
                written += pixels.nbytes
                if sum(map(len, sizes.values())) == known and written / known * count > free:
                    raise UserError(
                        f"Prepared pictures would take {written / known * count / 1e9:.1f} GB, "
                        f"and {free / 1e9:.1f} GB are free for {path.parent}. Make room, or give "
                        "another --runs-dir or a smaller --image-size."
                    )
        found = source.conclude(facts)
        file.flush()
        os.fsync(file.fileno())
    if ids := found.pop("ids", None):
        masks = np.memmap(path, np.uint8, "r+")[CHANNELS :: CHANNELS + 1]
        for begin in range(0, len(masks), 2**24):
            masks[begin : begin + 2**24] = np.uint8(ids)[masks[begin : begin + 2**24]]
        masks.flush()
    digest.update(json.dumps([sizes, ids, found["class_names"], found["class_colors"]]).encode())
    return found | {"sizes": sizes, "identity": digest.hexdigest()}


def _decode(decode, record, size, resize):
    """uint8 (H, W, CHANNELS + 1) and facts of a picture; or None and the ValueError it raises."""
    try:
        image, mask, fact = decode(record, size)
    except ValueError as error:
        return None, error
    if size:
        image, mask = resize(image, mask, size)
    if fact:
        fact["kept"] = histogram(mask)
    return np.concatenate([image, mask], axis=-1), fact
