"""Recall by face size, by attribute, or by any group, with confidence intervals.

The intervals are percentile bootstrap intervals over *images*, not faces: faces of one photo share
its light, camera and crowd, and resampling them alone would claim too much certainty
(Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapters 8 and 13).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.evaluation.curves import found_faces
from detector.evaluation.matching import ImageFaces, Matches

CONFIDENCE = 0.95
HEIGHTS = (8, 16, 32, 64, 128, 256)
CROWDS = (1, 3, 6, 12, 30, 100)


def recall_by(
    matches: Matches,
    values: Sequence[str],
    threshold: float,
    *,
    order: Sequence[str] = (),
    resamples: int = 1000,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """The recall of each group at a score threshold.

    A group, called ``group``, has

    - ``images``, ``faces``, ``found``: counts; faces to ignore are left out
    - ``recall``: found / faces; ``interval``: its 95 % one. With all or none found, where drawing
      again changes nothing, it is the exact binomial one for as many trials as images
    - ``gap``: its recall minus that of all other faces with a value, None without others;
      ``gap_interval``: without 0 in it, the gap is more than chance

    The intervals are None when it is in one image only, which says nothing about others.

    Args:
        values: the group of each of the F faces of ``matches``; "" for none.
        order: groups in the order to report; others follow, sorted by name.
        resamples: how often the images are drawn again for the intervals.
        seed: of that drawing; the same seed gives the same intervals.
    """
    label = np.array(values, dtype=object)
    used = ~matches.face_ignored & (label != "")
    present = set(label[used])
    groups = [name for name in order if name in present]
    groups += sorted(present - set(groups))
    if not groups:
        return []
    column = np.array([groups.index(name) for name in label[used]], np.intp)
    shape = (len(matches.names), len(groups))
    cell = np.ravel_multi_index((matches.face_image[used], column), shape)
    size = shape[0] * shape[1]
    hit = found_faces(matches, threshold)[used]
    total = np.bincount(cell, minlength=size).reshape(shape).astype(np.float64)
    found = np.bincount(cell[hit], minlength=size).reshape(shape).astype(np.float64)

    draws = _resample(found, total, resamples, seed)
    recall, gap = _rates(found.sum(0)[None], total.sum(0)[None])
    recalls, gaps = _rates(*draws)
    result = []
    for g, name in enumerate(groups):
        images = int((total[:, g] > 0).sum())
        others = len(groups) > 1
        interval = _interval(recalls[:, g])
        if recall[0, g] in (0, 1):
            reach = 1 - ((1 - CONFIDENCE) / 2) ** (1 / images)
            interval = (0.0, reach) if recall[0, g] == 0 else (1 - reach, 1.0)
        result.append(
            {
                "group": name,
                "images": images,
                "faces": int(total[:, g].sum()),
                "found": int(found[:, g].sum()),
                "recall": float(recall[0, g]),
                "interval": interval if images > 1 else None,
                "gap": float(gap[0, g]) if others else None,
                "gap_interval": _interval(gaps[:, g]) if images > 1 and others else None,
            }
        )
    return result


def height_groups(matches: Matches) -> tuple[list[str], list[str]]:
    """Each face's height in pixels of the annotated image as a range, and the ranges in order."""
    edges = [0, *HEIGHTS]
    names = [f"{low}-{high} px" for low, high in pairwise(edges)]
    names[0], last = f"below {HEIGHTS[0]} px", f"{HEIGHTS[-1]} px and more"
    names.append(last)
    heights = matches.face_xyxy[:, 3] - matches.face_xyxy[:, 1]
    return [names[i] for i in np.digitize(heights, HEIGHTS)], names


def crowd_groups(matches: Matches) -> tuple[list[str], list[str]]:
    """How many faces to find each face's image has, as a range, and the ranges in order."""
    names = [f"{low}-{high - 1} faces" for low, high in pairwise(CROWDS)]
    names.append(f"{CROWDS[-1]} faces and more")
    counts = np.bincount(matches.face_image[~matches.face_ignored], minlength=len(matches.names))
    places = np.digitize(counts[matches.face_image], CROWDS[1:])
    return [names[i] for i in places], names


def attribute_groups(truth: Sequence[ImageFaces], most: int = 12) -> dict[str, list[str]]:
    """The annotations' own attributes: for each, the value of every face in order.

    Attributes that have a single value on the faces that count, or more than ``most``, say nothing
    and are left out.
    """
    ignored = [skip for image in truth for skip in image.ignored]
    result = {}
    for key in sorted({key for image in truth for key in image.labels}):
        values = [v for image in truth for v in image.labels.get(key, [""] * len(image))]
        counted = {v for v, skip in zip(values, ignored, strict=True) if v and not skip}
        if 2 <= len(counted) <= most:
            result[key] = values
    return result


def _resample(
    found: NDArray[np.float64], total: NDArray[np.float64], resamples: int, seed: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Found and total faces (R, G) of ``resamples`` draws of the images, with replacement."""
    images = len(total)
    random = np.random.default_rng(seed)
    sums = np.empty((2, resamples, total.shape[1]))
    for r in range(resamples):
        times = np.bincount(random.integers(0, images, images), minlength=images)
        sums[0, r], sums[1, r] = times @ found, times @ total
    return sums[0], sums[1]


def _rates(
    found: NDArray[np.float64], total: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Recall (R, G) and its gap to all other groups together; NaN where there is no face."""
    with np.errstate(invalid="ignore"):
        recall = found / total
        rest = (found.sum(1, keepdims=True) - found) / (total.sum(1, keepdims=True) - total)
    return recall, recall - rest


def _interval(values: NDArray[np.float64]) -> tuple[float, float] | None:
    values = values[np.isfinite(values)]  # a draw may hold none of the group's images
    if not len(values):
        return None
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    return float(low), float(high)
