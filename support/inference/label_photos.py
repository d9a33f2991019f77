"""Masks for photos: what `--predict` does."""

import errno
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from support.data.image_io import read_image
from support.inference.model_file import load_model
from support.inference.overlay import draw_overlay, mask_image
from support.inference.photo_paths import find_photos, places
from support.inference.sliding_window import predict_in_tiles
from support.runtime.files import write
from support.runtime.startup import VERBOSE, UserError
from support.runtime.threads import map_ahead

import keras
import numpy as np
import tensorflow as tf

_BATCH = 8  # photos at once,
_BATCH_PIXELS = 30_000_000  # unless they are large
_BAND_VALUES = 2**24  # probabilities at once, where they are brought to the photo's size


def label_photos(network, flags, preprocess):
    """Write a mask and an overlay for each photo.

    Args:
        network: str, whose newest finished run is used if `flags.model` names none.
        flags: Namespace with `predict` (list of files, folders and patterns), `model`, `output`,
            `probabilities`, `mirrored`, `overwrite` and `runs_dir`.
        preprocess: callable from the path of a photo and the side of a square, pixels, to float32
            (side, side, 3), as in training; given None as the side, to (H, W, 3).

    Raises:
        UserError: there is no model or no room; or, after all others are done, a photo that
            could not be read or was left alone because its results are there.
    """
    path = _find_model(network, flags)
    print(f"Model: {path}")
    model, facts = load_model(path)
    output, problems = Path(os.path.expanduser(flags.output)), []
    photos = find_photos(flags.predict, output, problems)
    jobs, originals, target = [], {photo.resolve() for photo in photos}, output.resolve()
    for photo, place in zip(photos, places(photos, output), strict=True):
        if hit := originals & {target / one.name for one in place.values()}:
            problems.append(f"{photo}: its result would replace {hit.pop()}: give another --output")
        else:
            jobs.append((photo, place))
    if not flags.overwrite:
        done = [_is_done(**place) for _, place in jobs]
        there = [photo for (photo, _), is_done in zip(jobs, done, strict=True) if is_done]
        jobs = [job for job, is_done in zip(jobs, done, strict=True) if not is_done]
        if there:
            more = f" and {len(there) - 1} more" if there[1:] else ""
            problems.append(
                f"{there[0]}{more}: left alone, for there are files of that name in {output}. Give "
                "another --output, or --overwrite to replace them."
            )
    labelled = 0
    try:
        output.mkdir(parents=True, exist_ok=True)
        if jobs:
            predict_batch = model.predict_on_batch
            if flags.mirrored:
                predict_batch = _with_mirror_image(model)
            labelled = _label(predict_batch, facts, jobs, flags.probabilities, preprocess, problems)
    except OSError as error:
        raise UserError(f"--output {output}: {error}") from error
    print(f"{labelled} of {len(photos)} photos are labelled in {output}")
    if problems:
        raise UserError("\n".join(problems))


def _is_done(mask, overlay, probabilities):
    """Whether a photo has its results, whose mask is written last.

    An overlay without a mask is of an interrupted program, probabilities alone are somebody else's.
    """
    return mask.exists() or (probabilities.exists() and not overlay.exists())


def _with_mirror_image(model):
    """A model's mean probabilities of pictures and of their mirror images, turned back."""

    def predict(images):
        mirrored = np.ascontiguousarray(images[:, :, ::-1])  # PyTorch takes no other
        return (model.predict_on_batch(images) + model.predict_on_batch(mirrored)[:, :, ::-1]) / 2

    return predict


def _label(predict_batch, facts, jobs, keep_probabilities, preprocess, problems):
    """Label photos batch by batch; return the number of labelled photos."""
    size, classes = facts["image_size"], facts["classes"]
    names, colors = ([one[key] for one in classes] for key in ("name", "color"))
    bar = keras.utils.Progbar(len(jobs), verbose=VERBOSE, unit_name="photo")

    def load(job):
        try:
            image = read_image(job[0])
            return job, image, preprocess(job[0], None if tiled else size)
        except ValueError as error:
            problems.append(str(error))
            bar.add(1)
            return None

    def finish(job, image, bands):
        (photo, place), kept, ids = job, [], []
        for band in bands:
            ids.append(band.argmax(axis=-1).astype(np.uint8))
            if keep_probabilities:
                kept.append(band)
        mask = mask_image(np.concatenate(ids), colors)
        overlay = draw_overlay(image, mask, names, colors)
        try:
            write(place["overlay"], lambda path: overlay.save(path, compress_level=1))
            if keep_probabilities:
                arrays = {"probabilities": np.concatenate(kept), "classes": names}
                write(place["probabilities"], lambda path: np.savez_compressed(path, **arrays))
            write(place["mask"], mask.save)  # last: see `_is_done`
        except OSError as error:
            if error.errno != errno.ENAMETOOLONG:  # all others would fail, too
                raise
            problems.append(f"{photo}: the names of its results would be too long")
            return False
        finally:
            bar.add(1)
        return True

    tiled, labelled = facts["fit"] == "tiles", 0
    with ThreadPoolExecutor() as threads:
        for batch in _batches(filter(None, map_ahead(load, jobs, threads))):
            loaded, images, preprocessed = zip(*batch, strict=True)
            if tiled:
                bands = [predict_in_tiles(predict_batch, image, size) for image in preprocessed]
                finished = map(finish, loaded, images, bands)
            else:
                small = predict_batch(np.stack(preprocessed))
                bands = map(_enlarged, small, [image.shape[:2] for image in images])
                finished = threads.map(finish, loaded, images, bands)
            labelled += sum(finished)
    return labelled


def _enlarged(probabilities, size):
    """Class probabilities brought to a photo's size, band by band: its outlines are smooth then."""
    height, width = size
    scale = np.float32([height, width]) / probabilities.shape[:2]
    rows = max(1, _BAND_VALUES // (width * probabilities.shape[-1]))
    for top in range(0, height, rows):
        yield tf.raw_ops.ScaleAndTranslate(
            images=probabilities[None],
            size=(min(rows, height - top), width),
            scale=scale,
            translation=(-float(top), 0.0),
            kernel_type="triangle",
        )[0].numpy()


def _batches(loaded):
    batch, pixels = [], 0
    for one in loaded:
        batch.append(one)
        pixels += one[1].shape[0] * one[1].shape[1]
        if len(batch) == _BATCH or pixels > _BATCH_PIXELS:
            yield batch
            batch, pixels = [], 0
    if batch:
        yield batch


def _find_model(network, flags):
    if flags.model:
        path = Path(os.path.expanduser(flags.model))
        return path / "model.keras" if path.is_dir() else path
    parent = Path(os.path.expanduser(flags.runs_dir)) / network
    finished = sorted(parent.glob("*/metrics.json"))
    if not finished:
        raise UserError(f"There is no finished run in {parent}: train first, or give --model FILE")
    return finished[-1].with_name("model.keras")
