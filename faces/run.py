"""The process around a long run: is there room for its files, how much memory, stop signals."""

from __future__ import annotations

import logging
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from faces.errors import UserError

log = logging.getLogger(__name__)


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
def interrupt_between() -> Iterator[Callable[[], None]]:
    """Ctrl-C takes effect only where the function that is given is called: KeyboardInterrupt.

    For loops over the results of threads. Elsewhere it may come between a lock's taking and its
    release, for `threading.Condition` and the import system are written in Python; the threads that
    need this lock, and whoever waits for them, then hang for ever (seen: two threads that waited
    for the import lock). Outside the main thread nothing changes.
    """
    held = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread():
        yield lambda: None
    elif isinstance(held, _HeldInterrupt):  # a loop within a loop: the outer one's is for both
        yield held.check
    else:
        mine = _HeldInterrupt()
        signal.signal(signal.SIGINT, mine)
        try:
            yield mine.check
            mine.check()
        finally:
            signal.signal(signal.SIGINT, held)


class _HeldInterrupt:
    """A handler that remembers that a signal came."""

    def __init__(self) -> None:
        self.came = False

    def __call__(self, number: int, frame: object) -> None:
        self.came = True

    def check(self) -> None:
        if self.came:
            self.came = False
            raise KeyboardInterrupt


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
        log.warning("stopping after this step (once more after a second: at once)")

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
