"""What recognizing takes and gives. Only NumPy is imported here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

Source = Literal["head", "gallery", "none"]


@dataclass(frozen=True)
class Match:
    """What is known about one face.

    Args:
        name: None when it is unknown.
        similarity: cosine (-1..1) with the nearest prototype of the gallery; None when it is
            empty.
        confidence: the head's probability (0..1) for ``name`` when it decided, else for its best
            class; None without a head.
        source: who decided: the classifier head, the gallery, or nobody (unknown).
        nearest: the gallery's nearest person, also when too far away to be named.
    """

    name: str | None
    similarity: float | None = None
    confidence: float | None = None
    source: Source = "none"
    nearest: str | None = None

    def __post_init__(self) -> None:
        if (self.name is None) != (self.source == "none"):
            raise ValueError(f"name {self.name!r} does not go with source {self.source!r}")


UNKNOWN = Match(None)


class Embedder(Protocol):
    """A network that turns face crops into vectors."""

    @property
    def fingerprint(self) -> str:
        """Identity of the crop recipe and of the weights: vectors of two fingerprints never mix."""

    @property
    def size(self) -> int:
        """Side S of the square crops that it takes, in pixels."""

    @property
    def dimension(self) -> int:
        """Length D of its vectors."""

    def crop(
        self,
        image: NDArray[np.uint8],
        xyxy: NDArray[np.float32],
        landmarks: NDArray[np.float32] | None = None,
    ) -> NDArray[np.uint8]:
        """The one crop recipe: RGB uint8 (H, W, 3) and boxes (N, 4) -> faces uint8 (N, S, S, 3).

        ``landmarks`` (N, 5, 2) are those of the detector; None where it finds none.
        """

    def embed(self, faces: NDArray[np.uint8]) -> NDArray[np.float32]:
        """RGB uint8 (N, S, S, 3) -> unit vectors float32 (N, D); N may be 0."""


class Recognizer(Protocol):
    """Says who somebody is."""

    @property
    def version(self) -> int:
        """Grows with every change of what it knows."""

    def identify(self, embeddings: NDArray[np.float32]) -> Sequence[Match]:
        """Unit vectors float32 (N, D) -> one `Match` each, in order."""


def unit(vectors: NDArray[np.floating]) -> NDArray[np.float32]:
    """Vectors (..., D) scaled to length 1. Raises ValueError for one without a direction."""
    vectors = np.asarray(vectors, np.float32)
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    if not (np.isfinite(length).all() and (length > 0).all()):
        raise ValueError("a vector is zero or not finite and has no direction")
    return vectors / length


def cosines_of(vectors: NDArray[np.float32], others: NDArray[np.float32]) -> NDArray[np.float32]:
    """Of unit vectors (N, D) or (D,) and (M, D) or (D,), within -1..1.

    Whatever is shown is made here: rounding makes the product of a vector with itself 1.0000001.
    """
    return np.clip(vectors @ others.T, -1, 1)


def frozen(array: NDArray, dtype: type) -> NDArray:
    """A read-only copy (or ``array`` itself when it is one already)."""
    if array.dtype != dtype or array.flags.writeable:
        array = np.array(array, dtype)
        array.flags.writeable = False
    return array
