"""The web application, made from the table of operations."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request, Response
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect

from pipeline.http.body import ENVELOPE_BYTES, parse_form, parse_json, parse_query, whole_body
from pipeline.http.guard import Guard, error_response
from pipeline.http.head import HeadAsGet
from pipeline.http.keys import Key, KeyFile
from pipeline.http.openapi import describe
from pipeline.http.options import HttpOptions
from pipeline.http.rates import Rates
from pipeline.service.core import Service
from pipeline.service.errors import ServiceError
from pipeline.service.operations import OPERATIONS, Operation
from pipeline.service.runtime.batching import Call
from pipeline.service.runtime.limits import Shares

DEADLINE_HEADER = "x-deadline-seconds"


def make_app(service: Service, options: HttpOptions) -> FastAPI:
    """Everything under ``/v1``, and ``/healthz``, ``/readyz``, ``/metrics``, ``/openapi.json``.

    The service is closed when the server ends.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(service.close)

    app = FastAPI(
        title="faces", version="1", docs_url=None, redoc_url=None, lifespan=lifespan,
        redirect_slashes=False,
    )  # fmt: skip
    door = Door(options)
    bodies = Shares("bytes being sent", options.max_bodies, part=0.5)
    for operation in OPERATIONS.values():
        app.add_api_route(
            f"/v1/{operation.name}",
            _endpoint(operation, service, options, door, bodies),
            methods=["GET" if operation.reads else "POST"],
            response_model=operation.response,
            name=operation.name,
        )
    _add_watching(app, service, door)
    _add_refusals(app)
    describe(app)
    app.add_middleware(HeadAsGet)
    app.add_middleware(Guard, options=options, metrics=service.metrics)
    if options.cors:
        app.add_middleware(
            CORSMiddleware, allow_origins=options.cors, allow_methods=["GET", "POST"],
            allow_headers=["authorization", DEADLINE_HEADER, "traceparent"], max_age=600,
        )  # fmt: skip
    return app


class Door:
    """Who may come in."""

    def __init__(self, options: HttpOptions) -> None:
        self._keys = None if options.keys is None else KeyFile(options.keys)
        self._rates = Rates(options.rate_per_key, options.rate_per_address)

    def check(self, request: Request, scope: str | None) -> str:
        """Who asks, for taking turns: a key or an address.

        Raises ServiceError ``rate_limited``, ``unauthorized`` or ``forbidden``.
        """
        address = request.client.host if request.client else "unknown"
        self._rates.check_address(address)
        if scope is None or self._keys is None:
            return address
        key = self._known(request, self._keys)
        if key is None:
            self._rates.wrong_key(address)
            raise ServiceError(
                "unauthorized", "a valid key is needed: `Authorization: Bearer faces_...`"
            )
        request.state.key = key.id
        self._rates.check_key(key.id)
        if scope != "any" and scope not in key.scopes:
            raise ServiceError(
                "forbidden", f"the key lacks the scope {scope}", {"scopes": list(key.scopes)}
            )
        return f"key:{key.id}"

    def _known(self, request: Request, keys: KeyFile) -> Key | None:
        kind, _, token = request.headers.get("authorization", "").partition(" ")
        return keys.find(token.strip()) if kind.lower() == "bearer" else None


def _endpoint(
    operation: Operation, service: Service, options: HttpOptions, door: Door, bodies: Shares
) -> Callable[[Request], Awaitable[Response]]:
    limits = service.limits
    most = limits.max_request + ENVELOPE_BYTES if operation.takes_images else ENVELOPE_BYTES

    async def endpoint(request: Request) -> Response:
        request.state.operation = operation.name
        caller = door.check(request, operation.scope)
        call = Call(
            caller, _deadline(request), request.state.request_id,
            traceparent=request.headers.get("traceparent"),
        )  # fmt: skip
        images: list[bytes] = []
        if operation.reads:
            asked = operation.parse(parse_query(request), lax=True)
            return await _answer(operation, service, request, asked, images, call)
        async with whole_body(request, most, options.body_seconds, bodies, caller) as body:
            if operation.takes_images:
                fields, images = await parse_form(request, body, limits.max_images)
                asked = operation.parse(fields, lax=True)
            else:
                asked = operation.parse(parse_json(request, body))
            return await _answer(operation, service, request, asked, images, call)

    return endpoint


async def _answer(
    operation: Operation,
    service: Service,
    request: Request,
    asked: BaseModel,
    images: list[bytes],
    call: Call,
) -> Response:
    request.state.submitted = True  # from here on the service counts it
    future: asyncio.Future[Any] = asyncio.wrap_future(
        service.submit(operation, asked, images, call)
    )
    future.add_done_callback(lambda done: done.cancelled() or done.exception())  # it was seen
    gone: asyncio.Future[Any] = asyncio.create_task(_farewell(request))
    try:
        await asyncio.wait({future, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not future.done():
            call.cancelled.set()
            raise ClientDisconnect
        result = await future
    finally:
        gone.cancel()
        call.cancelled.set()
    return Response(result.model_dump_json(), media_type="application/json")


async def _farewell(request: Request) -> None:
    """Return when the caller hangs up."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _deadline(request: Request) -> float:
    text = request.headers.get(DEADLINE_HEADER)
    if text is None:
        return float("inf")
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 < seconds < 1e6:
        raise ServiceError("invalid_request", f"{DEADLINE_HEADER}: a positive number of seconds")
    return time.monotonic() + seconds


def _add_watching(app: FastAPI, service: Service, door: Door) -> None:
    async def healthz(request: Request) -> Response:
        request.state.operation = "healthz"
        return Response('{"alive":true}', media_type="application/json")

    async def readyz(request: Request) -> Response:
        request.state.operation = "readyz"
        health = service.health
        body = health.model_dump_json()
        return Response(body, 200 if health.ready else 503, media_type="application/json")

    async def metrics(request: Request) -> Response:
        request.state.operation = "metrics"
        door.check(request, "metrics")
        text = await asyncio.to_thread(service.metrics.render)
        return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")

    for path, endpoint in (("/healthz", healthz), ("/readyz", readyz), ("/metrics", metrics)):
        app.add_api_route(path, endpoint, methods=["GET"], name=path[1:])


def _add_refusals(app: FastAPI) -> None:
    def refuse(request: Request, error: ServiceError) -> Response:
        request.state.code = error.code
        return error_response(error, request.state.request_id)

    async def typed(request: Request, error: Any) -> Response:
        return refuse(request, error)

    async def http(request: Request, error: Any) -> Response:
        if error.status_code == 405:
            allow = (error.headers or {}).get("Allow", "").replace("GET", "GET, HEAD")
            message = "the path takes another method"
            return refuse(request, ServiceError("method_not_allowed", message, {"allow": allow}))
        return refuse(request, ServiceError("unknown_operation", "there is nothing at this path"))

    async def gone(request: Request, error: Any) -> Response:
        request.state.code = "disconnected"
        return Response(status_code=499)  # nobody will read it; nginx's number for the log

    app.add_exception_handler(ServiceError, typed)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(ClientDisconnect, gone)
