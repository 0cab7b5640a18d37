"""What is known of people: a name and a unit vector for each example; and the classifier head, a
softmax over the people it was trained on and over "unknown"."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from recognizer.search import Index, build_index
from recognizer.types import frozen, unit


@dataclass(frozen=True, eq=False)
class Gallery:
    """Immutable: every change returns a new one.

    Raises ValueError when they do not go together.
    """

    fingerprint: str  # of the embedder that made the vectors, see `recognizer.types.Embedder`
    names: tuple[str, ...]  # one for each vector; a person usually has several
    embeddings: NDArray[np.float32]  # unit vectors, float32 (N, D)

    def __post_init__(self) -> None:
        embeddings = frozen(self.embeddings, np.float32)
        if embeddings.ndim != 2 or len(embeddings) != len(self.names):
            raise ValueError(
                f"{len(self.names)} names need as many vectors, got the shape {embeddings.shape}"
            )
        length = np.sqrt(np.einsum("nd,nd->n", embeddings, embeddings))  # norm() would take a copy
        if not np.allclose(length, 1, atol=1e-3):
            i = int(np.flatnonzero(~np.isclose(length, 1, atol=1e-3))[0])
            raise ValueError(f"vector {i} has length {length[i]:.4f}, not 1")
        object.__setattr__(self, "embeddings", embeddings)
        object.__setattr__(self, "names", tuple(self.names))

    @classmethod
    def empty(cls, fingerprint: str, dimension: int) -> Gallery:
        """Nobody."""
        return cls(fingerprint, (), np.zeros((0, dimension), np.float32))

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def people(self) -> tuple[str, ...]:
        """Everyone once, sorted."""
        return tuple(sorted(set(self.names)))

    @cached_property
    def prototypes(self) -> NDArray[np.float32]:
        """The unit mean of each person's vectors, in the order of ``people``: float32 (P, D)."""
        if not self.names:
            return frozen(np.zeros((0, self.embeddings.shape[1])), np.float32)
        # Sorted by person, each one's rows are neighbors, which sums them 20 times faster than
        # adding row by row.
        row = {name: i for i, name in enumerate(self.people)}
        rows = np.array([row[name] for name in self.names])
        order = np.argsort(rows, kind="stable")
        starts = np.searchsorted(rows[order], np.arange(len(row)))
        sums = np.add.reduceat(self.embeddings[order], starts, axis=0)
        return frozen(unit(sums), np.float32)

    def of(self, name: str) -> NDArray[np.float32]:
        """One person's vectors (K, D); none for somebody who is not here."""
        return self.embeddings[self._rows.get(name, [])]

    @cached_property
    def _rows(self) -> dict[str, list[int]]:
        rows: dict[str, list[int]] = {}
        for i, name in enumerate(self.names):
            rows.setdefault(name, []).append(i)
        return rows

    @cached_property
    def _index(self) -> Index:
        return build_index(self.prototypes)

    def add(self, name: str, embeddings: NDArray[np.float32]) -> Gallery:
        """With more vectors (N, D) of a new or known person."""
        return Gallery(
            self.fingerprint,
            (*self.names, *[name] * len(embeddings)),
            np.concatenate([self.embeddings, embeddings]),
        )

    def remove(self, name: str) -> Gallery:
        """Without a person. Raises KeyError when there is none of that name."""
        keep = np.array([other != name for other in self.names], bool)
        if keep.all():
            raise KeyError(name)
        return Gallery(
            self.fingerprint,
            tuple(n for n, k in zip(self.names, keep, strict=True) if k),
            self.embeddings[keep],
        )

    def nearest(
        self, embeddings: NDArray[np.float32]
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """For unit vectors (N, D): position in ``people`` of the nearest prototype, and the cosine.

        With nobody in the gallery the positions are -1 and the cosines -1. Exact up to 100,000
        people, see `recognizer.search`.
        """
        if not self.people:
            count = len(embeddings)
            return np.full(count, -1, np.int64), np.full(count, -1, np.float32)
        best, cosine = self._index.search(embeddings)
        return best, np.clip(cosine, -1, 1)  # as `recognizer.types.cosines_of`


@dataclass(frozen=True, eq=False)
class Head:
    """A linear layer over unit vectors.

    Raises ValueError when the shapes do not go together or a class is there twice.
    """

    fingerprint: str  # of the embedder whose vectors it was trained on
    names: tuple[str | None, ...]  # the classes; None is the class "unknown"
    weight: NDArray[np.float32]  # float32 (C, D)
    bias: NDArray[np.float32]  # float32 (C,)

    def __post_init__(self) -> None:
        weight, bias = frozen(self.weight, np.float32), frozen(self.bias, np.float32)
        if weight.ndim != 2 or len(weight) != len(self.names) or bias.shape != (len(weight),):
            raise ValueError(
                f"{len(self.names)} classes do not go with weights {weight.shape} and biases "
                f"{bias.shape}"
            )
        if len(set(self.names)) != len(self.names):
            raise ValueError(f"a class is there twice: {self.names}")
        object.__setattr__(self, "weight", weight)
        object.__setattr__(self, "bias", bias)
        object.__setattr__(self, "names", tuple(self.names))

    def probabilities(self, embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
        """Unit vectors (N, D) -> probabilities float32 (N, C)."""
        logits = embeddings @ self.weight.T + self.bias
        logits -= logits.max(axis=1, keepdims=True, initial=-np.inf)
        powers = np.exp(logits)
        return powers / powers.sum(axis=1, keepdims=True)
