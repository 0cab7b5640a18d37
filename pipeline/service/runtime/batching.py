"""Work of many callers, done by few threads, in batches, with turns.

Each caller has a queue of its own, and a batch takes one piece of work from every caller before a
second from any, and ends when one of them has no more: its answer must not wait for the rest of
the others. So one that sends a thousand pictures delays another's by one batch, not by a thousand
pictures.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # several cameras share these workers, also where nothing of the server is there
    from pipeline.service.errors import ServiceError
    from pipeline.service.runtime.tracing import RequestSpan

logger = logging.getLogger(__name__)

Observe = Callable[[str, float], None]


@dataclass(eq=False)
class Call:
    """Who waits for an answer, and how long."""

    caller: str = "local"  # turns are taken between these: a key, an address, or one pipe
    deadline: float = float("inf")  # of `time.monotonic`; afterwards nobody wants the answer
    request_id: str = ""  # for logs
    traceparent: str | None = None  # the caller's own trace, as in W3C Trace Context
    # set when the caller has gone
    cancelled: threading.Event = field(default_factory=threading.Event)
    span: RequestSpan | None = None  # told of every stage, where requests are traced

    @property
    def left(self) -> float:
        """Seconds until the deadline."""
        return self.deadline - time.monotonic()

    def check(self) -> None:
        """Raises ServiceError when the answer would come too late."""
        if self.cancelled.is_set() or self.left <= 0:
            raise late()


def late() -> ServiceError:
    """For a request whose time is over."""
    from pipeline.service.errors import ServiceError

    return ServiceError("deadline_exceeded", "there was no time left to answer; come back later")


@dataclass(eq=False)
class Work:
    """One piece of work; ``future`` gets what becomes of it."""

    payload: Any
    call: Call
    future: Future[Any] = field(default_factory=Future)
    since: float = field(default_factory=time.monotonic)


class Stage:
    """One kind of work and those who wait for it.

    Args:
        run: does a batch: payloads -> results in the same order; an exception in place of a result
            belongs to that payload alone.
        wait: seconds that a batch which is not full waits for more ...
        expected: ... as long as this says that more is on its way.
    """

    def __init__(
        self,
        name: str,
        run: Callable[[list[Any]], Sequence[Any]],
        most: int = 1,
        wait: float = 0.0,
        expected: Callable[[], bool] = lambda: False,
    ) -> None:
        self.name, self.run, self.most = name, run, most
        self.wait, self.expected = wait, expected
        self._queues: OrderedDict[str, deque[Work]] = OrderedDict()
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def put(self, work: Work) -> None:
        """Last in its caller's queue."""
        self._queues.setdefault(work.call.caller, deque()).append(work)
        self._length += 1

    def take(self) -> list[Work]:
        """The next batch: one of each caller in turn, until it is full or one has no more."""
        batch: list[Work] = []
        callers = len(self._queues)
        while self._queues and len(batch) < self.most:
            if len(self._queues) < callers and len(batch) % callers == 0:
                break  # a round is over, after which some have all they asked for
            caller, queue = self._queues.popitem(last=False)
            batch.append(queue.popleft())
            if queue:
                self._queues[caller] = queue  # behind the others
        self._length -= len(batch)
        return batch


class Workers:
    """Threads that do the work of one or several stages; they own what ``run`` touches.

    Args:
        observe: told the seconds of each batch (stage's name) and of waiting ("queue").
    """

    def __init__(
        self,
        name: str,
        stages: Sequence[Stage],
        threads: int = 1,
        observe: Observe = lambda stage, seconds: None,
    ) -> None:
        self.stages = list(stages)
        self.observe = observe
        self.busy = 0
        self._closing = False
        self._ready = threading.Condition()
        self._threads = [
            threading.Thread(target=self._loop, name=f"{name}-{i}", daemon=True)
            for i in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def pending(self) -> int:
        """Pieces of work that wait or are being done."""
        return self.busy + sum(map(len, self.stages))

    @property
    def alive(self) -> bool:
        """Whether all threads run."""
        return all(thread.is_alive() for thread in self._threads)

    def submit(self, stage: Stage, payload: Any, call: Call) -> Future[Any]:
        """Queue a piece of work. Raises ServiceError when the workers are closed."""
        work = Work(payload, call)
        with self._ready:
            if self._closing:
                from pipeline.service.errors import ServiceError

                raise ServiceError("shutting_down", "the server is ending")
            stage.put(work)
            self._ready.notify()
        return work.future

    def close(self) -> None:
        """Do what is queued, then end the threads."""
        with self._ready:
            self._closing = True
            self._ready.notify_all()
        for thread in self._threads:
            thread.join()

    def _loop(self) -> None:
        turn = 0
        while True:
            with self._ready:
                while not any(map(len, self.stages)):
                    if self._closing:
                        return
                    self._ready.wait()
                while not len(self.stages[turn % len(self.stages)]):
                    turn += 1
                stage = self.stages[turn % len(self.stages)]
                turn += 1
                self._wait_for_company(stage)
                batch = stage.take()
                self.busy += len(batch)
            done: list[tuple[Work, Any]] = []
            try:
                done = self._do(stage, batch)
            finally:
                with self._ready:
                    self.busy -= len(batch)
            # Only now: whoever gets a result may ask at once whether more is on its way.
            for work, result in done:
                if isinstance(result, BaseException):
                    work.future.set_exception(result)
                else:
                    work.future.set_result(result)

    def _wait_for_company(self, stage: Stage) -> None:
        until = time.monotonic() + stage.wait
        while len(stage) < stage.most and stage.expected() and not self._closing:
            left = until - time.monotonic()
            if left <= 0 or sum(map(len, self.stages)) > len(stage):
                return
            self._ready.wait(left)

    def _do(self, stage: Stage, batch: list[Work]) -> list[tuple[Work, Any]]:
        start = time.monotonic()
        wanted = []
        for work in batch:
            self.observe("queue", start - work.since)
            if not work.future.set_running_or_notify_cancel():
                continue  # whoever waited has given up
            if work.call.cancelled.is_set() or work.call.left <= 0:
                work.future.set_exception(late())
            else:
                wanted.append(work)
        if not wanted:
            return []
        results = self._results(stage, [work.payload for work in wanted])
        seconds = time.monotonic() - start
        self.observe(stage.name, seconds)
        _trace(stage, wanted, start, seconds)
        return list(zip(wanted, results, strict=True))

    def _results(self, stage: Stage, payloads: list[Any]) -> list[Any]:
        try:
            results = list(stage.run(payloads))
            if len(results) != len(payloads):
                raise RuntimeError(f"{stage.name}: {len(results)} results of {len(payloads)}")
            return results
        except Exception as error:
            if len(payloads) == 1:
                return [error]
            # One bad payload must not spoil what others asked for.
            return [self._results(stage, [payload])[0] for payload in payloads]


def _trace(stage: Stage, batch: list[Work], start: float, seconds: float) -> None:
    """One span of the stage for each request that had a part in the batch."""
    parts: dict[Call, list[Work]] = {}
    for work in batch:
        if work.call.span is not None:
            parts.setdefault(work.call, []).append(work)
    for call, works in parts.items():
        assert call.span is not None
        waited = start - min(work.since for work in works)
        call.span.stage(stage.name, seconds, waited, len(works), len(batch))
