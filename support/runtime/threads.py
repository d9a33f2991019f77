"""Work done in other threads, a little before its results are needed."""

import collections


def map_ahead(function, items, threads, count=4):
    """Like `map`, but in the threads of an Executor, and `count` items ahead of the one asked for.

    No more than that, so that memory does not grow with the number of items. What `function` raises
    is raised at its item's turn.
    """
    futures = collections.deque()
    for item in items:
        futures.append(threads.submit(function, item))
        if len(futures) > count:
            yield futures.popleft().result()
    while futures:
        yield futures.popleft().result()
