"""Probabilities enlarged to a photo, and the shorter way to its classes."""

import common  # noqa: F401  (first: it quiets TensorFlow's import)
from support.inference.resize_back import resize_classes, resize_probabilities

import numpy as np
import pytest


def probabilities(side, classes, seed=0):
    """Regions with smooth outlines, some of them small, float32 (side, side, classes)."""
    logits = np.random.default_rng(seed).normal(size=(side, side, classes))
    for _ in range(4):
        logits = sum(np.roll(logits, (y, x), (0, 1)) for y in (0, 1) for x in (0, 1)) / 4
    chances = np.exp(40 * logits)
    return np.float32(chances / chances.sum(-1, keepdims=True))


def test_a_photo_smaller_than_the_square_has_the_mean_of_what_falls_into_a_pixel():
    square = np.zeros((32, 32, 2), np.float32)
    square[:, ::8, 1] = 1  # one column of eight
    (small,) = resize_probabilities(square, (4, 4))
    np.testing.assert_allclose(small[:, 1:-1, 1], 1 / 8, atol=0.01)


@pytest.mark.parametrize(
    ("side", "classes", "size"),
    [
        (32, 3, (32, 32)),
        (32, 3, (33, 100)),
        (32, 2, (64, 96)),
        (64, 12, (700, 333)),
        (32, 200, (97, 201)),
        (64, 5, (50, 300)),  # lower than the square,
        (64, 5, (300, 50)),  # narrower,
        (64, 5, (31, 17)),  # or both
    ],
)
def test_classes_are_those_ahead_after_resizing(side, classes, size):
    square = probabilities(side, classes)
    enlarged = np.concatenate([*resize_probabilities(square, size)])
    found = np.concatenate([*resize_classes(square, size)])
    assert found.dtype == np.uint8
    assert found.shape == size
    first, second = np.sort(enlarged, axis=-1)[..., :-3:-1].transpose(2, 0, 1)
    sure = first - second > 1e-5  # of two that are alike, rounding decides
    assert sure.mean() > 0.99
    np.testing.assert_array_equal(found[sure], enlarged.argmax(-1)[sure])
    assert len(np.unique(found)) > 1


def test_values_between_are_weighted_means():
    """Two columns enlarged to six, whose centers are at -1/3, 0, 1/3, 2/3, 1 and 4/3 of them."""
    square = np.float32([[[1, 0], [0, 1]]] * 2)
    (band,) = resize_probabilities(square, (2, 6))
    wanted = [1, 1, 2 / 3, 1 / 3, 0, 0]
    np.testing.assert_allclose(band, [np.stack([wanted, wanted[::-1]], axis=-1)] * 2, atol=1e-6)


def test_a_band_is_a_part_of_the_photo(monkeypatch):
    square = probabilities(32, 4)
    whole = np.concatenate([*resize_probabilities(square, (90, 70))])
    monkeypatch.setattr("support.inference.resize_back._BAND_VALUES", 70 * 4 * 7)
    bands = [*resize_probabilities(square, (90, 70))]
    assert [len(band) for band in bands] == 12 * [7] + [6]
    np.testing.assert_allclose(np.concatenate(bands), whole, atol=1e-4)
