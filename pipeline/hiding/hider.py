"""Whose faces are hidden in a film, and who is where in it.

Nobody is shown by mistake: a face is, while it is followed and most looks at it agree that it may
be; everything else that the detector finds is hidden.
"""

from __future__ import annotations

import difflib
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise, takewhile

import numpy as np
from numpy.typing import NDArray

from detector.types import Detections, Detector
from faces.boxes import iou
from faces.errors import UserError
from pipeline.hiding.cover import LINGER, NONE, Boxes, Cover, are_faces
from pipeline.live.loop import LoopOptions
from pipeline.live.naming import ENOUGH, SURE, NamingOptions
from pipeline.live.tasks import OneByOne
from pipeline.live.tracking import CROSSING
from pipeline.types import Tick
from recognizer.names import clean_name
from recognizer.types import Match

FAR = 0.6
"""A face without a name that is nearer to somebody who shall be hidden than this part of the
threshold of names may be them. Of 130 people of LFW (shipped embedder, three photos known) 1.5 % of
single looks at their own face are below it, 2 % of those at somebody else's above."""

WORDS = ("unknown", "known", "everyone")


@dataclass(frozen=True)
class Whom:
    """Whose faces are hidden."""

    unknown: bool = False  # those of people who are not known
    known: bool = False  # those of everybody who is known, but for ``shown``
    names: frozenset[str] = frozenset()  # those of these people
    # people whose faces are never hidden; once they are told apart with certainty
    shown: frozenset[str] = frozenset()

    @classmethod
    def of(cls, hide: Iterable[str], show: Iterable[str], people: Sequence[str]) -> Whom:
        """What somebody typed: words of `WORDS` and names of ``people``.

        Raises UserError for a name that nobody has, and for a word that is somebody's name.
        """
        words = {text.casefold() for text in hide} & {*WORDS}
        for person in people:
            if person.casefold() in words:
                raise UserError(
                    f"somebody is called {person!r}, which means a kind of people here: call them "
                    "otherwise with `faces people rename`"
                )
        named = [clean_name(text) for text in hide if text.casefold() not in WORDS]
        shown = [clean_name(text) for text in show]
        for name in (*named, *shown):
            if name not in people:
                close = difflib.get_close_matches(name, people, n=1, cutoff=0.5)
                hint = f"; did you mean {close[0]!r}?" if close else ""
                raise UserError(f"nobody is called {name!r} in the gallery{hint}")
        everyone = "everyone" in words
        return cls(
            everyone or "unknown" in words, everyone or "known" in words,
            frozenset(named), frozenset(shown),
        )  # fmt: skip

    def hides(self, name: str) -> bool:
        """Whether the face of somebody known is hidden."""
        return name not in self.shown and (self.known or name in self.names)

    def shows(self, match: Match, threshold: float) -> bool:
        """Whether a face that one look has taken for this may be shown.

        Args:
            threshold: the cosine from which on a face has a name.
        """
        if match.name is not None:
            return not self.hides(match.name)
        if self.unknown:
            return False
        near = match.similarity is not None and match.similarity > FAR * threshold
        return not (near and match.nearest is not None and self.hides(match.nearest))


LOOKS = NamingOptions(soonest=0.25, unsure=0.25, refresh=0.25)
"""Every face is looked at four times a second: a name holds only between two looks that agree."""


Span = tuple[int, int]


class Hider:
    """Collects, while a loop looks at every frame of a film, who is where; a sink.

    Args:
        threshold: the cosine from which on a face has a name.

    Attributes:
        failures: of the loop, so far: a frame on which there was one is hidden as a whole.
    """

    def __init__(self, whom: Whom, threshold: float) -> None:
        self._whom, self._threshold = whom, threshold
        self.failures: Callable[[], int] = lambda: 0
        self._failed = 0
        self._found: Detections | None = None
        self._frames: list[_Frame | None] = []
        self._looks: dict[int, list[tuple[int, bool, float]]] = defaultdict(list)

    def listen(self, detector: Detector) -> Detector:
        """The same detector, overheard: what the loop leaves out, as small or weak, is hidden."""

        def detect(image: NDArray[np.uint8]) -> Detections:
            self._found = found = detector.detect(image)
            return found

        return OneByOne(detect)

    @staticmethod
    def settings(options: LoopOptions) -> LoopOptions:
        """The same options, but that names are made sure of more often."""
        return replace(options, naming=LOOKS)

    def show(self, tick: Tick) -> None:
        """Take the next frame."""
        found, self._found = self._found, None
        failed, self._failed = self._failed, self.failures()
        while len(self._frames) < tick.picture.index:
            self._frames.append(None)  # it got lost on the way
        for look in tick.looks:
            for seen in look.sightings:
                if seen.track is not None and seen.match is not None:
                    fine = self._whom.shows(seen.match, self._threshold)
                    weight = max(seen.quality, 1e-3)
                    self._looks[seen.track].append((look.picture.index, fine, weight))
        faces = tick.faces.faces
        boxes = np.array([face.box for face in faces], np.float32).reshape(-1, 4)
        others = NONE if found is None else found.xyxy
        self._frames.append(
            _Frame(
                tick.picture.time,
                np.array([face.track for face in faces], np.int64),
                boxes,
                np.array([face.agreement is not None for face in faces], bool),
                others[~are_faces(others, boxes)],
            )
            if self._failed == failed
            else None
        )

    def cover(self) -> Cover:
        """What is to be hidden, now that all of the film was seen."""
        paths: dict[int, list[tuple[int, Boxes]]] = defaultdict(list)
        for index, frame in enumerate(self._frames):
            if frame is not None:
                for track, box in zip(frame.tracks, frame.boxes, strict=True):
                    paths[track].append((index, box))
        spans = self._spans(paths)
        lost = _between(path for track, path in paths.items() if not spans[track])
        cover, time = Cover(), 0.0
        for index, frame in enumerate(self._frames):
            if frame is None:
                cover.add(time, None)
                continue
            time = frame.time
            seen = [
                any(first <= index <= last for first, last in spans[track])
                for track in frame.tracks
            ]
            shown = frame.certain & np.array(seen, bool)
            between = lost.get(index, NONE)
            hidden = np.concatenate([frame.boxes[~shown], frame.others, between])
            tracks = np.concatenate(
                [frame.tracks[~shown], np.full(len(frame.others) + len(between), -1)]
            )
            cover.add(time, hidden, frame.boxes[shown], tracks, frame.tracks[shown])
        return cover

    def _spans(self, paths: Mapping[int, list[tuple[int, Boxes]]]) -> dict[int, list[Span]]:
        """Of each track the frames, from which to which, on which it may be shown.

        To its end, unless another one begins there: then it is not certain when its face went.
        """
        begins: dict[int, list[Boxes]] = defaultdict(list)
        for path in paths.values():
            begins[path[0][0]].append(path[0][1])
        found = {}
        for track, path in paths.items():
            looks = self._looks.get(track, [])
            found[track] = spans = _agreeing(looks)
            if not spans or not looks[-1][1]:
                continue
            last, box = path[-1]
            after = takewhile(partial(self._near, last), range(last + 1, len(self._frames)))
            next_to_it = [other for index in after for other in begins.get(index, ())]
            if not (iou(box, next_to_it) > CROSSING).any():
                spans[-1] = spans[-1][0], last
        return found

    def _near(self, first: int, index: int) -> bool:
        one, other = self._frames[first], self._frames[index]
        return one is None or other is None or other.time - one.time <= LINGER


def _between(paths: Iterable[Sequence[tuple[int, Boxes]]]) -> dict[int, Boxes]:
    """Frame -> boxes of the faces that were lost there and found again on the same track."""
    lost: dict[int, list[Boxes]] = defaultdict(list)
    for path in paths:
        for (first, begin), (last, end) in pairwise(path):
            for index in range(first + 1, last):
                share = (index - first) / (last - first)
                lost[index].append((1 - share) * begin + share * end)
    return {index: np.array(boxes, np.float32) for index, boxes in lost.items()}


@dataclass(frozen=True, eq=False)
class _Frame:
    """Time, and of the faces followed: tracks, boxes (N, 4), whether it is certain that it is
    still the same face (N,); boxes (M, 4) of what else was found."""

    time: float
    tracks: NDArray[np.int64]
    boxes: Boxes
    certain: NDArray[np.bool_]
    others: Boxes


def _agreeing(looks: Sequence[tuple[int, bool, float]]) -> list[Span]:
    """From which frame to which the face of a track may be shown.

    Args:
        looks: at it: frame, whether by this look alone it may, and how good it was to see.

    Nowhere, unless most of at least three looks agree; then between the first and the last that
    do, but for places where two in a row do not.
    """
    agreeing = sum(weight for _, fine, weight in looks if fine)
    if len(looks) < ENOUGH or agreeing < SURE * sum(weight for *_, weight in looks):
        return []
    spans: list[Span] = []
    against = ENOUGH
    for index, fine, _ in looks:
        if not fine:
            against += 1
            continue
        spans.append((index, index) if against > 1 else (spans.pop()[0], index))
        against = 0
    return spans
