"""The page on a real socket."""

from __future__ import annotations

import json
import socket
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from urllib.error import HTTPError

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from faces.errors import UserError
from pipeline.web import library, server
from pipeline.web.browser import MAX_FRAME, MAX_VIEWERS
from pipeline.web.camera_switch import CameraSwitch
from pipeline.web.server import MAX_CONNECTIONS, PER_ADDRESS, Page
from tests.pipeline.web.fakes import FakeLive, tick


def page(**options) -> Page:
    return Page(FakeLive("Ada"), CameraSwitch(None), port=0, **options)  # type: ignore[arg-type]


def get(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=20) as answer:
            return answer.status, answer.read().decode()
    except HTTPError as error:
        return error.code, error.read().decode()


def test_it_serves_shows_and_ends():
    with page() as web:
        assert get(web.url)[0] == 200
        origin = web.url.rstrip("/")
        with connect(origin.replace("http", "ws") + "/live", origin=origin) as client:
            kinds = {json.loads(client.recv(20))["type"] for _ in range(2)}
            assert kinds == {"state", "people"}
            web.show(tick(1))
            while isinstance(data := client.recv(20), str):
                pass
            assert b'"name": "Ada"' in data
    with socket.create_server(("127.0.0.1", int(web.url.rstrip("/").rpartition(":")[2]))):
        pass  # the port is free again


def flood(client: ClientConnection) -> None:
    client.send(bytes(MAX_FRAME + 1))
    while True:
        client.recv(20)


def test_a_frame_that_is_too_large_is_not_even_read():
    with page() as web:
        origin = web.url.rstrip("/")
        with (
            connect(origin.replace("http", "ws") + "/live", origin=origin) as client,
            pytest.raises(ConnectionClosed) as closed,
        ):
            flood(client)
        assert get(web.url)[0] == 200, "nobody else notices"
    # The reset of the connection may overtake the reason.
    assert closed.value.rcvd is None or closed.value.rcvd.code == 1009


def port_of(web: Page) -> int:
    return int(web.url.partition("?")[0].rstrip("/").rpartition(":")[2])


@contextmanager
def silent(web: Page, count: int, source: str = "127.0.0.1") -> Iterator[list[socket.socket]]:
    """Connections on which nothing is said."""
    with ExitStack() as stack:
        yield [
            stack.enter_context(
                socket.create_connection(("127.0.0.1", port_of(web)), 20, (source, 0))
            )
            for _ in range(count)
        ]


def test_silent_connections_are_cut_off(monkeypatch):
    monkeypatch.setattr(server, "HEADER_SECONDS", 0.5)
    with page() as web, silent(web, MAX_CONNECTIONS) as connections:
        for connection in connections:
            assert cut_off(connection)
        assert get(web.url)[0] == 200


def test_silent_connections_of_one_machine_keep_no_other_out():
    try:
        socket.create_server(("127.0.0.2", 0)).close()
    except OSError:
        pytest.skip("this system has one loopback address only")
    with page() as web, silent(web, MAX_CONNECTIONS, "127.0.0.2") as connections:
        assert all(cut_off(connection) for connection in connections[PER_ADDRESS:])
        assert get(web.url)[0] == 200


def cut_off(connection: socket.socket) -> bool:
    try:
        return connection.recv(1000) == b""
    except ConnectionError:
        return True


@pytest.mark.slow
def test_open_pages_go_on_and_one_address_may_have_several(monkeypatch):
    monkeypatch.setattr(server, "HEADER_SECONDS", 2.0)
    monkeypatch.setattr(server, "PER_ADDRESS", 4)
    with page() as web, ExitStack() as stack:
        origin = web.url.rstrip("/")
        address = origin.replace("http", "ws") + "/live"
        clients = [stack.enter_context(connect(address, origin=origin)) for _ in range(MAX_VIEWERS)]
        assert get(web.url)[0] == 200, "another tab"
        time.sleep(2.5)
        for one in clients:
            one.send('{"type": "cancel", "id": 7}')
            while json.loads(one.recv(20))["type"] != "reply":
                pass


@pytest.mark.parametrize("more", ["", "X: 1\r\n" * 200, f"X: {'1' * 9000}\r\n"])
def test_what_only_looks_like_a_websocket_is_closed(more):
    request = f"GET /live HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n{more}"
    with page() as web, silent(web, 1) as (connection,):
        connection.sendall(request.encode() + b"Connection: Upgrade\r\n\r\n")
        connection.settimeout(5)  # less than HEADER_SECONDS
        while not cut_off(connection):
            pass


def test_what_is_sent_slowly_or_broken_off_holds_nothing(monkeypatch, caplog):
    monkeypatch.setattr(library, "BODY_SECONDS", 0.3)
    head = (
        "POST /photo HTTP/1.1\r\nHost: {0}\r\nOrigin: http://{0}\r\nContent-Length: 1000\r\n\r\nx"
    )
    with page() as web, silent(web, 2) as (slow, gone):
        for connection in (slow, gone):
            connection.sendall(head.format(f"127.0.0.1:{port_of(web)}").encode())
        gone.close()
        slow.settimeout(20)
        assert slow.recv(1000).startswith(b"HTTP/1.1 408 ")
    assert [record.getMessage() for record in caplog.records if record.exc_info] == []


def test_other_machines_need_the_token_that_is_in_the_address():
    with page(host="0.0.0.0") as web:
        port = web.url.partition("?")[0].rstrip("/").rpartition(":")[2]
        token = web.url.partition("?token=")[2]
        assert len(token) >= 40
        assert get(f"http://127.0.0.1:{port}/")[0] == 401
        assert get(f"http://127.0.0.1:{port}/?token={token}")[0] == 200
        with pytest.raises(InvalidStatus):
            connect(f"ws://127.0.0.1:{port}/live", origin=f"http://127.0.0.1:{port}")


def test_a_token_may_be_asked_for_on_this_machine_as_well():
    with page(token="x" * 20) as web:
        assert web.url.endswith("?token=" + "x" * 20)
        assert get(web.url.partition("?")[0])[0] == 401


def test_a_taken_port_is_named():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"port {port} .* choose another port"):
            Page(FakeLive(), CameraSwitch(None), port=port)  # type: ignore[arg-type]


def test_files_for_tls_that_are_none(tmp_path):
    file = tmp_path / "a.pem"
    file.write_text("nothing")
    with pytest.raises(UserError, match=r"a\.pem .* for TLS"):
        page(tls_cert=file, tls_key=file)
    with pytest.raises(UserError, match="for TLS"):
        page(tls_cert=tmp_path / "missing.pem", tls_key=file)


def test_a_server_that_has_died_is_noticed():
    with page() as web:
        web._error = OSError("no more files")
        with pytest.raises(RuntimeError, match="has ended"):
            web.show(tick(0))
