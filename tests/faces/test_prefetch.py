"""Work ahead of and behind a loop: in order, bounded, and never lost."""

from __future__ import annotations

import threading
import time
from contextlib import closing
from functools import partial
from itertools import count

import numpy as np
import pytest

from faces.prefetch import SMALLEST, WriteBehind, read_ahead

TIMEOUT = 20  # seconds, for what happens at once unless something is broken


def test_results_come_in_order():
    def slow_first(i: int) -> int:
        time.sleep(0.03 if i % 3 == 0 else 0)
        return i

    calls = ((partial(slow_first, i), 1) for i in range(30))
    assert list(read_ahead(calls, threads=4)) == list(range(30))


def test_nothing_to_read():
    assert list(read_ahead(iter(()), threads=2)) == []


def test_one_thread_calls_in_order():
    order: list[int] = []
    results = list(read_ahead(((partial(order.append, i), 1) for i in range(20)), threads=1))
    assert order == list(range(20))
    assert results == [None] * 20


def test_reading_goes_on_while_the_caller_works():
    fifth = threading.Event()
    calls = (((fifth.set if i == 5 else int), 1) for i in range(10))
    with closing(read_ahead(calls, threads=2)) as results:
        next(results)
        assert fifth.wait(TIMEOUT), "the sixth call is made while the first result is worked on"


@pytest.mark.parametrize(
    ("size", "most"),
    [(10 * SMALLEST, 4), (40 * SMALLEST, 1), (100 * SMALLEST, 1), (1, 40)],
    ids=["four fit", "one fits", "none fits", "tiny ones count too"],
)
def test_no_more_is_begun_than_fits(size, most):
    begun: list[int] = []
    calls = ((partial(begun.append, i), size) for i in range(60))
    with closing(read_ahead(calls, threads=4, pixels=40 * SMALLEST)) as results:
        for taken, _ in enumerate(results, 1):
            time.sleep(0.001)
            assert len(begun) <= taken + most


def test_an_exception_is_raised_in_its_turn():
    def broken() -> None:
        raise ZeroDivisionError("the third")

    results = read_ahead(((f, 1) for f in (int, int, broken, int)), threads=2)
    assert [next(results), next(results)] == [0, 0]
    with pytest.raises(ZeroDivisionError, match="the third"):
        next(results)


def test_an_endless_source_can_be_left():
    made = []
    before = threading.active_count()
    with closing(
        read_ahead(((partial(made.append, i), SMALLEST) for i in count()), threads=2)
    ) as results:
        for _ in range(5):
            next(results)
    assert len(made) < 100
    assert threading.active_count() == before


# -- WriteBehind

SMALL = np.zeros((2, 2, 3), np.uint8)


@pytest.mark.parametrize("threads", [1, 3])
def test_everything_is_written_at_the_end_of_the_block(threads):
    written: list[int] = []
    with WriteBehind(threads) as behind:
        for i in range(100):
            behind.submit(partial(written.append, i), SMALL)
    assert sorted(written) == list(range(100))
    if threads == 1:
        assert written == list(range(100))


def test_the_caller_goes_on_meanwhile():
    gate, written = threading.Event(), []
    with WriteBehind(1) as behind:
        behind.submit(partial(gate.wait, TIMEOUT), SMALL)
        behind.submit(partial(written.append, 1), SMALL)
        assert written == []
        gate.set()
    assert written == [1]


def test_no_more_waits_than_fits():
    gate = threading.Event()
    image = np.zeros((1000, 1000, 3), np.uint8)
    submitted = []

    def submit_all() -> None:
        with WriteBehind(1, pixels=3 * SMALLEST) as behind:
            for i in range(6):
                behind.submit(partial(gate.wait, TIMEOUT), image)
                submitted.append(i)

    worker = threading.Thread(target=submit_all)
    worker.start()
    time.sleep(0.3)
    assert len(submitted) == 3, "the fourth waits for room"
    gate.set()
    worker.join(TIMEOUT)
    assert len(submitted) == 6


def test_a_failure_is_raised_at_the_latest_at_the_end():
    def full() -> None:
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space left"), WriteBehind(2) as behind:
        behind.submit(full, SMALL)


def test_a_failure_stops_an_endless_loop():
    def full() -> None:
        raise OSError("no space left")

    def endless() -> None:
        with WriteBehind(1) as behind:
            while True:
                behind.submit(full, SMALL)

    with pytest.raises(OSError, match="no space left"):
        endless()


def test_an_exception_in_the_block_drops_what_has_not_begun():
    begun, gate, written = threading.Event(), threading.Event(), []

    def first() -> None:
        begun.set()
        gate.wait(TIMEOUT)

    def interrupted() -> None:
        with WriteBehind(1) as behind:
            behind.submit(first, SMALL)
            behind.submit(partial(written.append, 2), SMALL)
            begun.wait(TIMEOUT)
            threading.Timer(0.05, gate.set).start()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert written == []
