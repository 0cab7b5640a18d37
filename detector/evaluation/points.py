"""How far off the five points are, on faces whose annotation has them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.evaluation.matching import ImageFaces, Matches

NAMES = ("left eye", "right eye", "nose", "left corner", "right corner")
PROTOCOL = (
    "Distance of found and annotated points, in sides of the annotated box (square root of its "
    "area), on faces found with IoU 0.5"
)


def points_errors(
    truth: Sequence[ImageFaces],
    points: Mapping[str, NDArray[np.floating]],
    matches: Matches,
    threshold: float,
) -> dict[str, Any] | None:
    """The normalized mean error and its distribution; None where no face has a point.

    Args:
        points: of the detections of each image, (N, 5, 2), in their order.
        threshold: score from which a detection counts.
    """
    of_faces = np.concatenate(
        [np.full((len(i), 5, 2), np.nan) if i.points is None else i.points for i in truth]
    )
    known = np.isfinite(of_faces).all(axis=2)
    annotated = known.any(axis=1) & ~matches.face_ignored
    if not annotated.any():
        return None
    empty = np.zeros((0, 5, 2))
    found = np.concatenate([empty, *(points.get(name, empty) for name in matches.names)])
    rows = np.flatnonzero(matches.first & (matches.score >= threshold))
    rows = rows[annotated[matches.face[rows]]]
    faces = matches.face[rows]
    sides = np.sqrt((matches.face_xyxy[faces, 2:] - matches.face_xyxy[faces, :2]).prod(axis=1))
    off = np.linalg.norm(found[rows] - of_faces[faces], axis=2) / sides[:, None]
    sound = off[np.isfinite(off)]
    figures = dict.fromkeys(("mean", "median", "p95"))
    if len(sound):
        of_face = np.nanmean(off, axis=1)
        figures = {
            "mean": float(of_face.mean()),
            "median": float(np.median(sound)),
            "p95": float(np.quantile(sound, 0.95)),
        }
    known_of = [column[np.isfinite(column)] for column in off.T]
    by_point = [float(np.median(column)) if len(column) else None for column in known_of]
    return {
        **figures,
        "faces": len(rows),
        "annotated_faces": int(annotated.sum()),
        "median_by_point": dict(zip(NAMES, by_point, strict=True)),
    }
