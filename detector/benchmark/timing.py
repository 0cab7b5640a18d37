"""Each contestant in a process of its own, and every image given to all of them in turn.

In its own process a contestant's memory can be measured, its threads and environment are its own,
and a crash ends no other. They take turns, so that a machine that slows down slows all of them:
what is compared are ratios on the same image.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import statistics
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray

from detector.types import Detections, Detector
from faces.closing import Closing
from faces.errors import UserError

logger = logging.getLogger(__name__)

Build = Callable[[], Detector]
"""Makes a contestant, in its own process: must be picklable, as a `functools.partial` of a function
of a module is."""

PATIENCE = 600.0
"""Seconds after which a contestant that does not answer has failed."""

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


class ContestantFailed(Exception):
    """A contestant could not be made, raised, died or did not answer; the message says which."""


@dataclass(frozen=True)
class Timing:
    """What one contestant took."""

    seconds: tuple[float, ...]  # for each image, the whole `detect` call
    # resident memory of its process before the contestant was made: Python and NumPy
    bare_bytes: int
    peak_bytes: int  # the most it ever was
    # of a detector of ours, what it computed in; see `detector.inference.detect`
    arithmetic: str = ""


def contest(
    builds: Mapping[str, Build],
    images: Sequence[NDArray[np.uint8]],
    *,
    threads: int = 1,
    repeats: int = 1,
    progress: Callable[[str], object] = lambda name: None,
) -> dict[str, Timing | ContestantFailed]:
    """Time contestants side by side.

    On each image a contestant first makes one run that does not count, which warms caches and
    whatever its runtime prepares for a new size, and then ``repeats`` runs, whose median is taken.
    The order changes from image to image.

    Args:
        images: RGB uint8 (H, W, 3).
        threads: for libraries that read the number from the environment; ``builds`` must set it for
            all others.
        progress: called with a contestant's name after each image, and after it was made.

    A contestant that fails is left out from then on, and its failure is its result.
    """
    results: dict[str, Timing | ContestantFailed] = {}
    seconds: dict[str, list[float]] = {}
    with ExitStack() as stack:
        processes: dict[str, Process] = {}

        def attempt(name: str, request: Callable[[], Any]) -> Any:
            try:
                return request()
            except ContestantFailed as error:
                logger.warning("%s failed: %s", name, error)
                results[name] = error
                if name in processes:
                    processes.pop(name).close()
                return None
            finally:
                progress(name)

        for name, build in builds.items():
            process = attempt(name, partial(Process, build, threads))
            if process is not None:
                processes[name] = stack.enter_context(process)
                seconds[name] = []
        for i, image in enumerate(images):
            names = list(processes)
            shift = i % max(len(names), 1)
            for name in names[shift:] + names[:shift]:
                lap = attempt(name, partial(processes[name].time, image, repeats))
                if lap is not None:
                    seconds[name].append(lap)
        for name, process in list(processes.items()):
            about = attempt(name, process.about)
            if about is not None:
                results[name] = Timing(tuple(seconds[name]), *about)
    return {name: results[name] for name in builds}


class Process(Closing):
    """A contestant alive in a process of its own; use as a context manager, or `close` it.

    Args:
        patience: seconds to wait for an answer.

    Every method raises ContestantFailed when the contestant does.
    """

    def __init__(self, build: Build, threads: int, patience: float = PATIENCE) -> None:
        context = multiprocessing.get_context("spawn")
        self.patience = patience
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, build), daemon=True)
        with _environment(threads), _ignoring_ctrl_c():
            self.process.start()
        theirs.close()
        try:
            self._answer()  # that it was made
        except BaseException:
            self.close()
            raise

    def time(self, image: NDArray[np.uint8], repeats: int = 1) -> float:
        """Seconds for one `detect` call, the median of ``repeats``, after an uncounted one."""
        return self._ask("time", image, repeats)

    def detect(self, image: NDArray[np.uint8]) -> Detections:
        """What it finds."""
        return self._ask("detect", image)

    def about(self) -> tuple[int, int, str]:
        """Resident bytes before the contestant was made, and at the peak; its arithmetic."""
        return self._ask("about")

    def close(self) -> None:
        """End the process."""
        self.connection.close()
        self.process.terminate()
        self.process.join()

    def _ask(self, *request: Any) -> Any:
        try:
            self.connection.send(request)
        except OSError as error:
            raise self._death() from error
        return self._answer()

    def _answer(self) -> Any:
        try:
            if not self.connection.poll(self.patience):
                raise ContestantFailed(f"no answer within {self.patience:g} s")
            fine, value = self.connection.recv()
        except (EOFError, OSError) as error:
            raise self._death() from error
        if not fine:
            reason, trace = value
            if trace:
                logger.debug("%s", trace)
            raise ContestantFailed(reason)
        return value

    def _death(self) -> ContestantFailed:
        self.process.join(10)
        return ContestantFailed(f"its process ended with exit code {self.process.exitcode}")


def _serve(connection: Connection, build: Build) -> None:
    """What runs in the contestant's process, until its parent closes the connection."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Windows does not inherit it
    with suppress(EOFError, OSError):  # of the connection: the parent is gone
        _answer_all(connection, build)


def _answer_all(connection: Connection, build: Build) -> None:
    """Answer every request with (True, value) or (False, why); first, whether it was made."""
    bare = psutil.Process().memory_info().rss
    try:
        detector = build()
    except Exception as error:
        connection.send((False, _explained(error)))
        return
    connection.send((True, None))
    while True:
        kind, *arguments = connection.recv()
        try:
            if kind == "time":
                value: Any = _time(detector, *arguments)
            elif kind == "detect":
                value = detector.detect(*arguments)
            else:
                value = (bare, peak_memory(), getattr(detector, "arithmetic", ""))
            answer = (True, value)
        except Exception as error:
            answer = (False, _explained(error))
        connection.send(answer)


def _time(detector: Detector, image: NDArray[np.uint8], repeats: int) -> float:
    detector.detect(image)
    laps = []
    for _ in range(repeats):
        start = time.perf_counter()
        detector.detect(image)
        laps.append(time.perf_counter() - start)
    return statistics.median(laps)


def _explained(error: Exception) -> tuple[str, str]:
    """The reason in one line, and the traceback of a bug."""
    if isinstance(error, UserError):
        return str(error), ""
    first = (str(error).strip().splitlines() or [""])[0]
    return f"{type(error).__name__}: {first}", traceback.format_exc()


def peak_memory() -> int:
    """The most resident bytes that this process ever had."""
    if sys.platform == "win32":
        return psutil.Process().memory_info().peak_wset
    if sys.platform == "linux":
        # Not getrusage: a process starts there with the peak of the one that started it.
        for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


@contextmanager
def _environment(threads: int) -> Iterator[None]:
    """Thread counts in the environment, for libraries that read them when they are imported."""
    before = {name: os.environ.get(name) for name in THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(threads)))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def _ignoring_ctrl_c() -> Iterator[None]:
    """Processes started here ignore Ctrl-C, which only their parent should handle."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only there may signals be handled
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before or signal.SIG_DFL)
