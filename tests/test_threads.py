"""Work in other threads, a few items ahead."""

import threading
from concurrent.futures import ThreadPoolExecutor

from support.runtime.threads import map_ahead

import pytest


@pytest.fixture
def threads():
    with ThreadPoolExecutor(4) as pool:
        yield pool


def test_results_keep_the_order_of_the_items_whichever_is_ready_first(threads):
    second_is_ready = threading.Event()

    def double(number):
        if number == 0:
            assert second_is_ready.wait(10)
        elif number == 1:
            second_is_ready.set()
        return 2 * number

    assert list(map_ahead(double, range(30), threads)) == list(range(0, 60, 2))


@pytest.mark.parametrize("count", [0, 1, 4])
def test_it_stays_so_many_items_ahead_and_no_more(threads, count):
    taken = []
    items = (taken.append(number) or number for number in range(20))
    for number, result in enumerate(map_ahead(str, items, threads, count)):
        assert result == str(number)
        assert len(taken) == min(number + 1 + count, 20)
    assert len(taken) == 20


def test_an_exception_is_raised_at_the_turn_of_its_item(threads):
    results = map_ahead(lambda number: 1 / (number - 2), range(9), threads)
    assert [next(results), next(results)] == [-0.5, -1]
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_of_nothing_comes_nothing(threads):
    assert list(map_ahead(str, [], threads)) == []
