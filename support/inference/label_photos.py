"""Masks for photos: what `--predict` does."""

import errno
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from support.data.image_io import read_image, upper_bits_alone
from support.inference.fold_batch_norm import fold_batch_norm
from support.inference.model_file import find_model, load_model
from support.inference.overlay import draw_overlay, mask_image, set_figure_font
from support.inference.photo_paths import find_photos, plan_jobs
from support.inference.resize_back import resize_classes, resize_probabilities
from support.inference.sliding_window import predict_in_tiles
from support.runtime.files import write
from support.runtime.startup import VERBOSE, UserError
from support.runtime.threads import map_ahead

import keras
import numpy as np

_BATCH_SIZE = 8  # photos at once,
_BATCH_PIXELS = 30_000_000  # unless they are large
_JPEG_SIDE = 65_500  # libjpeg writes no larger one


def label_photos(network, flags, resize, normalize):
    """Write a mask and an overlay for each photo.

    Args:
        network: str, whose newest finished run is used if `flags.model` names none.
        flags: Namespace with `predict` (list of files, folders and patterns), `model`, `output`,
            `probabilities`, `mirrored`, `overwrite` and `runs_dir`.
        resize, normalize: those of `common`, so that the network sees what it saw in training.

    Raises:
        UserError: there is no model or no room; or, after all others are done, a photo that
            could not be read or was left alone because its results are there.
    """
    path = find_model(network, flags)
    model, facts = load_model(path)
    trained_on = f", trained on {facts['trained_on']}" if "trained_on" in facts else ""
    print(f"Model: {path}{trained_on}")
    output, problems, failed = Path(os.path.expanduser(flags.output)), [], []
    photos = find_photos(flags.predict, output, problems)
    jobs = plan_jobs(photos, output, flags.overwrite, problems)
    try:
        output.mkdir(parents=True, exist_ok=True)
        if jobs:
            model = fold_batch_norm(model)
            predict_batch = _with_mirror_image(model) if flags.mirrored else model.predict_on_batch
            _label(jobs, predict_batch, resize, normalize, facts, flags.probabilities, failed)
    except OSError as error:
        raise UserError(f"--output {output}: {error}") from error
    print(f"{len(jobs) - len(failed)} of {len(photos)} photos are labelled in {output}")
    if problems or failed:
        raise UserError("\n".join(problems + failed))


def _with_mirror_image(model):
    """Return a function that averages what a model says of pictures and of their mirror images."""

    def predict_batch(images):
        mirrored = np.ascontiguousarray(images[:, :, ::-1])  # PyTorch takes no other
        return (model.predict_on_batch(images) + model.predict_on_batch(mirrored)[:, :, ::-1]) / 2

    return predict_batch


def _label(jobs, predict_batch, resize, normalize, facts, keep_probabilities, failed):
    """Label photos batch by batch; `failed` gets a line for each that cannot be labelled."""
    size, tiled = facts["image_size"], facts["fit"] == "tiles"
    value_range = facts.get("value_range")
    names, colors = ([entry[key] for entry in facts["classes"]] for key in ("name", "color"))
    set_figure_font("".join(names))
    bar = keras.utils.Progbar(len(jobs), verbose=VERBOSE, unit_name="photo")

    def load(job):
        photo, _ = job
        try:
            image = seen = read_image(photo, values=value_range)
            if image.max() < 128 and upper_bits_alone(photo):
                raise ValueError(
                    f"{photo}: is a TIFF in color with 16 bits a value, of which the upper 8 are "
                    f"read, and these end at {image.max()}: save it with 8 bits"
                )
            if not tiled:  # once more: of a large JPEG, training decodes a part of the pixels
                seen = read_image(photo, size, values=value_range)
                seen, _ = resize(seen, seen[..., :1], size)
            return job, image, normalize(seen, None)[0].numpy()
        except ValueError as error:
            failed.append(str(error))
            bar.add(1)
            return None

    def finish(job, image, bands):
        photo, results = job
        try:
            _write_results(results, image, bands, names, colors, keep_probabilities)
        except OSError as error:
            # Of a path beyond 260 letters, Windows says that it is not there.
            is_missing = error.errno == errno.ENOENT and results["mask"].parent.is_dir()
            if error.errno != errno.ENAMETOOLONG and not is_missing:  # all others would fail, too
                raise
            failed.append(f"{photo}: the names of its results would be too long")
        bar.add(1)

    with ThreadPoolExecutor() as threads:
        for batch in _batches(filter(None, map_ahead(load, jobs, threads))):
            loaded, images, inputs = zip(*batch, strict=True)
            if tiled:
                bands = (
                    predict_in_tiles(predict_batch, image, size, on_batch=_tell_of_tiles())
                    for image in inputs
                )
                finished = map(finish, loaded, images, bands)
            else:
                probabilities = predict_batch(np.stack(inputs))
                resize_back = resize_probabilities if keep_probabilities else resize_classes
                bands = map(resize_back, probabilities, [image.shape[:2] for image in images])
                finished = threads.map(finish, loaded, images, bands)
            list(finished)  # waits for them, and raises what they raise


def _tell_of_tiles():
    """An `on_batch` of `predict_in_tiles` that shows a bar for a picture of many tiles."""
    bar = None

    def tell(done, count):
        nonlocal bar
        if count >= 200:
            bar = bar or keras.utils.Progbar(count, verbose=VERBOSE, unit_name="tile")
            bar.update(done)

    return tell


def _batches(photos):
    """Group (job, image, input) into lists, shorter ones where the images are large."""
    batch, pixels = [], 0
    for photo in photos:
        batch.append(photo)
        pixels += photo[1].shape[0] * photo[1].shape[1]
        if len(batch) == _BATCH_SIZE or pixels > _BATCH_PIXELS:
            yield batch
            batch, pixels = [], 0
    if batch:
        yield batch


def _write_results(results, image, bands, names, colors, keep_probabilities):
    """Write the files of a photo from bands of its classes (h, W) or probabilities (h, W, C)."""
    is_ours = results["mask"].exists() or results["overlay"].exists()  # as `plan_jobs` has it
    ids, kept = [], []
    for band in bands:
        ids.append(band if band.ndim == 2 else band.argmax(-1).astype(np.uint8))
        if keep_probabilities:
            kept.append(band)
    mask = mask_image(np.concatenate(ids), colors)
    overlay = draw_overlay(image, mask, names, colors)
    overlay.thumbnail((_JPEG_SIDE, _JPEG_SIDE))
    # To look at only, so JPEG: a tenth of the time of a PNG and a quarter of its size.
    write(results["overlay"], lambda path: overlay.save(path, quality=95, subsampling=0))
    if keep_probabilities:
        arrays = {"probabilities": np.concatenate(kept), "classes": names}
        write(results["probabilities"], lambda path: np.savez_compressed(path, **arrays))
    elif is_ours:  # to be replaced: what belongs to it must not stay
        results["probabilities"].unlink(missing_ok=True)
    write(results["mask"], mask.save)  # last: then the photo is done
