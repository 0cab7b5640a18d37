"""The process around a long run: room for its files, memory, signals, and threads that may hang."""

from __future__ import annotations

import _thread
import logging
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from typing import Any, TypeVar

import psutil

from faces.errors import UserError

log = logging.getLogger(__name__)

T = TypeVar("T")

GRACE = 2.0
"""Seconds that a call which has begun may still take after Ctrl-C."""


def check_room(folder: Path, weights: int) -> None:
    """Find out before the first step whether the checkpoints will fit into ``folder``.

    Args:
        folder: made when it is missing.
        weights: bytes of the network's weights. last.pt holds up to five copies of them (plain and
            averaged, AdamW's two moments), and while it is replaced there are two files.

    Raises UserError when it cannot be written or the disk is too full.
    """
    need = weights * 7
    try:
        folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder).free
    except OSError as error:
        raise UserError(f"the folder {folder} cannot be written: {error}") from error
    if free < need:
        raise UserError(
            f"{folder} has {free / 2**20:.0f} MB free, the checkpoints need {need / 2**20:.0f} MB: "
            "make room or choose another folder"
        )


def memory_mb() -> int:
    """Resident megabytes of this process and its workers.

    On Linux pages that they share are counted once, elsewhere for each of them.
    """
    total = 0
    for process in (psutil.Process(), *psutil.Process().children()):
        try:
            info = process.memory_full_info()
        except psutil.Error:  # a worker that has just ended, or a system that keeps this secret
            continue
        total += getattr(info, "pss", info.rss)
    return round(total / 2**20)


@contextmanager
def interrupt_between() -> Iterator[HeldInterrupt]:
    """Ctrl-C takes effect only where what is given is called: KeyboardInterrupt.

    For loops over the results of threads. Elsewhere it may come between a lock's taking and its
    release, for `threading.Condition` and the import system are written in Python; the threads that
    need this lock, and whoever waits for them, then hang for ever (seen: two threads that waited
    for the import lock). Outside the main thread nothing changes.
    """
    before = signal.getsignal(signal.SIGINT)
    outer = getattr(before, "__self__", None)
    mine = HeldInterrupt()
    if threading.current_thread() is not threading.main_thread():
        yield mine
    elif isinstance(outer, HeldInterrupt):  # a loop within a loop: the outer one's is for both
        yield outer
    else:
        signal.signal(signal.SIGINT, mine.note)
        try:
            yield mine
            mine()
        finally:
            signal.signal(signal.SIGINT, before)


class HeldInterrupt:
    """Remembers that a signal came; a call raises KeyboardInterrupt then, and ``raised`` is set."""

    def __init__(self) -> None:
        self.came = self.raised = False

    def note(self, number: int, frame: object) -> None:
        """The signal's handler."""
        self.came = True

    def __call__(self) -> None:
        if self.came:
            self.came, self.raised = False, True
            raise KeyboardInterrupt


def in_thread(call: Callable[[], T]) -> T:
    """What ``call`` gives or raises, made in a thread of its own, so that Ctrl-C takes effect while
    it hangs: a call of C++ that waits for a network is not interrupted by a signal. It is then left
    alone, and does not keep the program from ending."""
    future: Future[T] = Future()

    def work() -> None:
        try:
            future.set_result(call())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=work, name="call", daemon=True).start()
    while not future.done():
        wait([future], timeout=0.1)
    return future.result()


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


@contextmanager
def stop_signals() -> Iterator[list[int]]:
    """Collects SIGINT and SIGTERM in a list instead of dying; a later one takes effect at once.

    What comes within a second of the first is the same wish once more: torchrun passes a signal on
    to processes that a terminal or `kill` had sent it to as well.
    """
    received: list[int] = []
    before: dict[int, Any] = {}
    first = 0.0

    def note(number: int, frame: object) -> None:
        nonlocal first
        if received:
            if time.monotonic() - first < 1.0:
                return
            signal.signal(number, before[number])
            raise KeyboardInterrupt
        received.append(number)
        first = time.monotonic()
        # In a thread: the signal may have come in the middle of a write to stderr, which cannot be
        # entered twice. The bare kind takes no lock of Python's that this thread may hold.
        message = "stopping after this step (once more after a second: at once)"
        _thread.start_new_thread(log.warning, (message,))

    try:
        for number in (int(signal.SIGINT), int(signal.SIGTERM)):
            before[number] = signal.signal(number, note)
    except ValueError:  # not the main thread: whoever called handles signals
        pass
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
