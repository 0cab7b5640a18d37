"""Who came and who left, told once and not at every flicker: to stdout, to a web address."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from faces.closing import Closing
from pipeline.types import Face, Tick, rounded


@dataclass(frozen=True)
class Event:
    """Somebody was seen, or has left."""

    kind: Literal["seen", "left"]  # "seen" or "left"
    name: str | None  # None for somebody unknown
    track: int | None  # on which they were seen first
    time: float  # seconds from the first frame; of the first or last frame that showed them
    seconds: float = 0.0  # how long they were there; 0 for "seen"
    # similarity, confidence: see `recognizer.types.Match`; the best while they were there
    similarity: float | None = None
    confidence: float | None = None
    became: str | None = None  # the name that somebody unknown turned out to have
    at: datetime | None = None  # the clock's time, UTC; None for a recording
    camera: str | None = None  # its name, where there are several; else it is not in the JSON form

    def to_json(self) -> dict[str, Any]:
        """Plain values for `json`."""
        value: dict[str, Any] = {
            "event": self.kind,
            **({} if self.camera is None else {"camera": self.camera}),
            "name": self.name,
            "track": self.track,
            "time": round(self.time, 3),
        }
        if self.kind == "left":
            value["seconds"] = round(self.seconds, 3)
        value["similarity"], value["confidence"] = map(rounded, (self.similarity, self.confidence))
        if self.became is not None:
            value["became"] = self.became
        if self.at is not None:
            value["at"] = self.at.isoformat(timespec="milliseconds")
        return value

    def line(self) -> str:
        """`to_json` as one line of ASCII, without its end."""
        return json.dumps(self.to_json())


@dataclass
class _Presence:
    """One person (or unknown track) that is or was just there."""

    track: int | None
    first: float
    last: float
    told: bool = False
    similarity: float | None = None
    confidence: float | None = None


Key = tuple[str | None, int | None]
"""(name, None) for somebody known, on whatever track; (None, track) for somebody unknown."""


class Presences:
    """Turns the faces of frames into events, with hysteresis.

    Args:
        arrive: seconds for which a known person must be named before they count as seen; somebody
            unknown must be there for twice as long, as every face is unknown at first.
        leave: seconds without them after which they have left.
        clock: gives the time of live events; None for a recording.
        camera: of several the one that is told of.
    """

    def __init__(
        self,
        arrive: float = 0.5,
        leave: float = 3.0,
        clock: Callable[[], datetime] | None = None,
        camera: str | None = None,
    ) -> None:
        self.arrive, self.leave, self.clock, self.camera = arrive, leave, clock, camera
        self._there: dict[Key, _Presence] = {}

    def take(self, faces: Sequence[Face], time: float) -> list[Event]:
        """The events of one frame at ``time`` (seconds)."""
        events: list[Event] = []
        for face in faces:
            if face.agreement is None:  # not looked at yet
                continue
            key: Key = (face.match.name, None if face.match.name else face.track)
            there = self._there.setdefault(key, _Presence(face.track, time, time))
            there.last = time
            there.similarity = _best(there.similarity, face.match.similarity)
            there.confidence = _best(there.confidence, face.match.confidence)
            if face.match.name is not None:
                events += self._rename(face)
        for key, there in list(self._there.items()):
            wait = self.arrive if key[0] is not None else 2 * self.arrive
            if not there.told and there.last == time and time - there.first >= wait:
                there.told = True
                events.append(self._event("seen", key, there))
        return events + self._gone(time - self.leave)

    def end(self) -> list[Event]:
        """Everybody leaves: the source has ended."""
        return self._gone(float("inf"))

    def _rename(self, face: Face) -> list[Event]:
        """Somebody unknown on this track was this person all along."""
        unknown: Key = (None, face.track)
        there = self._there.pop(unknown, None)
        if there is None:
            return []
        known = self._there[(face.match.name, None)]
        known.first = min(known.first, there.first) if not known.told else known.first
        if not there.told:
            return []
        return [self._event("left", unknown, there, face.match.name)]

    def _gone(self, before: float) -> list[Event]:
        events = []
        for key, there in list(self._there.items()):
            if there.last < before:
                del self._there[key]
                if there.told:
                    events.append(self._event("left", key, there))
        return events

    def _event(
        self,
        kind: Literal["seen", "left"],
        key: Key,
        there: _Presence,
        became: str | None = None,
    ) -> Event:
        return Event(
            kind,
            key[0],
            there.track,
            there.first if kind == "seen" else there.last,
            there.last - there.first if kind == "left" else 0.0,
            there.similarity,
            there.confidence,
            became,
            self.clock() if self.clock else None,
            self.camera,
        )


class Events(Closing):
    """Tells events to everyone who wants them; a sink.

    Args:
        listeners: called with each event and the tick that brought it, in the loop's thread.
    """

    def __init__(
        self, presences: Presences, listeners: Sequence[Callable[[Event, Tick], None]]
    ) -> None:
        self._presences, self._listeners = presences, listeners
        self._last: Tick | None = None

    def show(self, tick: Tick) -> None:
        """Tell what a new frame changed. Without frames nobody comes or leaves."""
        if tick.fresh and tick.camera == self._presences.camera:
            self._last = tick
            self._tell(self._presences.take(tick.faces.faces, tick.picture.time), tick)

    def _tell(self, events: Sequence[Event], tick: Tick) -> None:
        for event in events:
            for listener in self._listeners:
                listener(event, tick)

    def leave(self, error: BaseException | None) -> None:
        if error is None and self._last is not None:
            self._tell(self._presences.end(), self._last)


def now() -> datetime:
    """The clock of live events."""
    return datetime.now(UTC)


def _best(known: float | None, new: float | None) -> float | None:
    return new if known is None else known if new is None else max(known, new)
