"""What the page and the server tell each other."""

from __future__ import annotations

import json
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import cv2
import numpy as np
import pytest
from starlette.testclient import TestClient, WebSocketTestSession
from starlette.websockets import WebSocketDisconnect

from pipeline.teaching.progress import Teaching
from pipeline.web import broadcast as broadcast_module
from pipeline.web.access import Access
from pipeline.web.app import FILES, make_app
from pipeline.web.broadcast import Broadcast, to_jpeg
from pipeline.web.browser import MAX_TEXT, MAX_VIEWERS, TOO_MANY, WRONG_MESSAGE
from pipeline.web.camera_switch import CameraSwitch
from pipeline.web.viewers import IN_FLIGHT
from tests.pipeline.web.fakes import PNG, FakeLive, tick

HEADERS = {"host": "localhost:8420", "origin": "http://localhost:8420"}


@pytest.fixture
def live() -> FakeLive:
    return FakeLive("Ada", "Bob")


@pytest.fixture
def broadcast(live: FakeLive) -> Broadcast:
    return Broadcast(live, CameraSwitch(None))  # type: ignore[arg-type]


@pytest.fixture
def web(broadcast: Broadcast) -> Iterator[TestClient]:
    encoder = threading.Thread(target=broadcast.encode_forever, daemon=True)
    encoder.start()
    with TestClient(make_app(broadcast, Access("127.0.0.1", None)), headers=HEADERS) as client:
        yield client
    broadcast.close()
    encoder.join(5)
    assert not encoder.is_alive()


@contextmanager
def page(web: TestClient) -> Iterator[WebSocketTestSession]:
    with web.websocket_connect("/live", headers=HEADERS) as socket:
        yield socket


def wait_for(socket: WebSocketTestSession, kind: str, **fields: Any) -> dict[str, Any]:
    """The next text of this type with these fields; everything before it is passed over."""
    for _ in range(500):
        message = socket.receive()
        if message["type"] == "websocket.close":
            raise WebSocketDisconnect(message["code"], message.get("reason"))
        if message.get("text") is not None:
            answer = json.loads(message["text"])
            if answer["type"] == kind and all(answer[k] == v for k, v in fields.items()):
                return answer
    raise AssertionError(f"no {kind} with {fields}")


def wait_for_frame(socket: WebSocketTestSession) -> tuple[dict[str, Any], np.ndarray]:
    while True:
        data = socket.receive().get("bytes")
        if data is not None:
            (length,) = struct.unpack_from(">I", data)
            picture = cv2.imdecode(np.frombuffer(data[4 + length :], np.uint8), cv2.IMREAD_COLOR)
            assert picture is not None
            return json.loads(data[4 : 4 + length]), picture[:, :, ::-1]


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not true():
        assert time.monotonic() < end
        time.sleep(0.005)


def ask(socket: WebSocketTestSession, **command: Any) -> dict[str, Any]:
    socket.send_json({"id": 5, **command})
    return wait_for(socket, "reply", id=5)


# -- the machine's camera


def test_a_frame_comes_with_the_faces_that_are_on_it(broadcast, web):
    with page(web) as socket:
        wait_for(socket, "people")
        broadcast.show(tick(3))
        header, picture = wait_for_frame(socket)
    assert (header["frame"], header["width"], header["height"]) == (3, 64, 48)
    [face] = header["faces"]
    assert (face["box"], face["track"], face["name"]) == ([10, 10, 30, 34], 7, "Ada")
    assert picture.shape == (48, 64, 3)
    assert abs(int(picture[0, 0, 0]) - 3) <= 2


def test_late_frames_are_dropped_and_a_slow_viewer_holds_up_nobody(broadcast, web):
    with page(web) as quick, page(web) as slow:
        wait_for(quick, "people")
        wait_for(slow, "people")
        seen = []
        for index in range(40):
            broadcast.show(tick(index))
            header, _ = wait_for_frame(quick)
            seen.append(header["frame"])
            quick.send_json({"type": "shown", "frame": header["frame"]})
            until(lambda: all(v.wants(None) for v in broadcast.viewers if v.latency is not None))
        assert seen == list(range(40)), "every one, although the other has shown none"
        first = [wait_for_frame(slow)[0]["frame"] for _ in range(IN_FLIGHT)]
        assert first == [0, 1]
        slow.send_json({"type": "shown", "frame": 1})
        assert wait_for_frame(slow)[0]["frame"] == 39, "the newest, not the next"


@pytest.fixture
def encoded(monkeypatch) -> list[int]:
    """The frames that were made into JPEGs, by the gray they are of."""
    grays: list[int] = []

    def note(image: np.ndarray) -> bytes:
        grays.append(int(image[0, 0, 0]))
        return to_jpeg(image)

    monkeypatch.setattr(broadcast_module, "to_jpeg", note)
    return grays


def test_each_frame_is_encoded_once_for_all(broadcast, web, encoded):
    with page(web) as one, page(web) as other, page(web) as third:
        for socket in (one, other, third):
            wait_for(socket, "people")
        broadcast.show(tick(1))
        assert {wait_for_frame(socket)[0]["frame"] for socket in (one, other, third)} == {1}
    assert encoded == [1]


def test_no_frame_is_encoded_for_nobody(broadcast, web, encoded):
    until(lambda: broadcast._events is not None)
    for index in range(2):  # when the second is taken, what becomes of the first is decided
        broadcast.show(tick(index))
        until(lambda: not broadcast._newest)
    assert 0 not in encoded


def test_large_frames_are_shrunk():
    image = np.zeros((1080, 1920, 3), np.uint8)
    decoded = cv2.imdecode(np.frombuffer(to_jpeg(image), np.uint8), cv2.IMREAD_COLOR)
    assert decoded is not None
    assert decoded.shape == (720, 1280, 3)


def test_frame_rate_latency_and_the_state_of_head_and_teaching_are_told(broadcast, web, live):
    live.teaching = Teaching("Cleo", 7, 12, 50, "gathering", "too blurred just now")
    with page(web) as socket:
        wait_for(socket, "people")
        broadcast.show(tick(0))
        frame, _ = wait_for_frame(socket)
        socket.send_json({"type": "shown", "frame": frame["frame"]})
        state = wait_for(socket, "state", fps=25.0)
        while state["shown_ms"] is None:
            state = wait_for(socket, "state")
    assert (state["looks"], state["named_ms"], state["camera"]) == (4.0, 30, "none")
    assert state["teaching"]["gathered"] == 12
    assert state["teaching"]["message"] == "too blurred just now"
    assert (state["head"]["phase"], state["head"]["message"]) == (
        "failed", "Bob would be known less well",
    )  # fmt: skip


# -- a browser's camera


def frame(number: int, size: tuple[int, int] = (48, 64)) -> bytes:
    fine, data = cv2.imencode(".jpg", np.full((*size, 3), 99, np.uint8))
    assert fine
    return struct.pack(">I", number) + data.tobytes()


def test_a_browsers_frame_is_answered_with_its_faces_and_shown_to_others(broadcast, web):
    with page(web) as mine, page(web) as other:
        wait_for(other, "people")
        mine.send_json({"type": "camera", "on": True})
        assert wait_for(mine, "state", camera="browser")["mine"] is True
        assert wait_for(other, "state", camera="browser")["mine"] is False
        mine.send_bytes(frame(41))
        picture = broadcast.switch.read(5)
        assert picture is not None
        assert picture.image.shape == (48, 64, 3)
        until(lambda: any(viewer.numbers for viewer in broadcast.viewers))
        broadcast.show(tick(picture.index))
        answer = wait_for(mine, "faces")
        assert (answer["number"], answer["faces"][0]["name"]) == (41, "Ada")
        assert wait_for_frame(other)[0]["frame"] == picture.index
    assert broadcast.switch.owner is None, "closed with the page"


def test_frames_that_nobody_asked_for_are_not_even_decoded(broadcast, web):
    with page(web) as socket:
        socket.send_bytes(b"\0\0\0\1garbage")
        assert ask(socket, type="cancel")["ok"]
    assert broadcast.switch.read(0.01) is None


BOMB = cv2.imencode(".jpg", np.zeros((5000, 5000), np.uint8))[1].tobytes()


@pytest.mark.parametrize(
    "data",
    [b"", b"\0\0\0", b"\0\0\0\1", b"\0\0\0\1GIF89a", b"\0\0\0\1" + PNG,
     b"\0\0\0\1\xff\xd8\xff\xe0cut", b"\0\0\0\1" + BOMB],
    ids=["empty", "short", "only a number", "gif", "png", "cut", "huge"],
)  # fmt: skip
def test_a_frame_that_is_none_ends_the_connection(broadcast, web, data):
    with page(web) as socket:
        socket.send_json({"type": "camera", "on": True})
        wait_for(socket, "state", camera="browser")
        socket.send_bytes(data)
        with pytest.raises(WebSocketDisconnect) as ended:
            wait_for(socket, "never")
        assert ended.value.code == WRONG_MESSAGE


# -- commands


@pytest.mark.parametrize(
    ("command", "call"),
    [
        ({"type": "teach", "track": 7, "name": "Cleo"}, ("teach", 7, "Cleo", False)),
        ({"type": "teach", "track": 7, "name": "Twin", "sure": True}, ("teach", 7, "Twin", True)),
        ({"type": "correct", "track": 7, "name": "Bob"}, ("correct", 7, "Bob")),
        ({"type": "cancel"}, ("cancel",)),
        ({"type": "rename", "old": "Ada", "new": "Eve"}, ("rename", "Ada", "Eve")),
        ({"type": "merge", "source": "Ada", "into": "Bob"}, ("merge", "Ada", "Bob")),
        ({"type": "forget", "name": "Ada"}, ("forget", "Ada")),
    ],
)
def test_what_is_asked_is_done(web, live, command, call):
    with page(web) as socket:
        assert ask(socket, **command) == {"type": "reply", "id": 5, "ok": True, "error": None}
    assert live.calls == [call]


@pytest.mark.parametrize("what", ["teach", "correct"])
def test_the_face_is_taught_or_corrected_that_was_clicked(web, live, what):
    with page(web) as socket:
        assert ask(socket, type="choose", track=7)["ok"]
        ask(socket, type=what, track=7, name="Cleo")
        ask(socket, type=what, track=8, name="Dan")
        refused = ask(socket, type="choose", track=99)
        assert refused["error"] == "this face is not in the picture any more"
    assert live.chosen[0] is not None
    assert live.chosen[0].track == 7
    assert live.chosen[1] is None, "another face than the one that was clicked"


@pytest.mark.parametrize(
    ("name", "error"),
    [("Nobody", "this face cannot be learned from: too small"),
     ("Bug", "a bug; the program's log tells more")],
)  # fmt: skip
def test_why_something_is_not_done(web, name, error):
    with page(web) as socket:
        reply = ask(socket, type="teach", track=7, name=name)
        assert (reply["ok"], reply["error"]) == (False, error)
        assert "known" not in reply


def test_somebody_known_is_asked_about(web):
    with page(web) as socket:
        reply = ask(socket, type="teach", track=7, name="Twin")
    assert (reply["ok"], reply["known"]) == (False, {"name": "Ada", "similarity": 0.8123})


def test_a_slow_command_holds_up_nothing(broadcast, web, live):
    with page(web) as socket:
        wait_for(socket, "people")
        for number in range(8):
            socket.send_json({"id": number, "type": "teach", "track": 7, "name": "Slow"})
        refused = [wait_for(socket, "reply") for _ in range(4)]
        broadcast.show(tick(0))
        until(lambda: any(viewer._sent for viewer in broadcast.viewers))
        assert live.names == ["Ada", "Bob"], "none is done yet, and the frame is on its way"
        done = [wait_for(socket, "reply") for _ in range(4)]
    assert {reply["error"] for reply in refused} == {"too much at once: wait a moment"}
    assert all(reply["ok"] for reply in done)


def test_everybody_sees_who_is_known(web):
    with page(web) as one, page(web) as other:
        first = wait_for(other, "people")["people"]
        assert [person["name"] for person in first] == ["Ada", "Bob"]
        ask(one, type="forget", name="Ada")
        while True:  # the list may come more than once before the change
            if [p["name"] for p in wait_for(other, "people")["people"]] == ["Bob"]:
                break


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"type": "evil"}', '{"type": "forget", "id": 1}',
     '{"type": "forget", "id": 1, "name": "Ada", "more": 1}',
     '{"type": "forget", "id": "1", "name": "Ada"}',
     '{"type": "forget", "id": 1, "name": ""}', '{"type": "shown", "frame": -1}',
     '{"type": "teach", "id": 1, "track": 1e400, "name": "Ada"}',
     json.dumps({"type": "forget", "id": 1, "name": "A" * 201}), "x" * (MAX_TEXT + 1)],
)  # fmt: skip
def test_what_is_not_understood_ends_the_connection(web, live, text):
    with page(web) as socket:
        socket.send_text(text)
        with pytest.raises(WebSocketDisconnect) as ended:
            wait_for(socket, "never")
        assert 4400 <= ended.value.code < 4500
    assert live.calls == []


def test_too_many_viewers_are_refused(broadcast, web):
    broadcast.viewers.update(object() for _ in range(MAX_VIEWERS))  # type: ignore[misc]
    with page(web) as socket, pytest.raises(WebSocketDisconnect) as ended:
        wait_for(socket, "never")
    assert ended.value.code == TOO_MANY
    broadcast.viewers.clear()


@pytest.mark.parametrize(
    ("name", "code"), [("Ada", 200), ("Bob", 404), ("Nobody", 404), ("", 404), ("<b>", 404)]
)
def test_thumbnails(web, name, code):
    answer = web.get("/thumbnail", params={"name": name})
    assert answer.status_code == code
    if code == 200:
        assert answer.headers["content-type"] == "image/png"
        assert answer.content == PNG


def test_a_face_is_checked_for_life(broadcast, web):
    with page(web) as socket:
        assert wait_for(socket, "state")["check"] is None
        assert "not in the picture" in ask(socket, type="check", track=7)["error"]
        broadcast.show(tick(1))
        assert ask(socket, type="check", track=7)["ok"]
        check = wait_for(socket, "state")["check"]
        assert (check["status"], check["asks"], check["step"], check["track"]) == (
            "waiting", "look", 0, 7
        )  # fmt: skip
        assert check["instruction"] == "Look straight at the camera and hold still."
        assert ask(socket, type="unchecked")["ok"]
        assert wait_for(socket, "state")["check"] is None


@pytest.mark.parametrize(
    "path", [*FILES, "/alive", "/favicon.ico", "/thumbnail?name=Ada", "/thumbnail?name=Bob"]
)
def test_head_is_answered_as_get_without_the_body(web, path):
    got, head = web.get(path), web.head(path)
    assert head.status_code == got.status_code
    assert head.content == b""
    for name in ("content-type", "content-length", "content-security-policy"):
        assert head.headers.get(name) == got.headers.get(name)
