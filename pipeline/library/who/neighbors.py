"""The graph of nearest neighbors of many vectors."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

NEIGHBORS = 32
"""Nearest faces of each that are looked at. Of somebody with more photos, groups of a few dozen
form first and then find each other through any of their faces."""

EXACT = 20_000
"""Faces up to which all are compared with all: seconds. It takes 25 times as long for 100,000."""

BLOCK = 1 << 24
"""Numbers held at a time."""

Graph = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]
"""Pairs of faces: the first (E,), the second (E,) and their cosine (E,)."""


def neighbors(embeddings: NDArray[np.float32], floor: float, count: int = NEIGHBORS) -> Graph:
    """Pairs of faces of which one is among the other's ``count`` nearest, and above ``floor``.

    Each pair comes once, sorted. Exact up to `EXACT` faces; above that faiss looks in the nearest
    cells only, where it is installed.
    """
    n = len(embeddings)
    keys, cosines = [np.empty(0, np.int64)], [np.empty(0, np.float32)]
    for start, near, cosine in _nearest(embeddings, min(count + 1, n)):
        row = np.repeat(np.arange(start, start + len(near)), near.shape[1])
        near, cosine = near.ravel(), cosine.ravel()
        kept = (near != row) & (cosine > floor) & (near >= 0)
        row, near = row[kept], near[kept].astype(np.int64)
        keys.append(np.minimum(row, near) * n + np.maximum(row, near))
        cosines.append(cosine[kept])
    pairs, place = np.unique(np.concatenate(keys), return_index=True)
    return pairs // n, pairs % n, np.concatenate(cosines)[place]


def _nearest(
    embeddings: NDArray[np.float32], count: int
) -> Iterator[tuple[int, NDArray[np.int64], NDArray[np.float32]]]:
    """For blocks of faces: number of the first, its nearest (B, count) and the cosines."""
    n, dimension = embeddings.shape
    index = None
    if n > EXACT:
        try:
            import faiss
        except ModuleNotFoundError:
            pass  # exact: slower, and no worse
        else:
            cells = int(4 * np.sqrt(n))
            index = faiss.IndexIVFFlat(
                faiss.IndexFlatIP(dimension), dimension, cells, faiss.METRIC_INNER_PRODUCT
            )
            index.cp.niter, index.cp.min_points_per_centroid = 8, 1  # cells need not be the best
            index.train(embeddings[:: max(1, n // (20 * cells))])
            index.add(embeddings)
            index.nprobe = 64  # 32 find 99 % of the edges above 0.55 among 20,727 real faces
    step = 4096 if index is not None else max(1, BLOCK // max(n, 1))
    for start in range(0, n, step):
        block = embeddings[start : start + step]
        if index is not None:
            cosine, near = index.search(block, count)
        else:
            cosines = block @ embeddings.T
            near = np.argpartition(cosines, n - count, axis=1)[:, n - count :]
            cosine = np.take_along_axis(cosines, near, axis=1)
        yield start, near, cosine
