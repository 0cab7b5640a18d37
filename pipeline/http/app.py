"""The web application, made from the table of operations."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import cache
from typing import Any, Literal

from fastapi import Depends, FastAPI, Header, Request, Response, Security
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect

from faces.errors import UserError
from pipeline.http.keys import KeyFile
from pipeline.http.middleware import (
    ALIVE,
    READY,
    RequestMiddleware,
    address_of,
    error_response,
)
from pipeline.http.openapi import DESCRIPTION, WATCHING, describe, refusals
from pipeline.http.options import HttpOptions
from pipeline.http.rate_limits import RateLimits
from pipeline.http.request_body import (
    ENVELOPE_BYTES,
    parse_form,
    parse_json,
    parse_query,
    whole_body,
)
from pipeline.net import HeadAsGet
from pipeline.service import types as t
from pipeline.service.core import Service
from pipeline.service.errors import ErrorResponse, ServiceError
from pipeline.service.operations import OPERATIONS, Operation
from pipeline.service.runtime.batching import Call
from pipeline.service.runtime.limits import Shares

DEADLINE_HEADER = "X-Deadline-Seconds"
SHOWN_KEY = Security(
    HTTPBearer(
        scheme_name="key",
        description="A key of `faces keys create`, unless the server runs without keys.",
        auto_error=False,
    )
)


def make_app(service: Service, options: HttpOptions) -> FastAPI:
    """Everything under ``/v1``, and ``/healthz``, ``/readyz``, ``/metrics``, ``/openapi.json``.

    The service is closed when the server ends.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(service.close)

    app = FastAPI(
        title="faces", version="1", description=DESCRIPTION, docs_url=None, redoc_url=None,
        openapi_url=None, lifespan=lifespan, redirect_slashes=False,
    )  # fmt: skip
    rates = RateLimits(options.rate_per_key, options.rate_per_address)
    callers = Callers(options, rates)
    bodies = Shares("bytes being sent", options.max_bodies, part=0.5)
    for operation in OPERATIONS.values():
        app.add_api_route(
            f"/v1/{operation.name}",
            _endpoint(operation, service, options, callers, bodies),
            methods=["GET" if operation.reads else "POST"],
            name=operation.name,
            **describe(operation),
        )
    _add_watching(app, service, callers)
    _add_refusals(app)
    app.add_middleware(HeadAsGet)
    app.add_middleware(RequestMiddleware, options=options, metrics=service.metrics, rates=rates)
    if options.cors:
        app.add_middleware(
            CORSMiddleware, allow_origins=options.cors, allow_methods=["GET", "POST"],
            allow_headers=["authorization", DEADLINE_HEADER, "traceparent"], max_age=600,
        )  # fmt: skip
    return app


class Alive(t.Model):
    """The process answers."""

    alive: Literal[True]


class Callers:
    """Who may ask, and how often."""

    def __init__(self, options: HttpOptions, rates: RateLimits) -> None:
        self._keys = None if options.keys is None else KeyFile(options.keys)
        self._rates = rates

    def needing(self, scope: str | None) -> Callable[..., Awaitable[str]]:
        """What FastAPI is to call before an endpoint; it gives the caller, for taking turns.

        It raises ServiceError ``rate_limited``, ``unauthorized``, ``forbidden`` or
        ``storage_failed``.
        """

        async def anybody(request: Request) -> str:
            return self._check(request, scope, None)

        async def with_key(
            request: Request, shown: HTTPAuthorizationCredentials | None = SHOWN_KEY
        ) -> str:
            return self._check(request, scope, shown)

        return anybody if scope is None else with_key

    def _check(
        self, request: Request, scope: str | None, shown: HTTPAuthorizationCredentials | None
    ) -> str:
        request.state.operation = request.scope["route"].name
        address = address_of(request.scope)
        if scope is None or self._keys is None:
            return address
        try:
            key = None if shown is None else self._keys.find(shown.credentials.strip())
        except UserError as error:
            raise ServiceError("storage_failed", "the keys cannot be read at the moment") from error
        if key is None:
            self._rates.check("wrong key", address)
            raise ServiceError(
                "unauthorized", "a valid key is needed: `Authorization: Bearer faces_...`"
            )
        request.state.key = key.id
        self._rates.check("key", key.id)
        if scope != "any" and scope not in key.scopes:
            raise ServiceError(
                "forbidden", f"the key lacks the scope {scope}", {"scopes": list(key.scopes)}
            )
        return f"key:{key.id}"


def _endpoint(
    operation: Operation, service: Service, options: HttpOptions, callers: Callers, bodies: Shares
) -> Callable[..., Awaitable[Response]]:
    limits = service.limits
    most = limits.max_request + ENVELOPE_BYTES if operation.takes_images else ENVELOPE_BYTES

    async def endpoint(
        request: Request,
        caller: str = Depends(callers.needing(operation.scope)),
        deadline: float = Header(
            limits.deadline, alias=DEADLINE_HEADER, gt=0, lt=1_000_000,
            description="give up after so many seconds; at most the server's own limit",
        ),
    ) -> Response:  # fmt: skip
        call = Call(
            caller, time.monotonic() + deadline, request.state.request_id,
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
    gone: asyncio.Future[Any] = asyncio.create_task(_disconnected(request))
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


async def _disconnected(request: Request) -> None:
    """Return when the caller hangs up."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _add_watching(app: FastAPI, service: Service, callers: Callers) -> None:
    @cache
    def document() -> bytes:
        return bytes(JSONResponse(app.openapi()).body)

    async def openapi() -> Response:
        return Response(document(), media_type="application/json")

    async def healthz(request: Request) -> Response:
        request.state.operation = "healthz"
        return Response(Alive(alive=True).model_dump_json(), media_type="application/json")

    async def readyz(request: Request) -> Response:
        request.state.operation = "readyz"
        health = service.health
        body = health.model_dump_json()
        return Response(body, 200 if health.ready else 503, media_type="application/json")

    async def metrics(caller: str = Depends(callers.needing("metrics"))) -> Response:
        text = await asyncio.to_thread(service.metrics.render)
        return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")

    def add(path: str, endpoint: Any, summary: str, responses: Any, model: Any = None) -> None:
        name = path[1:]
        codes = ("forbidden",) if path == ALIVE else WATCHING
        app.add_api_route(
            path, endpoint, methods=["GET"], name=name, operation_id=name, summary=summary,
            tags=["watching"], responses=refusals(*codes) | responses, response_model=model,
            response_class=Response if model is None else JSONResponse,
        )  # fmt: skip

    either = {"model": t.HealthResponse | ErrorResponse, "description": "Not now"}
    text: dict[int | str, Any] = {200: {"content": {"text/plain": {"schema": {"type": "string"}}}}}
    text |= refusals("unauthorized", "rate_limited", "overloaded", "storage_failed")
    app.add_api_route("/openapi.json", openapi, methods=["GET"], include_in_schema=False)
    add(ALIVE, healthz, "The process is alive", {}, Alive)
    add(READY, readyz, "Requests can be answered", {503: either}, t.HealthResponse)
    add("/metrics", metrics, "Figures for Prometheus; needs the scope metrics", text)


def _add_refusals(app: FastAPI) -> None:
    def refuse(request: Request, error: ServiceError) -> Response:
        request.state.code = error.code
        return error_response(error, request.state.request_id)

    async def typed(request: Request, error: Any) -> Response:
        return refuse(request, error)

    async def wrong_header(request: Request, error: Any) -> Response:
        message = f"{DEADLINE_HEADER}: a positive number of seconds"
        return refuse(request, ServiceError("invalid_request", message))

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
    app.add_exception_handler(RequestValidationError, wrong_header)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(ClientDisconnect, gone)
