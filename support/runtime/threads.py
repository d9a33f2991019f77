"""Work for several threads."""

import collections


def map_ahead(function, items, threads, count=4):
    """Like `map`, but in other threads, and a few items ahead and no more, which bounds memory.

    Args:
        function: callable of one item. What it raises is raised when its result is due.
        items: iterable.
        threads: concurrent.futures.Executor.
        count: how many items are worked on or waiting at once.

    Yields:
        The results, in the order of the items.
    """
    waiting = collections.deque()
    for item in items:
        waiting.append(threads.submit(function, item))
        if len(waiting) > count:
            yield waiting.popleft().result()
    yield from (future.result() for future in waiting)
