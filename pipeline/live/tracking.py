"""Following faces from detection to detection: the same number for the same face.

Which detection goes to which track is decided by norfair's Kalman filters; this file adds what a
live loop needs on top: time in seconds instead of in frames (detection may be slow and irregular),
where a face is between two detections, and ByteTrack's rule that a weak detection may continue a
track but not begin one (Zhang et al., ECCV 2022).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.types import Box

if TYPE_CHECKING:
    from detector.types import Detections

STEPS = 30.0
"""Kalman steps a second, but at least one for each update."""

FOREVER = 1_000_000
"""Steps for which norfair would keep a track that is not found. It counts steps, whose number in a
second depends on the frame rate; how long a track is kept in seconds is decided here instead."""

REACH = 1.2
"""How far a face may be from where it is expected, in widths of the face, sizes compared too.
Nothing is expected of a face that was detected once only: at three detections a second somebody who
walks moves by about their face's width."""

NOISE, SURPRISE = 4.0, 1.0
"""Of the Kalman filters, in squared pixels: of a detection, and of what a step may change."""

CROSSING = 0.1
"""Overlap (IoU) from which two faces count as crossing."""

AHEAD = 0.5
"""Seconds for which a movement is believed to go on unchanged."""

HELD = 0.2
"""Seconds for which a face is shown on that the last detection did not find."""

JUMP = 0.6
"""How far from where it is expected (as `REACH`) a face is taken to have jumped: it is followed,
and may be another one."""


@dataclass(frozen=True, eq=False)
class Track:
    """A face that is followed.

    Args:
        id: never given to another face.
        box: where it was detected last.
        velocity: of its center (x, y), pixels a second.
        score: of that detection, 0..1.
        begun: time of its first detection in seconds.
        seen: time of its last one.
        misses: updates in a row that did not find it.
        crossing: its box touches that of another face.
        doubtful: it was lost until now, or has jumped: somebody else may be at its place.
    """

    id: int
    box: Box
    velocity: tuple[float, float]
    score: float
    begun: float
    seen: float
    misses: int = 0
    crossing: bool = False
    doubtful: bool = False

    def at(self, time: float, image_size: tuple[int, int]) -> Box | None:
        """Where it should be at ``time``, inside an image (height, width); None when it has left.

        A face that was missed twice, or once and a while ago, is taken to be gone, although its
        track waits for it.
        """
        if self.misses > 1 or (self.misses and time - self.seen > HELD + 1e-6):
            return None
        ahead = min(max(time - self.seen, 0.0), AHEAD)
        dx, dy = self.velocity[0] * ahead, self.velocity[1] * ahead
        height, width = image_size
        x1, y1, x2, y2 = self.box
        moved = (
            max(x1 + dx, 0.0),
            max(y1 + dy, 0.0),
            min(x2 + dx, float(width)),
            min(y2 + dy, float(height)),
        )
        return moved if moved[2] - moved[0] >= 1 and moved[3] - moved[1] >= 1 else None


class FaceTracker:
    """Gives detections the numbers of their tracks.

    Args:
        start_score: detections below it only continue tracks.
        patience: seconds for which a track that is not found is kept.
    """

    def __init__(self, start_score: float = 0.5, patience: float = 1.0) -> None:
        self.start_score = start_score
        self.patience = patience
        self._count = 0
        self.reset()

    def reset(self) -> None:
        """Forget all tracks; their numbers are not used again."""
        from norfair import FilterPyKalmanFilterFactory, Tracker
        from norfair.distances import VectorizedDistance

        self._numbers: dict[int, int] = {}  # of norfair's objects -> ours
        self._time: float | None = None
        self._tracks: dict[int, Track] = {}
        self._updates = 0
        self._norfair = Tracker(
            "iou",
            REACH,
            hit_counter_max=FOREVER,
            initialization_delay=0,  # a track counts from its first detection on
            # norfair's default filter is only right for exactly one step between two detections.
            filter_factory=FilterPyKalmanFilterFactory(NOISE, SURPRISE),
        )
        self._norfair.distance_function = VectorizedDistance(_apart)

    @property
    def tracks(self) -> tuple[Track, ...]:
        """All that are alive, found or not, in the order of their numbers."""
        return tuple(self._tracks[i] for i in sorted(self._tracks))

    def update(self, detections: Detections, time: float) -> list[int | None]:
        """Take what was detected at ``time`` (seconds); the track of each detection.

        None stands for a weak detection that continues no track. When time goes back or jumps by
        more than the patience, all tracks end.
        """
        from norfair import Detection

        if self._time is not None and not 0 <= time - self._time <= self.patience:
            self.reset()
        self._drop_tracks(time)
        steps = 1 if self._time is None else round((time - self._time) * STEPS)
        for _ in range(steps - 1):
            self._norfair.update(None)
        self._time = time
        self._updates += 1
        taken = np.flatnonzero(self._worth(detections, time))
        self._norfair.update(
            [
                Detection(
                    detections.xyxy[i].reshape(2, 2).astype(float), data=(self._updates, int(i))
                )
                for i in taken
            ],
            period=FOREVER,
        )
        ids: list[int | None] = [None] * len(detections)
        alive: dict[int, Track] = {}
        for item in self._norfair.get_active_objects():
            track, index = self._follow(item, detections, time)
            if index is not None:
                ids[index] = track.id
            alive[track.id] = track
        self._tracks = _mark_crossings(alive)
        return ids

    def part(self, number: int) -> int:
        """The face on a track is another one than before: it is followed on under a new number.

        Raises KeyError when there is no such track.
        """
        track = self._tracks.pop(number)
        self._count += 1
        new = self._count
        for item, other in self._numbers.items():
            if other == number:
                self._numbers[item] = new
        self._tracks[new] = replace(track, id=new, begun=track.seen, doubtful=False)
        return new

    def _drop_tracks(self, time: float) -> None:
        """End what was not seen for too long, here and in norfair, so that both have the same."""
        self._tracks = {
            number: track
            for number, track in self._tracks.items()
            if time - track.seen <= self.patience
        }
        self._norfair.tracked_objects = [
            item for item in self._norfair.tracked_objects if self._number(item) in self._tracks
        ]
        kept = {item.id for item in self._norfair.tracked_objects}
        self._numbers = {item: ours for item, ours in self._numbers.items() if item in kept}

    def _number(self, item: Any) -> int:
        """Of a norfair object's track. Norfair counts from 1 after every reset."""
        if item.id not in self._numbers:
            self._count += 1
            self._numbers[item.id] = self._count
        return self._numbers[item.id]

    def _worth(self, detections: Detections, time: float) -> NDArray[np.bool_]:
        """Which detections are strong, or near enough to a track to continue it."""
        strong = detections.score >= self.start_score
        if strong.all() or not self._tracks:
            return strong
        size = detections.image_size
        expected = [replace(track, misses=0).at(time, size) for track in self.tracks]
        boxes = np.array([box for box in expected if box is not None], float).reshape(-1, 4)
        if not len(boxes):
            return strong
        near = (_apart(detections.xyxy.astype(float), boxes) < REACH / 3).any(axis=1)
        return strong | near

    def _follow(
        self, item: Any, detections: Detections, time: float
    ) -> tuple[Track, int | None]:  # fmt: skip
        """The track of a norfair object, and which detection continued it now, if any."""
        number = self._number(item)
        update, index = item.last_detection.data
        if update != self._updates:
            missed = self._tracks[number]  # of an earlier update, and kept by `_drop_tracks`
            return replace(missed, misses=missed.misses + 1, doubtful=False), None
        old = self._tracks.get(number)
        x1, y1, x2, y2 = detections.xyxy[index].tolist()
        new = (x1, y1, x2, y2)
        score = float(detections.score[index])
        if old is None:
            return Track(number, new, (0.0, 0.0), score, time, time), index
        velocity = _velocity(old, new, time)
        doubtful = old.misses > 0 or _has_jumped(old, new, time)
        return (
            Track(number, new, velocity, score, old.begun, time, doubtful=doubtful),
            index,
        )


def _has_jumped(old: Track, box: Box, time: float) -> bool:
    """Whether a face is nowhere near the place where it was, nor where it was going."""
    ahead = min(max(time - old.seen, 0.0), AHEAD)
    dx, dy = old.velocity[0] * ahead, old.velocity[1] * ahead
    x1, y1, x2, y2 = old.box
    places = np.array([old.box, (x1 + dx, y1 + dy, x2 + dx, y2 + dy)])
    return bool(_apart(np.array([box]), places).min() > JUMP)


def _velocity(old: Track, box: Box, time: float) -> tuple[float, float]:
    """What was measured now and what was believed before, which counts half after 0.1 s."""
    seconds = time - old.seen
    if seconds <= 0:
        return old.velocity
    x = (box[0] + box[2] - old.box[0] - old.box[2]) / 2 / seconds
    y = (box[1] + box[3] - old.box[1] - old.box[3]) / 2 / seconds
    first = old.velocity == (0.0, 0.0)
    share = 1.0 if first else 1 - 0.5 ** (seconds / 0.1)
    return (
        share * x + (1 - share) * old.velocity[0],
        share * y + (1 - share) * old.velocity[1],
    )


def _apart(candidates: NDArray[np.float64], objects: NDArray[np.float64]) -> NDArray[np.float64]:
    """How unlike boxes (N, 4) and (M, 4) are: distance of the centers in face widths, plus the
    absolute logarithm of the ratio of their sizes. (N, M), 0 for equal boxes.

    Unlike the overlap it says something of faces that moved by more than their width, as they do
    when detection is slow.
    """
    a, b = candidates[:, None], objects[None]
    size_a, size_b = _side(a), _side(b)
    x = (a[..., 0] + a[..., 2] - b[..., 0] - b[..., 2]) / 2
    y = (a[..., 1] + a[..., 3] - b[..., 1] - b[..., 3]) / 2
    apart = np.hypot(x, y) / np.sqrt(size_a * size_b)
    return apart + np.abs(np.log(size_a / size_b))


def _side(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    width = np.maximum(boxes[..., 2] - boxes[..., 0], 1.0)
    height = np.maximum(boxes[..., 3] - boxes[..., 1], 1.0)
    return np.sqrt(width * height)


def _mark_crossings(tracks: dict[int, Track]) -> dict[int, Track]:
    """The tracks, each told whether it touches another that is still seen."""
    seen = [track for track in tracks.values() if track.misses <= 1]
    crossing = {
        a.id for a in seen for b in seen if a.id != b.id and overlap(a.box, b.box) > CROSSING
    }
    return {number: replace(track, crossing=number in crossing) for number, track in tracks.items()}


def overlap(a: Box, b: Box) -> float:
    """Intersection over union of two boxes, 0..1."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    area_a = (a[2] - a[0]) * (a[3] - a[1])
    area_b = (b[2] - b[0]) * (b[3] - b[1])
    return shared / (area_a + area_b - shared)
