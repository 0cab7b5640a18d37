"""Following faces from detection to detection: the same number for the same face.

Each face is expected where its velocity has taken it; which detection continues which track is the
assignment of least distance in all (Hungarian algorithm). Times are seconds, so detection may be
slow and irregular. A weak detection may continue a track but not begin one, as in ByteTrack (Zhang
et al., ECCV 2022).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from faces.boxes import iou
from pipeline.types import Box

if TYPE_CHECKING:
    from detector.types import Detections

REACH = 1.2
"""How far a face may be from where it is expected, in widths of the face, sizes compared too.
Nothing is expected of a face that was detected once only: at three detections a second somebody who
walks moves by about their face's width."""

NEAR = 0.4
"""The same for a weak detection."""

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
    """A face that is followed."""

    id: int  # never given to another face
    box: Box  # where it was detected last
    velocity: tuple[float, float]  # of its center (x, y), pixels a second
    score: float  # of that detection, 0..1
    begun: float  # time of its first detection in seconds
    seen: float  # time of its last one
    misses: int = 0  # updates in a row that did not find it
    crossing: bool = False  # its box touches that of another face
    # it was lost until now, or has jumped: somebody else may be at its place
    doubtful: bool = False

    def expected(self, time: float) -> Box:
        """Where its movement has taken it at ``time``, inside the image or not."""
        ahead = min(max(time - self.seen, 0.0), AHEAD)
        dx, dy = self.velocity[0] * ahead, self.velocity[1] * ahead
        x1, y1, x2, y2 = self.box
        return x1 + dx, y1 + dy, x2 + dx, y2 + dy

    def at(self, time: float, image_size: tuple[int, int]) -> Box | None:
        """Where it should be at ``time``, inside an image (height, width); None when it has left.

        A face that was missed twice, or once and a while ago, is taken to be gone, although its
        track waits for it.
        """
        if self.misses > 1 or (self.misses and time - self.seen > HELD + 1e-6):
            return None
        height, width = image_size
        x1, y1, x2, y2 = self.expected(time)
        moved = max(x1, 0.0), max(y1, 0.0), min(x2, float(width)), min(y2, float(height))
        return moved if moved[2] - moved[0] >= 1 and moved[3] - moved[1] >= 1 else None


class FaceTracker:
    """Gives detections the numbers of their tracks.

    Args:
        start_score: detections below it only continue tracks.
        patience: seconds for which a track that is not found is kept.
        numbers: gives each track its own, those of several cameras among them; 1, 2, ... if None.
    """

    def __init__(
        self,
        start_score: float = 0.5,
        patience: float = 1.0,
        numbers: Iterator[int] | None = None,
    ) -> None:
        self.start_score = start_score
        self.patience = patience
        # Now, not when a camera's first face is seen: on a busy machine it takes a second.
        from scipy.optimize import linear_sum_assignment

        self._solve = linear_sum_assignment
        self._numbers = count(1) if numbers is None else numbers
        self.reset()

    def reset(self) -> None:
        """Forget all tracks; their numbers are not used again."""
        self._time: float | None = None
        self._tracks: dict[int, Track] = {}

    @property
    def tracks(self) -> tuple[Track, ...]:
        """All that are alive, found or not, in the order of their numbers."""
        return tuple(self._tracks[i] for i in sorted(self._tracks))

    def update(self, detections: Detections, time: float) -> list[int | None]:
        """Take what was detected at ``time`` (seconds); the track of each detection.

        None stands for a weak detection that continues no track. When time goes back or jumps by
        more than the patience, all tracks end.
        """
        if self._time is not None and not 0 <= time - self._time <= self.patience:
            self.reset()
        self._time = time
        kept = [track for track in self.tracks if time - track.seen <= self.patience]
        pairs = self._assign(detections, [track.expected(time) for track in kept])
        tracks = {
            track.id: replace(track, misses=track.misses + 1, doubtful=False) for track in kept
        }
        ids: list[int | None] = []
        for i, score in enumerate(detections.score.tolist()):
            x1, y1, x2, y2 = detections.xyxy[i].tolist()
            if i in pairs:
                track = _continued(kept[pairs[i]], (x1, y1, x2, y2), score, time)
            elif score >= self.start_score:
                track = Track(self._new_id(), (x1, y1, x2, y2), (0.0, 0.0), score, time, time)
            else:
                ids.append(None)
                continue
            tracks[track.id] = track
            ids.append(track.id)
        self._tracks = _mark_crossings(tracks)
        return ids

    def part(self, number: int) -> int:
        """The face on a track is another one than before: it is followed on under a new number.

        Raises KeyError when there is no such track.
        """
        track = self._tracks.pop(number)
        new = self._new_id()
        self._tracks[new] = replace(track, id=new, begun=track.seen, doubtful=False)
        return new

    def _new_id(self) -> int:
        return next(self._numbers)

    def _assign(self, detections: Detections, expected: Sequence[Box]) -> dict[int, int]:
        """Detection -> position of the track that it continues."""
        if not expected or not len(detections):
            return {}
        apart = _apart(detections.xyxy.astype(float), np.array(expected))
        weak = detections.score < self.start_score
        apart[weak[:, None] & (apart >= NEAR)] = REACH
        # Beyond its reach a pair costs as much as two that stay alone.
        rows, columns = self._solve(np.minimum(apart, REACH))
        near = apart[rows, columns] < REACH
        return dict(zip(rows[near].tolist(), columns[near].tolist(), strict=True))


def _continued(old: Track, box: Box, score: float, time: float) -> Track:
    """A track that was found again at a box."""
    velocity = _velocity(old, box, time)
    doubtful = old.misses > 0 or _has_jumped(old, box, time)
    return Track(old.id, box, velocity, score, old.begun, time, doubtful=doubtful)


def _has_jumped(old: Track, box: Box, time: float) -> bool:
    """Whether a face is nowhere near the place where it was, nor where it was going."""
    places = np.array([old.box, old.expected(time)])
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
    meets = iou([track.box for track in seen], [track.box for track in seen]) > CROSSING
    np.fill_diagonal(meets, False)
    crossing = {seen[i].id for i in np.flatnonzero(meets.any(axis=1))}
    return {number: replace(track, crossing=number in crossing) for number, track in tracks.items()}
