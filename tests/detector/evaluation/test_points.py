"""How far off points are."""

from __future__ import annotations

import json

import numpy as np
import pytest

from detector.evaluation.matching import ImageFaces, match
from detector.evaluation.points import points_errors
from detector.evaluation.report import Setup, evaluate_detections

FACE = [0.0, 0, 20, 20]
POINTS = np.array([[5.0, 8], [15, 8], [10, 12], [6, 16], [14, 16]])


def truth() -> list[ImageFaces]:
    """A face with points, one with two of them, one without, a difficult one; another image."""
    boxes = np.array([FACE, [40, 0, 80, 40], [100, 0, 120, 20], [200, 0, 220, 20]], np.float64)
    points = np.full((4, 5, 2), np.nan)
    points[0] = POINTS
    points[1, :2] = POINTS[:2] * 2 + [40, 0]
    points[3] = POINTS + np.array([200, 0])
    faces = ImageFaces("a", boxes, np.array([False, False, False, True]), points=points)
    return [faces, ImageFaces("b", np.zeros((0, 4)), np.zeros(0, bool))]


def found() -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """The first face is found 2 pixels off, the second 4 of its 40, and once more worse."""
    rows = [[*FACE, 0.9], [40, 0, 80, 40, 0.8], [40, 1, 80, 41, 0.6], [100, 0, 120, 20, 0.9]]
    points = [POINTS + np.array([2, 0]), POINTS * 2 + [40, 4], POINTS * 0, POINTS]
    return {"a": np.array(rows, np.float64)}, {"a": np.array(points)}


def test_errors_are_in_sides_of_the_annotated_box() -> None:
    boxes, points = found()
    errors = points_errors(truth(), points, match(truth(), boxes), 0.5)
    assert errors is not None
    assert (errors["faces"], errors["annotated_faces"]) == (2, 2)
    assert errors["mean"] == pytest.approx(0.1)
    assert errors["median"] == errors["p95"] == pytest.approx(0.1)
    assert errors["median_by_point"]["nose"] == pytest.approx(0.1)
    above = points_errors(truth(), points, match(truth(), boxes), 0.85)
    assert above is not None
    assert (above["faces"], above["annotated_faces"]) == (1, 2)
    eyes = truth()
    assert eyes[0].points is not None
    eyes[0].points[:, 2:] = np.nan  # the other three were never labeled
    some = points_errors(eyes, points, match(eyes, boxes), 0.5)
    assert some is not None
    assert some["mean"] == pytest.approx(0.1)
    assert some["median_by_point"]["nose"] is None
    json.dumps(some, allow_nan=False)
    none = points_errors(truth(), points, match(truth(), boxes), 0.95)
    assert none is not None
    assert (none["faces"], none["mean"]) == (0, None)


def test_the_report_has_them_where_both_sides_have_points() -> None:
    boxes, points = found()
    setup = Setup("model", "original size", 0, resamples=100)
    result = evaluate_detections(truth(), boxes, setup, points=points)
    assert result.report["landmarks"]["mean"] == pytest.approx(0.1)
    assert "2 of 2 faces      0.1000  0.1000           0.1000" in str(result)
    assert "landmarks" not in evaluate_detections(truth(), boxes, setup).report
    plain = [ImageFaces(i.name, i.xyxy, i.ignored) for i in truth()]
    assert "landmarks" not in evaluate_detections(plain, boxes, setup, points=points).report
