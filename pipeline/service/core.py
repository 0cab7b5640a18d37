"""The service: requests and image bytes in, responses or `ServiceError` out; no transport.

An adapter finds the operation in `pipeline.service.operations`, reads its request, and calls
`Service.submit`. Requests run in threads of their own, which mostly wait for those of
`pipeline.service.vision`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from importlib.metadata import version
from typing import Any

from pydantic import BaseModel

from pipeline.service import types as t
from pipeline.service.errors import ServiceError
from pipeline.service.handlers.faces import FaceOperations
from pipeline.service.handlers.liveness import LivenessOperations
from pipeline.service.handlers.people import PeopleOperations
from pipeline.service.operations import OPERATIONS, Operation
from pipeline.service.people import People, need_people
from pipeline.service.runtime.batching import Call
from pipeline.service.runtime.jobs import Jobs, Progress
from pipeline.service.runtime.limits import Limits, Shares
from pipeline.service.runtime.logs import trace
from pipeline.service.runtime.metrics import Metrics
from pipeline.service.runtime.tracing import Spans
from pipeline.service.vision import Models, Vision
from recognizer.quality import Gates
from recognizer.store.people import Store

logger = logging.getLogger(__name__)

Fit = Callable[[Store, Progress], dict[str, Any]]
"""Trains the classifier on the people of a store and saves it there; returns figures."""


class Service:
    """Everything that the adapters offer.

    Args:
        people: None for a server that knows nobody; needs ``models.embedder``.
        fit: None for a server that does not train.
        gates: what a photo must be to be enrolled; None takes every photo with one face.
        keep_crops: also store a picture of each enrolled face, for another embedder later.
        spans: None for a server that is not traced.
    """

    def __init__(
        self,
        models: Models,
        people: People | None = None,
        limits: Limits | None = None,
        fit: Fit | None = None,
        gates: Gates | None = None,
        keep_crops: bool = False,
        metrics: Metrics | None = None,
        spans: Spans | None = None,
    ) -> None:
        if people is not None and models.embedder is None:
            raise ValueError("people cannot be recognized without an embedder")
        self.limits = limits or Limits()
        self.metrics = metrics or Metrics()
        self.vision = Vision(models, self.limits, self.metrics)
        self.jobs = Jobs()
        self._models, self._people, self._fit, self._spans = models, people, fit, spans
        faces = FaceOperations(self.vision, people, self.metrics)
        register = PeopleOperations(self.vision, people, gates, keep_crops)
        self.liveness = LivenessOperations(
            self.vision, people, lambda status: self.metrics.challenges.labels(status).inc()
        )
        self._waiting = Shares("images waiting", self.limits.max_waiting, pause=self.vision.pause)
        self._pool = ThreadPoolExecutor(self.limits.max_waiting, "request")
        self._closing = False
        self._handlers: dict[str, Callable[..., BaseModel]] = {
            "detect": faces.detect,
            "embed": faces.embed,
            "recognize": faces.recognize,
            "verify": faces.verify,
            "liveness/begin": self.liveness.begin,
            "liveness/frame": self.liveness.frame,
            "liveness/state": self.liveness.state,
            "liveness/end": self.liveness.end,
            "enroll": register.enroll,
            "people": register.people,
            "people/rename": register.rename,
            "people/forget": register.forget,
            "people/deny": register.deny,
            "people/undo": register.undo,
            "fit": self._start_fit,
            "fit/status": self._status,
            "info": self._info,
            "health": self._health,
        }
        assert self._handlers.keys() == OPERATIONS.keys()
        self._measure()

    def submit(
        self, operation: Operation, request: BaseModel, images: Sequence[bytes], call: Call
    ) -> Future[BaseModel]:
        """Begin a request; the future's exception is a ServiceError, whatever goes wrong.

        ``call.deadline`` is brought down to what the limits allow. Raises ServiceError at once when
        the request cannot be taken.
        """
        call.deadline = min(call.deadline, time.monotonic() + self.limits.deadline)
        if not operation.takes_images and operation.name in ("info", "health"):
            # Answered even when the queue is full and when the server is ending.
            done: Future[BaseModel] = Future()
            done.set_result(self._handlers[operation.name](request, images, call))
            return done
        try:
            if self._closing:
                raise ServiceError("shutting_down", "the server is ending")
            operation.check_images(len(images), self.limits.max_images)
            amount = max(1, len(images))
            self._waiting.take(call.caller, amount)
        except ServiceError as error:
            self.metrics.requests.labels(operation.name, error.code).inc()
            raise
        try:
            future = self._pool.submit(self._run, operation, request, images, call)
        except RuntimeError as error:  # closed since we looked
            self._waiting.give_back(call.caller, amount)
            self.metrics.requests.labels(operation.name, "shutting_down").inc()
            raise ServiceError("shutting_down", "the server is ending") from error
        future.add_done_callback(lambda _: self._waiting.give_back(call.caller, amount))
        return future

    def close(self) -> None:
        """Refuse what is new, finish what has begun (jobs too), close the files."""
        self._closing = True
        self._pool.shutdown(wait=True)
        self.liveness.close()
        self.jobs.finish()
        self.vision.close()
        if self._people is not None:
            self._people.close()
        if self._spans is not None:
            self._spans.close()

    @property
    def health(self) -> t.HealthResponse:
        """Whether requests can be answered."""
        reason, people = None, self._people
        if self._closing:
            reason = "the server is ending"
        elif not self.vision.alive:
            reason = "a thread has died"
        elif people is not None:
            reason = people.problem
            if people.is_away:  # others would be no better off, and everybody is recognized
                return t.HealthResponse(ready=True, waiting=self._waiting.held, reason=reason)
        return t.HealthResponse(ready=reason is None, waiting=self._waiting.held, reason=reason)

    # -- running a request

    def _run(
        self, operation: Operation, request: BaseModel, images: Sequence[bytes], call: Call
    ) -> BaseModel:
        start = time.monotonic()
        outcome = "ok"
        if self._spans is not None:
            call.span = self._spans.request(
                operation.name, len(images), call.request_id, call.traceparent
            )
        try:
            call.check()
            return self._handlers[operation.name](request, images, call)
        except ServiceError as error:
            outcome = error.code
            raise
        except Exception as error:
            outcome = "internal"
            fields = {"operation": operation.name, "request_id": call.request_id} | trace(error)
            logger.error("a bug", extra={"fields": fields})
            raise ServiceError(
                "internal", "a bug; the server's log has the request's id"
            ) from error
        finally:
            if call.span is not None:
                call.span.end(outcome)
            self.metrics.requests.labels(operation.name, outcome).inc()
            self.metrics.request_seconds.labels(operation.name).observe(time.monotonic() - start)

    # -- jobs

    def _start_fit(self, request: t.NoFields, images: Sequence[bytes], call: Call) -> BaseModel:
        people, fit = need_people(self._people), self._fit
        if fit is None:
            raise ServiceError("unavailable", "this server does not train")

        def task(progress: Progress) -> dict[str, Any]:
            result = fit(people.store, progress)
            people.refresh()
            return result

        return self.jobs.start(task)

    def _status(self, request: t.JobRequest, images: Sequence[bytes], call: Call) -> BaseModel:
        if request.seen is None:
            return self.jobs.get(request.job)
        return self.jobs.wait(request.job, request.seen, min(request.wait, max(0.0, call.left - 1)))

    # -- the server itself

    def _info(self, request: t.NoFields, images: Sequence[bytes], call: Call) -> BaseModel:
        embedder = self._models.embedder
        snapshot = None if self._people is None else self._people.snapshot
        limits = self.limits
        return t.InfoResponse(
            version=version("faces"),
            detector=self._models.detector_name,
            contract=None if embedder is None else embedder.fingerprint,
            dimension=None if embedder is None else embedder.dimension,
            liveness=self._models.liveness is not None,
            challenges=self.liveness.offered,
            people=None if snapshot is None else len(snapshot.gallery.people),
            people_version=None if snapshot is None else snapshot.version,
            head=snapshot is not None and snapshot.head is not None,
            threshold=None if snapshot is None else snapshot.thresholds.gallery,
            limits=t.ServerLimits(
                max_bytes=limits.max_bytes, max_pixels=limits.max_pixels,
                max_images=limits.max_images, max_faces=limits.max_faces, deadline=limits.deadline,
            ),
            operations=list(OPERATIONS),
        )  # fmt: skip

    def _health(self, request: t.NoFields, images: Sequence[bytes], call: Call) -> BaseModel:
        return self.health

    def _measure(self) -> None:
        gauge = self.metrics.gauge
        gauge("faces_images_waiting", "Images in the service", lambda: self._waiting.held)
        gauge("faces_ready", "1 when requests can be answered", lambda: float(self.health.ready))
        gauge("faces_liveness_sessions", "Sessions kept", lambda: len(self.liveness.sessions))
        people = self._people
        if people is not None:
            gauge("faces_people", "People known", lambda: len(people.snapshot.gallery.people))
            gauge(
                "faces_people_current", "1 when changes of people are seen",
                lambda: float(people.problem is None),
            )  # fmt: skip
            gauge("faces_people_version", "Grows with every change", lambda: people.version)
        embedder = self._models.embedder
        self.metrics.models.info(
            {
                "version": version("faces"),
                "detector": self._models.detector_name,
                "contract": "" if embedder is None else embedder.fingerprint,
            }
        )
