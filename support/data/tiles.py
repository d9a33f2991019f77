"""Large pictures cut into squares, at random to train on and overlapping to be put together."""

import math

from support.data.image_io import VOID

import numpy as np


def starts(length, size, step):
    """Where to begin with squares, so that they cover a side evenly, at most `step` apart."""
    count = math.ceil(max(length - size, 0) / step) + 1
    return np.linspace(0, max(length - size, 0), count).round().astype(int).tolist()


def cut_out(image, top, left, size):
    """A square of an array (H, W, channels). Where a picture is smaller, it is mirrored."""
    square = image[top : top + size, left : left + size]
    missing = [(0, size - side) for side in square.shape[:2]]
    return np.pad(square, [*missing, (0, 0)], "reflect") if sum(sum(missing, ())) else square


class Tiles:
    """Squares out of pictures of any sizes, at their own resolution.

    A picture counts as many times as squares are needed to cover it, so that an epoch sees about
    as many pixels as there are.

    Args:
        pictures: `Pictures`.
        size: side of a square, pixels.
    """

    def __init__(self, pictures, size):
        self.pictures, self.shape, self._squares = pictures, (size, size), []
        for number, (height, width) in enumerate(pictures.sizes):
            for top, seen_above in _with_overlap(height, size):
                for left, seen_before in _with_overlap(width, size):
                    self._squares.append((number, top, left, seen_above, seen_before))

    def __len__(self):
        return len(self._squares)

    def take(self, numbers, draws=None):
        """Squares, uint8 (N, size, size, 3) and (N, size, size, 1).

        Args:
            numbers: int64 (N,), from 0 to the length; -1 is a square that is void all over.
            draws: float32 (N, 2 or more) in [-1, 1], of which the last two count: squares from
                anywhere in the picture that a number belongs to. None: those that cover it, in
                which each pixel counts once and is `VOID` in all but one.
        """
        if draws is None:
            squares = map(self._covering, numbers)
        else:
            squares = map(self._anywhere, numbers, draws)
        images, masks = zip(*squares, strict=True)
        return np.stack(images), np.stack(masks)

    def _covering(self, number):
        if number < 0:
            return self._square(-1, 0, 0)
        number, top, left, seen_above, seen_before = self._squares[number]
        image, mask = self._square(number, top, left)
        mask[:seen_above] = mask[:, :seen_before] = VOID
        return image, mask

    def _anywhere(self, number, draws):
        number = self._squares[number][0]
        room = [max(side - self.shape[0], 0) + 1 for side in self.pictures.sizes[number]]
        # The draw for n places to begin at is n times a number from 0 to 1, that 1 apart.
        draws = draws[-2:]
        top, left = (min(int((d + 1) / 2 * n), n - 1) for d, n in zip(draws, room, strict=True))
        return self._square(number, top, left)

    def _square(self, number, top, left):
        (image, mask), size = self.pictures[number], self.shape[0]
        inside = mask[top : top + size, left : left + size]
        square = np.full((size, size, 1), VOID, np.uint8)  # a mirror image is no truth
        square[: inside.shape[0], : inside.shape[1]] = inside
        return cut_out(image, top, left, size), square


def _with_overlap(length, size):
    """Where to begin, and how many pixels there belong to the square before."""
    begins = starts(length, size, size)
    ends = [0, *(begin + size for begin in begins)]
    return [(begin, end - begin) for begin, end in zip(begins, ends[:-1], strict=True)]
