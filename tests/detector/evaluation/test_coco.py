"""COCO's figures: what they are, and that nothing is cut off at 100 detections."""

from __future__ import annotations

import numpy as np
import pytest

from detector.evaluation.coco import coco_ap
from tests.detector.evaluation.cases import faces, found


def grid(count: int, side: float = 20) -> list[list[float]]:
    return [[30 * i, 0, 30 * i + side, side] for i in range(count)]


def with_scores(boxes, scores):
    return found(*([*box, score] for box, score in zip(boxes, scores, strict=True)))


def test_several_hundred_faces_on_one_image_all_count():
    boxes = grid(400)
    result = coco_ap([faces("a", boxes)], {"a": with_scores(boxes, np.linspace(0.9, 0.1, 400))})
    assert result["ap"] == pytest.approx(1.0)
    assert result["ap50"] == pytest.approx(1.0)
    assert result["ar"] == pytest.approx(1.0)


def test_hand_made_ap():
    # The second face's box fits with IoU 0.62: right at 0.50, 0.55 and 0.60, wrong above.
    boxes = grid(2)
    loose = [30, 0, 50, 12.4]
    result = coco_ap([faces("a", boxes)], {"a": with_scores([boxes[0], loose], [0.9, 0.8])})
    # COCO reads the curve at the 101 recalls 0, 0.01, .. 1; half are 0 .. 0.5, 51 of them.
    assert result["ap50"] == pytest.approx(1.0)
    assert result["ap75"] == pytest.approx(51 / 101)
    assert result["ap"] == pytest.approx((3 + 7 * 51 / 101) / 10)


def test_detections_on_ignored_faces_count_neither_way():
    boxes = grid(2)
    rows = with_scores(boxes, [0.5, 0.9])
    assert coco_ap([faces("a", boxes, ignored=[1])], {"a": rows})["ap"] == pytest.approx(1.0)
    lonely = coco_ap([faces("a", boxes[:1])], {"a": rows})
    assert lonely["ap"] == pytest.approx(0.5)


def test_sizes_are_told_apart_and_absent_ones_are_none():
    result = coco_ap([faces("a", grid(1))], {"a": with_scores(grid(1), [0.9])})
    assert result["ap_small"] == pytest.approx(1.0)
    assert result["ap_medium"] is None
    assert result["ap_large"] is None


def test_images_without_detections_or_without_faces():
    truth = [faces("a", grid(1)), faces("b", [])]
    assert coco_ap(truth, {})["ap"] == pytest.approx(0.0)
    rows = {"a": with_scores(grid(1), [0.5]), "b": with_scores(grid(1), [0.9])}
    assert coco_ap(truth, rows)["ap"] == pytest.approx(0.5)
    assert coco_ap([faces("b", [])], {"b": rows["b"]})["ap"] is None
