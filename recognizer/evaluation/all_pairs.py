"""Every image against every other: many more impostor pairs than any list has.

With N images there are N (N - 1) / 2 pairs, which makes false match rates measurable that a list of
some thousand pairs cannot show. They are not independent: a person with many photos is in many of
the genuine pairs. That is why intervals are drawn over people (see `groups`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recognizer.error_rates import FAILED, Scores
from recognizer.types import cosines_of, frozen

BLOCK = 512


@dataclass(frozen=True, eq=False)
class Faces:
    """Embedded images with the people on them.

    Args:
        embeddings: unit vectors float32 (N, D); whatever for failed images.
        person: number of the person on each, int64 (N,).
        failed: no face was found there, bool (N,).
    """

    embeddings: NDArray[np.float32]
    person: NDArray[np.int64]
    failed: NDArray[np.bool_]

    def __post_init__(self) -> None:
        for name, dtype in (
            ("embeddings", np.float32), ("person", np.int64), ("failed", np.bool_),
        ):  # fmt: skip
            object.__setattr__(self, name, frozen(np.asarray(getattr(self, name)), dtype))

    def __len__(self) -> int:
        return len(self.person)

    def __getitem__(self, rows: NDArray) -> Faces:
        """Those images alone."""
        return Faces(self.embeddings[rows], self.person[rows], self.failed[rows])

    def cosines(self, first: NDArray[np.int64], second: NDArray[np.int64]) -> NDArray[np.float64]:
        """Of pairs (P,) of images; `FAILED` where one of them failed."""
        product = np.einsum("ij,ij->i", self.embeddings[first], self.embeddings[second])
        cosines = np.clip(product, -1, 1).astype(np.float64)
        cosines[self.failed[first] | self.failed[second]] = FAILED
        return cosines

    def pairs(self) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]]:
        """All pairs once, in blocks: positions of the first and the second image, cosine."""
        count = len(self)
        for start in range(0, count, BLOCK):
            stop = min(start + BLOCK, count)
            block = cosines_of(self.embeddings[start:stop], self.embeddings[start:])
            cosines = block.astype(np.float64)
            cosines[self.failed[start:stop]] = FAILED
            cosines[:, self.failed[start:]] = FAILED
            row, column = np.triu_indices(stop - start, 1, count - start)
            yield row + start, column + start, cosines[row, column]

    def scores(self) -> Scores:
        """The cosines of all pairs."""
        genuine, impostor = [np.empty(0)], [np.empty(0)]
        for first, second, cosines in self.pairs():
            same = self.person[first] == self.person[second]
            genuine.append(cosines[same])
            impostor.append(cosines[~same])
        return Scores(np.concatenate(genuine), np.concatenate(impostor))


@dataclass(frozen=True)
class Wrong:
    """Two images that were decided wrongly.

    Args:
        first, second: their positions.
        cosine: of the two.
        same: whether they show one person; then it is a false non-match, else a false match.
    """

    first: int
    second: int
    cosine: float
    same: bool


def worst_pairs(faces: Faces, threshold: float, count: int = 12) -> list[Wrong]:
    """The false matches of highest cosine, then the false non-matches of lowest, worst first.

    Of two people (or of one) only the worst pair is taken, or one mislabeled image would fill the
    list. Pairs with a failed image are left out: there is no face to look at.
    """
    matches: dict[tuple[int, int], Wrong] = {}
    misses: dict[tuple[int, int], Wrong] = {}
    for first, second, cosines in faces.pairs():
        same = faces.person[first] == faces.person[second]
        _collect(matches, faces, first, second, cosines, ~same & (cosines > threshold), count)
        wrong = same & (cosines <= threshold) & (cosines != FAILED)
        _collect(misses, faces, first, second, cosines, wrong, count)
    high = sorted(matches.values(), key=lambda pair: (-pair.cosine, pair.first, pair.second))
    low = sorted(misses.values(), key=lambda pair: (pair.cosine, pair.first, pair.second))
    return high[:count] + low[:count]


def _collect(
    found: dict[tuple[int, int], Wrong],
    faces: Faces,
    first: NDArray[np.int64],
    second: NDArray[np.int64],
    cosines: NDArray[np.float64],
    wrong: NDArray[np.bool_],
    count: int,
) -> None:
    """Add the block's worst pair of each two people; only so many as can come into the list."""
    chosen = np.flatnonzero(wrong)
    if not len(chosen):
        return
    same = bool(faces.person[first[chosen[0]]] == faces.person[second[chosen[0]]])
    badness = -cosines[chosen] if same else cosines[chosen]
    new: set[tuple[int, int]] = set()
    for i in chosen[np.argsort(-badness, kind="stable")]:
        a, b = sorted((int(faces.person[first[i]]), int(faces.person[second[i]])))
        if (a, b) in new:
            continue
        new.add((a, b))
        pair = Wrong(int(first[i]), int(second[i]), float(cosines[i]), same)
        known = found.get((a, b))
        if known is None or (pair.cosine < known.cosine if same else pair.cosine > known.cosine):
            found[a, b] = pair
        if len(new) == count:
            return
