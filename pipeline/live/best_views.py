"""The best look at every track, kept for the moment when somebody clicks it."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from faces.errors import UserError
from pipeline.teaching.gathering import Example, TeachOptions, refusal
from pipeline.types import Face, Look, Picture, Sighting, Tick
from recognizer.store.face_picture import FacePicture

RECENT = 8
"""Looks at each track of which the vectors are kept."""


@dataclass(frozen=True, eq=False)
class Chosen:
    """The face that a user means, as it was when they chose it."""

    track: int  # where it was
    example: Example  # its vector and picture
    match: str | None  # the name it had, or None
    time: float  # seconds of the source
    others: tuple[NDArray[np.float32], ...] = ()  # vectors of other looks at it, float32 (D,) each
    camera: str | None = None  # which one shows it, where there are several


@dataclass(frozen=True, eq=False)
class _Best:
    """The best look at a track since it last met another one."""

    picture: Picture
    sighting: Sighting
    bad: str | None

    @property
    def worth(self) -> tuple[bool, float]:
        return self.bad is None, self.sighting.quality


class BestViews:
    """What is known of every track in the picture. Not for several threads at once.

    Args:
        options: their gates say which look is good enough to learn from.
    """

    def __init__(self, options: TeachOptions) -> None:
        self._options = options
        self._best: dict[int, _Best] = {}
        self._recent: dict[int, deque[NDArray[np.float32]]] = {}

    def take(self, look: Look, tick: Tick) -> set[int]:
        """Remember a look of this tick; the tracks that may be somebody else from now on."""
        crossed = set()
        for sighting in look.sightings:
            track = sighting.track
            if track is None:
                continue
            if sighting.crossing:
                crossed.add(track)
                self.drop(track)
            elif sighting.embedding is not None:
                self._recent.setdefault(track, deque(maxlen=RECENT)).append(sighting.embedding)
                options = self._options
                bad = refusal(look, sighting, options.gates, options.blank)
                best = _Best(look.picture, sighting, bad)
                old = self._best.get(track)
                if old is None or best.worth >= old.worth:
                    self._best[track] = best
        here = {face.track for face in tick.faces.faces}
        here |= {sighting.track for sighting in look.sightings}
        for gone in self._best.keys() - here:
            del self._best[gone]
        for gone in self._recent.keys() - here:
            del self._recent[gone]
        return crossed

    def drop(self, track: int) -> None:
        """Forget what was seen of a track."""
        self._best.pop(track, None)
        self._recent.pop(track, None)

    def choose(self, track: int, tick: Tick | None, *, poor: bool = False) -> Chosen:
        """The face of a track that is in this tick; with ``poor`` also one that shows too little.

        Raises UserError when it is not there or cannot be taught just now, with the reason.
        """
        face = face_of(track, tick)
        best = self._best.get(track)
        if tick is None or face is None:
            raise UserError("this face is not in the picture any more")
        if best is None or face.agreement is None:  # not looked at yet, or maybe another one now
            raise UserError("this face cannot be told apart just now: try again in a moment")
        if best.bad is not None and not poor:
            raise UserError(f"this face cannot be learned from: {best.bad}")
        sighting = best.sighting
        assert sighting.embedding is not None
        picture = None
        if self._options.pictures != "none":
            picture = FacePicture.of(
                best.picture.image, np.array(sighting.box, np.float32), sighting.landmarks
            )
        example = Example(sighting.embedding, picture)
        others = tuple(v for v in self._recent.get(track, ()) if v is not sighting.embedding)
        return Chosen(
            track, example, face.match.name, tick.picture.time, others, camera=tick.camera
        )


def face_of(track: int, tick: Tick | None) -> Face | None:
    """The face of a track, if it is in the tick."""
    faces = tick.faces.faces if tick else ()
    return next((face for face in faces if face.track == track), None)
