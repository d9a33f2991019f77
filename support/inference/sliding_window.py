"""A large picture labelled tile by tile, and put together again: the overlap-tile strategy.

Ronneberger, Fischer, Brox 2015, arXiv:1505.04597, Fig. 2. Where tiles overlap they are weighed by a
Gaussian, as Isensee et al. 2021, "nnU-Net", doi:10.1038/s41592-020-01008-z, do it: a network is
surest in the middle of what it sees.
"""

from support.data.tiles import cut_out, starts

import numpy as np


def predict_in_tiles(predict_batch, image, size, batch_size=8, on_batch=None):
    """Compute the class probabilities of a whole picture from overlapping tiles.

    Args:
        predict_batch: callable from float32 (N, size, size, 3) to (N, size, size, C).
        image: float32 (H, W, 3).
        size: side of a tile, pixels; each overlaps the next by half or more.
        batch_size: tiles at once.
        on_batch: callable that is told how many tiles are done, and how many there are.

    Yields:
        float32 (h, W, C): bands of the picture, from top to bottom, so that memory is needed for
        one band and not for the picture.
    """
    height, width = image.shape[:2]
    line = np.exp(-(((np.arange(size) + 0.5) / size - 0.5) ** 2) / 2 * 8**2)  # sigma: size / 8
    bell = np.outer(line, line)[..., None].astype(np.float32)
    tops, lefts = (starts(side, size, size // 2) for side in (height, width))
    origins = [(top, left) for top in tops for left in lefts]
    band_top, weighted = 0, None  # (size, W, C), once C is known
    weights = np.zeros((size, max(width, size), 1), np.float32)
    for begin in range(0, len(origins), batch_size):
        batch = origins[begin : begin + batch_size]
        tiles = [cut_out(image, top, left, size) for top, left in batch]
        if begin:  # the last batch in the shape of the others, for which all is compiled
            tiles += tiles[-1:] * (batch_size - len(batch))
        for (top, left), probabilities in zip(batch, predict_batch(np.stack(tiles)), strict=False):
            if weighted is None:
                weighted = np.zeros((*weights.shape[:2], probabilities.shape[-1]), np.float32)
            if rows := top - band_top:  # no tile to come reaches above `top`
                yield (weighted[:rows] / weights[:rows])[:, :width]
                for sums in (weighted, weights):
                    sums[:-rows] = sums[rows:]
                    sums[-rows:] = 0
                band_top = top
            weighted[:, left : left + size] += probabilities * bell
            weights[:, left : left + size] += bell
        if on_batch:
            on_batch(begin + len(batch), len(origins))
    yield (weighted / weights)[: height - band_top, :width]
