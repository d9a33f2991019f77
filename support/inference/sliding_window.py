"""A large picture labelled square by square, and put together again: the overlap-tile strategy."""

from support.data.tiles import cut_out, starts

import numpy as np


def predict_in_tiles(predict, image, size, batch_size=8):
    """Class probabilities of a whole picture from overlapping squares.

    Args:
        predict: callable from float32 (N, size, size, 3) to (N, size, size, C).
        image: float32 (H, W, 3).
        size: side of the squares, pixels; each overlaps the next by half or more.
        batch_size: squares at once.

    Yields:
        float32 (h, W, C): bands of the picture, from top to bottom, so that memory is needed for
        one band and not for the picture.
    """
    height, width = image.shape[:2]
    line = np.exp(-(((np.arange(size) + 0.5) / size - 0.5) ** 2) / 2 * 8**2)  # sigma: size / 8
    bell = np.outer(line, line)[..., None].astype(np.float32)
    places = [
        (top, left)
        for top in starts(height, size, size // 2)
        for left in starts(width, size, size // 2)
    ]
    above, total = 0, None
    weight = np.zeros((size, max(width, size), 1), np.float32)
    for begin in range(0, len(places), batch_size):
        batch = places[begin : begin + batch_size]
        squares = [cut_out(image, top, left, size) for top, left in batch]
        if begin:  # the last batch in the shape of the others, for which all is compiled
            squares += squares[-1:] * (batch_size - len(batch))
        for (top, left), probabilities in zip(batch, predict(np.stack(squares)), strict=False):
            if total is None:
                total = np.zeros((*weight.shape[:2], probabilities.shape[-1]), np.float32)
            if rows := top - above:
                yield (total[:rows] / weight[:rows])[:, :width]
                for sums in (total, weight):
                    sums[:-rows] = sums[rows:]
                    sums[-rows:] = 0
                above = top
            total[:, left : left + size] += probabilities * bell
            weight[:, left : left + size] += bell
    yield (total / weight)[: height - above, :width]
