"""Events as POST requests to an address that the user named, sent by a thread of their own."""

from __future__ import annotations

import base64
import json
import logging
import queue
import threading
import time
import urllib.error
import urllib.request
from contextlib import suppress
from http.client import HTTPException
from typing import IO, Any
from urllib.parse import unquote, urlsplit, urlunsplit

from faces.closing import Closing
from faces.errors import UserError

logger = logging.getLogger(__name__)

WAITING = 100
"""Events that wait to be sent, at most; the oldest are dropped."""

TRIES = 3
GRACE = 5.0
"""Seconds for what is still waiting when the program ends."""


class Webhook(Closing):
    """Posts JSON values, one after the other; a context manager.

    The caller never waits. An answer other than 2xx or none within the timeout is tried again twice
    and then given up, with a warning. Redirects are not followed: what is known about people goes
    to the address given and to no other. Warnings name scheme and host only, as paths and queries
    of webhooks are often secrets.

    Args:
        url: http or https; a user and password in it are sent as basic authentication.
        token: sent as ``Authorization: Bearer``.
        timeout: seconds for one request.
        pause: seconds before the second try; twice as long before the third.

    Raises UserError for any other kind of address.
    """

    def __init__(
        self, url: str, token: str | None = None, timeout: float = 5.0, pause: float = 1.0
    ) -> None:
        try:
            parts = urlsplit(url)
            port = f":{parts.port}" if parts.port else ""
        except ValueError:  # not "from error": its text shows a part of the address
            raise UserError("the webhook's address cannot be understood") from None
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UserError("the webhook must be an http:// or https:// address")
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        self.place = f"{parts.scheme}://{host}{port}"
        self._url = urlunsplit((parts.scheme, host + port, parts.path or "/", parts.query, ""))
        self._headers = {"Content-Type": "application/json", "User-Agent": "faces"}
        if parts.username is not None:
            pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            code = base64.b64encode(pair.encode()).decode("ascii")
            self._headers["Authorization"] = f"Basic {code}"
        if token:
            self._headers["Authorization"] = f"Bearer {token}"
        self._timeout, self._pause = timeout, pause
        self._open = urllib.request.build_opener(_NoRedirect).open
        self._queue: queue.Queue[bytes] = queue.Queue(WAITING)
        self._closing = threading.Event()
        self._end = float("inf")  # of `time.monotonic`; afterwards nothing is sent
        self.dropped = 0
        self._thread = threading.Thread(target=self._work, name="faces-webhook", daemon=True)
        self._thread.start()

    def post(self, value: Any) -> None:
        """Send ``value``, as it is now, soon; never waits. Nothing is sent after the block.

        Raises TypeError or ValueError for what is no JSON.
        """
        body = json.dumps(value).encode("ascii")
        if self._closing.is_set():
            logger.warning("an event came too late to be sent to %s", self.place)
            return
        while True:
            try:
                self._queue.put_nowait(body)
                return
            except queue.Full:
                self._drop_oldest()

    def _drop_oldest(self) -> None:
        try:
            self._queue.get_nowait()
        except queue.Empty:
            return
        self.dropped += 1
        if self.dropped == 1:
            logger.warning("%s is too slow: events are being dropped", self.place)

    def _work(self) -> None:
        while True:
            if self._closing.is_set():
                return  # what is left is counted and told
            with suppress(queue.Empty):
                self._send(self._queue.get(timeout=0.1))

    def _send(self, body: bytes) -> None:
        reason = ""
        for attempt in range(TRIES):
            request = urllib.request.Request(self._url, body, self._headers, method="POST")
            left = self._end - time.monotonic()
            if left <= 0:
                break
            try:
                with self._open(request, timeout=min(self._timeout, left)) as answer:
                    answer.read(1024)
                return
            except urllib.error.HTTPError as error:
                reason = f"answer {error.code}"
                error.close()
            except urllib.error.URLError as error:
                reason = type(error.reason).__name__ if error.reason else "no connection"
            except (OSError, HTTPException, ValueError) as error:
                reason = type(error).__name__
            if attempt + 1 < TRIES and self._closing.wait(self._pause * 2**attempt):
                break  # the program ends: no more tries
        logger.warning("an event could not be sent to %s: %s", self.place, reason)

    def close(self) -> None:
        """Send what is waiting, for `GRACE` seconds at most."""
        end = self._end = time.monotonic() + GRACE
        while not self._queue.empty() and time.monotonic() < end and self._thread.is_alive():
            time.sleep(0.02)
        self._closing.set()
        self._thread.join(max(0.1, end - time.monotonic()))
        left = self._queue.qsize()
        if left or self._thread.is_alive():
            logger.warning("%d events were not sent to %s in time", max(left, 1), self.place)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: Any,
        newurl: str,
    ) -> None:
        """None: the answer itself is the error."""
