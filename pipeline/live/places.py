"""What is seen where the followed faces should be, from frame to frame."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.live.changes import SAME_FACE, View, face_view, likeness
from pipeline.live.tracking import Track
from pipeline.types import Box, Picture


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
