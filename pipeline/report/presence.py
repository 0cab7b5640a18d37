"""Who was in a video, when, and how sure that is: collected while it runs.

`pipeline.report.files` writes it down.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from faces.closing import Closing
from pipeline.types import Box, Face, Picture, Sighting, Tick

GAP = 1.0
"""Seconds without a face that do not end an appearance."""

BRIEF = 3
"""Unknown tracks of fewer frames are taken for false positives and only counted."""

THUMBNAIL = 160


@dataclass(frozen=True)
class Person:
    """One row of the report."""

    name: str  # of somebody known, or "unknown 1" and so on
    known: bool  # whether the recognizer named them
    # (begin, end) in seconds, in order and apart by more than `GAP`
    intervals: tuple[tuple[float, float], ...]
    frames: int  # on which they were seen
    tracks: tuple[int, ...]  # under which numbers
    # similarity, confidence: means over these frames, see `recognizer.types.Match`
    similarity: float | None
    confidence: float | None
    # how sure the name is: of the single looks at their face, the share (0..1) that gave this name
    # by itself; where nothing was looked at, the mean of the frames
    agreement: float | None
    looks: int = 0  # how many looks that were
    # their best picture, RGB uint8 (h, w, 3); None when no face was good enough
    thumbnail: NDArray[np.uint8] | None = field(default=None, compare=False, repr=False)

    @property
    def seconds(self) -> float:
        """For how long they were there."""
        return sum(end - begin for begin, end in self.intervals)


@dataclass(frozen=True)
class Report:
    """Everybody, those who were there longest first."""

    people: tuple[Person, ...]  # known and unknown
    frames: int  # of the video
    duration: float  # in seconds
    brief: int  # unknown faces too brief to count, see `BRIEF`


@dataclass
class _Run:
    """Frames in a row on which a track had one name."""

    name: str | None
    begin: float
    end: float
    frames: int = 0
    tally: NDArray[np.float64] = field(default_factory=lambda: np.zeros((3, 2)))
    looks: int = 0
    agreeing: int = 0

    def add(self, face: Face) -> None:
        """Count similarity, confidence and agreement: their sums, and of how many frames."""
        self.frames += 1
        values = (face.match.similarity, face.match.confidence, face.agreement)
        for row, value in zip(self.tally, values, strict=True):
            if value is not None:
                row += (value, 1)


@dataclass
class _Track:
    runs: list[_Run] = field(default_factory=list)
    vectors: list[NDArray[np.float32]] = field(default_factory=list)
    looks: list[tuple[float, str | None]] = field(default_factory=list)  # when, and who it was
    quality: float = -1.0
    thumbnail: NDArray[np.uint8] | None = None


class ReportMaker(Closing):
    """Collects what a report needs; a sink.

    Args:
        step: seconds that one frame lasts.
        same: unknown tracks whose mean embeddings are at least this similar (cosine) are taken for
            one person.
    """

    def __init__(self, step: float, same: float = 0.7) -> None:
        self._step, self._same = step, same
        self._tracks: dict[int, _Track] = {}
        self._frames = 0
        self._end = 0.0
        self._photo = 0  # faces of photos get negative numbers, each its own

    def show(self, tick: Tick) -> None:
        """Take a new frame."""
        if not tick.fresh:
            return
        self._frames += 1
        self._end = max(self._end, tick.picture.time + self._step)
        photos = [s for look in tick.looks for s in look.sightings if s.track is None]
        for i, face in enumerate(tick.faces.faces):
            number = face.track
            if number is None:
                self._photo -= 1
                number = self._photo
                if i < len(photos):
                    self._see(number, photos[i], tick.picture)
                    self._tracks[number].looks.append((tick.picture.time, face.match.name))
            self._count(number, face, tick.picture.time)
        for look in tick.looks:
            for sighting in look.sightings:
                if sighting.track is not None:
                    self._see(sighting.track, sighting, look.picture)

    def _count(self, number: int, face: Face, time: float) -> None:
        track = self._tracks.setdefault(number, _Track())
        if not track.runs or track.runs[-1].name != face.match.name:
            track.runs.append(_Run(face.match.name, time, time))
        run = track.runs[-1]
        run.end = time + self._step
        run.add(face)

    def _see(self, number: int, sighting: Sighting, picture: Picture) -> None:
        track = self._tracks.setdefault(number, _Track())
        if sighting.match is not None:
            track.looks.append((picture.time, sighting.match.name))
        if sighting.embedding is not None and not sighting.crossing:
            track.vectors = [*track.vectors[-15:], sighting.embedding]
        if sighting.quality > track.quality and not sighting.crossing:
            track.quality = sighting.quality
            track.thumbnail = _cut(picture.image, sighting.box)

    def report(self) -> Report:
        """What is known so far."""
        runs: dict[str, list[tuple[int, _Run]]] = {}
        strangers: dict[int, list[_Run]] = {}
        brief = 0
        for number, track in self._tracks.items():
            joined = _joined(track.runs)
            _count_looks(joined, track.looks)
            for run in joined:
                if run.name is not None:
                    runs.setdefault(run.name, []).append((number, run))
                elif number >= 0 and run.frames < BRIEF:
                    brief += 1
                else:
                    strangers.setdefault(number, []).append(run)
        people = [self._person(name, True, own) for name, own in runs.items()]
        for i, numbers in enumerate(self._alike(list(strangers)), start=1):
            own = [(number, run) for number in numbers for run in strangers[number]]
            people.append(self._person(f"unknown {i}", False, own))
        people.sort(key=lambda person: (-person.seconds, person.name))
        return Report(tuple(people), self._frames, self._end, brief)

    def _alike(self, numbers: Sequence[int]) -> list[list[int]]:
        """Unknown tracks, grouped by person: each joins the nearest group that is near enough."""
        groups: list[list[int]] = []
        means: list[NDArray[np.float32]] = []
        for number in numbers:
            vectors = self._tracks[number].vectors
            if not vectors:
                groups.append([number])
                means.append(np.zeros(0, np.float32))
                continue
            mean = np.mean(vectors, axis=0)
            mean /= max(float(np.linalg.norm(mean)), 1e-9)
            cosines = [float(m @ mean) if len(m) else -1.0 for m in means]
            best = int(np.argmax(cosines)) if cosines else -1
            if best >= 0 and cosines[best] >= self._same:
                groups[best].append(number)
            else:
                groups.append([number])
                means.append(mean)
        return groups

    def _person(self, name: str, known: bool, own: Sequence[tuple[int, _Run]]) -> Person:
        similarity, confidence, agreement = _means([run for _, run in own])
        looks = sum(run.looks for _, run in own)
        if looks:
            agreement = sum(run.agreeing for _, run in own) / looks
        numbers = sorted({number for number, _ in own})
        best = max(numbers, key=lambda number: self._tracks[number].quality)
        return Person(
            name,
            known,
            _merged([(run.begin, run.end) for _, run in own]),
            sum(run.frames for _, run in own),
            tuple(number for number in numbers if number >= 0),
            similarity,
            confidence,
            agreement,
            looks,
            self._tracks[best].thumbnail,
        )

    def close(self) -> None:
        """Nothing to close."""


def _joined(runs: Sequence[_Run]) -> list[_Run]:
    """The runs of one track: unknown ones belong to the name that follows, else to that before.

    It is one face that was followed; it is unknown until it has been looked at well enough.
    """
    names: list[str | None] = [run.name for run in runs]
    for order in (range(len(names) - 2, -1, -1), range(1, len(names))):
        for i in order:
            neighbor = i + 1 if order.step < 0 else i - 1
            if names[i] is None:
                names[i] = names[neighbor]
    joined = []
    for name, group in groupby(zip(names, runs, strict=True), key=lambda pair: pair[0]):
        own = [run for _, run in group]
        # How sure a name is: on the frames that bore it.
        tally = np.sum([run.tally for run in own if run.name == name], axis=0)
        frames = sum(run.frames for run in own)
        joined.append(_Run(name, own[0].begin, own[-1].end, frames, tally))
    return joined


def _count_looks(runs: Sequence[_Run], looks: Sequence[tuple[float, str | None]]) -> None:
    """To each run of a track the looks that were made during it, and how many gave its name."""
    for time, name in looks:
        # One that is made beside a running camera may be a little older than what it leads to.
        run = min(runs, key=lambda run: max(run.begin - time, time - run.end, 0.0), default=None)
        if run is not None:
            run.looks += 1
            run.agreeing += name == run.name


def _merged(intervals: Sequence[tuple[float, float]]) -> tuple[tuple[float, float], ...]:
    merged: list[tuple[float, float]] = []
    for begin, end in sorted(intervals):
        if merged and begin - merged[-1][1] <= GAP:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((begin, end))
    return tuple(merged)


def _means(runs: Sequence[_Run]) -> tuple[float | None, float | None, float | None]:
    """Mean similarity, confidence and agreement of all frames that have them."""
    sums = np.sum([run.tally for run in runs], axis=0)
    first, second, third = (float(total / n) if n else None for total, n in sums)
    return first, second, third


def _cut(image: NDArray[np.uint8], box: Box, margin: float = 0.3) -> NDArray[np.uint8]:
    """The face with some of its surroundings, at most `THUMBNAIL` pixels."""
    height, width = image.shape[:2]
    dx, dy = margin * (box[2] - box[0]), margin * (box[3] - box[1])
    x1, y1 = max(int(box[0] - dx), 0), max(int(box[1] - dy), 0)
    x2, y2 = min(round(box[2] + dx), width), min(round(box[3] + dy), height)
    picture = Image.fromarray(image[y1:y2, x1:x2])
    picture.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.BILINEAR)
    return np.asarray(picture)
