"""The application under uvicorn, until a signal ends it."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable

import uvicorn

from faces.errors import UserError
from pipeline.http.app import make_app
from pipeline.http.options import HttpOptions
from pipeline.net import listen, make_config, url_of
from pipeline.service.core import Service


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
    # uvicorn raises the signal again when it has shut down: it must not kill this process then.
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
    config = make_config(
        make_app(service, options),
        options.header_seconds,
        # Behind a proxy all connections come from its address.
        None if options.proxies else options.connections_per_address,
        options.tls_cert,
        options.tls_key,
        ws="none",
        proxy_headers=bool(options.proxies),
        forwarded_allow_ips=list(options.proxies),
        timeout_graceful_shutdown=round(options.grace),
    )
    try:
        listener = listen(host, port, backlog=512)
    except OSError as error:
        raise UserError(f"cannot listen on {host} port {port}: {error.strerror}") from error
    url = url_of(listener, host, tls=options.tls_cert is not None)
    return _Server(config, lambda: started(url)), listener


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, told: Callable[[], None]) -> None:
        super().__init__(config)
        self._told = told

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._told()
