"""The order of pictures, which several machines share."""

from support.data.batches import DRAWS, Epochs, Places, plan_epoch

import numpy as np


def test_each_picture_keeps_its_place_in_the_batch():
    for epoch in range(3):
        numbers, draws = plan_epoch(26, 4, (1, epoch))
        assert numbers.shape == (6, 4)
        assert draws.shape == (6, 4, DRAWS)
        assert draws.min() < -0.9
        assert draws.max() > 0.9
        assert (numbers % 4 == np.arange(4)).all()
        assert len(set(numbers.ravel().tolist())) == 24


def test_left_over_pictures_are_others_each_time():
    left = {
        tuple(set(range(27)) - set(plan_epoch(27, 4, (1, epoch))[0].ravel().tolist()))
        for epoch in range(9)
    }
    assert all(len(three) == 3 for three in left)
    assert len(left) > 3


def test_seed_and_epoch_decide_all():
    plans = {
        (seed, epoch): plan_epoch(40, 8, (seed, epoch)) for seed in range(3) for epoch in range(3)
    }
    assert len({plan[0].tobytes() for plan in plans.values()}) == 9
    assert len({plan[1].tobytes() for plan in plans.values()}) == 9
    again = plan_epoch(40, 8, (2, 1))
    np.testing.assert_array_equal(again[0], plans[2, 1][0])
    np.testing.assert_array_equal(again[1], plans[2, 1][1])


def test_the_dataset_ends_and_asks_for_the_epoch_anew():
    epochs = Epochs(10, Places(4, 1, 2), seed=3)
    dataset = epochs.plan()
    assert len(dataset) == 2
    for number in (0, 5, 0):
        epochs.number = number
        steps = list(dataset.as_numpy_iterator())
        wanted = plan_epoch(10, 4, (3, number))
        for step, (numbers, draws) in enumerate(steps):
            np.testing.assert_array_equal(numbers, wanted[0][step, 1:3])
            np.testing.assert_array_equal(draws, wanted[1][step, 1:3])
        assert len(steps) == 2


def test_places_share_all_pictures_and_count_their_own():
    pictures = np.arange(23)
    shares = [Places(6, first, 2) for first in (0, 2, 4)]
    owned = [pictures[share.has(pictures)] for share in shares]
    assert sorted(np.concatenate(owned).tolist()) == pictures.tolist()
    for share, numbers in zip(shares, owned, strict=True):
        np.testing.assert_array_equal(share.own(numbers), np.arange(len(numbers)))
        np.testing.assert_array_equal(share.all(np.arange(len(numbers))), numbers)
