"""Threads whose calls may hang, on a pipe or network that gives nothing; Ctrl-C still works."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from queue import SimpleQueue
from typing import Any, TypeVar

from faces.run import HeldInterrupt

T = TypeVar("T")

GRACE = 2.0
"""Seconds that a call which has begun may still take after Ctrl-C."""


class Threads:
    """A few threads that begin calls in order. Unlike those of `ThreadPoolExecutor`, one that hangs
    does not keep the program from ending."""

    def __init__(self, threads: int) -> None:
        self._calls: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = SimpleQueue()
        self._closing = False
        self._threads = [
            threading.Thread(target=self._work, name="ahead", daemon=True) for _ in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, call: Callable[[], T]) -> Future[T]:
        """Make ``call`` when its turn comes."""
        future: Future[T] = Future()
        self._calls.put((future, call))
        return future

    def close(self, check: HeldInterrupt) -> None:
        """Drop what has not begun and wait for what has; for `GRACE` seconds after Ctrl-C."""
        self._closing = True
        for _ in self._threads:
            self._calls.put(None)
        end = time.monotonic() + GRACE
        for thread in self._threads:
            while thread.is_alive() and not (check.raised and time.monotonic() > end):
                thread.join(0.1)
                check()

    def _work(self) -> None:
        while (item := self._calls.get()) is not None:
            future, call = item
            if self._closing:
                future.cancel()
                continue
            try:
                future.set_result(call())
            except BaseException as error:
                future.set_exception(error)
            del future, item  # a picture is large: nothing keeps it while the next is waited for


def result_of(future: Future[T], check: HeldInterrupt) -> T:
    """What comes of a call. ``future.result()`` would not be ended by a signal that is held."""
    while not future.done():
        wait([future], timeout=0.1)
        check()
    return future.result()
