"""Everything that is known about people at one moment."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from recognizer.gallery import Gallery, Head
from recognizer.rule import Thresholds, default_thresholds, identify, is_denied
from recognizer.types import Match


@dataclass(frozen=True, eq=False)
class Snapshot:
    """Gallery, head and thresholds of one fingerprint; immutable, saved and swapped as a whole.

    It is a `recognizer.types.Recognizer`. Thresholds that are not given are those of the gallery's
    embedder, see `recognizer.rule.default_thresholds`. ``denied`` holds faces of which somebody has
    said who they are not, each under that name. Raises ValueError when the parts have two
    fingerprints.
    """

    gallery: Gallery
    head: Head | None = None
    thresholds: Thresholds = None  # type: ignore[assignment]  # those of the embedder
    version: int = 0
    denied: Gallery | None = None

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
        return identify(embeddings, self.gallery, self.head, self.thresholds, self.denied)

    def denies(self, face: NDArray[np.float32], name: str) -> bool:
        """Whether somebody has said of this face, float32 (D,), that it is not this person."""
        if self.denied is None:
            return False
        return is_denied(face, name, self.gallery, self.denied, self.thresholds)

    @property
    def strangers(self) -> NDArray[np.float32]:
        """Denied faces that are nobody else's either, float32 (M, D): what a head must not name."""
        if self.denied is None:
            return np.zeros((0, self.gallery.embeddings.shape[1]), np.float32)
        matches = replace(self, head=None).identify(self.denied.embeddings)
        return self.denied.embeddings[[match.name is None for match in matches]]
