"""Where the heavy work of the loop is done: at once, or in one thread beside it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol

Job = Callable[[], Any]


class Worker(Protocol):
    """Does jobs one after the other, in order."""

    @property
    def idle(self) -> bool:
        """Whether a job submitted now would be begun at once."""

    def submit(self, job: Job) -> None:
        """Do ``job``, sooner or later."""

    def finished(self) -> Iterator[Any]:
        """The results not yet taken, in order; raises what a job raised."""

    def close(self) -> None:
        """Drop what has not begun and wait for what has."""


class Inline:
    """Jobs are done in the caller's thread when they are submitted: every result is there at once.

    The results of a loop then depend on the frames alone, not on the speed of the machine.
    """

    def __init__(self) -> None:
        self._results: deque[Any] = deque()
        self.idle = True

    def submit(self, job: Job) -> None:
        """Do ``job`` now."""
        self._results.append(job())

    def finished(self) -> Iterator[Any]:
        """The results not yet taken."""
        while self._results:
            yield self._results.popleft()

    def close(self) -> None:
        """Nothing is left to do."""


class Background:
    """Jobs are done in a thread of their own; the loop goes on and asks what is finished.

    The thread shares nothing with the loop but jobs and results, and holds no lock while it works.
    """

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="faces-worker")
        self._waiting: deque[Future[Any]] = deque()

    @property
    def idle(self) -> bool:
        """Whether all jobs are done and their results taken."""
        return not self._waiting

    def submit(self, job: Job) -> None:
        """Queue ``job``."""
        self._waiting.append(self._pool.submit(job))

    def finished(self) -> Iterator[Any]:
        """The results that are there, without waiting; raises what a job raised."""
        while self._waiting and self._waiting[0].done():
            yield self._waiting.popleft().result()

    def close(self) -> None:
        """Drop what has not begun and wait for what has."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._waiting.clear()
