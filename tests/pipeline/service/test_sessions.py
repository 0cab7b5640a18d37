"""Liveness sessions without a transport: who passes, who does not, and what is refused."""

from __future__ import annotations

import json
import math
import random
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from pipeline.liveness.challenge import Challenge
from pipeline.liveness.scene import FACE, Pose, project
from pipeline.liveness.simulation import live, photo
from pipeline.service import sessions
from pipeline.service.core import Service
from pipeline.service.errors import ServiceError
from pipeline.service.operations import find_operation
from pipeline.service.runtime.batching import Call
from pipeline.service.runtime.limits import Limits
from tests.pipeline.service import fakes
from tests.pipeline.service.films import (
    SCALE,
    Clock,
    FilmDetector,
    encode,
    find_points,
    picture,
    play,
)

STRAIGHT = project(FACE, Pose(), np.zeros(3)) * SCALE


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def service(tmp_path, clock) -> Iterator[Service]:
    made = make(clock, tmp_path)
    yield made
    made.close()


def make(clock: Clock, folder: Any = None, **options: Any) -> Service:
    """A service that offers challenges; the sequences are those of a seed."""
    detector = options.pop("detector", None) or FilmDetector()
    made = fakes.make_service(folder, detector=detector, landmarks=find_points, **options)
    made.liveness.sessions.clock = clock
    made.liveness.new_challenge = lambda policy: Challenge.new(random.Random(5), policy)
    return made


def asking(service: Service, caller: str = "key:a"):
    def ask(op: str, image: bytes | None = None, fields: dict[str, Any] | None = None) -> Any:
        operation = find_operation(op)
        images = [] if image is None else [image]
        request = operation.parse(fields or {})
        answer = service.submit(operation, request, images, Call(caller)).result(20)
        return json.loads(answer.model_dump_json())

    return ask


def refused(ask: Any, op: str, image: bytes | None = None, **fields: Any) -> str:
    with pytest.raises(ServiceError) as caught:
        ask(op, image, fields)
    return caught.value.code


FRAME = encode(picture(STRAIGHT))


# -- who passes


def person() -> Any:
    actor = live(np.random.default_rng(1))
    actor.turn, actor.haste = math.radians(32), math.radians(70)
    return actor


@pytest.mark.slow
def test_a_turning_head_passes_and_is_named(service, clock):
    ask = asking(service)
    ask("enroll", FRAME, {"name": "Ada"})
    told = play(ask, person(), clock)
    last = told[-1]
    assert (last["status"], last["reason"], last["step"]) == ("passed", None, 4)
    assert last["person"]["name"] == "Ada"
    assert last["person"]["similarity"] > 0.9
    assert all(state["person"] is None for state in told[:-1])
    assert {state["asks"] for state in told} >= {"look", "back", "done"}
    assert max(state["progress"] for state in told) == 1
    assert 5 < len(told) < 400
    assert 'faces_challenges_total{outcome="passed"} 1.0' in service.metrics.render().decode()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("turn", "sway"), [((0, 0), (0.15, 6.0)), ((20, 60), (0.3, 6.0))], ids=["moved", "tilted"]
)
def test_a_photo_held_up_and_moved_about_fails(service, clock, turn, sway):
    ask = asking(service)
    ask("enroll", FRAME, {"name": "Ada"})
    for seed in range(2):
        actor = photo(np.random.default_rng(seed), turn=turn, sway=sway)
        last = play(ask, actor, clock, seed)[-1]
        assert last["status"] == "failed"
        assert last["message"]
        assert last["person"] is None


@pytest.mark.slow
def test_a_mirrored_camera_is_believed(service, clock):
    ask = asking(service)
    wrong = play(ask, person(), clock, mirrored=True)[-1]
    assert (wrong["status"], wrong["reason"]) == ("failed", "wrong-movement")


@pytest.mark.slow
def test_without_an_embedder_there_is_a_verdict_but_no_name(clock):
    service = make(clock)
    last = play(asking(service), person(), clock)[-1]
    assert (last["status"], last["person"]) == ("passed", None)
    service.close()


def test_another_person_who_goes_on_is_noticed(service, clock):
    ask = asking(service)
    session = ask("liveness/begin")["session"]
    state: dict[str, Any] = {}
    for i in range(20):
        clock.now += 0.1
        frame = encode(picture(STRAIGHT, person=1 if i < 10 else 8))
        state = ask("liveness/frame", frame, {"session": session})
    assert (state["status"], state["reason"]) == ("failed", "another-person")


# -- what is refused


def test_only_with_liveness(clock, tmp_path):
    service = fakes.make_service(tmp_path)
    ask = asking(service)
    assert ask("info")["challenges"] is False
    assert refused(ask, "liveness/begin") == "unavailable"
    assert refused(ask, "liveness/frame", FRAME, session="x") == "unavailable"
    assert refused(ask, "liveness/state", session="x") == "unavailable"
    service.close()


def test_unknown_and_foreign_sessions_are_the_same(service):
    assert asking(service)("info")["challenges"] is True
    session = asking(service)("liveness/begin")["session"]
    other = asking(service, "key:b")
    messages = set()
    for name in (session, "x" * 32):
        for op, image in (
            ("liveness/frame", FRAME), ("liveness/state", None), ("liveness/end", None)
        ):  # fmt: skip
            with pytest.raises(ServiceError) as caught:
                other(op, image, {"session": name})
            assert caught.value.code == "not_found"
            messages.add((caught.value.message, str(caught.value.details)))
    assert len(messages) == 1
    assert asking(service)("liveness/state", None, {"session": session})["status"] == "waiting"


def test_ids_cannot_be_guessed(service):
    ask = asking(service)
    names = {ask("liveness/begin")["session"] for _ in range(20)}
    assert len(names) == 20
    assert min(map(len, names)) >= 32


def test_there_are_only_so_many_and_one_caller_has_half(clock):
    service = make(clock, limits=Limits(max_sessions=4))
    first, second, third = (asking(service, f"key:{name}") for name in "abc")
    mine = [first("liveness/begin")["session"] for _ in range(2)]
    assert refused(first, "liveness/begin") == "overloaded"
    for _ in range(2):
        second("liveness/begin")
    assert refused(third, "liveness/begin") == "overloaded"
    assert first("liveness/end", None, {"session": mine[0]}) == {"session": mine[0]}
    assert refused(first, "liveness/end", session=mine[0]) == "not_found"
    third("liveness/begin")
    assert refused(third, "liveness/begin") == "overloaded"
    clock.now += sessions.IDLE + 0.1  # all have been left alone
    assert first("liveness/state", None, {"session": mine[1]})["status"] == "expired"
    assert refused(third, "liveness/begin") == "overloaded"  # verdicts can still be asked for
    clock.now += sessions.KEPT + 0.1
    third("liveness/begin")
    assert len(service.liveness.sessions) == 1
    service.close()
    assert len(service.liveness.sessions) == 0


def test_a_session_ends_in_time_whatever_is_sent(service, clock):
    ask = asking(service)
    session = ask("liveness/begin")["session"]
    nothing = encode(picture(None))
    state = ask("liveness/state", None, {"session": session})
    assert 0 < state["left"] <= sessions.IDLE
    for _ in range(40):
        clock.now += 5
        state = ask("liveness/frame", nothing, {"session": session})
        if state["status"] != "waiting":
            break
        assert (state["hint"], state["faces"]) == ("No face can be seen.", 0)
    assert (state["status"], state["reason"]) == ("expired", "time-is-up")
    again = ask("liveness/frame", FRAME, {"session": session})  # no new attempt
    assert (again["status"], again["step"]) == ("expired", 0)
    assert ask("liveness/state", None, {"session": session})["status"] == "expired"
    clock.now += sessions.KEPT + 1
    assert refused(ask, "liveness/state", session=session) == "not_found"
    assert refused(ask, "liveness/frame", FRAME, session=session) == "not_found"


def test_faces_are_forgotten_also_when_nobody_comes_any_more(service, clock, monkeypatch):
    monkeypatch.setattr(sessions, "SWEEP", 0.01)
    asking(service)("liveness/begin")
    clock.now += sessions.LIFE
    waiter = threading.Event()
    for _ in range(500):
        clock.now += sessions.KEPT
        if not len(service.liveness.sessions):
            break
        waiter.wait(0.01)
    assert len(service.liveness.sessions) == 0


@pytest.mark.parametrize(
    ("image", "code"),
    [(b"", "bad_image"), (b"x", "bad_image"), (FRAME[: len(FRAME) // 3], "bad_image"),
     (FRAME + bytes(70_000), "too_large")],
    ids=["empty", "text", "cut", "large"],
)  # fmt: skip
def test_a_broken_frame_is_refused_and_the_session_goes_on(clock, tmp_path, image, code):
    service = make(clock, tmp_path, limits=Limits(max_bytes=60_000))
    ask = asking(service)
    session = ask("liveness/begin")["session"]
    ask("liveness/frame", FRAME, {"session": session})
    clock.now += 0.1
    assert refused(ask, "liveness/frame", image, session=session) == code
    clock.now += 0.1
    state = ask("liveness/frame", FRAME, {"session": session})
    assert (state["status"], state["faces"]) == ("waiting", 1)
    assert refused(ask, "liveness/frame", session=session) == "invalid_request"
    assert refused(ask, "liveness/frame", FRAME) == "invalid_request"
    assert refused(ask, "liveness/frame", FRAME, session="x" * 65) == "invalid_request"
    service.close()


def test_one_picture_at_a_time(clock):
    detector = FilmDetector()
    service = make(clock, detector=detector)
    ask = asking(service)
    session = ask("liveness/begin")["session"]
    detector.gate.clear()
    operation = find_operation("liveness/frame")
    request = operation.parse({"session": session})
    first = service.submit(operation, request, [FRAME], Call("key:a"))
    until = threading.Event()
    while not len(service.vision._detect) and not service.vision._detectors.busy:
        until.wait(0.01)
    assert refused(ask, "liveness/frame", FRAME, session=session) == "conflict"
    assert ask("liveness/state", None, {"session": session})["status"] == "waiting"
    detector.gate.set()
    assert first.result(10).faces == 1  # type: ignore[attr-defined]
    service.close()


@pytest.mark.slow
def test_nothing_of_a_face_is_kept_with_the_verdict(service, clock):
    ask = asking(service)
    told = play(ask, person(), clock)
    session = service.liveness.sessions.find(told[-1]["session"], "key:a")
    assert session.attempt is None
    assert ask("liveness/state", None, {"session": session.name}) == {
        **told[-1], "left": pytest.approx(sessions.KEPT, abs=0.2)
    }  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["head", "photo"])
def test_real_pixels_through_a_real_landmark_network(clock, kind):
    from pipeline.liveness.scene import HEIGHT, NECK, WIDTH
    from recognizer.landmarks import LandmarkNet
    from tests.pipeline.liveness.test_pixels import RATE
    from tests.pipeline.liveness.test_pixels import make as make_surface

    net = LandmarkNet(threads=1)
    dots, places, pivot = make_surface("Hopper", kind, net)
    boxes: list[Any] = []

    class Known(FilmDetector):
        """The faces' boxes are known here, as in test_pixels.py."""

        def _find(self, image: Any) -> Any:
            from detector.types import Detections

            return Detections.from_raw(boxes[-1:], [0.99], image.shape[:2])

    service = fakes.make_service(detector=Known(), landmarks=net)
    service.liveness.sessions.clock = clock
    service.liveness.new_challenge = lambda policy: Challenge.new(random.Random(2), policy)
    ask = asking(service)
    source = np.random.default_rng(2)
    actor = live(source) if kind == "head" else photo(source, turn=(30, 45), sway=(0.1, 3))
    if kind == "head":
        actor.turn = math.radians(32)
        assert pivot is NECK
    actor.shape, actor.pivot = lambda time: places, pivot
    state = ask("liveness/begin")
    start = clock.now
    while state["status"] == "waiting":
        clock.now += 1 / RATE
        pose = actor.move(clock.now - start, 1 / RATE, state["asks"])
        near = project(places, pose, pivot)
        low, high = near.min(axis=0), near.max(axis=0)
        reach = (high - low).max() * np.array([[-0.85, -1.1], [0.85, 0.95]])
        boxes.append(((low + high) / 2 + reach).reshape(4))
        frame = encode(dots.film(pose, pivot), "JPEG", quality=95)
        state = ask("liveness/frame", frame, {"session": state["session"]})
    assert state["status"] == ("passed" if kind == "head" else "failed"), state
    assert (HEIGHT, WIDTH) == (720, 1280)
    service.close()
