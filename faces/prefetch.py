"""Work done in threads ahead of and behind a loop: in order, and within a bound of memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from faces.closing import Closing
from faces.run import Threads, interrupt_between, result_of

T = TypeVar("T")

PIXELS = 24_000_000
"""What one stage may hold by default: 72 MB of RGB, or a single picture that is larger."""

SMALLEST = 1_000_000
"""A picture counts as at least this many pixels, so that a stage holds 24 of them at most."""


def read_ahead(
    calls: Iterable[tuple[Callable[[], T], int]], *, threads: int, pixels: int = PIXELS
) -> Generator[T]:
    """The results of calls made in threads, in order, while the caller works on earlier ones.

    Args:
        calls: functions that read something, each with the number of pixels that it will hold.
            May be endless. Taken in the caller's thread, as there is room.
        threads: with one, the calls are made strictly one after the other.
        pixels: calls are begun while all results not yet taken fit into this.

    An exception of a call is raised when its turn comes. Close the iterator (``closing``) when it
    is left early: calls not yet begun are then dropped.

    Ctrl-C takes effect while a call hangs, on a pipe that gives nothing, say: the call is left
    alone after `faces.run.GRACE` seconds.
    """
    waiting: deque[tuple[Future[T], int]] = deque()
    held = 0
    pool = Threads(threads)
    with interrupt_between() as check:
        try:
            for call, size in calls:
                check()
                size = max(size, SMALLEST)
                while waiting and held + size > pixels:
                    future, taken = waiting.popleft()
                    held -= taken
                    yield result_of(future, check)
                waiting.append((pool.submit(call), size))
                held += size
            while waiting:
                check()
                yield result_of(waiting.popleft()[0], check)
        finally:
            pool.close(check)


class WriteBehind(Closing):
    """Calls made in threads after the caller has gone on; a context manager.

    ``submit`` waits while the calls not yet done hold more than ``pixels``. An exception of a call
    is raised by a later ``submit`` or at the end of the block. With one thread the calls are made
    strictly one after the other. When the block ends with an exception, calls not yet begun are
    dropped.
    """

    def __init__(self, threads: int, pixels: int = PIXELS) -> None:
        self._pool = ThreadPoolExecutor(threads)
        self._waiting: deque[tuple[Future[Any], int]] = deque()
        self._held = 0
        self._pixels = pixels

    def submit(self, call: Callable[[], Any], image: NDArray[np.uint8]) -> None:
        """Make ``call``, which holds ``image`` (H, W, 3), soon."""
        size = max(image.shape[0] * image.shape[1], SMALLEST)
        while self._waiting and (self._held + size > self._pixels or self._waiting[0][0].done()):
            self._finish_oldest()
        self._waiting.append((self._pool.submit(call), size))
        self._held += size

    def _finish_oldest(self) -> None:
        future, size = self._waiting.popleft()
        self._held -= size
        future.result()

    def leave(self, error: BaseException | None) -> None:
        try:
            while self._waiting and error is None:
                self._finish_oldest()
        finally:
            self._pool.shutdown(wait=True, cancel_futures=True)
