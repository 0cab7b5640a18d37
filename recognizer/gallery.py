"""What is known of people: a name and a unit vector for each example; and the classifier head, a
softmax over the people it was trained on and over "unknown"."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from recognizer.search import EVERYBODY, Index, build_index
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
        order, starts = self._rows
        sums = np.add.reduceat(self.embeddings[order], starts[:-1], axis=0)
        return frozen(unit(sums), np.float32)

    def prototype(self, name: str) -> NDArray[np.float32] | None:
        """One person's, float32 (D,); None for somebody who is not here."""
        row = _find(self.people, name)
        return None if row is None else self.prototypes[row]

    def of(self, name: str) -> NDArray[np.float32]:
        """One person's vectors (K, D); none for somebody who is not here."""
        row = _find(self.people, name)
        order, starts = self._rows
        return self.embeddings[[] if row is None else order[starts[row] : starts[row + 1]]]

    @cached_property
    def _rows(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Positions of the vectors by person, and where each one's begin, and the last one's end.

        Neighbors are summed 20 times faster than row by row.
        """
        row = {name: i for i, name in enumerate(self.people)}
        rows = np.array([row[name] for name in self.names], np.int64)
        order = np.argsort(rows, kind="stable")
        return order, np.searchsorted(rows[order], np.arange(len(row) + 1))

    @cached_property
    def _index(self) -> Index:
        return build_index(self.prototypes)

    def prepare(self) -> None:
        """Make now what is made when somebody is first searched for, and takes its time."""
        if self.people:
            _ = self._index, self._rows

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
        self, embeddings: NDArray[np.float32], without: Collection[str] = ()
    ) -> tuple[list[str | None], NDArray[np.float32]]:
        """For unit vectors (N, D): who has the nearest prototype, and the cosine.

        People in ``without`` are passed over. With nobody left it is None, and the cosine -1. Exact
        up to 100,000 people, see `recognizer.search`.
        """
        return self._search(embeddings, self._positions(without))

    def _positions(self, names: Collection[str]) -> NDArray[np.int64]:
        """Where these are in ``people``, ascending; who is not there is left out."""
        found = (_find(self.people, name) for name in names)
        return np.array(sorted(row for row in found if row is not None), np.int64)

    def _search(
        self, embeddings: NDArray[np.float32], without: NDArray[np.int64]
    ) -> tuple[list[str | None], NDArray[np.float32]]:
        if not self.people:
            return [None] * len(embeddings), np.full(len(embeddings), -1, np.float32)
        best, cosine = self._index.search(embeddings, without if len(without) else EVERYBODY)
        names = [self.people[row] if row >= 0 else None for row in best.tolist()]
        return names, np.clip(cosine, -1, 1)  # as `recognizer.types.cosines_of`


class Altered(Gallery):
    """A gallery in which some people are others: new ones, gone ones, or with other vectors.

    It is what it would be if it had been made anew, in the time that these people take: the large
    gallery and its index stay as they are, the others have a gallery of their own, and who is in
    both counts there. Vectors, names and prototypes of all together are made when they are asked
    for; recognizing does not ask.

    Args:
        base: in the order of names, as a store gives it.
        changed: the vectors (K, D) of these people from now on; K = 0 takes one away.
    """

    def __init__(self, base: Gallery, changed: Mapping[str, NDArray[np.float32]]) -> None:
        there = sorted(name for name, vectors in changed.items() if len(vectors))
        names = tuple(name for name in there for _ in changed[name])
        nothing = np.zeros((0, base.embeddings.shape[1]), np.float32)
        fresh = Gallery(
            base.fingerprint, names, np.concatenate([nothing, *(changed[name] for name in there)])
        )
        passed = base._positions(changed.keys())
        starts = base._rows[1]
        gone = int((starts[passed + 1] - starts[passed]).sum())
        for name, value in {
            "fingerprint": base.fingerprint, "_base": base, "_fresh": fresh, "_passed": passed,
            "_changed": frozenset(changed), "_count": len(base) - gone + len(fresh),
        }.items():  # fmt: skip
            object.__setattr__(self, name, value)

    _base: Gallery
    _fresh: Gallery
    _passed: NDArray[np.int64]
    _changed: frozenset[str]
    _count: int

    def __len__(self) -> int:
        return self._count

    def prepare(self) -> None:
        self._base.prepare()
        self._fresh.prepare()
        _ = self.people

    @cached_property
    def people(self) -> tuple[str, ...]:
        kept = (name for name in self._base.people if name not in self._changed)
        return tuple(sorted([*kept, *self._fresh.people]))

    @cached_property
    def names(self) -> tuple[str, ...]:  # type: ignore[override]
        return self._all[0]

    @cached_property
    def embeddings(self) -> NDArray[np.float32]:  # type: ignore[override]
        return self._all[1]

    @cached_property
    def _all(self) -> tuple[tuple[str, ...], NDArray[np.float32]]:
        return _merged(
            *(self._base.names, self._base.embeddings, self._changed),
            *(self._fresh.names, self._fresh.embeddings),
        )

    @cached_property
    def prototypes(self) -> NDArray[np.float32]:
        return _merged(
            *(self._base.people, self._base.prototypes, self._changed),
            *(self._fresh.people, self._fresh.prototypes),
        )[1]

    def prototype(self, name: str) -> NDArray[np.float32] | None:
        return (self._fresh if name in self._changed else self._base).prototype(name)

    def of(self, name: str) -> NDArray[np.float32]:
        return (self._fresh if name in self._changed else self._base).of(name)

    def nearest(
        self, embeddings: NDArray[np.float32], without: Collection[str] = ()
    ) -> tuple[list[str | None], NDArray[np.float32]]:
        passed = np.union1d(self._passed, self._base._positions(without))
        names, cosines = self._base._search(embeddings, passed)
        others, closer = self._fresh.nearest(embeddings, without)
        for i in np.flatnonzero(closer > cosines):
            names[i], cosines[i] = others[i], closer[i]
        return names, cosines


def _find(people: Sequence[str], name: str) -> int | None:
    """Where somebody is among people in order; None for nowhere."""
    row = bisect_left(people, name)
    return row if row < len(people) and people[row] == name else None


def _merged(
    names: Sequence[str],
    rows: NDArray[np.float32],
    out: Collection[str],
    others: Sequence[str],
    more: NDArray[np.float32],
) -> tuple[tuple[str, ...], NDArray[np.float32]]:
    """In the order of names: those that are not ``out`` with their rows, and others with theirs."""
    kept = np.array([name not in out for name in names], bool)
    together = [*(name for name, keep in zip(names, kept, strict=True) if keep), *others]
    order = sorted(range(len(together)), key=together.__getitem__)
    merged = np.concatenate([rows[kept], more])[order]
    return tuple(together[i] for i in order), frozen(merged, np.float32)


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
