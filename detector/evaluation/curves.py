"""Precision-recall curves and the area under them, as PASCAL VOC measures it, and the figures at
one score threshold."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.evaluation.matching import Matches


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


PROTOCOL = "PASCAL VOC 2010 (IoU 0.5, difficult faces ignored, area under all points)"


@dataclass(frozen=True)
class Operating:
    """What a user gets at one score threshold."""

    threshold: float  # detections with at least this score count
    # images, faces: how many were evaluated; faces to ignore are not among them
    images: int
    faces: int
    found: int  # faces with a detection on them
    false_positives: int  # detections on no face, or on one already found
    precision: float | None  # found / (found + false_positives); None without any detection
    recall: float | None  # found / faces; None without a face
    false_positives_per_image: float  # false_positives / images

    def to_json(self) -> dict[str, Any]:
        """The figures under the keys that reports have had since the first release."""
        values = asdict(self)
        values["false_alarms"] = values.pop("false_positives")
        values["false_alarms_per_image"] = values.pop("false_positives_per_image")
        return values


def voc_curve(matches: Matches) -> Curve:
    """Precision and recall at every score, and the AP.

    The rules are those of ``VOCevaldet.m`` and ``VOCap.m`` (VOC 2010 development kit,
    http://host.robots.ox.ac.uk/pascal/VOC/): each detection goes to the face it overlaps most; the
    best scored on a face is right, later ones are false positives; those on difficult faces count
    neither way. Two things are ours: boxes have exclusive ends, so that no pixel is added to their
    sides, and detections of one score enter together, so that their order cannot matter.
    """
    found = matches.face_score[~matches.face_ignored]
    counted = matches.score[matches.counted]
    thresholds = np.unique(counted)[::-1]
    return curve(found, counted, thresholds, len(found))


def at_threshold(matches: Matches, threshold: float) -> Operating:
    """Precision, recall and false positives when detections below ``threshold`` are dropped."""
    images = len(matches.names)
    faces = int((~matches.face_ignored).sum())
    found = int((found_faces(matches, threshold) & ~matches.face_ignored).sum())
    false_positives = int((matches.false_positive & (matches.score >= threshold)).sum())
    return Operating(
        threshold=threshold,
        images=images,
        faces=faces,
        found=found,
        false_positives=false_positives,
        precision=found / (found + false_positives) if found + false_positives else None,
        recall=found / faces if faces else None,
        false_positives_per_image=false_positives / max(images, 1),
    )


def found_faces(matches: Matches, threshold: float) -> NDArray[np.bool_]:
    """bool (F,): faces with a detection of at least ``threshold`` on them."""
    return matches.face_score >= threshold


def threshold_for(matches: Matches, false_positives_per_image: float) -> float | None:
    """The lowest score at which there are at most so many false positives an image.

    None when even the highest score has more, or nothing was detected.
    """
    alarms = np.sort(matches.score[matches.false_positive])
    thresholds = np.unique(matches.score[matches.counted])
    count = len(alarms) - np.searchsorted(alarms, thresholds, side="left")
    fine = thresholds[count <= false_positives_per_image * len(matches.names) + 1e-9]
    return float(fine[0]) if len(fine) else None
