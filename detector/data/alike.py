"""Which pictures show nearly the same: copies, other sizes and encodings, neighbors in a film.

Every picture gets a hash of 63 bits from what is coarse in it (pHash: the signs of the lowest
frequencies of a cosine transform against their median, Zauner 2010), and two pictures are alike
when few bits differ, mirrored or not. What is like one of a group belongs to the group.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from faces.folders import in_threads
from faces.images.read import read_small

MOST_BITS = 12
"""Pictures whose hashes differ in at most so many bits are alike. Measured on 2,250 pictures of
WIDER FACE (docs/data.md): all copies of other size, compression and brightness are below it, and of
those cut to 95 % of their sides 19 of 20; of all pairs of pictures eleven in a million are."""

_SIDE, _KEPT = 32, 8
_BITS = _KEPT * _KEPT - 1
_BLOCK = 2048
_FREQUENCY = np.arange(_KEPT)[:, None]
_COSINES = np.cos(np.pi * _FREQUENCY * (2 * np.arange(_SIDE) + 1) / (2 * _SIDE))  # DCT-II
# Roboflow calls the versions of a picture that it made NAME.rf.DIGEST.
_VERSION = re.compile(r"\.rf\.[0-9a-zA-Z]{16,}$")


def picture_hash(image: NDArray[np.uint8]) -> NDArray[np.int8]:
    """Two hashes of an RGB image (H, W, 3), as it is and mirrored: int8 (2, 63) of -1 and 1."""
    gray = Image.fromarray(image).convert("L")
    pixels = np.asarray(gray.resize((_SIDE, _SIDE), Image.Resampling.LANCZOS), np.float64)
    waves = _COSINES @ pixels @ _COSINES.T
    mirrored = waves * np.where(np.arange(_KEPT) % 2, -1, 1)
    both = np.stack([waves, mirrored]).reshape(2, -1)[:, 1:]  # without the mean brightness
    above = both > np.median(both, axis=1, keepdims=True)
    return np.where(above, 1, -1).astype(np.int8)


def alike_groups(paths: Sequence[Path]) -> NDArray[np.int64]:
    """The number of the group that each picture belongs to: int64 (N,).

    Shows a progress bar on stderr. Raises UserError for a picture that cannot be read.
    """
    rows = list(in_threads(_hash_of, paths, description="comparing pictures", unit="picture"))
    hashes = np.array(rows, np.float32).reshape(-1, 2, _BITS)
    first, second = _pairs(hashes)
    stems: dict[str, int] = {}
    for i, path in enumerate(paths):
        if _VERSION.search(path.stem):
            seen = stems.setdefault(_VERSION.sub("", path.stem), i)
            first, second = [*first, seen], [*second, i]
    links = coo_array((np.ones(len(first), bool), (first, second)), (len(paths), len(paths)))
    return connected_components(links, directed=False)[1].astype(np.int64)


def _pairs(hashes: NDArray[np.float32]) -> tuple[list[int], list[int]]:
    """The pairs of pictures that are alike; a product of hashes counts equal bits less others."""
    least = _BITS - 2 * MOST_BITS
    first: list[int] = []
    second: list[int] = []
    for start in range(0, len(hashes), _BLOCK):
        block = hashes[start : start + _BLOCK, 0]
        products = np.maximum(block @ hashes[start:, 0].T, block @ hashes[start:, 1].T)
        rows, columns = np.nonzero(products >= least)
        first += (rows + start).tolist()
        second += (columns + start).tolist()
    return first, second


def _hash_of(path: Path) -> NDArray[np.int8]:
    return picture_hash(read_small(path, 2 * _SIDE))
