"""Pictures come back from memory and from disk as they went in."""

from support.data.prepared import PictureCache

import numpy as np
import pytest


def pairs(sizes):
    rng = np.random.default_rng(0)
    return [
        (rng.integers(0, 256, (*size, 3), np.uint8), rng.integers(0, 9, (*size, 1), np.uint8))
        for size in sizes
    ]


@pytest.mark.parametrize("memory", [0, 4000, 10**9])
def test_pictures_of_any_size_come_back_as_they_were(memory):
    kept = pairs([(5, 7), (30, 20), (1, 1), (40, 9), (8, 8)])
    cache = PictureCache(iter(kept), memory=memory)
    assert len(cache) == 5
    for number in (4, 0, 3, 1, 2):
        for found, wanted in zip(cache[number], kept[number], strict=True):
            np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("memory", [0, None])
def test_picking_makes_batches_in_the_order_asked_for(memory):
    kept = pairs([(6, 6)] * 5)
    images, masks = PictureCache(kept, memory=memory).pick(np.array([3, 0, 3]))
    assert images.shape == (3, 6, 6, 3)
    assert masks.shape == (3, 6, 6, 1)
    for place, number in enumerate((3, 0, 3)):
        np.testing.assert_array_equal(images[place], kept[number][0])
        np.testing.assert_array_equal(masks[place], kept[number][1])


def test_no_more_memory_is_used_than_allowed():
    kept = pairs([(10, 10)] * 5)  # 400 bytes each
    cache = PictureCache(kept, memory=850)
    in_memory = [any(cache[n][0] is image for image, _ in kept) for n in range(5)]
    assert in_memory == [True, True, False, False, False]
