"""Events on their way to another program, on this machine."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from faces.errors import UserError
from pipeline.sinks.webhook import WAITING, Webhook


class Server:
    """Answers with the given codes in turn, then 200; keeps what it got."""

    def __init__(self, *codes: int, delay: float = 0.0, headers: dict[str, str] | None = None):
        self.got: list[tuple[str, dict[str, str], Any]] = []
        self.codes, self.delay, self.headers = list(codes), delay, headers or {}
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.got.append((self.path, dict(self.headers), json.loads(body)))
                time.sleep(outer.delay)
                self.send_response(outer.codes.pop(0) if outer.codes else 200)
                for key, value in outer.headers.items():
                    self.send_header(key, value)
                self.end_headers()

            do_GET = do_POST

            def log_message(self, *_: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.http.server_address[1]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook/secret?key=hidden"


@contextmanager
def running(*codes: int, **options: Any) -> Iterator[Server]:
    server = Server(*codes, **options)
    thread = threading.Thread(target=server.http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.http.shutdown()
        server.http.server_close()
        thread.join()


def until(true: Callable[[], Any]) -> None:
    """Ask again and again until it is true."""
    end = time.monotonic() + 60
    while not true():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_values_arrive_in_order_as_json():
    with running() as server:
        with Webhook(server.url) as hook:
            for i in range(5):
                hook.post({"event": "seen", "name": "Zoë", "i": i})
        assert [body["i"] for _, _, body in server.got] == [0, 1, 2, 3, 4]
        path, headers, body = server.got[0]
        assert path == "/hook/secret?key=hidden"
        assert headers["Content-Type"] == "application/json"
        assert "Authorization" not in headers
        assert body["name"] == "Zoë"


def test_the_caller_never_waits_and_the_oldest_are_dropped(caplog):
    with running(delay=0.2) as server, Webhook(server.url, timeout=1) as hook:
        start = time.monotonic()
        for i in range(WAITING + 50):
            hook.post(i)
        assert time.monotonic() - start < 5  # one alone takes 0.2
        assert 48 <= hook.dropped <= 50
        hook._queue.queue.clear()
    assert "too slow: events are being dropped" in caplog.text


def test_a_failure_is_tried_again_and_then_given_up(caplog):
    with running(500, 503) as server:
        with Webhook(server.url, pause=0.01) as hook:
            hook.post(1)
            until(lambda: len(server.got) == 3)
        assert len(server.got) == 3
    assert caplog.text == ""
    with running(500, 500, 500) as server:
        with Webhook(server.url, pause=0.01) as hook:
            hook.post(1)
            hook.post(2)
            until(lambda: len(server.got) == 4)
        assert [body for _, _, body in server.got] == [1, 1, 1, 2]
    assert "could not be sent" in caplog.text
    assert "answer 500" in caplog.text


def test_nobody_there_is_a_warning_without_secrets(caplog):
    with running() as server:
        port = server.port
    url = f"http://ada:hunter2@127.0.0.1:{port}/hook/secret?key=hidden"
    with Webhook(url, token="geheim", pause=0.01) as hook:
        hook.post(1)
        until(lambda: caplog.text)
    assert f"could not be sent to http://127.0.0.1:{port}: " in caplog.text
    for secret in ("ada", "hunter2", "secret", "hidden", "geheim"):
        assert secret not in caplog.text


@pytest.mark.parametrize(
    ("user", "token", "header"),
    [
        ("ada:p%40ss@", None, "Basic YWRhOnBAc3M="),
        ("", "geheim", "Bearer geheim"),
        ("ada:x@", "geheim", "Bearer geheim"),
    ],
)
def test_who_we_are_is_told(user, token, header):
    with running() as server:
        with Webhook(f"http://{user}127.0.0.1:{server.port}", token) as hook:
            hook.post(1)
        path, headers, _ = server.got[0]
        assert headers["Authorization"] == header
        assert path == "/"


def test_a_redirect_is_not_followed(caplog):
    with (
        running() as elsewhere,
        running(302, 307, 308, headers={"Location": f"http://127.0.0.1:{elsewhere.port}/"}) as one,
    ):
        with Webhook(one.url, token="geheim", pause=0.01) as hook:
            hook.post(1)
            until(lambda: caplog.text)
        assert elsewhere.got == []
        assert len(one.got) == 3
    assert "answer 308" in caplog.text


def test_ending_does_not_wait_for_ever(monkeypatch, caplog):
    monkeypatch.setattr("pipeline.sinks.webhook.GRACE", 0.3)
    with running(delay=1.0) as server:
        start = time.monotonic()
        with Webhook(server.url, timeout=5) as hook:
            for i in range(9):
                hook.post(i)
        assert time.monotonic() - start < 5  # all nine would take 9
    assert "were not sent" in caplog.text


@pytest.mark.parametrize("codes", [(), (500,) * 99], ids=["slow", "broken"])
def test_nothing_is_posted_after_the_block(monkeypatch, caplog, codes):
    monkeypatch.setattr("pipeline.sinks.webhook.GRACE", 0.3)
    with running(*codes, delay=0.25) as server:
        with Webhook(server.url, timeout=5, pause=0.01) as hook:
            for i in range(9):
                hook.post(i)
        hook.post("too late")
        hook._thread.join(60)  # which alone posts
        assert not hook._thread.is_alive()
    bodies = [body for _, _, body in server.got]
    assert "too late" not in bodies
    assert len(bodies) < 9
    assert "came too late to be sent" in caplog.text


def test_what_is_posted_is_what_it_was_then():
    with running(delay=0.1) as server:
        with Webhook(server.url) as hook:
            value = {"i": 0}
            for i in range(3):
                value["i"] = i
                hook.post(value)
            with pytest.raises(TypeError):
                hook.post({"i": object()})  # here, and not in the thread, which it would end
            hook.post("after")
        assert [body for *_, body in server.got] == [{"i": 0}, {"i": 1}, {"i": 2}, "after"]


@pytest.mark.parametrize(
    "url", ["ftp://a/b", "file:///etc/passwd", "http://", "nothing", "http://[::1", "http://a:x/"]
)
def test_other_addresses_are_refused(url):
    with pytest.raises(UserError, match="webhook"):
        Webhook(url)


@pytest.fixture(autouse=True)
def _all_logged(caplog):
    caplog.set_level(logging.DEBUG)
