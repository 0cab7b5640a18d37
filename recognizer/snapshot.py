"""Everything that is known about people at one moment, and the rule that puts a name to a face."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recognizer.gallery import Gallery
from recognizer.head import Head
from recognizer.thresholds import Thresholds as Thresholds
from recognizer.thresholds import default_thresholds
from recognizer.types import Match


@dataclass(frozen=True, eq=False)
class Snapshot:
    """Gallery, head and thresholds of one fingerprint; immutable, saved and swapped as a whole.

    It is a `recognizer.types.Recognizer`. Thresholds that are not given are those of the gallery's
    embedder, see `recognizer.thresholds.default_thresholds`. Raises ValueError when the parts have
    two fingerprints.
    """

    gallery: Gallery
    head: Head | None = None
    thresholds: Thresholds = None  # type: ignore[assignment]  # those of the embedder
    version: int = 0

    def __post_init__(self) -> None:
        if self.thresholds is None:
            object.__setattr__(self, "thresholds", default_thresholds(self.gallery.fingerprint))
        if self.head is not None and self.head.fingerprint != self.gallery.fingerprint:
            raise ValueError(
                f"the head was trained on vectors of {self.head.fingerprint}, the gallery holds "
                f"those of {self.gallery.fingerprint}"
            )

    @property
    def fingerprint(self) -> str:
        """Of the embedder whose vectors it can name."""
        return self.gallery.fingerprint

    @property
    def same(self) -> float:
        """The cosine from which on two faces are one person's; the threshold of the gallery."""
        return self.thresholds.gallery

    def identify(self, embeddings: NDArray[np.float32]) -> list[Match]:
        """The hybrid rule, for unit vectors float32 (N, D).

        The head's best class if it is confident and not "unknown"; else the gallery's nearest
        person if close; else unknown.
        """
        if not len(embeddings):
            return []
        nearest, cosine = self.gallery.nearest(embeddings)
        best, sure = self._classify(embeddings)
        return [
            self._decide(int(n), float(c), name, p)
            for n, c, name, p in zip(nearest, cosine, best, sure, strict=True)
        ]

    def _classify(
        self, embeddings: NDArray[np.float32]
    ) -> tuple[list[str | None], list[float | None]]:
        if self.head is None:
            return [None] * len(embeddings), [None] * len(embeddings)
        probabilities = self.head.probabilities(embeddings)
        best = probabilities.argmax(axis=1)
        sure = probabilities[np.arange(len(best)), best]
        return [self.head.names[i] for i in best], [float(p) for p in sure]

    def _decide(
        self, nearest: int, cosine: float, name: str | None, confidence: float | None
    ) -> Match:
        known = nearest >= 0
        person = self.gallery.people[nearest] if known else None
        similarity = cosine if known else None
        if name is not None and confidence is not None and confidence > self.thresholds.head:
            return Match(name, similarity, confidence, "head", person)
        if known and cosine > self.thresholds.gallery:
            return Match(person, similarity, confidence, "gallery", person)
        return Match(None, similarity, confidence, "none", person)
