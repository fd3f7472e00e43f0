"""How much work something is: processor time, which other programs on the machine do not add to."""

import time
from collections.abc import Callable

ROUNDS = 3


def least(work: Callable[[], object]) -> float:
    """Return the seconds of processor time that this takes at best."""
    times = []
    for _ in range(ROUNDS):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return min(times)


def growth(work: Callable[[int], object], small: int, large: int) -> float:
    """Return how many times more a larger input takes."""
    return least(lambda: work(large)) / least(lambda: work(small))
