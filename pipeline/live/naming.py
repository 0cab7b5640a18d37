"""Who is on a track: which of its faces to look at, and one steady name from what was seen.

Of each track a few embeddings are kept, with how good the face was to see. The name is their vote.
When the recognizer learns something, the same embeddings are asked again, so a new name is there on
the very next frame without another look.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.types import Box, Sighting
from recognizer.types import UNKNOWN, Match, Recognizer, Source

SIDE = 64
"""Sharpness is measured on the face at this size, so that it does not depend on the camera."""

SHARP = 120.0
"""Sharpness at which a face counts half: that of a portrait blurred by two pixels (Gaussian)."""

LARGE = 96.0
"""Pixels from which on a larger face is no better."""

KEEP = 8
"""Embeddings kept for each track."""

ENOUGH = 3
"""Embeddings after which a name may be sure."""

SURE = 0.75
"""Share of the votes from which on a name is sure."""

STICKY = 1.3
"""By how much the votes for another name must outweigh those for the present one."""

HALF_LIFE = 10.0
"""Seconds after which an embedding counts half."""


@dataclass(frozen=True)
class NamingOptions:
    """When a face is looked at again.

    Args:
        soonest: seconds between two looks at the same track, at least.
        unsure: the most seconds until an unsure name is looked at again; the pause begins with
            ``soonest`` and doubles with every look that did not help.
        refresh: seconds until a sure name is looked at again, as tracks can be wrong.
        better: how much better than its best (as a factor) a face must be to be looked at sooner.
        batch: faces that are looked at together, at most.
    """

    soonest: float = 0.25
    unsure: float = 4.0
    refresh: float = 3.0
    better: float = 1.3
    batch: int = 8


@dataclass
class _Memory:
    """What is known of one track."""

    embeddings: list[NDArray[np.float32]] = field(default_factory=list)
    quality: list[float] = field(default_factory=list)
    time: list[float] = field(default_factory=list)
    looks: int = 0
    last: float = -np.inf
    best: float = 0.0
    crossed: bool = False  # since it was looked at
    stale: bool = True  # the name does not know the newest embedding yet
    match: Match = UNKNOWN
    agreement: float | None = None

    @property
    def sure(self) -> bool:
        return len(self.quality) >= ENOUGH and (self.agreement or 0.0) >= SURE


class Namer:
    """The memory of all tracks; used by one thread."""

    def __init__(self, options: NamingOptions = NamingOptions()) -> None:
        self.options = options
        self._memories: dict[int, _Memory] = {}
        self._recognizer: tuple[Recognizer, int] | None = None

    def choose(
        self, sightings: Sequence[Sighting], time: float, watched: Collection[int] = ()
    ) -> list[int]:
        """Positions of the sightings that should be embedded now, most urgent first.

        Those of ``watched`` tracks always are, others when they are new, better to see than before,
        or their name is unsure or old; never while two faces cross, except when they are new.
        """
        urgent: list[tuple[int, float, int]] = []
        for i, sighting in enumerate(sightings):
            if sighting.track is None:
                continue
            memory = self._memories.setdefault(sighting.track, _Memory())
            memory.crossed |= sighting.crossing
            if not memory.looks:
                urgent.append((0, -sighting.quality, i))
            elif sighting.crossing:
                continue
            elif sighting.track in watched:
                urgent.append((1, memory.last, i))
            elif time - memory.last >= self._pause(memory, sighting):
                urgent.append((2, memory.last, i))
        return [i for *_, i in sorted(urgent)[: self.options.batch]]

    def _pause(self, memory: _Memory, sighting: Sighting) -> float:
        """Seconds to wait after the last look."""
        options = self.options
        if memory.crossed or sighting.quality >= options.better * memory.best:
            return options.soonest
        if memory.sure:
            return options.refresh
        return min(options.soonest * 2.0 ** max(0, memory.looks - ENOUGH), options.unsure)

    def learn(
        self, track: int, embedding: NDArray[np.float32], quality: float, time: float
    ) -> None:
        """Take a new embedding (D,) of a track, seen with a quality of 0..1 at ``time``."""
        memory = self._memories.setdefault(track, _Memory())
        if memory.crossed:
            # Two faces met: the track may have gone on with the other one. What was seen before
            # says nothing any more.
            memory.embeddings, memory.quality, memory.time = [], [], []
            memory.looks, memory.best, memory.match, memory.crossed = 0, 0.0, UNKNOWN, False
        memory.embeddings.append(embedding)
        memory.quality.append(max(quality, 1e-3))
        memory.time.append(time)
        if len(memory.quality) > KEEP:
            worst = int(np.argmin(_weights(memory)[:-1]))  # the newest stays
            for values in (memory.embeddings, memory.quality, memory.time):
                del values[worst]
        memory.looks += 1
        memory.last, memory.best = time, max(memory.best, quality)
        memory.stale = True

    def names(
        self, tracks: Collection[int], recognizer: Recognizer
    ) -> dict[int, tuple[Match, float | None]]:
        """For each track its name and the share of the votes for it (None before the first look).

        Only what has changed is asked: embeddings since the last call, or all of them when the
        recognizer is another one.
        """
        known = (recognizer, recognizer.version)
        if self._recognizer is None or self._recognizer[0] is not recognizer or (
            self._recognizer[1] != known[1]
        ):  # fmt: skip
            self._recognizer = known
            for each in self._memories.values():
                each.stale, each.match, each.agreement = True, UNKNOWN, None
        ask = [
            memory
            for track in tracks
            if (memory := self._memories.get(track)) and memory.stale and memory.quality
        ]
        if ask:
            vectors = np.stack([vector for memory in ask for vector in memory.embeddings])
            matches = list(recognizer.identify(vectors))
            for memory in ask:
                count = len(memory.quality)
                _vote(memory, matches[:count])
                del matches[:count]
        found = {track: self._memories.get(track, _Memory()) for track in tracks}
        return {track: (memory.match, memory.agreement) for track, memory in found.items()}

    def embeddings(self, track: int) -> NDArray[np.float32]:
        """What is kept of a track: (K, D); (0, 0) for one that was not looked at."""
        memory = self._memories.get(track)
        if memory is None or not memory.embeddings:
            return np.zeros((0, 0), np.float32)
        return np.stack(memory.embeddings)

    def forget(self, track: int) -> None:
        """Drop what was seen of a track; it is looked at again as if it were new."""
        self._memories.pop(track, None)

    def keep(self, tracks: Collection[int]) -> None:
        """Forget all other tracks."""
        for gone in self._memories.keys() - set(tracks):
            del self._memories[gone]


def _weights(memory: _Memory) -> NDArray[np.float64]:
    age = memory.time[-1] - np.array(memory.time)
    return np.array(memory.quality) * 0.5 ** (age / HALF_LIFE)


def _vote(memory: _Memory, matches: Sequence[Match]) -> None:
    """Put the name that the embeddings agree on into the memory."""
    weights = _weights(memory) * [_strength(match) for match in matches]
    tally: dict[str | None, float] = {}
    for match, weight in zip(matches, weights, strict=True):
        tally[match.name] = tally.get(match.name, 0.0) + float(weight)
    # Ties go to the name that was seen first, as dicts keep their order.
    name = max(tally, key=lambda candidate: tally[candidate])
    present = memory.match.name
    if memory.agreement is not None and present in tally:
        name = name if tally[name] > STICKY * tally[present] else present
    memory.match = _summary(name, matches, weights)
    memory.agreement = tally[name] / max(sum(tally.values()), 1e-12)
    memory.stale = False


def _strength(match: Match) -> float:
    """How much a match says: a name by how near it is, "unknown" by how far everyone is."""
    if match.name is None:
        return max(1.0 - max(match.similarity or 0.0, 0.0), 0.05)
    certain = match.confidence if match.source == "head" else match.similarity
    return max(certain or 0.0, 0.05)


def _summary(
    name: str | None, matches: Sequence[Match], weights: NDArray[np.float64]
) -> Match:  # fmt: skip
    """One match for all of ``name``: weighted means; who decided is as the weightiest says."""
    own = [i for i, match in enumerate(matches) if match.name == name]
    first = matches[max(own, key=lambda i: weights[i])]
    source: Source = first.source
    return Match(
        name,
        _mean([(matches[i].similarity, weights[i]) for i in own]),
        _mean([(matches[i].confidence, weights[i]) for i in own]),
        source,
        first.nearest,
    )


def _mean(values: Sequence[tuple[float | None, float]]) -> float | None:
    there = [(value, weight) for value, weight in values if value is not None]
    if not there:
        return None
    return float(np.average([v for v, _ in there], weights=[w for _, w in there]))


def sharpness(image: NDArray[np.uint8], box: Box) -> float:
    """The variance of the Laplacian of the grey face at 64 x 64 pixels; 0 for an even surface.

    Blur and enlargement lower it: a face of 20 pixels is never sharp (Pech-Pacheco et al., ICPR
    2000).
    """
    height, width = image.shape[:2]
    x1, y1 = max(int(box[0]), 0), max(int(box[1]), 0)
    x2, y2 = min(round(box[2]), width), min(round(box[3]), height)
    if x2 - x1 < 2 or y2 - y1 < 2:
        return 0.0
    face = Image.fromarray(image[y1:y2, x1:x2]).convert("L")
    grey = np.asarray(face.resize((SIDE, SIDE), Image.Resampling.BILINEAR), np.float32)
    centre = 4 * grey[1:-1, 1:-1]
    return float(
        (centre - grey[:-2, 1:-1] - grey[2:, 1:-1] - grey[1:-1, :-2] - grey[1:-1, 2:]).var()
    )


def face_quality(box: Box, score: float, sharp: float) -> float:
    """How good a face is to see, 0..1: its size, its sharpness (see `sharpness`), its score."""
    side = min(box[2] - box[0], box[3] - box[1])
    return min(side / LARGE, 1.0) ** 0.5 * sharp / (sharp + SHARP) * score
