"""Crowds, slow and hostile callers, and the end of the server."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from pipeline import net
from pipeline.http.options import HttpOptions
from pipeline.service.runtime.limits import Limits
from tests.pipeline.http.live import Live, code, live
from tests.pipeline.service.fakes import FakeDetector, photo


def test_more_requests_than_allowed_get_503(tmp_path):
    detector = FakeDetector()
    with live(tmp_path, HttpOptions(max_requests=3), detector) as server:
        detector.gate.clear()
        threads = [
            threading.Thread(target=server.post, args=("detect", photo(1))) for _ in range(3)
        ]
        for thread in threads:
            thread.start()
        until = time.monotonic() + 60
        while server.get("/readyz").status_code == 200:
            assert time.monotonic() < until
        assert server.get("/healthz").status_code == 200, "a crowd is no reason to kill the server"
        answer = server.get("/v1/info")
        assert code(answer) == (503, "overloaded")
        assert answer.headers["retry-after"] == "1"
        detector.gate.set()
        for thread in threads:
            thread.join()


def test_a_full_queue_gets_503_with_a_time_to_come_back(tmp_path):
    detector = FakeDetector()
    with live(tmp_path, detector=detector, limits=Limits(max_waiting=4)) as server:
        detector.gate.clear()
        first = threading.Thread(target=server.post, args=("detect", *[photo(1)] * 3))
        first.start()
        until = time.monotonic() + 60
        while server.get("/v1/health").json()["waiting"] < 3:
            assert time.monotonic() < until
        answer = server.post("detect", photo(1))
        assert code(answer) == (503, "overloaded")
        assert int(answer.headers["retry-after"]) >= 1
        detector.gate.set()
        first.join()


# -- slow and hostile callers


def raw(server: Live, data: bytes) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", server.port), timeout=10)
    connection.sendall(data)
    return connection


HEAD = b"POST /v1/detect HTTP/1.1\r\nHost: localhost\r\n"


def cut_off(connection: socket.socket) -> bool:
    try:
        return connection.recv(1000) == b""
    except ConnectionResetError:
        return True


def test_slow_headers_are_cut_off(tmp_path):
    with live(tmp_path, HttpOptions(header_seconds=0.3)) as server:
        start = time.monotonic()
        with raw(server, b"GET /healthz HTTP/1.1\r\nHost: loc") as connection:
            assert cut_off(connection)
        assert 0.2 < time.monotonic() - start < 5
        with raw(server, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n") as connection:
            answer = b""
            while not answer.endswith(b"}"):
                answer += connection.recv(1000)
            connection.sendall(b"GET /he")  # the second request is sent slowly
            assert cut_off(connection)


def test_who_never_reads_the_answers_holds_no_place_for_good(tmp_path, monkeypatch):
    monkeypatch.setattr(net, "STALL_SECONDS", 0.3)
    ask = b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with live(tmp_path, HttpOptions(max_requests=1)) as server, socket.socket() as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        deaf.connect(("127.0.0.1", server.port))
        deaf.sendall(ask * 200)  # more than the system's buffers take
        until = time.monotonic() + 20
        while server.get("/readyz").status_code == 200:
            assert time.monotonic() < until
        while server.get("/readyz").status_code != 200:
            assert time.monotonic() < until


def test_who_reads_slowly_is_waited_for(monkeypatch):
    class Transport:
        size, aborted = 100_000, False

        def get_write_buffer_size(self) -> int:
            return self.size

        def abort(self) -> None:
            self.aborted = True

    later: list[Callable[[], None]] = []
    loop = SimpleNamespace(call_later=lambda seconds, do, *rest: later.append(partial(do, *rest)))
    kind: Any = net.limited_protocol(10, None)
    protocol = kind.__new__(kind)
    protocol.loop, protocol.transport = loop, Transport()
    protocol._watch_reader()
    for taken in (20_000, 20_000, 1_000):
        assert not protocol.transport.aborted
        protocol.transport.size -= taken
        later.pop()()
    assert protocol.transport.aborted


def test_a_slow_body_gets_408(tmp_path):
    with live(tmp_path, HttpOptions(body_seconds=0.3)) as server:
        kind = b"Content-Type: multipart/form-data; boundary=b\r\n"
        with raw(server, HEAD + kind + b"Content-Length: 1000\r\n\r\n--b") as connection:
            assert b"408 Request Timeout" in connection.recv(1000)


def test_a_body_that_is_too_large_is_not_read(tmp_path):
    with live(tmp_path, limits=Limits(max_request=100_000)) as server:
        with raw(server, HEAD + b"Content-Length: 99999999999\r\n\r\n") as connection:
            assert b"413 " in connection.recv(1000)
        chunk = b"10000\r\n" + b"x" * 65536 + b"\r\n"
        with raw(server, HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunk * 3) as connection:
            assert b"413 " in connection.recv(1000)


@pytest.mark.slow
def test_one_address_cannot_take_all_connections(tmp_path):
    with live(tmp_path, HttpOptions(connections_per_address=5)) as server:
        held = [raw(server, b"GET /") for _ in range(5)]
        time.sleep(0.1)
        with pytest.raises(Exception, match=r"disconnected|reset|closed"):
            server.get("/healthz")
        for connection in held:
            connection.close()
        time.sleep(0.1)
        assert server.get("/healthz").status_code == 200


def test_one_caller_cannot_take_all_the_memory_of_bodies(tmp_path):
    options = HttpOptions(max_bodies=100_000, body_seconds=5)
    with live(tmp_path, options) as server:
        head = HEAD + b"Content-Length: 90000\r\n\r\n"
        with raw(server, head + bytes(45_000)) as first:
            time.sleep(0.2)
            with raw(server, head + bytes(45_000)) as second:
                assert b"503 Service Unavailable" in second.recv(2000)
            first.sendall(bytes(45_000))
            assert b"503" in first.recv(2000)  # more than half for one caller that is not alone
    with live(tmp_path / "b", options) as server:
        assert server.post("detect", photo(1)).status_code == 200


def test_who_hangs_up_is_not_computed_for(tmp_path):
    detector = FakeDetector()
    with live(tmp_path, detector=detector) as server:
        detector.gate.clear()
        blocking = threading.Thread(target=server.post, args=("detect", photo(1)))
        blocking.start()
        time.sleep(0.2)
        form = b'--b\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
        form += photo(1) + b"\r\n--b--\r\n"
        kind = b"Content-Type: multipart/form-data; boundary=b\r\n"
        length = f"Content-Length: {len(form)}\r\n\r\n".encode()
        raw(server, HEAD + kind + length + form).close()
        time.sleep(0.3)
        detector.gate.set()
        blocking.join()
        assert server.post("detect", photo(1)).status_code == 200
        assert sum(detector.batches) == 2


def test_slow_senders_do_not_delay_others(tmp_path):
    with live(tmp_path) as server:
        kind = b"Content-Type: multipart/form-data; boundary=b\r\nContent-Length: 50000\r\n\r\n--b"
        held = [raw(server, HEAD + kind) for _ in range(100)]
        times = []
        for _ in range(10):
            start = time.monotonic()
            assert server.post("detect", photo(1)).status_code == 200
            times.append(time.monotonic() - start)
        for connection in held:
            connection.close()
        assert sorted(times)[5] < 1


# -- ending


def test_shutting_down_answers_what_was_accepted(tmp_path):
    detector = FakeDetector(seconds=0.05)
    answers: list[int] = []
    with live(tmp_path, detector=detector) as server:

        def enroll(i: int) -> None:
            answers.append(server.post("enroll", photo(i), name=f"Person {i}").status_code)

        threads = [threading.Thread(target=enroll, args=(i,)) for i in range(8)]
        detector.gate.clear()
        for thread in threads:
            thread.start()
        until = time.monotonic() + 60
        while server.get("/v1/health").json()["waiting"] < 8:
            assert time.monotonic() < until
        # The real client must stay open until its threads are done.
        server.client = httpx.Client()
        detector.gate.set()
    for thread in threads:
        thread.join()
    assert answers == [200] * 8
