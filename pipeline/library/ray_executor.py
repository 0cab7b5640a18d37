"""Workers that are actors of Ray, on one machine or many. Ray is asked for nothing but places."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from faces.errors import UserError
from pipeline.library.executors import DIED, ERROR, READY, ROWS, Message, Worker, open_looker
from pipeline.library.look import Item, Looker, LookSettings
from pipeline.library.schema import Manifest

log = logging.getLogger(__name__)


class RayExecutor:
    """One actor on each processor of a cluster, with the networks opened once.

    Args:
        settings, manifest: see `pipeline.library.executors.open_looker`.
        address: of a cluster that is there, ``host:port`` or ``auto``; None begins one on this
            machine, which ends with it.
        workers: for a cluster that is begun here: how many processors it has; None takes all.
        look: makes what looks.

    Raises UserError when the cluster cannot be reached.
    """

    def __init__(
        self,
        settings: LookSettings,
        manifest: Manifest,
        address: str | None = None,
        workers: int | None = None,
        look: Callable[[LookSettings], Looker] = Looker,
    ) -> None:
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # read when Ray begins: it calls nobody
        import ray

        self._ray = ray
        self._mine = not ray.is_initialized()
        if self._mine:
            here: dict[str, Any] = {}
            if address is None:
                here = {"num_cpus": workers, "include_dashboard": False}
            try:
                ray.init(
                    address=address or "local", logging_level=logging.ERROR, log_to_driver=False,
                    **here,
                )  # fmt: skip
            except Exception as error:  # Ray raises that itself when its processes are too slow
                first = (str(error).splitlines() or [type(error).__name__])[0]
                raise UserError(
                    f"there is no Ray cluster at {address or 'this machine'}: {first}; begin one "
                    "with `ray start --head --disable-usage-stats`"
                ) from error
        self.processors = int(ray.cluster_resources().get("CPU", 1))
        # A lost node is not waited for: its files go to the actors that are there (`share_out`).
        self._kind: Any = ray.remote(num_cpus=1, max_restarts=0)(_Actor)
        self._arguments = (settings, manifest, look)
        self._actors: dict[int, Any] = {}
        self._said: dict[Any, tuple[int, str]] = {}  # what is awaited: of whom, and what it means
        self._count = 0

    def start_worker(self) -> Worker:
        self._count += 1
        actor = self._actors[self._count] = self._kind.remote(*self._arguments)
        self._said[actor.ready.remote()] = self._count, READY
        return self._count

    def send(self, worker: Worker, items: Sequence[Item]) -> None:
        self._said[self._actors[worker].look.remote(items)] = worker, ROWS

    def messages(self) -> Iterator[Message]:
        errors = self._ray.exceptions
        # Of each worker what it was asked first: answers come in the order of the questions.
        first = {worker: ref for ref, (worker, _) in reversed(self._said.items())}
        done, _ = self._ray.wait(list(first.values()), num_returns=1)
        for ref in done:
            worker, what = self._said.pop(ref)
            try:
                value = self._ray.get(ref)
            except errors.RayTaskError as error:
                if isinstance(error.cause, UserError):
                    yield worker, ERROR, str(error.cause)
                    continue
                raise
            except errors.RayError as error:  # the actor, its node, or the objects there are lost
                log.info("a worker was lost: %s", type(error).__name__)
                self._actors.pop(worker)
                self._said = {r: one for r, one in self._said.items() if one[0] != worker}
                what, value = DIED, None
            yield worker, what, value

    def close(self) -> None:
        for actor in self._actors.values():
            self._ray.kill(actor)
        self._actors.clear()
        self._said.clear()
        if self._mine:
            self._ray.shutdown()


class _Actor:
    """The networks, on one processor of a cluster."""

    def __init__(self, *arguments: Any) -> None:
        import cv2

        cv2.setNumThreads(1)
        self._arguments = arguments

    def ready(self) -> None:
        self._looker = open_looker(*self._arguments)

    def look(self, items: Sequence[Item]) -> Any:
        return self._looker.look(items)
