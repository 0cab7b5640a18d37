"""Precision-recall curves and the area under them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Curve:
    """Precision and recall while the score threshold falls."""

    # threshold, recall, precision: float64 (T,), recall never falling; precision is 0 where nothing
    # has been detected yet
    threshold: NDArray[np.float64]
    recall: NDArray[np.float64]
    precision: NDArray[np.float64]
    ap: float | None  # the area, see `average_precision`; None when there is no face to find
    faces: int  # how many faces there are to find


def curve(
    found_scores: NDArray[np.float64],
    counted_scores: NDArray[np.float64],
    thresholds: NDArray[np.float64],
    faces: int,
) -> Curve:
    """The curve at some thresholds.

    Args:
        found_scores: for each face that was found at all, the highest score on it.
        counted_scores: the scores of all detections that are right or false positives.
        thresholds: (T,), falling; a detection with just that score is in.
        faces: how many faces there are to find.
    """
    found = _at_least(found_scores, thresholds)
    counted = _at_least(counted_scores, thresholds)
    precision = np.divide(found, counted, out=np.zeros(len(thresholds)), where=counted > 0)
    recall = found / faces if faces else np.zeros(len(thresholds))
    ap = average_precision(recall, precision) if faces else None
    return Curve(thresholds, recall, precision, ap, faces)


def average_precision(recall: NDArray[np.float64], precision: NDArray[np.float64]) -> float:
    """The area under the curve (T,), 0..1, over all its points.

    Before it is summed the precision is made to fall only: at each recall it is the highest one at
    that recall or more. This is ``VOCap.m`` of the PASCAL VOC 2010 development kit, which the
    WIDER FACE tools use too (not the 11 points of VOC 2007).
    """
    recall = np.concatenate([[0.0], recall])
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float(np.sum(np.diff(recall) * envelope))


def _at_least(scores: NDArray[np.float64], thresholds: NDArray[np.float64]) -> NDArray[np.intp]:
    return len(scores) - np.searchsorted(np.sort(scores), thresholds, side="left")
