"""The order of pictures, which several processes share."""

from types import SimpleNamespace

from support.data.batches import DRAWS, Epochs, filled_batches, own_batches
from support.runtime import distributed

import numpy as np
import pytest


def test_an_epoch_has_whole_batches_in_which_no_picture_comes_twice():
    for epoch in range(3):
        numbers, draws = Epochs(26, 4, 1, epoch).plan()
        assert numbers.shape == (6, 4)
        assert draws.shape == (6, 4, DRAWS)
        assert -1 <= draws.min() < -0.9
        assert 0.9 < draws.max() <= 1
        assert len({*numbers.ravel().tolist()} & {*range(26)}) == 24


@pytest.mark.parametrize("count", [12, 30])
def test_every_picture_has_the_same_chance_and_any_two_meet(count):
    """Counted over 400 epochs with eight a batch: six standard deviations from what chance does."""
    seen, met = np.zeros(count), np.zeros((count, count))
    for epoch in range(400):
        batches, _ = Epochs(count, 8, 1, epoch).plan()
        np.add.at(seen, batches.ravel(), 1)
        for batch in batches:
            met[np.ix_(batch, batch)] += 1
    share = count // 8 * 8 / count
    assert np.abs(seen - 400 * share).max() < 6 * np.sqrt(400 * share * (1 - share))
    pairs = met[~np.eye(count, dtype=bool)]
    together = 400 * share * 7 / (count - 1)
    assert np.abs(pairs - together).max() < 6 * np.sqrt(together)


def test_seed_and_epoch_decide_all():
    plans = {
        (seed, epoch): Epochs(40, 8, seed, epoch).plan() for seed in range(3) for epoch in range(3)
    }
    assert len({plan[0].tobytes() for plan in plans.values()}) == 9
    assert len({plan[1].tobytes() for plan in plans.values()}) == 9
    again = Epochs(40, 8, 2, 1).plan()
    np.testing.assert_array_equal(again[0], plans[2, 1][0])
    np.testing.assert_array_equal(again[1], plans[2, 1][1])


@pytest.fixture
def process(monkeypatch):
    """Make this process one of several."""

    def become(number, count):
        monkeypatch.setattr(distributed, "_process", SimpleNamespace(count=count, number=number))

    return become


def test_the_dataset_ends_and_asks_for_the_epoch_anew(process):
    process(1, 2)
    epochs = Epochs(10, batch_size=4, seed=3)
    dataset = epochs.batches()
    assert len(dataset) == 2
    shapes = [spec.shape.as_list() for spec in dataset.element_spec]
    assert shapes == [[None], [None, DRAWS]]  # see there why
    for number in (0, 5, 0):
        epochs.number = number
        steps = list(dataset.as_numpy_iterator())
        wanted = Epochs(10, 4, 3, number).plan()
        for step, (numbers, draws) in enumerate(steps):
            np.testing.assert_array_equal(numbers, wanted[0][step, 2:4])
            np.testing.assert_array_equal(draws, wanted[1][step, 2:4])
        assert len(steps) == 2


def test_the_last_batch_is_filled_up_and_processes_share_its_columns(process):
    whole = [*filled_batches(10, 6).as_numpy_iterator()]
    assert [batch.tolist() for batch in whole] == [[0, 1, 2, 3, 4, 5], [6, 7, 8, 9, -1, -1]]
    for number in range(3):
        process(number, 3)
        share = [*filled_batches(10, 6).as_numpy_iterator()]
        for batch, columns in zip(whole, share, strict=True):
            np.testing.assert_array_equal(columns, batch[2 * number : 2 * number + 2])


@pytest.mark.parametrize("processes", [1, 2, 3])
def test_each_number_comes_once_whoever_has_it(process, processes):
    found = []
    for number in range(processes):
        process(number, processes)
        batches = [*own_batches(10, 6).as_numpy_iterator()]
        assert max(map(len, batches)) == 6 // processes
        found += np.concatenate(batches).tolist()
    assert sorted(found) == [*range(10)]


def test_chance_has_drawn_for_each_picture_and_each_change_anew():
    _, draws = Epochs(400, 8, 1).plan()
    assert len(np.unique(draws)) > 0.99 * draws.size
    flat = draws.reshape(-1, DRAWS)
    assert np.abs(np.corrcoef(flat.T) - np.eye(DRAWS)).max() < 0.2  # four standard deviations
