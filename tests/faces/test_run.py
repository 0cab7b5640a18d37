"""Ctrl-C in loops over the results of threads."""

from __future__ import annotations

import _thread
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

import pytest

from faces import run
from faces.folders import in_threads
from faces.prefetch import read_ahead
from faces.run import in_thread, interrupt_between, stop_signals

ROOT = Path(__file__).parents[2]


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


STALLED = """
import os, sys, threading
from contextlib import closing
from faces.folders import in_threads
from faces.run import in_thread
from faces.prefetch import read_ahead
from pipeline.sources.open import SourceOptions, open_source

kind = sys.argv[1]
print("begun", flush=True)
if kind == "inner":
    calls = (((lambda n=n: n), 1) for n in read_ahead([(lambda: os.read(0, 1), 1)], threads=2))
    with closing(read_ahead(calls, threads=2)) as outer:
        list(outer)
elif kind == "map":
    list(in_threads(lambda n: os.read(0, 1), [1, 2], description="reading"))
elif kind == "call":
    in_thread(lambda: os.read(0, 1))
else:
    options = SourceOptions(size=(4, 4), fps=10, live=kind == "live")
    with open_source("-", options) as source:
        while not source.ended:
            source.read(0.1)
"""


@pytest.mark.skipif(os.name == "nt", reason="no signal is sent to one process alone there")
@pytest.mark.parametrize("kind", ["every", "live", "inner", "map", "call"])
def test_ctrl_c_ends_a_program_whose_input_gives_nothing(kind: str) -> None:
    """The first one, and without Python's abort over a lock that a thread still holds."""
    process = subprocess.Popen(
        [sys.executable, "-c", STALLED, kind], cwd=ROOT, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        time.sleep(0.5)  # until it waits; it ends as well if it does not wait yet
        process.send_signal(signal.SIGINT)
        ended = process.wait(60)
        assert process.stderr is not None
        told = process.stderr.read()
        assert "KeyboardInterrupt" in told
        assert "Fatal" not in told
        assert ended in (1, 130, -signal.SIGINT)
    finally:
        process.kill()
        process.communicate()


def test_a_call_in_a_thread_gives_and_raises() -> None:
    assert in_thread(lambda: 3) == 3
    with pytest.raises(ZeroDivisionError):
        in_thread(lambda: 1 // 0)
