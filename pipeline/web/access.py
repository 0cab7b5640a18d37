"""Who may see the page. A camera must not be open to whatever site the browser has visited.

Three things are checked of every request: the name by which the machine was asked for (a foreign
page may have its own name resolve to 127.0.0.1: DNS rebinding), the page that asks (browsers let
every page open WebSockets to anywhere), and, where other machines can come, the token.
"""

from __future__ import annotations

import hmac
import ipaddress
import secrets
import socket
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipeline.net import SECURITY_HEADERS, host_name, is_loopback

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'"
)
"""Nothing but our own files; no script or style within the page."""

HEADERS = SECURITY_HEADERS | {
    "content-security-policy": POLICY,
    "cross-origin-opener-policy": "same-origin",
    "permissions-policy": "camera=(self), microphone=(), geolocation=()",
}

NO_TOKEN = "Open the address that the program has printed; it holds the token."


def new_token() -> str:
    """256 random bits."""
    return secrets.token_urlsafe(32)


@dataclass(frozen=True)
class Access:
    """Who is let in."""

    host: str  # the address that is listened on
    # to be shown by everybody; None lets everybody in who reaches a loopback address
    token: str | None
    # of this machine, besides addresses
    names: frozenset[str] = field(default_factory=lambda: machine_names())

    def __post_init__(self) -> None:
        """Raises ValueError for an open address without a token."""
        if self.token is None and not is_loopback(self.host):
            raise ValueError(f"{self.host} can be reached from other machines: a token is needed")

    def refusal(self, scope: Scope) -> tuple[int, str] | None:
        """Status and reason, or None for a request that is let in."""
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if not self._is_our_name(host):
            return 403, "This machine is not known by that name."
        origin = headers.get("origin")
        reads = scope["type"] != "websocket" and scope["method"] in ("GET", "HEAD")
        if origin is None and not reads:
            return 403, "Only the page itself may connect."
        if origin is not None and not _same_site(origin, host):
            return 403, "Pages of other sites may not ask."
        if self.token is not None and not self._has_token(scope):
            return 401, NO_TOKEN
        return None

    def cookie(self, scope: Scope) -> str | None:
        """The cookie for a browser that has shown the token in the address."""
        if self.token is None or not self._is_token(_query_token(scope)):
            return None
        secure = "; Secure" if scope.get("scheme") == "https" else ""
        return f"{self._cookie_name(scope)}={self.token}; Path=/; HttpOnly; SameSite=Strict{secure}"

    def _is_our_name(self, host: str) -> bool:
        name = host_name(host)
        if name is None:
            return False
        if is_loopback(self.host):
            return is_loopback(name)
        # An address cannot be rebound to another one; of names only the machine's own are known.
        return _is_address(name) or name in {"localhost", self.host.lower(), *self.names}

    def _has_token(self, scope: Scope) -> bool:
        # Cookies of other programs on this machine come along, and may be written in any way:
        # SimpleCookie gives up at the first that is against the rules, starlette reads each alone.
        shown = HTTPConnection(scope).cookies.get(self._cookie_name(scope), "")
        return self._is_token(_query_token(scope)) or self._is_token(shown)

    def _is_token(self, shown: str) -> bool:
        return self.token is not None and hmac.compare_digest(shown.encode(), self.token.encode())

    def _cookie_name(self, scope: Scope) -> str:
        # Cookies do not know ports: two programs on one machine must not share one.
        server = scope.get("server") or ("", 0)
        return f"faces_{server[1]}"


class AccessMiddleware:
    """ASGI middleware: `Access` for requests and WebSockets, and security headers."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app, self._access = app, access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        refusal = self._access.refusal(scope)
        if scope["type"] == "websocket":
            if refusal is None:
                await self._app(scope, receive, send)
            else:
                await send({"type": "websocket.close", "code": 4000 + refusal[0]})
            return
        cookie = None if refusal else self._access.cookie(scope)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                own = headers.get("cache-control")
                headers.update(HEADERS)
                if own is not None:  # pictures of a library
                    headers["cache-control"] = own
                if cookie is not None:
                    headers["set-cookie"] = cookie
            await send(message)

        if refusal is not None:
            status, reason = refusal
            await PlainTextResponse(reason + "\n", status)(scope, receive, send_with_headers)
        else:
            await self._app(scope, receive, send_with_headers)


def machine_names() -> frozenset[str]:
    """Names by which other machines may know this one."""
    name = socket.gethostname().lower()
    return frozenset({name, name.partition(".")[0], name.partition(".")[0] + ".local"} - {""})


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _same_site(origin: str, host: str) -> bool:
    try:
        parts = urlsplit(origin)
        parts.port  # noqa: B018 (raises for a wrong one)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and parts.netloc.lower() == host.lower()


def _query_token(scope: Scope) -> str:
    query = parse_qs(scope.get("query_string", b"").decode("latin-1"))
    return query.get("token", [""])[0]
