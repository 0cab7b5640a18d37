"""Ctrl-C in loops over the results of threads."""

from __future__ import annotations

import _thread
import signal
import threading
import time
from collections.abc import Iterable
from contextlib import closing

import pytest

from faces import run
from faces.folders import in_threads
from faces.prefetch import read_ahead
from faces.run import interrupt_between, stop_signals


def wait(number: int) -> int:
    time.sleep(0.005)
    if number == 3:
        _thread.interrupt_main()  # as Ctrl-C does
    return number


def take(results: Iterable[int]) -> int:
    """How many come before Ctrl-C takes effect."""
    count = 0
    try:
        for count, number in enumerate(results, start=1):
            assert number == count - 1
    except KeyboardInterrupt:
        return count
    raise AssertionError("Ctrl-C had no effect")


def test_a_signal_passed_on_is_not_a_second_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """torchrun passes Ctrl-C on to processes that the terminal has sent it to as well."""
    now = 100.0
    monkeypatch.setattr(run.time, "monotonic", lambda: now)
    with stop_signals() as stopped:
        signal.raise_signal(signal.SIGINT)
        now += 0.2
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGTERM)
        assert stopped == [signal.SIGINT]
        now += 2
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_ctrl_c_ends_a_loop_between_two_results() -> None:
    before = signal.getsignal(signal.SIGINT)
    assert take(in_threads(wait, range(400), description="waiting")) < 100
    assert signal.getsignal(signal.SIGINT) is before


def test_ctrl_c_ends_loops_within_loops() -> None:
    before = signal.getsignal(signal.SIGINT)
    inner = read_ahead(((lambda n=n: wait(n), 1) for n in range(400)), threads=2)
    outer = read_ahead(((lambda n=n: n, 1) for n in inner), threads=2)
    with closing(inner), closing(outer):
        assert take(outer) < 100
    assert signal.getsignal(signal.SIGINT) is before


def interrupted_at_the_end() -> None:
    with interrupt_between():
        _thread.interrupt_main()
        time.sleep(0.01)


def test_ctrl_c_during_the_last_step_is_not_lost() -> None:
    with pytest.raises(KeyboardInterrupt):
        interrupted_at_the_end()


def test_threads_have_no_signals_to_hold() -> None:
    done: list[int] = []
    thread = threading.Thread(
        target=lambda: done.extend(in_threads(abs, [-1, -2], description="in a thread"))
    )
    thread.start()
    thread.join(10)
    assert done == [1, 2]
