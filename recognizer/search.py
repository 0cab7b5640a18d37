"""The nearest of many vectors: exact with NumPy up to 100,000, with faiss above.

Exact search reads every vector, 200 MB for 100,000 x 512, so its time is that of the memory. Above
that, faiss first compares 512 signs of each vector (`faiss.IndexLSH`: Charikar, "Similarity
Estimation Techniques from Rounding Algorithms", STOC 2002), a thirty-second of the bytes, and the
best few hundred are compared exactly. It needs no training, is built in seconds, and misses only
who is hardly nearer than the crowd; `benchmarks/search.py` measures it.
"""

from __future__ import annotations

import logging
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

logger = logging.getLogger(__name__)

EXACT_LIMIT = 100_000
"""Vectors up to which the search is exact."""

SIGNS = 512
"""Bits of a vector's sketch. Shorter vectors are turned into as many directions first."""

CANDIDATES = 400
"""How many of the best sketches are compared exactly; twice as many as recall needs."""

_BLOCK = 1 << 24  # cosines held at a time: 64 MB


class Index(Protocol):
    """Finds the nearest of its vectors."""

    def search(self, queries: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """For unit vectors (N, D): position of the nearest (N,) and the cosine (N,)."""


def build_index(vectors: NDArray[np.float32], exact_limit: int = EXACT_LIMIT) -> Index:
    """An index over unit vectors (P, D), P > 0; ``vectors`` are not copied.

    Without faiss (``pip install "faces[large]"``) the search of a larger number is exact and slow;
    a warning says so.
    """
    if len(vectors) <= exact_limit:
        return ExactIndex(vectors)
    try:
        return SketchIndex(vectors)
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

    def search(self, queries: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """See `Index`."""
        best = np.empty(len(queries), np.int64)
        cosine = np.empty(len(queries), np.float32)
        step = max(1, _BLOCK // len(self._vectors))
        for start in range(0, len(queries), step):
            part = slice(start, start + step)
            cosines = queries[part] @ self._vectors.T
            best[part] = cosines.argmax(axis=1)
            cosine[part] = np.take_along_axis(cosines, best[part, None], axis=1)[:, 0]
        return best, cosine


class SketchIndex:
    """Compares signs first, and the best candidates exactly.

    Raises ModuleNotFoundError without faiss.
    """

    def __init__(self, vectors: NDArray[np.float32]) -> None:
        import faiss

        self._vectors = vectors
        dimension = vectors.shape[1]
        bits = max(SIGNS, -(-dimension // 8) * 8)
        # A vector of at least so many numbers brings its own signs; a fixed random rotation makes
        # more of a shorter one.
        self._index: Any = faiss.IndexLSH(dimension, bits, dimension < bits, False)
        for start in range(0, len(vectors), EXACT_LIMIT):
            self._index.add(np.ascontiguousarray(vectors[start : start + EXACT_LIMIT]))

    def search(self, queries: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """See `Index`."""
        count = min(CANDIDATES, len(self._vectors))
        _, candidates = self._index.search(np.ascontiguousarray(queries, np.float32), count)
        best = np.empty(len(queries), np.int64)
        cosine = np.empty(len(queries), np.float32)
        for i, (query, rows) in enumerate(zip(queries, candidates, strict=True)):
            cosines = self._vectors[rows] @ query
            nearest = int(cosines.argmax())
            best[i], cosine[i] = rows[nearest], cosines[nearest]
        return best, cosine
