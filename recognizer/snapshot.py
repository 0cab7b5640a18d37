"""Everything that is known about people at one moment."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recognizer.gallery import Gallery
from recognizer.head import Head
from recognizer.rule import Thresholds, default_thresholds, identify
from recognizer.types import Match


@dataclass(frozen=True, eq=False)
class Snapshot:
    """Gallery, head and thresholds of one fingerprint; immutable, saved and swapped as a whole.

    It is a `recognizer.types.Recognizer`. Thresholds that are not given are those of the gallery's
    embedder, see `recognizer.rule.default_thresholds`. Raises ValueError when the parts have
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
        """The cosine above which two faces are one person's: the gallery's threshold."""
        return self.thresholds.gallery

    def identify(self, embeddings: NDArray[np.float32]) -> list[Match]:
        """The hybrid rule, see `recognizer.rule.identify`; unit vectors float32 (N, D)."""
        return identify(embeddings, self.gallery, self.head, self.thresholds)
