"""A model against the truth: which class each pixel has, and which it is given."""

import functools

from support.data.image_io import VOID
from support.inference.sliding_window import predict_in_tiles
from support.runtime import devices

import numpy as np


def predict_classes(model, images, tile=None):
    """Class ids of pictures, float32 (N, H, W, 3) in [0, 1]: a list of int (H, W).

    With `tile` they are cut into overlapping squares of that side, which are blended.
    """
    if tile is None:
        return list(np.argmax(devices.predict_batch(model, images), axis=-1))
    predict_batch = functools.partial(devices.predict_batch, model)
    bands = (predict_in_tiles(predict_batch, image, tile) for image in images)
    return [np.concatenate([band.argmax(-1) for band in picture]) for picture in bands]


def class_iou(confusion):
    """Intersection over union of every class: TP / (TP + FP + FN), counted in pixels.

    Args:
        confusion: int (C, C), rows the truth, columns the prediction.

    Returns:
        float (C,), NaN for a class that is neither there nor predicted.
    """
    hits, sizes = np.diag(confusion), confusion.sum(axis=0) + confusion.sum(axis=1)
    return np.divide(hits, sizes - hits, out=np.full(len(hits), np.nan), where=sizes > 0)


def evaluate(model, batches, num_classes, tile=None):
    """Confusion matrix of all pictures together, and mean IoU of each; void pixels count nowhere.

    Args:
        model: keras.Model from pictures to probabilities (N, H, W, C).
        batches: tf.data.Dataset of float32 (N, H, W, 3) and uint8 (N, H, W, 1).
        tile: as for `predict_classes`.

    Returns:
        int64 (C, C): pixels of true class (row) that were given a class (column); and float
        (pictures,), NaN for a picture that is void all over.
    """
    total, scores = np.zeros((num_classes, num_classes), np.int64), []
    for images, masks in batches.as_numpy_iterator():
        for mask, predicted in zip(masks, predict_classes(model, images, tile), strict=True):
            known = mask[..., 0] != VOID
            pairs = num_classes * mask[known, 0].astype(np.int64) + predicted[known]
            confusion = np.bincount(pairs, minlength=num_classes**2).reshape(total.shape)
            total += confusion
            scores.append(np.nanmean(class_iou(confusion)) if known.any() else np.nan)
    return total, np.array(scores)
