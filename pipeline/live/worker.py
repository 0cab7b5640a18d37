"""Where the heavy work of the loop is done: at once, or in one thread beside it."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

Job = Callable[[], Any]


class Worker:
    """Does jobs one after the other, in the caller's thread when they are submitted.

    The results of a loop then depend on the frames alone, not on the speed of the machine.
    """

    inline = True
    """Whether every result is there at once."""

    def __init__(self) -> None:
        self._waiting: deque[Any] = deque()

    @property
    def idle(self) -> bool:
        """Whether a job submitted now would be begun at once."""
        return True

    def submit(self, job: Job) -> None:
        """Do ``job``, sooner or later."""
        self._waiting.append(job())

    def finished(self) -> Iterator[Any]:
        """The results not yet taken, in order and without waiting; raises what a job raised."""
        while self._waiting:
            yield self._waiting.popleft()

    def wait(self, until: float) -> bool:
        """Wait for a result not yet taken; False when none will come, or none came until then (as
        `time.monotonic`)."""
        return bool(self._waiting)

    def close(self) -> None:
        """Drop what has not begun and wait for what has."""


class Background(Worker):
    """Jobs are done in a thread of their own; the loop goes on and asks what is finished.

    The thread shares nothing with the loop but jobs and results, and holds no lock while it works.
    """

    inline = False

    def __init__(self) -> None:
        super().__init__()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="faces-worker")

    @property
    def idle(self) -> bool:
        return not self._waiting

    def submit(self, job: Job) -> None:
        self._waiting.append(self._pool.submit(job))

    def finished(self) -> Iterator[Any]:
        while self._waiting and self._waiting[0].done():
            yield self._waiting.popleft().result()

    def wait(self, until: float) -> bool:
        if self._waiting:
            wait(list(self._waiting)[:1], max(0.0, until - time.monotonic()))
        return bool(self._waiting) and self._waiting[0].done()

    def close(self) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._waiting.clear()
