"""uvicorn as both servers use it, with limits that it has not: slow headers, many connections of
one address."""

from __future__ import annotations

import asyncio
import ssl
from collections import Counter
from pathlib import Path
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from faces.errors import UserError
from pipeline.net.sockets import network_of


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
        more: further arguments of `uvicorn.Config`.

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
    """A protocol that closes connections of those who send slowly or open too many.

    WebSockets are let go on: they neither end nor count here.

    Args:
        header_seconds: in which a request's headers must arrive.
        per_address: connections of one address; None for as many as it likes.
    """
    connections: Counter[str] = Counter()

    class Limited(H11Protocol):
        _timer: asyncio.TimerHandle | None = None
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

    return Limited
