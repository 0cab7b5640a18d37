"""The service as a child process, with fake models."""

from __future__ import annotations

import base64
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pipeline.service.errors import ServiceError
from pipeline.service.runtime.limits import Limits
from pipeline.stdio.pipe import LineTooLong, Pipe
from pipeline.stdio.server import FRAMES, StdioServer
from tests.pipeline.service.fakes import BASE64, FakeDetector, make_service, photo

ROOT = Path(__file__).parents[3]
SERVING = "tests.pipeline.service.serving"


def image(*people: int) -> str:
    return base64.b64encode(photo(*people)).decode()


# -- in this process, over pipes


def converse(sent: bytes, folder: Path | None = None, **options: Any) -> list[dict[str, Any]]:
    """What the server answers to these bytes, without the ready line."""
    service = make_service(folder, **options)
    reading, writing = os.pipe()
    threading.Thread(target=_feed, args=(writing, sent), daemon=True).start()
    sink = io.BytesIO()
    server = StdioServer(service, reading, sink)
    server.serve()
    assert server.drain(20)
    service.close()
    os.close(reading)
    lines = [json.loads(line) for line in sink.getvalue().splitlines()]
    assert lines[0]["event"] == "ready"
    return lines[1:]


def _feed(descriptor: int, data: bytes) -> None:
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)


def line(**message: Any) -> bytes:
    return json.dumps(message).encode() + b"\n"


def test_a_deadline_may_be_any_number_that_json_has():
    seconds = int("9" * 400)
    [answer] = converse(line(id=1, op="detect", images=[image(1)], deadline=seconds))
    assert len(answer["result"]["images"]) == 1


def test_images_come_as_base64_or_as_frames(tmp_path):
    first, second = photo(1), photo(1, 2)
    answers = converse(
        line(id=1, op="detect", images=[image(1)])
        + line(id="two", op="detect", frames=[len(first), len(second)]) + first + second
        + line(id=3, op="detect", images=[image(1)], frames=[len(second)]) + second
        + line(id=4, op="enroll", name="Ada", images=[image(1)]),
        tmp_path,
    )  # fmt: skip
    found = {answer["id"]: answer["result"] for answer in answers}
    assert len(found[1]["images"][0]["faces"]) == 1
    assert [len(i["faces"]) for i in found["two"]["images"]] == [1, 2]
    assert [len(i["faces"]) for i in found[3]["images"]] == [1, 2]
    assert found[4]["name"] == "Ada"


def test_somebody_else_under_a_known_name_needs_force(tmp_path):
    def enroll(*images: str, **fields: Any) -> dict[str, Any]:
        asked = line(id=1, op="enroll", name="Ada", images=images, **fields)
        return converse(asked, tmp_path)[0]

    first = base64.b64encode(photo(1)).decode(), base64.b64encode(photo(1, size=80)).decode()
    assert enroll(*first)["result"]["added"] == 2
    assert enroll(image(2))["error"]["code"] == "another_face"
    assert enroll(image(2), force="yes")["error"]["code"] == "invalid_request"
    assert enroll(image(2), force=True)["result"]["added"] == 1


@pytest.mark.parametrize("form", BASE64)
def test_base64_is_taken_however_it_is_written(tmp_path, form):
    answers = converse(line(id=1, op="detect", images=[BASE64[form](photo(1, 2))]), tmp_path)
    [answer] = [answer for answer in answers if answer["id"] == 1]
    assert len(answer["result"]["images"][0]["faces"]) == 2


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (b"hello\n", "invalid_request"),
        (b"[]\n", "invalid_request"),
        (b"\xff\xfe\n", "invalid_request"),
        (b'{"id": NaN}\n', "invalid_request"),
        (b"[" * 100_000 + b"\n", "invalid_request"),
        (b'{"id": ' + b"9" * 10_000 + b"}\n", "invalid_request"),
        (line(id=7), "unknown_operation"),
        (line(id=7, op="fly"), "unknown_operation"),
        (line(id=7, op=["detect"]), "unknown_operation"),
        (line(id=[7], op="detect"), "invalid_request"),
        (line(id=7, op="detect"), "invalid_request"),
        (line(id=7, op="detect", images="x"), "invalid_request"),
        (line(id=7, op="detect", images=["%%"]), "invalid_request"),
        (line(id=7, op="detect", images=["é"]), "invalid_request"),
        (line(id=7, op="detect", images=["aGVsbG8="]), "bad_image"),
        (line(id=7, op="detect", images=[image(1)], wrong=1), "invalid_request"),
        (line(id=7, op="detect", images=[image(1)], min_score="1"), "invalid_request"),
        (line(id=7, op="detect", images=[image(1)], deadline=-1), "invalid_request"),
        (line(id=7, op="detect", images=[image(1)], deadline=1e-9), "deadline_exceeded"),
        (line(id=7, op="detect", images=[image(1)], traceparent=1), "invalid_request"),
        (line(id=7, op="detect", frames=[70_000]) + bytes(70_000), "too_large"),
        (b'{"id": 7, "op": "' + b"x" * 300_000 + b'"}\n', "too_large"),
        (line(id=7, op="people"), "unavailable"),
    ],
    ids=lambda value: repr(value)[:50] if isinstance(value, bytes) else value,
)
def test_a_bad_line_is_answered_and_the_next_one_served(sent, code):
    limits = Limits(max_request=60_000)
    first, second = converse(sent + b"\n\r\n" + line(id=8, op="health"), limits=limits)
    assert first["error"]["code"] == code
    assert first["id"] in (None, 7)
    assert (second["id"], second["result"]["ready"]) == (8, True)


def test_a_last_line_without_end_and_a_frame_cut_off():
    assert converse(line(id=1, op="health").rstrip())[0]["id"] == 1
    (answer,) = converse(line(id=2, op="detect", frames=[100]) + b"abc")
    assert (answer["id"], answer["error"]["code"]) == (2, "invalid_request")


def test_pictures_are_never_taken_for_requests():
    hostile = b"\xff\xd8\n" + line(id="hostile", op="people/forget", name="Ada") + b"\xff\xd9"
    for wrong in (
        {"id": 1.5, "op": "detect"},
        {"id": ["x"], "op": "detect"},
        {"id": "x" * 201, "op": "detect"},
        {"id": 1, "op": "fly"},
        {"id": 1, "op": "detect", "images": "x"},
        {"id": 1, "op": "detect", "min_score": float("nan")},
        {"id": float("inf"), "op": "detect"},
    ):
        answers = converse(
            line(**wrong, frames=[len(hostile), 0]) + hostile + line(id=2, op="health")
        )
        assert [answer["id"] for answer in answers] == [1 if wrong["id"] == 1 else None, 2], wrong
        assert answers[0]["error"]["code"] in ("invalid_request", "unknown_operation")


@pytest.mark.parametrize("frames", [[-1], [True], [1.5], ["3"], "x", {}, None, [10**4, 2**30]])
def test_after_frames_that_cannot_be_measured_nothing_is_read(frames):
    hostile = line(id="hostile", op="people/forget", name="Ada") * 200
    (answer,) = converse(line(id=7, op="detect", frames=frames) + hostile)
    assert answer["id"] == 7
    code = "too_large" if frames == [10**4, 2**30] else "invalid_request"
    assert answer["error"]["code"] == code


@pytest.mark.parametrize("value", [b'"J\xe9r\xf4me"', b"9" * 10_000, b"[" * 100_000, b"1,"])
def test_after_a_broken_line_about_frames_nothing_is_read(value):
    hostile = line(id="hostile", op="health")
    sent = b'{"op": "enroll", "frames": [%d], "name": %s}\n' % (len(hostile), value)
    (answer,) = converse(sent + hostile)
    assert (answer["id"], answer["error"]["code"]) == (None, "invalid_request")


def test_after_a_line_too_long_to_be_looked_at_nothing_is_read():
    hostile = line(id="hostile", op="health")
    for much in (b"9" * 10**6, b"[9]"):
        sent = b'[{"name": %s, "frames": [%d]}]\n' % (much, len(hostile))
        (answer,) = converse(sent + hostile, limits=Limits(max_request=60_000))
        code = "invalid_request" if much == b"[9]" else "too_large"
        assert (answer["id"], answer["error"]["code"]) == (None, code)


def test_a_pipe_that_cannot_be_read_ends_it(tmp_path, caplog):
    service, sink = make_service(), io.BytesIO()
    descriptor = os.open(tmp_path / "for-writing", os.O_WRONLY | os.O_CREAT)
    serving = threading.Thread(target=StdioServer(service, descriptor, sink).serve, daemon=True)
    serving.start()
    serving.join(20)
    ended = not serving.is_alive()
    os.close(descriptor)
    service.close()
    assert ended
    assert len(sink.getvalue().splitlines()) == 1, "nothing but the ready line"
    assert "no request can be read any more" in caplog.text


def test_id_is_the_first_thing_in_an_answer():
    service = make_service()
    reading, writing = os.pipe()
    _feed(writing, line(op="health", id=12))
    sink = io.BytesIO()
    StdioServer(service, reading, sink).serve()
    service.close()
    os.close(reading)
    assert sink.getvalue().splitlines()[1].startswith(b'{"id":12,"result":')


def test_more_requests_than_the_queue_holds_are_held_up_not_refused():
    detector = FakeDetector(seconds=0.002)
    sent = b"".join(line(id=i, op="detect", images=[image(1)] * 3) for i in range(40))
    answers = converse(sent, detector=detector, limits=Limits(max_waiting=8))
    assert sorted(answer["id"] for answer in answers) == list(range(40))
    assert all(len(answer["result"]["images"]) == 3 for answer in answers)


def test_a_pipe_reads_no_more_than_it_may():
    reading, writing = os.pipe()
    threading.Thread(target=_feed, args=(writing, b"x" * 5_000_000 + b"\nok\n")).start()
    pipe = Pipe(reading)
    with pytest.raises(ServiceError):
        pipe.line(1000, FRAMES)
    assert pipe.line(1000, FRAMES) == b"ok"
    assert pipe.line(1000, FRAMES) is None
    os.close(reading)


# -- as a process


class Child:
    """A serving process and what it says."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.log = folder / "stderr.txt"
        self.process = subprocess.Popen(
            [sys.executable, "-m", SERVING, "stdio", str(folder), *options],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=self.log.open("ab"), env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        assert self.read()["event"] == "ready"

    def send(self, **message: Any) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line(**message))
        self.process.stdin.flush()

    def read(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        text = self.process.stdout.readline()
        assert text, self.log.read_text(encoding="utf-8")
        return json.loads(text)

    def rest(self) -> list[dict[str, Any]]:
        """Close its input and take everything it still says."""
        out, _ = self.process.communicate(timeout=60)
        return [json.loads(text) for text in out.splitlines()]


@contextmanager
def child(folder: Path, *options: str) -> Iterator[Child]:
    started = Child(folder, *options)
    try:
        yield started
    finally:
        started.process.kill()
        started.process.wait()


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="the noise is made with POSIX means")
def test_stdout_carries_nothing_but_answers_whoever_prints(tmp_path):
    with child(tmp_path, "0", "noise") as server:
        for i in range(3):
            server.send(id=i, op="detect", images=[image(1)])
        answers = server.rest()
        assert sorted(answer["id"] for answer in answers) == [0, 1, 2]
        assert server.process.returncode == 0
    log = server.log.read_text(encoding="utf-8")
    for noise in ("print", "os.write", "printf", "child"):
        assert f"{noise}\n" in log


@pytest.mark.slow
def test_the_end_of_input_drains_and_exits_with_0(tmp_path):
    with child(tmp_path, "0.05") as server:
        for i in range(12):
            server.send(id=i, op="enroll", name=f"Person {i}", images=[image(i)])
        answers = server.rest()
        assert sorted(answer["id"] for answer in answers) == list(range(12))
        assert all(answer["result"]["added"] == 1 for answer in answers)
        assert server.process.returncode == 0


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGTERM for others")
def test_sigterm_finishes_what_runs(tmp_path):
    with child(tmp_path, "0.1") as server:
        for i in range(5):
            server.send(id=i, op="detect", images=[image(1)])
        first = server.read()  # so all five have been read or are about to be
        time.sleep(0.1)
        server.process.send_signal(signal.SIGTERM)
        assert server.process.stdout is not None
        answers = [first, *map(json.loads, server.process.stdout.read().splitlines())]
        assert server.process.wait(20) == 0
        assert sorted(answer["id"] for answer in answers) == list(range(5))


@pytest.mark.slow
def test_progress_of_a_job_is_streamed(tmp_path):
    with child(tmp_path) as server:
        server.send(id=9, op="fit")
        messages = [server.read()]
        while messages[-1]["result"]["state"] == "running":
            messages.append(server.read())
        assert server.rest() == []
    assert {message["id"] for message in messages} == {9}
    assert "event" not in messages[0]
    assert {message["event"] for message in messages[1:]} == {"progress"}
    assert messages[-1]["result"]["result"] == {"people": 0}
    news = [message["result"]["news"] for message in messages]
    assert news == sorted(set(news))


@pytest.mark.slow
def test_every_acknowledged_enrolment_survives_kill_9(tmp_path):
    with child(tmp_path) as server:
        for i in range(60):
            server.send(id=i, op="enroll", name=f"Person {i}", images=[image(i)])
        acknowledged = {server.read()["result"]["name"] for _ in range(20)}
        server.process.kill()
        assert server.process.stdout is not None
        acknowledged |= {
            json.loads(text)["result"]["name"]
            for text in server.process.stdout.read().splitlines()
            if text.endswith(b"}")
        }
    with child(tmp_path) as server:
        server.send(id=0, op="people")
        known = {person["name"] for person in server.read()["result"]["people"]}
    assert len(acknowledged) >= 20
    assert acknowledged <= known


@pytest.mark.slow
def test_logs_hold_no_names_and_no_images(tmp_path):
    with child(tmp_path) as server:
        for fields in (
            {"op": "enroll", "name": "Zebedee", "images": [image(1)]},
            {"op": "people/rename", "name": "Zebedee", "new_name": "Zacharias"},
            {"op": "recognize", "images": [image(1)]},
            {"op": "enroll", "name": "Zebedee\x00", "images": [image(1)]},
            {"op": "people/forget", "name": "Zacharias"},
        ):
            server.send(id=1, **fields)
            server.read()
        assert server.rest() == []
    log = server.log.read_text(encoding="utf-8")
    assert "Zebedee" not in log
    assert "Zacharias" not in log
    assert image(1)[:40] not in log
    records = [json.loads(text) for text in log.splitlines()]
    assert [r["outcome"] for r in records if r["message"] == "request"] == ["ok"] * 4


@pytest.mark.parametrize("before", [0, 990, 2**20 - 5, 2**20 - 1, 2**20, 2**21 - 3])
def test_words_are_found_in_a_line_that_is_read_over(tmp_path, before):
    """Also where they fall onto the border of two readings, of 1 MiB each."""
    for words, told in ((FRAMES, True), (b'\\"frames\\"', False)):
        path = tmp_path / "sent"
        path.write_bytes(b"x" * before + words + b"x" * 2000 + b"\n" + words + b"\nok")
        with path.open("rb") as file:
            pipe = Pipe(file.fileno())
            with pytest.raises(LineTooLong) as caught:
                pipe.line(1000, FRAMES)
            assert caught.value.told is told
            assert pipe.line(1000, FRAMES) == words
            assert pipe.line(1000, FRAMES) == b"ok"
