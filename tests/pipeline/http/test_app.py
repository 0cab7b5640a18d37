"""What the server answers over real sockets."""

from __future__ import annotations

import base64
import json
import logging
import time

import numpy as np
import pytest

from faces.errors import UserError
from pipeline.http.keys import KeyFile
from pipeline.http.options import HttpOptions
from pipeline.service.operations import OPERATIONS
from pipeline.service.runtime.logs import JsonFormatter
from tests.pipeline.http.live import Live, code, live
from tests.pipeline.service.fakes import BASE64, FakeDetector, encode, photo

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
