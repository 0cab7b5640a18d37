"""The nearest of many vectors: exact with NumPy up to 100,000, with faiss above.

Exact search reads every vector, 51 MB for 100,000 x 128, so its time is that of the memory. Above
that, codes of an eighth of the bytes are compared first, and the best thousand by the vectors
themselves: `CompactIndex`. There is nothing to tune, every code is looked at, and who is missed was
hardly nearer than the crowd; `benchmarks/search.py` measures it.
"""

from __future__ import annotations

import logging
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

logger = logging.getLogger(__name__)

EXACT_LIMIT = 100_000
"""Vectors up to which the search is exact."""

CODES = 128
"""Most codes of a vector, half a byte each."""

SAMPLE = 50_000
"""Vectors from which the codes are learned; more are no better, and it takes a second."""

CANDIDATES = 1000
"""How many of the best are compared exactly."""

_BLOCK = 1 << 24  # cosines held at a time: 64 MB

EVERYBODY = np.zeros(0, np.int64)
"""Nobody is passed over."""


class Index(Protocol):
    """Finds the nearest of its vectors."""

    def search(
        self, queries: NDArray[np.float32], without: NDArray[np.int64] = EVERYBODY
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """For unit vectors (N, D): position of the nearest (N,) and the cosine (N,).

        Positions in ``without`` are passed over; where all are, it is -1, and the cosine -1.
        """


def build_index(vectors: NDArray[np.float32], exact_limit: int = EXACT_LIMIT) -> Index:
    """An index over unit vectors (P, D), P > 0; ``vectors`` are not copied.

    Without faiss (``pip install "faces[large]"``) the search of a larger number is exact and slow;
    a warning says so.
    """
    if len(vectors) <= exact_limit:
        return ExactIndex(vectors)
    try:
        # Every k-th vector: galleries are sorted by name, which says nothing about faces.
        index = CompactIndex(vectors[:: max(1, len(vectors) // SAMPLE)])
        index.add(vectors)
        return index
    except ModuleNotFoundError as error:
        if error.name != "faiss":
            raise
        logger.warning(
            "%s people without faiss: each search takes a few hundred milliseconds; install it "
            "with pip install 'faces[large]'",
            f"{len(vectors):,}",
        )
        return ExactIndex(vectors)


class ExactIndex:
    """Compares with every vector."""

    def __init__(self, vectors: NDArray[np.float32]) -> None:
        self._vectors = vectors

    def search(
        self, queries: NDArray[np.float32], without: NDArray[np.int64] = EVERYBODY
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        best = np.full(len(queries), -1, np.int64)
        cosine = np.full(len(queries), -1, np.float32)
        if len(without) == len(self._vectors):
            return best, cosine
        step = max(1, _BLOCK // len(self._vectors))
        for start in range(0, len(queries), step):
            part = slice(start, start + step)
            cosines = queries[part] @ self._vectors.T
            cosines[:, without] = -np.inf
            best[part] = cosines.argmax(axis=1)
            cosine[part] = np.take_along_axis(cosines, best[part, None], axis=1)[:, 0]
        return best, cosine


class CompactIndex:
    """Compares short codes of the vectors first, and the best candidates by the vectors themselves.

    A code has four bits for every two numbers of a vector (for more of them if it is longer than
    256), the nearest of 16 pairs that are learned from a sample: product quantization, Jegou et
    al., PAMI 2011, scanned by table look-ups in registers, Andre et al., VLDB 2015
    (`faiss.IndexPQFastScan`). The vectors are kept in half precision, which moves a cosine by
    0.0005 at most.

    Args:
        sample: vectors like those that will be added, float32 (N, D), N >= 16.

    Raises ModuleNotFoundError without faiss.
    """

    def __init__(self, sample: NDArray[np.float32]) -> None:
        import faiss

        self._dimension = dimension = sample.shape[1]
        size = max(2, -(-dimension // CODES))
        self._padded = -(-dimension // size) * size
        self._index: Any = faiss.IndexPQFastScan(
            self._padded, self._padded // size, 4, faiss.METRIC_INNER_PRODUCT
        )
        self._index.train(self._whole(sample))
        self._blocks: list[NDArray[np.float16]] = []
        self._starts: list[int] = []

    def __len__(self) -> int:
        return int(self._index.ntotal)

    def add(self, vectors: NDArray[np.float32]) -> None:
        """More unit vectors (N, D); their positions go on where the last ones ended."""
        for start in range(0, len(vectors), EXACT_LIMIT):
            part = np.ascontiguousarray(vectors[start : start + EXACT_LIMIT], np.float32)
            self._starts.append(len(self))
            self._blocks.append(part.astype(np.float16))
            self._index.add(self._whole(part))

    def search(
        self, queries: NDArray[np.float32], without: NDArray[np.int64] = EVERYBODY
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        best = np.full(len(queries), -1, np.int64)
        cosine = np.full(len(queries), -1, np.float32)
        left, count = np.arange(len(queries)), CANDIDATES
        while len(left) and len(self) > len(without):
            count = min(count, len(self))
            _, candidates = self._index.search(self._whole(queries[left]), count)
            for i, rows in zip(left, candidates, strict=True):
                rows = rows[rows >= 0]  # fewer were found
                rows = rows[~np.isin(rows, without)]
                if len(rows):
                    cosines = self._rows(rows) @ queries[i]
                    nearest = int(cosines.argmax())
                    best[i], cosine[i] = rows[nearest], cosines[nearest]
            # All candidates were passed over: a crowd that was alike, and is gone.
            left = left[best[left] < 0] if count < len(self) else left[:0]
            count *= 8
        return best, cosine

    def _rows(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        found = np.empty((len(rows), self._dimension), np.float32)
        blocks = np.searchsorted(self._starts, rows, side="right") - 1
        for block in np.unique(blocks):
            here = blocks == block
            found[here] = self._blocks[block][rows[here] - self._starts[block]]
        return found

    def _whole(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """With zeros until every code has as many numbers as the others."""
        missing = self._padded - self._dimension
        return np.ascontiguousarray(np.pad(vectors, ((0, 0), (0, missing))), np.float32)
