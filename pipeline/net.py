"""What both HTTP servers stand on, the API of `faces serve` and the page of `faces webcam`.

Headers, the socket, and uvicorn with limits that it has not: slow headers, answers that nobody
reads, many connections of one address.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from faces.errors import UserError

# https://cheatsheetseries.owasp.org/cheatsheets/REST_Security_Cheat_Sheet.html, "Security Headers"
SECURITY_HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}

STALL_SECONDS = 30.0
LEAST_READ = 15_000
"""Whoever takes fewer bytes of an answer that waits for them in so many seconds is cut off."""


def host_name(host: str) -> str | None:
    """The name in a ``Host`` header, in lower case and without the port; None for a wrong one."""
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None


class HeadAsGet:
    """ASGI middleware: a HEAD request is answered as GET would be, without the body (RFC 9110,
    section 9.3.2).

    FastAPI's routes do not do this by themselves, unlike Starlette's.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "HEAD":
            scope = {**scope, "method": "GET"}  # uvicorn, which has the other one, sends no body
        await self._app(scope, receive, send)


def listen(host: str, port: int, backlog: int | None = None) -> socket.socket:
    """Listen on an address; answers leave at once.

    asyncio switches Nagle's algorithm off for sockets that it opens by itself, not for one like
    this, whose protocol number is left at 0. With it on, an answer's body waits until its head was
    acknowledged, which the other side puts off for 40 ms. Connections inherit the setting.

    Args:
        host: an IPv4 or IPv6 address, or a name.
        port: 0 chooses a free one.
        backlog: connections that may wait to be accepted; the system's own default if not given.

    Raises OSError when the address cannot be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.create_server((host, port), family=family, backlog=backlog)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def url_of(listener: socket.socket, host: str, tls: bool) -> str:
    """The address of a server that was told to listen on ``host``."""
    shown = f"[{host}]" if ":" in host else host
    return f"{'https' if tls else 'http'}://{shown}:{listener.getsockname()[1]}"


def is_loopback(host: str | None) -> bool:
    """Whether this machine calls itself so: only it can reach a server that listens there."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return False


def network_of(address: str) -> str:
    """An IPv4 address, or the /64 network of an IPv6 address: whoever has one has all of it."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return str(parsed)


def make_config(
    app: Any,
    header_seconds: float,
    per_address: int | None,
    tls_cert: Path | None,
    tls_key: Path | None,
    **more: Any,
) -> uvicorn.Config:
    """What `uvicorn.Server` needs; for the two limits see `limited_protocol`.

    Args:
        tls_cert, tls_key: PEM files; None for a server without TLS.

    Raises UserError when the files for TLS are no good.
    """
    config = uvicorn.Config(
        app, http=limited_protocol(header_seconds, per_address), loop="asyncio", log_config=None,
        access_log=False, server_header=False, **more,
    )  # fmt: skip
    config.load()
    if tls_cert is not None:
        config.ssl = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        config.ssl.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            config.ssl.load_cert_chain(tls_cert, tls_key)
        except (OSError, ssl.SSLError) as error:
            raise UserError(f"cannot use {tls_cert} and {tls_key} for TLS: {error}") from error
    return config


def limited_protocol(header_seconds: float, per_address: int | None) -> type[asyncio.Protocol]:
    """A protocol that closes connections of those who send slowly, do not read, or open too many.

    WebSockets are let go on: they neither end nor count here.

    Args:
        header_seconds: in which a request's headers must arrive.
        per_address: connections of one address; None for as many as it likes.
    """
    connections: Counter[str] = Counter()

    class Limited(H11Protocol):
        _timer: asyncio.TimerHandle | None = None
        _reading: asyncio.TimerHandle | None = None
        _network: str | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            network = network_of(self.client[0]) if self.client else ""
            if per_address is not None and connections[network] >= per_address:
                transport.abort()
                return
            self._network = network
            connections[network] += 1
            self._start_timer()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self.cycle is not None and not self.cycle.response_complete:
                self._stop_timer()  # the headers are whole; the body has a time limit of its own
            elif self._timer is None and self._network is not None:
                self._start_timer()

        def pause_writing(self) -> None:
            super().pause_writing()
            self._watch_reader()

        def resume_writing(self) -> None:
            self._let_reader()
            super().resume_writing()

        def handle_websocket_upgrade(self, event: Any) -> None:
            self._leave()  # another protocol has the connection now, and we hear of it no more
            super().handle_websocket_upgrade(event)
            # It takes fewer and shorter headers than h11, and says nothing when there are more.
            newer: Any = self.transport.get_protocol()
            if not newer.handshake_initiated:
                self.transport.abort()

        def connection_lost(self, exc: Exception | None) -> None:
            self._leave()
            super().connection_lost(exc)

        def _leave(self) -> None:
            self._stop_timer()
            self._let_reader()
            if self._network is not None:
                connections[self._network] -= 1
                if not connections[self._network]:
                    del connections[self._network]
                self._network = None

        def _start_timer(self) -> None:
            self._timer = self.loop.call_later(header_seconds, self._too_slow)

        def _stop_timer(self) -> None:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

        def _too_slow(self) -> None:
            self._timer = None
            self.transport.abort()

        def _watch_reader(self) -> None:
            waiting = self.transport.get_write_buffer_size()
            self._reading = self.loop.call_later(STALL_SECONDS, self._check_reader, waiting)

        def _check_reader(self, before: int) -> None:
            if self.transport.get_write_buffer_size() > before - LEAST_READ:
                self.transport.abort()  # a request that waits for its reader holds a place
            else:
                self._watch_reader()

        def _let_reader(self) -> None:
            if self._reading is not None:
                self._reading.cancel()
                self._reading = None

    return Limited
