"""Tells whether a picture, or a face in it, has changed so much that somebody else may be there.

Names follow places only as long as nothing speaks against it. Two things do: the whole picture
changes at once (a cut, another camera, the next slide), or what is seen of a face does (somebody
else at the same place). Both are measured by correlation, which brighter light does not change. It
is cheap enough for every frame.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.live.tracking import Track
from pipeline.types import Box, Picture

THUMBNAIL = (16, 12)
"""Width and height at which whole pictures are compared: so coarse that movement hardly counts."""

CUT = 0.5
"""Correlation below which one picture does not go on from the other. Of 1,770 pairs of photos of
WIDER FACE 99 % are below it, of portraits of LFW, all alike in their composition, 90 %; of pans by
a twentieth of the width a frame 0.5 % are."""

SUDDEN, TIMES = 0.8, 5.0
"""A correlation below the first is a cut as well when its distance from 1 is that many times the
greatest of the frames before: a still picture that changes by so much has been changed. Of
LFW's pairs 99.7 % are below it."""

WHOLE, MOVED = 0.25, 12.0
"""Part of the picture that must be another one, by at least so much of 255, for it to be a cut:
somebody who steps in front of a dark wall changes little of it, however bright they are."""

BEFORE = 8
"""Frames before that count for `SUDDEN`."""

FLAT = 4.0
"""Variance that is added to each picture's own: two black pictures are alike, noise or not."""

FACE, SHIFT = 24, 3
"""Side of the gray picture by which a face is compared with itself, and by how many of its pixels a
detector's box may have moved on the face."""

SAME_FACE = 0.85
"""`likeness` of a face to the same face at the detection before, below which it is looked at again.
At 10 detections a second 1 % of pairs of one face are below it, of two people's 99.9 % (LFW)."""

SAME_VIEW = 0.8
"""The same for the moment when it was last embedded, which may be long ago. Of two people's
portraits (LFW) 98.9 % are below it, and 90 % below 0.7, which lets one cross-fade in ten pass; of
portraits with other light, noise and a box moved by 4 % none of 900 is."""

SAME_PLACE = 0.82
"""`likeness` of the place where a face should be to where it should have been one frame before,
below which something has happened there: it is looked at now."""

OTHER_PLACE = 0.75
"""The same, below which the face has no name until it was looked at. Of two people's faces 98.6 %
are below it, of a face that moves 0.1 % at 30 frames a second."""

View = NDArray[np.uint8]
"""A face as `face_view` gives it."""


class SceneWatch:
    """Tells where one picture does not go on from the one before; used by one thread."""

    def __init__(self) -> None:
        self._last: NDArray[np.float32] | None = None
        self._size: tuple[int, ...] = ()
        self._changes: deque[float] = deque(maxlen=BEFORE)

    def cut(self, image: NDArray[np.uint8]) -> bool:
        """Whether this picture (RGB uint8 (H, W, 3)) shows something else than the last one.

        The first one of all continues nothing, and is no cut.
        """
        last, size = self._last, self._size
        self._last, self._size = _thumbnail(image), image.shape
        if last is None:
            return False
        alike = _correlation(last, self._last)
        usual = max(self._changes, default=0.0)
        self._changes.append(1 - alike)
        sudden = len(self._changes) > 1 and alike < SUDDEN and 1 - alike > TIMES * usual
        cut = size != image.shape or (
            (alike < CUT or sudden) and _part_changed(last, self._last) > WHOLE
        )
        if cut:
            self._changes.clear()  # how much moved in the shot before says nothing of this one
        return cut


def _thumbnail(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Colors of a few hundred places, (192 * 3,), each color's mean taken off."""
    width, height = THUMBNAIL
    # Every few pixels first: averaging all of a large picture would cost more than the rest.
    step = max(1, min(image.shape[0] // (4 * height), image.shape[1] // (4 * width)))
    small = cv2.resize(
        np.ascontiguousarray(image[::step, ::step]), THUMBNAIL, interpolation=cv2.INTER_AREA
    )
    pixels = small.reshape(-1, 3).astype(np.float32)
    return (pixels - pixels.mean(axis=0)).ravel()


def _part_changed(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    return float((np.abs(a - b).reshape(-1, 3).max(axis=1) > MOVED).mean())


def _correlation(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    flat = FLAT * len(a)
    energy = (float(a @ a) + flat) * (float(b @ b) + flat)
    return (float(a @ b) + flat) / float(np.sqrt(energy))


def cut(image: NDArray[np.uint8], box: Box) -> NDArray[np.uint8] | None:
    """What is in a box of an image (H, W, 3); None where that is less than two pixels wide."""
    height, width = image.shape[:2]
    x1, y1 = max(int(box[0]), 0), max(int(box[1]), 0)
    x2, y2 = min(round(box[2]), width), min(round(box[3]), height)
    return None if x2 - x1 < 2 or y2 - y1 < 2 else image[y1:y2, x1:x2]


def face_view(image: NDArray[np.uint8], box: Box) -> View:
    """A face of an RGB image (H, W, 3), small and gray: (24, 24).

    Black for a box outside the picture.
    """
    face = cut(image, box)
    if face is None:
        return np.zeros((FACE, FACE), np.uint8)
    small = cv2.resize(face, (FACE, FACE), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY), np.uint8)


def likeness(before: View, now: View) -> float:
    """How alike two views look, -1..1: the correlation of the middle of one with where it fits best
    in the other, as boxes are never quite at the same place of a face, nor of quite the same size.

    0 for views of one gray.
    """
    middle = before[SHIFT:-SHIFT, SHIFT:-SHIFT]
    best = _best_fit(middle, now)
    for side in (FACE - 1, FACE + 1):
        if best < SAME_FACE:
            best = max(best, _best_fit(middle, cv2.resize(now, (side, side))))
    if best > 0.999 and np.ptp(middle) == 0:  # OpenCV takes an even area to be like everything
        return 0.0
    return best


def _best_fit(part: NDArray[Any], whole: NDArray[Any]) -> float:
    return float(cv2.matchTemplate(whole, part, cv2.TM_CCOEFF_NORMED).max())


class PlaceWatch:
    """Remembers how each face looked; used by one thread."""

    def __init__(self) -> None:
        self._detected: dict[int, View] = {}  # track -> how it was detected last
        self._last: dict[int, tuple[Box, View]] = {}  # track -> its place on the last frame

    def take(self, ids: Sequence[int | None], views: Sequence[View], alive: set[int]) -> None:
        """Remember the detections of a frame by their tracks, and forget all but ``alive`` ones."""
        self._last = {}
        self._detected = {track: view for track, view in self._detected.items() if track in alive}
        for track, view in zip(ids, views, strict=True):
            if track is not None:
                self._detected[track] = view

    def forget(self, track: int) -> None:
        """It is another face now."""
        self._detected.pop(track, None)
        self._last.pop(track, None)

    def clear(self) -> None:
        """Nothing of the frame before counts."""
        self._last = {}

    def is_gone(self, track: int, box: Box, picture: Picture) -> bool:
        """Whether the place of a face that was not found just now looks otherwise, too."""
        view = self._detected.get(track)
        return view is not None and likeness(view, face_view(picture.image, box)) < SAME_FACE

    def alike(self, track: Track, before: Picture, now: Picture) -> float:
        """How alike a face's places on two frames are, where it goes taken into account, -1..1.

        1 where nothing can be said: of faces that are not seen, cross, were detected once only, or
        are about to leave the picture.
        """
        if track.crossing or track.begun == track.seen:
            return 1.0
        old, new = track.at(before.time, before.size), track.at(now.time, now.size)
        if old is None or new is None or new != track.expected(now.time):
            return 1.0
        last = self._last.get(track.id)
        view = last[1] if last and last[0] == old else face_view(before.image, old)
        seen = face_view(now.image, new)
        self._last[track.id] = new, seen
        return likeness(view, seen)
