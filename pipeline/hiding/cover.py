"""Where faces are hidden on every frame of a film, and writing it so.

A film is looked at twice: where a face was just before it was found, and who was on a track, is
only certain when all of it was seen. The first pass fills a `Cover`, the second writes what is left
(`write_hidden`). A frame that was not looked at is hidden as a whole.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable
from contextlib import ExitStack, closing
from functools import partial
from itertools import repeat
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from detector.draw import anonymize
from faces.boxes import iou
from faces.errors import UserError
from faces.prefetch import WriteBehind, read_ahead
from faces.video.film import Frame, VideoReader, VideoWriter
from faces.video.sound import copy_sound

LINGER = 0.25
"""Seconds for which a face stays hidden before it was first found and after it was last found."""

SAME = 0.4
"""Overlap (IoU) from which two boxes are of the same face; one that lies within the other is, too.
"""

PIXELS = 2_000_000
"""Of a frame, for the number that is decoded ahead: as many as 1080p has."""

Boxes = NDArray[np.float32]
Tracks = NDArray[np.int64]
NOBODY: Tracks = np.zeros(0, np.int64)
NONE: Boxes = np.zeros((0, 4), np.float32)


class Cover:
    """Which boxes are hidden on each frame of a film: frames are added in order, and asked after.

    A face stays hidden for `LINGER` seconds before and after a frame on which it was found, so
    that one that is missed for a moment, or found a little late, is hidden as well.
    """

    def __init__(self) -> None:
        self._times: list[float] = []
        self._hidden: list[Boxes | None] = []
        self._shown: list[Boxes] = []
        self._tracks: list[tuple[Tracks, Tracks]] = []  # of both

    def __len__(self) -> int:
        return len(self._times)

    def add(
        self,
        time: float,
        hidden: Boxes | None,
        shown: Boxes = NONE,
        hidden_tracks: Tracks = NOBODY,
        shown_tracks: Tracks = NOBODY,
    ) -> None:
        """The next frame.

        Args:
            time: in seconds.
            hidden: boxes (N, 4) of what is hidden; None for all of the frame, when it is not known
                where the faces are.
            shown: boxes (M, 4) of faces that are not hidden, although one may have been at their
                place just before.
            hidden_tracks: of the hidden boxes (N,), where they are followed; -1 for one that is
                not. A track that is shown on a frame is elsewhere on those around it.
            shown_tracks: of the shown boxes (M,).
        """
        if hidden is not None and not len(hidden_tracks):
            hidden_tracks = np.full(len(hidden), -1)
        self._tracks.append((hidden_tracks, shown_tracks))
        self._times.append(time)
        self._hidden.append(hidden)
        self._shown.append(shown)

    def on(self, index: int, time: float) -> Boxes | None:
        """The boxes (N, 4) to hide on a frame, see `add`.

        Raises UserError when the film is not the one that was looked at.
        """
        own = self._hidden[index]
        if own is None:
            return None
        if abs(self._times[index] - time) > 1e-3:
            raise UserError("the film was changed while it was looked at")
        first = bisect_left(self._times, time - LINGER - 1e-6)
        last = bisect_right(self._times, time + LINGER + 1e-6)
        shown = self._tracks[index][1]
        near = [NONE]
        for other in range(first, last):
            boxes = self._hidden[other]
            if boxes is not None and other != index:
                near.append(boxes[~np.isin(self._tracks[other][0], shown)])
        around = np.concatenate(near)
        return np.concatenate([own, around[~are_faces(around, self._shown[index])]])


def are_faces(boxes: ArrayLike, others: ArrayLike) -> NDArray[np.bool_]:
    """Which of boxes (N, 4) are of the same face as one of the others (M, 4): (N,)."""
    one, other = np.reshape(boxes, (-1, 1, 4)), np.reshape(others, (1, -1, 4))
    sides = np.minimum(one[..., 2:], other[..., 2:]) - np.maximum(one[..., :2], other[..., :2])
    within = sides.clip(0).prod(-1) >= 0.8 * (one[..., 2:] - one[..., :2]).prod(-1)
    return (within | (iou(boxes, others) >= SAME)).any(axis=1)


def write_hidden(
    film: Path, target: Path, cover: Cover, each: Callable[[], object] = lambda: None
) -> None:
    """Write a film once more, without the faces in ``cover``, and with its sound where ffmpeg is.

    Args:
        film: which was looked at.
        target: ends in .mp4; it appears when it is whole.
        cover: of its frames; those after them were not looked at and are left out.

    Raises UserError when it is another film by now, OSError when it cannot be written.
    """
    with ExitStack() as stack:
        video = stack.enter_context(VideoReader(film))
        writer = stack.enter_context(VideoWriter(target, video.rate))
        behind = stack.enter_context(WriteBehind(threads=1))  # one keeps the frames in order
        frames = stack.enter_context(
            closing(read_ahead(repeat((video.read, 2_000_000)), threads=1))
        )
        for frame in frames:
            if frame is None:
                writer.end = video.end
            if frame is None or frame.index >= len(cover):
                break
            hidden = cover.on(frame.index, frame.time)
            behind.submit(partial(_write, writer, frame, hidden), frame.image)
            each()
    copy_sound(video, target)


def _write(writer: VideoWriter, frame: Frame, hidden: Boxes | None) -> None:
    image = frame.image
    if hidden is None:
        whole = np.array([[0, 0, image.shape[1], image.shape[0]]], np.float32)
        writer.write(anonymize(image, whole, 0.0), frame.time)
    else:
        writer.write(anonymize(image, hidden), frame.time)
