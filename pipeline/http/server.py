"""uvicorn, with limits that it has not: slow headers, many connections of one address."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import signal
import socket
import ssl
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from faces.errors import UserError
from pipeline.http.app import make_app
from pipeline.http.options import HttpOptions
from pipeline.http.rates import neighborhood
from pipeline.http.sockets import listen
from pipeline.service.core import Service

logger = logging.getLogger(__name__)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server that listens there."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_exposure(host: str, options: HttpOptions, no_keys: bool) -> None:
    """Raises UserError for a server that would let everybody in without being asked to."""
    if options.keys is None:
        if not is_loopback(host):
            raise UserError(
                f"--host {host} can be reached from other machines, so keys are needed: make one "
                "with `faces keys create NAME`, and leave --no-keys-on-loopback out"
            )
        if not no_keys:
            raise UserError(
                "there are no keys: make one with `faces keys create NAME`, or let every program "
                "on this machine in with --no-keys-on-loopback"
            )
        # Without keys only the name in `Host` keeps others out, and a proxy may write its own.
        if options.proxies:
            raise UserError(
                "--behind-proxy with --no-keys-on-loopback would let in everybody whom the proxy "
                "lets through: make a key with `faces keys create NAME`, and leave "
                "--no-keys-on-loopback out"
            )
    if (options.tls_cert is None) != (options.tls_key is None):
        raise UserError("--tls-cert and --tls-key go together")
    if not is_loopback(host) and options.tls_cert is None and not options.proxies:
        logger.warning("no TLS: keys and faces can be read on the way; see docs/security.md")


def run_http(
    service: Service,
    host: str,
    port: int,
    options: HttpOptions,
    started: Callable[[str], None] = lambda url: None,
) -> int:
    """Serve until SIGTERM or Ctrl-C, then finish what was accepted; returns the exit code.

    Args:
        port: 0 takes a free one.
        started: told the address as soon as requests can be sent.
    """
    server, listener = make_server(service, host, port, options, started)
    # uvicorn raises the signal anew when it has shut down; then it shall not kill us.
    before = {n: signal.signal(n, lambda *_: None) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        server.run(sockets=[listener])
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return 0


def make_server(
    service: Service,
    host: str,
    port: int,
    options: HttpOptions,
    started: Callable[[str], None] = lambda url: None,
) -> tuple[uvicorn.Server, socket.socket]:
    """A server and the socket it listens on; see `run_http`."""
    try:
        listener = listen(host, port, backlog=512)
    except OSError as error:
        raise UserError(f"cannot listen on {host} port {port}: {error.strerror}") from error
    config = uvicorn.Config(
        make_app(service, options),
        # Behind a proxy all connections come from its address.
        http=guarded(
            options.header_seconds, None if options.proxies else options.connections_per_address
        ),
        ws="none",
        loop="asyncio",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=bool(options.proxies),
        forwarded_allow_ips=list(options.proxies),
        timeout_graceful_shutdown=round(options.grace),
    )
    if options.tls_cert is not None and options.tls_key is not None:
        config.load()
        config.ssl = _tls(options.tls_cert, options.tls_key)
    return _Server(config, lambda: started(_url(config, host, listener))), listener


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, told: Callable[[], None]) -> None:
        super().__init__(config)
        self._told = told

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._told()


def guarded(header_seconds: float, per_address: int | None) -> type[asyncio.Protocol]:
    """A protocol of uvicorn's that closes connections of those who dribble or take too many.

    WebSockets are let go on: they neither end nor count here.

    Args:
        header_seconds: in which a request's headers must arrive.
        per_address: connections of one address; None for as many as it likes.
    """
    connections: Counter[str] = Counter()

    class Guarded(H11Protocol):
        _timer: asyncio.TimerHandle | None = None
        _place: str | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            place = neighborhood(self.client[0]) if self.client else ""
            if per_address is not None and connections[place] >= per_address:
                transport.abort()
                return
            self._place = place
            connections[place] += 1
            self._arm()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self.cycle is not None and not self.cycle.response_complete:
                self._disarm()  # the headers are whole; the body has a time limit of its own
            elif self._timer is None and self._place is not None:
                self._arm()

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
            self._disarm()
            if self._place is not None:
                connections[self._place] -= 1
                if not connections[self._place]:
                    del connections[self._place]
                self._place = None

        def _arm(self) -> None:
            self._timer = self.loop.call_later(header_seconds, self._too_slow)

        def _disarm(self) -> None:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

        def _too_slow(self) -> None:
            self._timer = None
            self.transport.abort()

    return Guarded


def _tls(cert: Path, key: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(cert, key)
    except (OSError, ssl.SSLError) as error:
        raise UserError(f"cannot use {cert} and {key} for TLS: {error}") from error
    return context


def _url(config: uvicorn.Config, host: str, listener: socket.socket) -> str:
    shown = f"[{host}]" if ":" in host else host
    return f"{'https' if config.ssl else 'http'}://{shown}:{listener.getsockname()[1]}"
