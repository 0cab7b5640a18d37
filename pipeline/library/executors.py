"""Who looks: processes on this machine or actors of Ray, and how files are shared out among them.

Whoever looks only gives rows back; they are put in order and written by the process that asked
(`pipeline.library.index`). So the library is the same whoever looks, needs no disk that machines
share, and a photo that is looked at twice, because a machine has died, is written once.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import traceback
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import connection, get_context, resource_tracker
from types import ModuleType
from typing import Any, Protocol

from faces.errors import UserError
from pipeline.library.look import Item, Looker, LookSettings, Row, failed_row
from pipeline.library.schema import Manifest
from pipeline.teaching.fit_process import ONE_THREAD

log = logging.getLogger(__name__)

AHEAD = 2
"""Tasks that a worker has at once: it goes on while what it has done is taken."""

STRIKES = 3
"""Workers that a file may cost before it is given up."""

Rows = list[list[Row]]


@dataclass(frozen=True)
class Task:
    """Files for one worker."""

    shard: int  # which they belong to
    items: tuple[Item, ...]  # in order


READY, ROWS, ERROR, DIED = "ready", "rows", "error", "died"
"""What a worker says: it has opened its networks; the rows of its oldest task; why it cannot work
at all (a UserError's text); nothing more."""

Worker = Any
Message = tuple[Worker, str, Any]


class Executor(Protocol):
    """Workers, wherever they are."""

    def start_worker(self) -> Worker:
        """Start one more; it says `READY` when it is."""

    def send(self, worker: Worker, items: Sequence[Item]) -> None:
        """Have it look at files after those that it has."""

    def messages(self) -> Iterator[Message]:
        """Wait until some worker says something."""

    def close(self) -> None:
        """End all workers, whatever they do."""


def share_out(
    executor: Executor, workers: int, take: Callable[[], Task | None]
) -> Iterator[tuple[Task, Rows]]:
    """Every task and the rows of its items, in the order in which they are done.

    Args:
        executor: who works; it is not closed.
        workers: how many at once.
        take: gives the next task, None while there is none; asked again after each result. As tasks
            are only taken when somebody is free, no more than a few are under way.

    When a worker dies, whatever killed it, another takes its place and its files. Files that were
    looked at then come again one by one; the one that kills `STRIKES` workers gets a row that says
    so. Raises UserError when workers cannot work, RuntimeError when they die before they begin.
    """
    again: deque[Task] = deque()
    strikes: Counter[str] = Counter()
    busy: dict[Worker, deque[Task]] = {}
    starting = {executor.start_worker() for _ in range(workers)}
    died_early = 0
    while True:
        for own in range(AHEAD):
            for worker, tasks in busy.items():
                if len(tasks) <= own and (task := again.popleft() if again else take()) is not None:
                    executor.send(worker, task.items)
                    tasks.append(task)
        if not any(busy.values()) and not (starting and not busy):
            return
        for worker, what, value in executor.messages():
            if what == READY:
                starting.discard(worker)
                busy[worker] = deque()
                died_early = 0
            elif what == ROWS:
                yield busy[worker].popleft(), value
            elif what == ERROR:
                raise UserError(value)
            elif worker in starting:
                starting.discard(worker)
                died_early += 1
                if died_early >= STRIKES:
                    raise RuntimeError("the processes that look at photos end before they begin")
                starting.add(executor.start_worker())
            elif worker in busy:
                lost = busy.pop(worker)
                starting.add(executor.start_worker())
                if not lost:
                    continue
                task = lost.popleft()  # the one it was at; the others had not begun
                again.extend(lost)
                if len(task.items) > 1:
                    again.extend(Task(task.shard, (item,)) for item in task.items)
                    continue
                [item] = task.items
                strikes[item.path] += 1
                if strikes[item.path] < STRIKES:
                    again.append(task)
                else:
                    why = "whoever looks at it dies: too large for the memory, or harmful"
                    yield task, [[failed_row(item, why)]]


class Processes:
    """Workers that are processes of this machine, each on one thread."""

    def __init__(
        self, settings: LookSettings, manifest: Manifest, look: Callable[..., Any] = Looker
    ) -> None:
        self._arguments = (settings, manifest, look)
        self._workers: dict[connection.Connection, Any] = {}

    def start_worker(self) -> Worker:
        context = get_context("spawn")  # a copy of a process with threads may hang
        mine, other = context.Pipe()
        process = context.Process(
            target=_serve, args=(other, *self._arguments), daemon=True, name="faces index"
        )
        with _set_up(), _no_main(), _without_ctrl_c():
            process.start()
            self._workers[mine] = process
        other.close()
        return mine

    def send(self, worker: Worker, items: Sequence[Item]) -> None:
        with suppress(OSError):  # it has died: told by `messages`
            worker.send(items)

    def messages(self) -> Iterator[Message]:
        for ready in connection.wait(list(self._workers)):
            assert isinstance(ready, connection.Connection)
            try:
                what, value = ready.recv()
            except (EOFError, OSError):
                self._workers.pop(ready).join()
                ready.close()
                what, value = DIED, None
            yield ready, what, value

    def close(self) -> None:
        for process in self._workers.values():
            process.kill()
        for own, process in self._workers.items():
            process.join()
            own.close()
        self._workers.clear()


@contextmanager
def _set_up() -> Iterator[None]:
    """Processes that are started within have one thread, and run nothing of the current folder."""
    environment = {**ONE_THREAD, "PYTHONSAFEPATH": "1"}
    before = {name: os.environ.get(name) for name in environment}
    os.environ.update(environment)
    try:
        yield
    finally:
        for name, value in before.items():
            del os.environ[name]
            if value is not None:
                os.environ[name] = value


@contextmanager
def _without_ctrl_c() -> Iterator[None]:
    """For processes that are started within: Ctrl-C is for whoever started them, and ends them.

    They inherit that it is blocked. Here it waits until this ends, also where another thread gets
    it: a process whose start is broken off prints a traceback.
    """
    came: list[int] = []
    main = threading.current_thread() is threading.main_thread()
    if main:
        before = signal.signal(signal.SIGINT, lambda number, frame: came.append(number))
    posix = hasattr(signal, "pthread_sigmask")
    if posix:
        resource_tracker.ensure_running()  # its start would end the blocking
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        if posix:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        if main:
            signal.signal(signal.SIGINT, before)
            if came:
                signal.raise_signal(signal.SIGINT)


@contextmanager
def _no_main() -> Iterator[None]:
    """Processes that are started within do not run the program again that starts them, which takes
    time, and where it lacks ``if __name__ == "__main__"`` would begin everything again."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def open_looker(
    settings: LookSettings, manifest: Manifest, look: Callable[[LookSettings], Looker] = Looker
) -> Looker:
    """The networks of a worker. Raises UserError when they are others than the library's."""
    looker = look(settings)
    if looker.manifest != manifest:
        raise UserError(
            f"a worker has other networks than the library: {looker.manifest.detector} and "
            f"{looker.manifest.embedder}, not {manifest.detector} and {manifest.embedder}: install "
            "the same version, weights and files everywhere"
        )
    return looker


def _serve(
    pipe: connection.Connection, settings: LookSettings, manifest: Manifest,
    look: Callable[[LookSettings], Looker],
) -> None:  # fmt: skip
    """The life of a process: until the other end of the pipe is closed, or its process has died."""
    import cv2

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # on Windows it is not inherited
    cv2.setNumThreads(1)
    try:
        try:
            looker = open_looker(settings, manifest, look)
        except UserError as error:
            pipe.send((ERROR, str(error)))
            return
        pipe.send((READY, None))
        while True:
            pipe.send((ROWS, looker.look(pipe.recv())))
    except (EOFError, OSError):
        return
    except BaseException:
        traceback.print_exc(file=sys.stderr)
        raise
