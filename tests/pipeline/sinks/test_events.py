"""Who came and who left."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import numpy as np
import pytest

from pipeline.sinks.events import Event, Events, Presences
from pipeline.types import Face, FrameFaces, Picture, Tick
from recognizer.types import Match

BOX = (0.0, 0.0, 10.0, 10.0)


def known(name: str, track: int = 1, similarity: float = 0.8) -> Face:
    return Face(BOX, 0.9, track, Match(name, similarity, None, "gallery", name), 1.0)


def unknown(track: int = 1) -> Face:
    return Face(BOX, 0.9, track, Match(None, 0.3), 1.0)


def play(presences: Presences, frames: list[list[Face]], fps: float = 10) -> list[Event]:
    events: list[Event] = []
    for i, faces in enumerate(frames):
        events += presences.take(faces, i / fps)
    return events


def told(events: list[Event]) -> list[tuple[str, str | None, float]]:
    return [(event.kind, event.name, event.time) for event in events]


def test_somebody_comes_and_leaves_once():
    presences = Presences(arrive=0.5, leave=1.0)
    events = play(presences, [[]] * 5 + [[known("Ada")]] * 20 + [[]] * 20)
    assert told(events) == [("seen", "Ada", 0.5), ("left", "Ada", 2.4)]
    assert events[1].seconds == 1.9
    assert presences.end() == []


def test_a_short_absence_is_no_leaving_and_another_track_is_the_same_person():
    presences = Presences(arrive=0.5, leave=1.0)
    frames = [[known("Ada", 1)]] * 10 + [[]] * 8 + [[known("Ada", 2)]] * 10
    assert told(play(presences, frames)) == [("seen", "Ada", 0.0)]
    assert told(presences.end()) == [("left", "Ada", 2.7)]


def test_a_name_that_flickers_by_is_not_told():
    presences = Presences(arrive=0.5, leave=1.0)
    frames = [[known("Ada")] if i % 30 < 2 else [] for i in range(120)]
    assert play(presences, frames) == []


def test_a_face_that_was_not_looked_at_is_nobody_yet():
    assert play(Presences(0, 1), [[Face(BOX, 0.9, 1)]] * 30) == []


def test_unknown_people_are_told_apart_by_their_tracks_and_take_longer():
    presences = Presences(arrive=0.5, leave=1.0)
    events = play(presences, [[unknown(1), unknown(2)]] * 15)
    assert [(e.kind, e.name, e.track) for e in events] == [("seen", None, 1), ("seen", None, 2)]
    assert told(play(Presences(0.5, 1.0), [[unknown()]] * 9)) == []


def test_somebody_unknown_at_first_is_told_once_and_from_the_beginning():
    events = play(Presences(0.5, 1.0), [[unknown()]] * 5 + [[known("Ada")]] * 10)
    assert told(events) == [("seen", "Ada", 0.0)]


def test_somebody_unknown_who_gets_a_name():
    events = play(Presences(0.5, 1.0), [[unknown()]] * 15 + [[known("Ada")]] * 10)
    assert told(events) == [("seen", None, 0.0), ("left", None, 1.4), ("seen", "Ada", 0.0)]
    assert events[1].became == "Ada"


def test_the_best_similarity_is_told():
    frames = [[known("Ada", similarity=0.7 + i / 100)] for i in range(20)]
    presences = Presences(0.5, 1.0)
    play(presences, frames)
    [left] = presences.end()
    assert left.similarity == pytest.approx(0.89)


def test_the_json_form():
    clock = datetime(2026, 1, 2, 3, 4, 5, 678000, UTC)
    presences = Presences(0.0, 1.0, lambda: clock)
    [event] = presences.take([known("Zoë", 4)], 1.5)
    assert json.loads(event.line()) == {
        "event": "seen", "name": "Zoë", "track": 4, "time": 1.5, "similarity": 0.8,
        "confidence": None, "at": "2026-01-02T03:04:05.678+00:00",
    }  # fmt: skip
    [event] = presences.end()
    assert event.to_json()["seconds"] == 0


def tick(faces: list[Face], time: float, fresh: bool = True) -> Tick:
    picture = Picture(0, time, np.zeros((48, 64, 3), np.uint8), 0.0)
    return Tick(picture, FrameFaces(0, time, (48, 64), tuple(faces), 1), fresh=fresh)


def test_listeners_hear_of_events_with_the_tick():
    heard: list[tuple[str, float]] = []
    with Events(Presences(0.0, 1.0), [lambda e, t: heard.append((e.kind, t.picture.time))]) as sink:
        sink.show(tick([known("Ada")], 0.5))
        sink.show(tick([], 9.0, fresh=False))  # the camera is gone, not Ada
    assert heard == [("seen", 0.5), ("left", 0.5)]
