"""Liveness sessions over both transports."""

from __future__ import annotations

import json
import math
import os
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.http.keys import KeyFile
from pipeline.http.options import HttpOptions
from pipeline.liveness.challenge import Challenge
from pipeline.liveness.simulation import live as living
from pipeline.liveness.simulation import photo
from pipeline.service.core import Service
from pipeline.stdio.server import StdioServer
from tests.pipeline.http.live import live
from tests.pipeline.service.fakes import make_service
from tests.pipeline.service.films import Clock, FilmDetector, find_points, play

Ask = Callable[..., Any]


def prepare(service: Service, clock: Clock) -> None:
    """A clock of ours, and always the same sequence."""
    service.liveness.sessions.clock = clock
    service.liveness.new_challenge = lambda policy: Challenge.new(random.Random(5), policy)


def person() -> Any:
    actor = living(np.random.default_rng(1))
    actor.turn, actor.haste = math.radians(32), math.radians(70)
    return actor


@contextmanager
def over_http(clock: Clock, folder: Path) -> Iterator[Ask]:
    options = HttpOptions(rate_per_address="none")
    with live(folder, options, FilmDetector(), landmarks=find_points) as server:
        prepare(server.service, clock)

        def ask(op: str, image: bytes | None, fields: dict[str, Any]) -> Any:
            if image is None:
                answer = server.client.post(f"/v1/{op}", json=fields)
            else:
                answer = server.post(op, image, **fields)
            return answer.json()

        yield ask


@contextmanager
def over_pipes(clock: Clock, folder: Path) -> Iterator[Ask]:
    service = make_service(folder, detector=FilmDetector(), landmarks=find_points)
    prepare(service, clock)
    (hears, says), (reads, answers) = os.pipe(), os.pipe()
    with os.fdopen(says, "wb") as to, os.fdopen(reads, "rb") as source:
        sink = os.fdopen(answers, "wb")
        server = StdioServer(service, hears, sink)
        thread = threading.Thread(target=server.serve, daemon=True)
        thread.start()
        assert json.loads(source.readline())["result"]["challenges"] is True

        def ask(op: str, image: bytes | None, fields: dict[str, Any]) -> Any:
            frames = [] if image is None else [len(image)]
            to.write(json.dumps({"id": 1, "op": op, "frames": frames, **fields}).encode() + b"\n")
            to.write(image or b"")
            to.flush()
            answer = json.loads(source.readline())
            return answer.get("result", answer)

        yield ask
        to.close()
        thread.join(10)
        assert server.drain(10)
        sink.close()
    os.close(hears)
    service.close()


@pytest.fixture(params=[over_http, over_pipes])
def ask_and_clock(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Ask, Clock]]:
    clock = Clock()
    with request.param(clock, tmp_path) as ask:
        yield ask, clock


@pytest.mark.slow
def test_a_head_passes_and_a_photo_does_not(ask_and_clock):
    ask, clock = ask_and_clock
    last = play(ask, person(), clock)[-1]
    assert (last["status"], last["step"], last["person"]["name"]) == ("passed", 4, None)
    assert ask("liveness/state", None, {"session": last["session"]})["status"] == "passed"
    assert ask("liveness/end", None, {"session": last["session"]}) == {"session": last["session"]}
    gone = ask("liveness/state", None, {"session": last["session"]})
    assert gone["error"]["code"] == "not_found"
    held_up = photo(np.random.default_rng(0), turn=(30, 45), sway=(0.1, 3))
    assert play(ask, held_up, clock)[-1]["status"] == "failed"


def test_a_broken_picture_costs_no_session(ask_and_clock):
    ask, _ = ask_and_clock
    session = ask("liveness/begin", None, {})["session"]
    broken = ask("liveness/frame", b"\xff\xd8\xff broken", {"session": session})
    assert broken["error"]["code"] == "bad_image"
    assert ask("liveness/state", None, {"session": session})["status"] == "waiting"


def test_a_session_belongs_to_its_key(tmp_path):
    keys = KeyFile(tmp_path / "keys.json")
    mine, other = (keys.create(name, ["recognize"]) for name in ("a", "b"))
    less = keys.create("c", ["detect", "enroll", "admin"])
    options = HttpOptions(keys=tmp_path / "keys.json")
    with live(None, options, FilmDetector(), landmarks=find_points) as server:

        def ask(key: str | None, op: str, **fields: Any) -> Any:
            headers = {} if key is None else {"authorization": f"Bearer {key}"}
            return server.client.post(f"/v1/liveness/{op}", json=fields, headers=headers)

        session = ask(mine, "begin").json()["session"]
        assert ask(mine, "state", session=session).status_code == 200
        for op in ("state", "end"):
            answer = ask(other, op, session=session)
            assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")
        assert ask(less, "begin").status_code == 403
        assert ask(None, "begin").status_code == 401
        assert ask(mine, "end", session=session).status_code == 200


def test_a_server_without_liveness_says_so(tmp_path):
    with live(tmp_path) as server:
        answer = server.client.post("/v1/liveness/begin", json={})
        assert (answer.status_code, answer.json()["error"]["code"]) == (409, "unavailable")
        assert "liveness" in answer.json()["error"]["message"]
