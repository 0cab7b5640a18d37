"""Around every request: an id, security headers, a line of log, and an answer whatever happens."""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import MutableMapping
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipeline.http.options import HttpOptions
from pipeline.http.rate_limits import RateLimits
from pipeline.net import SECURITY_HEADERS, host_name, is_loopback
from pipeline.service.errors import ErrorResponse, ServiceError
from pipeline.service.runtime.logs import trace
from pipeline.service.runtime.metrics import Metrics

logger = logging.getLogger(__name__)


# Asked by whoever watches the server: a crowd of others must not make it look dead.
ALIVE, READY = "/healthz", "/readyz"


class RequestMiddleware:
    """ASGI middleware; the endpoint may leave ``operation``, ``key`` and ``code`` in the state."""

    def __init__(
        self, app: ASGIApp, options: HttpOptions, metrics: Metrics, rates: RateLimits
    ) -> None:
        self._app, self._options, self._metrics, self._rates = app, options, metrics, rates
        self._running = 0
        metrics.gauge("faces_http_requests_running", "Requests now", lambda: self._running)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        state: MutableMapping[str, Any] = scope.setdefault("state", {})
        state["request_id"] = secrets.token_hex(8)
        start, status = time.monotonic(), 500

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers.update(SECURITY_HEADERS)
                headers["x-request-id"] = state["request_id"]
                if scope.get("scheme") == "https":
                    headers["strict-transport-security"] = "max-age=31536000"
            await send(message)

        self._running += 1
        try:
            self._check(scope)
            await self._app(scope, receive, send_with_headers)
        except Exception as error:  # uvicorn would log what its message says
            refusal = error if isinstance(error, ServiceError) else _bug(error, state["request_id"])
            state["code"] = refusal.code
            await error_response(refusal, state["request_id"])(scope, receive, send_with_headers)
        finally:
            self._running -= 1
            self._log(scope, state, status, time.monotonic() - start)

    def _check(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        if self._running > self._options.max_requests and scope["path"] != ALIVE:
            raise ServiceError("overloaded", "too many requests at once: come back later")
        # A web page may send forms anywhere, also to the user's own machine.
        origin = headers.get("origin")
        if origin is not None and origin not in self._options.cors:
            raise ServiceError("forbidden", "web pages of this origin may not ask")
        # A page can also have its own host name resolve to 127.0.0.1.
        host = host_name(headers.get("host", ""))
        if self._options.keys is None and not is_loopback(host):
            raise ServiceError("forbidden", "without keys only localhost may be asked")
        # Last: pages of other sites must not use up what this machine's programs may ask.
        if scope["path"] not in (ALIVE, READY):
            self._rates.check("address", address_of(scope))

    def _log(
        self, scope: Scope, state: MutableMapping[str, Any], status: int, seconds: float
    ) -> None:
        code = state.get("code", "ok")
        operation = state.get("operation")
        if code != "ok" and not state.get("submitted"):
            self._metrics.refused.labels(code).inc()
        fields = {
            "request_id": state["request_id"],
            "method": scope["method"] if operation else "-",
            "operation": operation or "-",  # never the path: anything may stand in it
            "status": status,
            "code": code,
            "ms": round(seconds * 1000, 1),
            "key": state.get("key", "-"),
            "address": address_of(scope),
        }
        logger.info("request", extra={"fields": fields})


def address_of(scope: Scope) -> str:
    """Of the caller, as far as it is known."""
    client = scope.get("client")
    return client[0] if client else "-"


def error_response(error: ServiceError, request_id: str) -> Response:
    """The answer to a refusal."""
    body = ErrorResponse(error=error.body, request_id=request_id)
    headers = {}
    if error.retry_after is not None:
        headers["retry-after"] = str(max(1, round(error.retry_after)))
    if error.code == "unauthorized":
        headers["www-authenticate"] = "Bearer"
    if "allow" in error.details:
        headers["allow"] = error.details["allow"]
    return Response(body.model_dump_json(), error.status, headers, "application/json")


def _bug(error: Exception, request_id: str) -> ServiceError:
    """A bug outside of the service: logged here, without what its message may hold."""
    logger.error("a bug", extra={"fields": {"request_id": request_id} | trace(error)})
    return ServiceError("internal", "a bug; the server's log has the request's id")
