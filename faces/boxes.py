"""The overlap of boxes given as ``x1 y1 x2 y2``. Only NumPy is imported."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def iou(boxes: ArrayLike, others: ArrayLike, pixel: float = 0.0) -> NDArray[np.float64]:
    """Intersection over union of each of ``boxes`` (N, 4) with each of ``others`` (M, 4): (N, M).

    ``pixel`` is added to the sides of all boxes: 1 for the overlap of old tools, in which a box of
    width ``x2 - x1`` covers one pixel more. Boxes that do not meet have 0.

    >>> iou([[0, 0, 2, 2]], [[1, 0, 3, 2], [5, 5, 6, 6]]).round(3).tolist()
    [[0.333, 0.0]]
    """
    one = np.asarray(boxes, np.float64).reshape(-1, 1, 4)
    other = np.asarray(others, np.float64).reshape(1, -1, 4)
    low = np.maximum(one[..., :2], other[..., :2])
    high = np.minimum(one[..., 2:], other[..., 2:])
    # Clipped before they are multiplied: two negative sides would make a positive area.
    shared = (high - low + pixel).clip(0).prod(axis=-1)
    areas = [(each[..., 2:] - each[..., :2] + pixel).prod(axis=-1) for each in (one, other)]
    return np.divide(shared, sum(areas) - shared, out=np.zeros_like(shared), where=shared > 0)
