"""What the server answers over real sockets."""

from __future__ import annotations

import base64
import json
import logging
import socket
import threading
import time
from collections.abc import Iterator

import httpx
import numpy as np
import pytest

from faces.errors import UserError
from pipeline.http.keys import KeyFile
from pipeline.http.options import HttpOptions
from pipeline.service.operations import OPERATIONS
from pipeline.service.runtime.limits import Limits
from pipeline.service.runtime.logs import JsonFormatter
from tests.pipeline.http.live import Live, live
from tests.pipeline.service.fakes import BASE64, FakeDetector, encode, photo


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """One without keys, for tests that leave it as it is."""
    with live(tmp_path_factory.mktemp("server"), HttpOptions(rate_per_address="none")) as running:
        yield running


def code(response: object) -> tuple[int, str]:
    body = response.json()  # type: ignore[attr-defined]
    assert body["request_id"] == response.headers["x-request-id"]  # type: ignore[attr-defined]
    return response.status_code, body["error"]["code"]  # type: ignore[attr-defined]


# -- what both adapters can


def test_every_operation_has_a_path(server):
    paths = server.get("/openapi.json").json()["paths"]
    assert {f"/v1/{name}" for name in OPERATIONS} <= paths.keys()
    for name, operation in OPERATIONS.items():
        assert ("get" if operation.reads else "post") in paths[f"/v1/{name}"]


def test_a_person_is_enrolled_recognized_renamed_and_forgotten(tmp_path):
    with live(tmp_path) as server:
        assert server.post("enroll", photo(1), photo(1, 2), name="Ada").json()["added"] == 1
        (image,) = server.post("recognize", photo(2, 1)).json()["images"]
        assert [face["name"] for face in image["faces"]] == [None, "Ada"]
        assert server.get("/v1/people").json()["people"] == [{"name": "Ada", "photos": 1}]
        names = {"name": "Ada", "new_name": "Zoë"}
        assert server.client.post("/v1/people/rename", json=names).status_code == 200
        assert server.client.post("/v1/people/forget", json={"name": "Zoë"}).status_code == 200
        assert server.get("/v1/people", limit=5).json()["people"] == []
        assert server.post("verify", photo(1), photo(1)).json()["same"] is True
        info = server.get("/v1/info").json()
        assert info["limits"]["max_images"] == 16


def test_somebody_else_under_a_known_name_needs_force(tmp_path):
    with live(tmp_path) as server:
        assert server.post("enroll", photo(1), photo(1, size=80), name="Ada").json()["added"] == 2
        assert code(server.post("enroll", photo(2), name="Ada")) == (422, "another_face")
        no = server.post("enroll", photo(2), name="Ada", force="false")
        assert code(no) == (422, "another_face")
        assert server.get("/v1/people").json()["people"] == [{"name": "Ada", "photos": 2}]
        assert server.post("enroll", photo(2), name="Ada", force="true").json()["added"] == 1
        odd = server.post("enroll", photo(2), name="Ada", force="surely")
        assert code(odd) == (422, "invalid_request")


def test_options_are_read_from_the_form(server):
    assert (
        server.post("detect", photo(1, 2), min_score="0.985").json()["images"][0]["faces"][1:] == []
    )
    assert code(server.post("detect", photo(1), min_score="high")) == (422, "invalid_request")
    assert code(server.post("detect", photo(1), min_size="3")) == (422, "invalid_request")


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (b"", (422, "bad_image")),
        (b"no image", (422, "bad_image")),
        (photo(1, kind="JPEG")[:300], (422, "bad_image")),
    ],
)
def test_images_that_are_refused(server, image, expected):
    answer = server.post("detect", photo(1), image)
    assert code(answer) == expected
    assert answer.json()["error"]["details"]["image"] == 1


def test_requests_that_are_refused(server):
    post = server.client.post
    assert code(server.post("detect")) == (415, "unsupported_media_type")
    assert code(post("/v1/detect", content=photo(1))) == (415, "unsupported_media_type")
    broken = {"content-type": "multipart/form-data"}
    assert code(post("/v1/detect", content=b"x", headers=broken)) == (422, "invalid_request")
    broken["content-type"] += "; boundary=abc"
    assert code(post("/v1/detect", content=b"x", headers=broken)) == (422, "invalid_request")
    wrong = [("picture", ("a", photo(1)))]
    assert code(post("/v1/detect", files=wrong)) == (422, "invalid_request")
    assert code(server.post("detect", *[photo(1)] * 17)) == (413, "too_large")
    assert code(server.post("detect", *[photo(1)] * 18)) == (413, "too_large")
    assert code(server.post("verify", photo(1))) == (422, "invalid_request")
    assert code(post("/v1/people/forget", content=b"{")) == (415, "unsupported_media_type")
    as_json = {"content-type": "application/json"}
    for body in (b"{", b"[]", b'{"name": NaN}', b"[" * 9000, b"\xff", b'{"name": 5}', b"{}"):
        answer = post("/v1/people/forget", content=body, headers=as_json)
        assert code(answer) == (422, "invalid_request"), body
    assert code(post("/v1/people/forget", json={"name": "x"})) == (404, "not_found")
    assert code(post("/v1/people/forget", content=b" " * 70_000)) == (413, "too_large")
    assert code(server.get("/v1/people?limit=1&limit=2")) == (422, "invalid_request")
    assert code(server.get("/v1/people?limit=no")) == (422, "invalid_request")
    assert code(server.get("/v1/nothing")) == (404, "unknown_operation")
    answer = server.get("/v1/detect")
    assert code(answer) == (405, "method_not_allowed")
    assert answer.headers["allow"] == "POST"
    for late in ("soon", "0", "-1", "nan", "inf", "1e6", ""):
        answer = server.client.get("/v1/info", headers={"x-deadline-seconds": late})
        assert code(answer) == (422, "invalid_request"), late
        assert "a positive number of seconds" in answer.json()["error"]["message"]


def test_a_deadline_is_honored():
    detector = FakeDetector()
    with live(detector=detector) as server:
        detector.gate.clear()
        files = {"image": ("a", photo(1))}
        answer = server.client.post(
            "/v1/detect", files=files, headers={"x-deadline-seconds": "0.2"}
        )
        assert code(answer) == (503, "deadline_exceeded")
        assert answer.headers["retry-after"] == "1"
        detector.gate.set()


# -- headers, origins, hosts


def test_security_headers_are_on_every_answer(server):
    for answer in (server.get("/healthz"), server.get("/v1/nothing"), server.post("detect", b"x")):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert len(answer.headers["x-request-id"]) == 16
        assert "server" not in answer.headers
        assert "access-control-allow-origin" not in answer.headers


def test_web_pages_may_not_ask_unless_they_are_named(tmp_path, server):
    evil = {"origin": "https://evil.example"}
    answer = server.client.post("/v1/detect", files={"image": ("a", photo(1))}, headers=evil)
    assert code(answer) == (403, "forbidden")
    assert "access-control-allow-origin" not in answer.headers
    with live(tmp_path, HttpOptions(cors=("https://good.example",))) as other:
        good = {"origin": "https://good.example"}
        answer = other.client.post("/v1/detect", files={"image": ("a", photo(1))}, headers=good)
        assert answer.status_code == 200
        assert answer.headers["access-control-allow-origin"] == "https://good.example"
        answer = other.client.post("/v1/detect", files={"image": ("a", photo(1))}, headers=evil)
        assert code(answer) == (403, "forbidden")
        asked = {"access-control-request-method": "POST"}
        assert other.client.options("/v1/detect", headers=good | asked).status_code == 200
        assert other.client.options("/v1/detect", headers=evil | asked).status_code == 400


def test_without_keys_only_localhost_may_be_asked(server):
    """A page whose host name suddenly means 127.0.0.1 cannot reach us."""
    for host in ("evil.example", "evil.example:80", "", "[::", "127.0.0.1.evil.example"):
        answer = server.client.get("/v1/people", headers={"host": host})
        assert code(answer) == (403, "forbidden"), host
    assert server.client.get("/v1/people", headers={"host": "localhost:1"}).status_code == 200


# -- keys


def test_keys_and_scopes(tmp_path):
    keys = KeyFile(tmp_path / "keys.json")
    looking = keys.create("looking", ["detect"])
    admin = keys.create("admin", ["enroll", "admin", "metrics"])
    with live(tmp_path, HttpOptions(keys=keys.path)) as server:
        answer = server.post("detect", photo(1))
        assert code(answer) == (401, "unauthorized")
        assert answer.headers["www-authenticate"] == "Bearer"
        for wrong in ("x", looking[:-1], looking + "x", "faces__", looking.replace("_", "-"), "é"):
            raw = f"Bearer {wrong}".encode()
            answer = server.client.get("/v1/info", headers={"authorization": raw})
            assert code(answer) == (401, "unauthorized"), wrong
        assert server.post("detect", photo(1), key=looking).status_code == 200
        answer = server.post("enroll", photo(1), key=looking, name="Ada")
        assert code(answer) == (403, "forbidden")
        assert answer.json()["error"]["details"] == {"scopes": ["detect"]}
        assert server.post("enroll", photo(1), key=admin, name="Ada").status_code == 200
        assert code(server.post("recognize", photo(1), key=admin)) == (403, "forbidden")
        assert server.get("/v1/info", key=looking).status_code == 200
        assert server.get("/v1/info", key=admin).status_code == 200
        assert server.get("/healthz").status_code == server.get("/v1/health").status_code == 200
        assert code(server.get("/metrics")) == (401, "unauthorized")
        odd = {"x-deadline-seconds": "soon"}  # who may not ask is told nothing else
        assert code(server.client.get("/v1/info", headers=odd)) == (401, "unauthorized")
        assert server.get("/metrics", key=admin).status_code == 200
        assert keys.revoke(looking.split("_")[1]).revoked
        until = time.monotonic() + 60
        while server.post("detect", photo(1), key=looking).status_code == 200:
            assert time.monotonic() < until
            time.sleep(0.1)


# -- crowding


def test_rates_are_limited_by_key_and_by_address(tmp_path):
    keys = KeyFile(tmp_path / "keys.json")
    one, two = keys.create("one", ["detect"]), keys.create("two", ["detect"])
    options = HttpOptions(keys=keys.path, rate_per_key="3/minute", rate_per_address="8/minute")
    with live(tmp_path, options) as server:
        assert [server.get("/v1/info", key=one).status_code for _ in range(4)] == [200] * 3 + [429]
        answer = server.get("/v1/info", key=one)
        assert code(answer) == (429, "rate_limited")
        assert 50 <= int(answer.headers["retry-after"]) <= 60
        assert [server.get("/v1/info", key=two).status_code for _ in range(3)] == [200] * 3
        assert server.get("/v1/info", key=two).status_code == 429  # the address's own limit


def test_guessing_keys_is_slowed_down(tmp_path):
    keys = KeyFile(tmp_path / "keys.json")
    right = keys.create("right", ["detect"])
    with live(tmp_path, HttpOptions(keys=keys.path)) as server:
        answers = [server.get("/v1/info", key="wrong").status_code for _ in range(31)]
        assert answers == [401] * 30 + [429]
        assert server.get("/v1/info", key=right).status_code == 200


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
        while server.get("/healthz").status_code == 200:
            assert time.monotonic() < until
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


# -- watching


def test_health_and_readiness(tmp_path, monkeypatch):
    with live(tmp_path) as server:
        assert server.get("/healthz").json() == {"alive": True}
        assert server.get("/readyz").status_code == 200
        people = server.service._people
        assert people is not None

        def damaged() -> int:
            raise UserError("Ada's file is damaged")

        with monkeypatch.context() as patch:
            patch.setattr(people.store, "version", damaged)
            answer = wait_for(server, 503)
            assert answer["ready"] is False
            assert answer["reason"] == "the file of people cannot be read"
        assert wait_for(server, 200)["reason"] is None


def wait_for(server: Live, status: int) -> dict[str, object]:
    until = time.monotonic() + 20
    while (answer := server.get("/readyz")).status_code != status:
        assert time.monotonic() < until
        time.sleep(0.02)
    return answer.json()


def test_metrics(tmp_path):
    with live(tmp_path) as server:
        server.post("enroll", photo(1), name="Ada")
        server.post("recognize", photo(1, 2))
        server.post("detect", b"x")
        server.get("/v1/nothing")
        lines = server.get("/metrics").text.splitlines()
        for expected in (
            'faces_requests_total{operation="recognize",outcome="ok"} 1.0',
            'faces_requests_total{operation="detect",outcome="bad_image"} 1.0',
            'faces_identified_total{outcome="unknown"} 1.0',
            'faces_identified_total{outcome="known"} 1.0',
            'faces_http_refused_total{code="unknown_operation"} 1.0',
            "faces_found_total 2.0",
            "faces_people 1.0",
            "faces_people_version 1.0",
            "faces_ready 1.0",
        ):
            assert expected in lines
        text = "\n".join(lines)
        for stage in ("decode", "resize", "queue", "detect", "embed"):
            assert f'faces_stage_seconds_count{{stage="{stage}"}}' in text
        assert "Ada" not in text


def test_logs_hold_no_name_image_vector_or_key(tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    keys = KeyFile(tmp_path / "keys.json")
    key = keys.create("everything", ["detect", "recognize", "enroll", "admin"])
    with live(tmp_path, HttpOptions(keys=keys.path)) as server:
        server.post("enroll", photo(1), key=key, name="Zebedee")
        vector = server.post("embed", photo(1), key=key).json()["images"][0]["faces"][0][
            "embedding"
        ]
        server.post("enroll", photo(1), key=key, name="Zebedee\u200b")
        server.get("/v1/people/Zebedee", key=key)
        server.get("/v1/people?name=Zebedee", key=key)
        server.post("Zebedee", b"Zebedee", key="faces_wrong_Zebedee")
        server.client.request("ZEBEDEE", "/Zebedee")
        headers = {"authorization": f"Bearer {key}"}
        server.client.post("/v1/people/forget", json={"name": "Zebedee"}, headers=headers)
    ours = [
        r for r in caplog.records if r.name.split(".")[0] in ("pipeline", "uvicorn", "recognizer")
    ]
    text = "\n".join(map(JsonFormatter().format, ours))
    records = [json.loads(line) for line in text.splitlines()]
    requests = [r for r in records if r["message"] == "request"]
    assert len(requests) == 8
    assert requests[0].keys() >= {"request_id", "operation", "status", "ms", "key", "address"}
    assert requests[0]["key"] == key.split("_")[1]
    assert "zebedee" not in text.lower()
    assert key.split("_", 2)[2] not in text
    assert str(vector[0])[:8] not in text


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


# -- HEAD


def test_head_is_answered_as_get_without_the_body(server):
    reading = [f"/v1/{name}" for name, operation in OPERATIONS.items() if operation.reads]
    assert reading
    for path in ("/healthz", "/readyz", "/metrics", "/openapi.json", *reading, "/nowhere"):
        got, head = server.client.get(path), server.client.head(path)
        assert head.status_code == got.status_code, path
        assert head.content == b""
        assert head.headers["content-type"] == got.headers["content-type"]
        if path != "/metrics":  # whose numbers grow
            assert head.headers["content-length"] == str(len(got.content))
    assert server.client.head("/v1/detect").status_code == 405
    refused = server.client.post("/healthz")
    assert (refused.status_code, refused.headers["allow"]) == (405, "GET, HEAD")


# -- base64


@pytest.mark.parametrize("form", BASE64)
def test_an_image_may_come_as_base64(server, form):
    text = BASE64[form](photo(1, 2))
    answer = server.client.post("/v1/detect", files=[("image", (None, text))])
    assert answer.status_code == 200, answer.text
    (image,) = answer.json()["images"]
    assert len(image["faces"]) == 2


def test_a_large_image_may_come_as_base64(server):
    noise = np.random.default_rng(0).integers(0, 255, (300, 300, 3), np.uint8)
    text = base64.b64encode(encode(noise)).decode()
    assert len(text) > 300_000
    answer = server.client.post("/v1/detect", files=[("image", (None, text))])
    assert answer.status_code == 200, answer.text


def test_other_texts_are_no_images(server):
    answer = server.client.post("/v1/detect", files=[("image", (None, "photo.jpg"))])
    assert code(answer) == (422, "invalid_request")
    assert "as a file, with a filename, or in base64" in answer.json()["error"]["message"]
