"""The service as a child process: requests on stdin, answers on stdout, one JSON object a line.

    -> {"id": 1, "op": "detect", "images": ["<base64>"], "min_score": 0.8, "deadline": 5}
    <- {"id":1,"result":{"images":[...]}}
    -> {"id": 2, "op": "verify", "frames": [48231, 50112]}       and then 48231 + 50112 bytes
    <- {"id":2,"error":{"code":"no_face","message":...,"details":{...},"retry_after":null}}

The line is the header of binary frames: ``frames`` has the length of each image, and the images
follow right after the line's end, without anything between or behind them. They are read off the
pipe whatever else is wrong with the line: a picture's bytes must never be taken for requests.

Answers come as they are ready, not in order; ``id`` tells whose they are. A started job also sends
events ``{"id":3,"event":"progress","result":{...}}``; the first line of all is an event ``ready``.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any, BinaryIO

from pydantic import BaseModel

from pipeline.service import types as t
from pipeline.service.core import Service
from pipeline.service.errors import ServiceError
from pipeline.service.images import decode_base64
from pipeline.service.operations import OPERATIONS, find_operation
from pipeline.service.runtime.batching import Call
from pipeline.service.runtime.limits import Limits
from pipeline.stdio.pipe import LineTooLong, Pipe

logger = logging.getLogger(__name__)

ENVELOPE = {"id", "op", "images", "frames", "deadline", "traceparent"}
AT_ONCE = 16  # requests that are read before the first is answered; then the pipe fills up
GRACE = 30.0  # seconds that what runs may take after SIGTERM
MAX_SKIP = 2**30  # frames that are too large are read over; longer ones end the process
FRAMES = b'"frames"'  # a line that holds this and cannot be understood may have pictures behind it
NOT_JSON = object()  # in place of NaN and Infinity; no field takes it


class StdioServer:
    """Reads requests from a pipe and writes answers to another; see the top of this file.

    Args:
        service: closed by whoever made it.
        sink: written and flushed a line at a time.
    """

    def __init__(self, service: Service, source: int, sink: BinaryIO) -> None:
        self._service, self._limits = service, service.limits
        self._pipe, self._sink = Pipe(source), sink
        self._writing = threading.Lock()
        self._change = threading.Condition()
        self._running = 0
        self._ending = False
        self._followers: list[threading.Thread] = []

    def serve(self) -> None:
        """Until the stream ends, `stop` is called, or nobody reads the answers any more."""
        info = self._service.submit(OPERATIONS["info"], t.NoFields(), [], Call()).result()
        self._write(None, "result", info.model_dump_json(), event="ready")
        while not self._ending:
            name: Any = None
            try:
                line = self._line()
                if line is None:
                    break
                if not line.strip():
                    continue
                message = self._object(line)
                named = _is_name(message.get("id"))
                name = message.get("id") if named else None
                # First of all: pictures that stayed in the pipe would be taken for requests.
                frames = self._frames(message)
                if not named:
                    raise ServiceError(
                        "invalid_request", "id: a whole number or up to 200 characters"
                    )
                if not self._ending:
                    self._start(name, message, frames)
            except ServiceError as error:
                self._refuse(name, error)
            except OSError as error:  # of the pipe, and the next reading would fail as well
                logger.error("no request can be read any more: %s", error.strerror)
                self.stop()
            except Exception:
                logger.exception("a bug while reading a request")
                self._refuse(name, ServiceError("internal", "a bug; see the log"))

    def stop(self) -> None:
        """Take no further request."""
        self._ending = True

    def drain(self, seconds: float | None = None) -> bool:
        """Wait until everything is answered; False when that takes longer than ``seconds``."""
        until = None if seconds is None else time.monotonic() + seconds
        with self._change:
            done = self._change.wait_for(lambda: not self._running, seconds)
        for follower in self._followers:
            follower.join(None if until is None else max(0.0, until - time.monotonic()))
            done = done and not follower.is_alive()
        return done

    def _start(self, name: Any, message: dict[str, Any], frames: list[bytes]) -> None:
        images = _images(message) + frames
        operation = find_operation(message.get("op"))
        fields = {key: value for key, value in message.items() if key not in ENVELOPE}
        # JSON's way of being strict: arrays are lists, and whole numbers may be written for others.
        request = operation.parse(fields)
        seconds = message.get("deadline", self._limits.deadline)
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or seconds <= 0:
            raise ServiceError("invalid_request", "deadline: a positive number of seconds")
        parent = message.get("traceparent")
        if parent is not None and not isinstance(parent, str):
            raise ServiceError("invalid_request", "traceparent: a text as in W3C Trace Context")
        # Whole numbers of JSON may be larger than any other number, with which they are not added.
        seconds = min(seconds, self._limits.deadline)
        call = Call("stdio", time.monotonic() + seconds, str(name), traceparent=parent)
        with self._change:
            self._change.wait_for(lambda: self._running < AT_ONCE)
            self._running += 1
        try:
            future = self._submit(operation, request, images, call)
        except BaseException:
            self._done()
            raise
        future.add_done_callback(lambda done: self._answer(name, operation.name, done))

    def _submit(
        self, operation: Any, request: BaseModel, images: list[bytes], call: Call
    ) -> Future[BaseModel]:
        """Submit; a full service holds the pipe up, as long as there is hope."""
        while True:
            try:
                return self._service.submit(operation, request, images, call)
            except ServiceError as error:
                if error.code != "overloaded" or call.left <= 0:
                    raise
            with self._change:
                before = self._running
                self._change.wait_for(lambda: self._running < before, min(0.5, call.left))  # noqa: B023

    def _line(self) -> bytes | None:
        try:
            return self._pipe.line(max_line(self._limits), FRAMES)
        except LineTooLong as error:
            if error.told:
                self.stop()
            raise

    def _object(self, line: bytes) -> dict[str, Any]:
        try:
            # NaN is refused where it stands, not here, where the frames were not read yet.
            message = json.loads(line, parse_constant=lambda _: NOT_JSON)
        except (ValueError, RecursionError) as error:
            if FRAMES in line:
                self.stop()  # pictures may follow, and nobody knows how long they are
            raise ServiceError("invalid_request", "the line is no JSON in UTF-8") from error
        if not isinstance(message, dict):
            if FRAMES in line:
                self.stop()
            raise ServiceError("invalid_request", "the line is no JSON object")
        return message

    def _frames(self, message: dict[str, Any]) -> list[bytes]:
        """What follows the line; nothing more is read when it cannot be told where that ends."""
        lengths = message.get("frames", [])
        if not isinstance(lengths, list) or any(type(n) is not int or n < 0 for n in lengths):
            self.stop()
            raise ServiceError(
                "invalid_request", "frames: a list of lengths in bytes; no more requests are read"
            )
        length = sum(lengths)
        if length > self._limits.max_request:
            if length > MAX_SKIP:
                self.stop()
            else:
                self._pipe.skip(length)
            raise ServiceError(
                "too_large", f"the frames are longer than {self._limits.max_request} bytes"
            )
        return [self._pipe.frame(length) for length in lengths]

    def _answer(self, name: Any, operation: str, future: Future[BaseModel]) -> None:
        try:
            error = future.exception()
            if isinstance(error, ServiceError):
                self._refuse(name, error)
            elif error is not None:
                self._refuse(name, ServiceError("internal", "a bug; see the log"))
            else:
                result = future.result()
                self._write(name, "result", result.model_dump_json())
                if operation == "fit" and isinstance(result, t.Job):
                    self._follow(name, result)
            _log(name, operation, error)
        finally:
            self._done()

    def _done(self) -> None:
        with self._change:
            self._running -= 1
            self._change.notify_all()

    def _follow(self, name: Any, job: t.Job) -> None:
        def follow(job: t.Job = job) -> None:
            while job.state == "running":
                newer = self._service.jobs.wait(job.job, job.news, 60.0)
                if newer.news > job.news:
                    self._write(name, "result", newer.model_dump_json(), event="progress")
                job = newer

        thread = threading.Thread(target=follow, name="progress", daemon=True)
        self._followers.append(thread)
        thread.start()

    def _refuse(self, name: Any, error: ServiceError) -> None:
        self._write(name, "error", error.body.model_dump_json())

    def _write(self, name: Any, kind: str, body: str, event: str | None = None) -> None:
        """``id`` comes first: a client may find it without reading the rest."""
        middle = "" if event is None else f'"event":"{event}",'
        line = f'{{"id":{json.dumps(name)},{middle}"{kind}":{body}}}\n'
        try:
            with self._writing:
                self._sink.write(line.encode())
                self._sink.flush()
        except (OSError, ValueError):
            self.stop()  # nobody reads any more


def run_stdio(make_service: Callable[[], Service]) -> int:
    """Serve this process's own stdin and stdout; returns the exit code.

    ``make_service`` is called when nothing can write to stdout any more, as libraries may do while
    models load. 0 after the end of stdin or a signal, when everything was answered; 1 when that
    took longer than `GRACE` after a signal. The service is closed.
    """
    with claimed_streams() as (source, sink), stop_signals() as stopped:
        service = make_service()
        server = StdioServer(service, source, sink)
        reader = threading.Thread(target=server.serve, name="stdin", daemon=True)
        reader.start()
        while reader.is_alive() and not stopped.wait(0.1):
            reader.join(0.1)
        signalled = stopped.is_set()
        server.stop()
        answered = server.drain(GRACE if signalled else None)
        logger.info("ending", extra={"fields": {"answered": answered}})
        if not answered:
            os._exit(1)  # threads that hang must not hold the process
        service.close()
    return 0


@contextmanager
def claimed_streams() -> Iterator[tuple[int, BinaryIO]]:
    """Real stdin and stdout for us alone; whatever else writes to stdout, C too, goes to stderr."""
    sys.stdout.flush()
    source, sink = os.dup(0), os.dup(1)
    if os.name == "nt":
        import msvcrt

        for descriptor in (source, sink):
            msvcrt.setmode(descriptor, os.O_BINARY)  # type: ignore[attr-defined]
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    os.close(nothing)
    before, sys.stdout = sys.stdout, sys.stderr
    try:
        with os.fdopen(sink, "wb") as file:
            yield source, file
    finally:
        sys.stdout = before


@contextmanager
def stop_signals() -> Iterator[threading.Event]:
    """An event that SIGTERM and Ctrl-C set."""
    stopped = threading.Event()
    before = {
        number: signal.signal(number, lambda *_: stopped.set())
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield stopped
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def max_line(limits: Limits) -> int:
    """Bytes of a line: as many images as a request may have, in base64 with a line break (up to
    four characters in JSON) after every 76, and room for the rest."""
    return limits.max_request * 4 // 3 * 80 // 76 + 65_536


def _is_name(name: Any) -> bool:
    return name is None or type(name) is int or (isinstance(name, str) and len(name) <= 200)


def _images(message: dict[str, Any]) -> list[bytes]:
    texts = message.get("images", [])
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise ServiceError("invalid_request", "images: a list of base64 texts")
    return [decode_base64(text, "images: not base64", i) for i, text in enumerate(texts)]


def _log(name: Any, operation: str, error: BaseException | None) -> None:
    outcome = "ok" if error is None else getattr(error, "code", "internal")
    fields = {"request_id": str(name), "operation": operation, "outcome": outcome}
    logger.info("request", extra={"fields": fields})
