"""The page's server, in a thread beside the loop."""

from __future__ import annotations

import logging
import socket
import threading
import time
from pathlib import Path

import uvicorn

from faces.closing import Closing
from faces.errors import UserError
from pipeline.net import is_loopback, listen, make_config, url_of
from pipeline.teaching.session import LiveTeaching
from pipeline.types import Tick
from pipeline.web.access import Access, new_token
from pipeline.web.app import make_app
from pipeline.web.broadcast import Broadcast
from pipeline.web.browser import MAX_FRAME
from pipeline.web.camera_switch import CameraSwitch
from pipeline.web.desk import Desk

logger = logging.getLogger(__name__)

START_SECONDS = 20.0
HEADER_SECONDS = 10.0
"""In which a request's headers must arrive; browsers also open connections ahead of need."""

PER_ADDRESS = 24
"""Connections of one address, besides open WebSockets, of which `MAX_VIEWERS` are let in. A browser
opens six at once, however many tabs it has: four browsers behind one address fit."""

MAX_CONNECTIONS = 128
"""Of everybody, WebSockets too; above it all get 503. So it is several times `PER_ADDRESS`, and
less than the 256 files that macOS lets a program open."""


class Page(Closing):
    """A sink that shows every tick in browsers; a context manager.

    Args:
        switch: the loop's source; browsers may give it their frames.
        desk: people, review and photos; None leaves them out.
        host: to listen on; only this machine reaches a loopback address.
        port: 0 takes a free one.
        token: what browsers must show; None makes one where other machines can come, and asks for
            none on a loopback address.
        tls_cert, tls_key: PEM files. Browsers give other machines' pages no camera without TLS.

    Attributes:
        url: to be opened, with the token.

    Raises UserError when it cannot listen, or the files for TLS are no good.
    """

    def __init__(
        self,
        live: LiveTeaching,
        switch: CameraSwitch,
        desk: Desk | None = None,
        host: str = "127.0.0.1",
        port: int = 8420,
        token: str | None = None,
        tls_cert: Path | None = None,
        tls_key: Path | None = None,
    ) -> None:
        if token is None and not is_loopback(host):
            token = new_token()
        self._broadcast = Broadcast(live, switch, desk)
        config = make_config(
            make_app(self._broadcast, Access(host, token)), HEADER_SECONDS, PER_ADDRESS,
            tls_cert, tls_key,
            ws="websockets-sansio", ws_max_size=MAX_FRAME, ws_per_message_deflate=False,
            limit_concurrency=MAX_CONNECTIONS, timeout_graceful_shutdown=1, proxy_headers=False,
        )  # fmt: skip
        self._listener = _listen(host, port)
        self._server = uvicorn.Server(config)
        # What other machines call this one when it listens everywhere.
        shown = socket.gethostname() if host in ("0.0.0.0", "") else host
        self.url = url_of(self._listener, shown, tls=tls_cert is not None) + "/"
        if token is not None:
            self.url += f"?token={token}"
        self._threads = [
            threading.Thread(target=self._serve, name="faces-page", daemon=True),
            threading.Thread(target=self._encode, name="faces-jpeg", daemon=True),
            threading.Thread(
                target=self._broadcast.check.run_forever, name="faces-check", daemon=True
            ),
        ]
        self._error: BaseException | None = None

    def show(self, tick: Tick) -> None:
        """Take a tick. Raises what has ended the server."""
        if self._error is not None:
            raise RuntimeError("the page's server has ended") from self._error
        self._broadcast.show(tick)

    def __enter__(self) -> Page:
        for thread in self._threads:
            thread.start()
        end = time.monotonic() + START_SECONDS
        while not self._server.started:
            if self._error is not None or time.monotonic() > end:
                self.close()
                raise RuntimeError("the page's server does not start") from self._error
            time.sleep(0.01)
        return self

    def close(self) -> None:
        """End the server; browsers see that it has gone, and wait for it."""
        self._broadcast.close()
        self._server.should_exit = True
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(timeout=5.0)
        self._listener.close()

    def _serve(self) -> None:
        try:
            self._server.run(sockets=[self._listener])
        except BaseException as error:  # for the thread that shows
            self._error = error

    def _encode(self) -> None:
        try:
            self._broadcast.encode_forever()
        except BaseException as error:
            self._error = error


def _listen(host: str, port: int) -> socket.socket:
    try:
        return listen(host, port)
    except OSError as error:
        raise UserError(
            f"the page cannot listen on {host} port {port} ({error.strerror}): "
            "choose another port, or 0 for a free one"
        ) from error
