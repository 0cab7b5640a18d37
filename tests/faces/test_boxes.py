"""The overlap of boxes, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from faces.boxes import iou


def test_every_box_with_every_other() -> None:
    found = iou([[0, 0, 2, 2], [10, 10, 12, 12]], [[0, 0, 2, 2], [1, 0, 3, 2], [2, 0, 4, 2]])
    assert found == pytest.approx(np.array([[1, 1 / 3, 0], [0, 0, 0]]))


def test_boxes_that_are_apart_in_both_directions_do_not_overlap() -> None:
    assert iou([[0, 0, 2, 2]], [[5, 5, 9, 9]]).tolist() == [[0.0]]


def test_a_pixel_more_on_every_side() -> None:
    assert iou([[0, 0, 1, 1]], [[1, 0, 2, 1]]).tolist() == [[0.0]]
    assert iou([[0, 0, 1, 1]], [[1, 0, 2, 1]], pixel=1.0)[0, 0] == pytest.approx(2 / 6)


def test_no_boxes_and_empty_ones() -> None:
    assert iou([], [[0, 0, 1, 1]]).shape == (0, 1)
    assert iou([[0, 0, 1, 1]], np.zeros((0, 4))).shape == (1, 0)
    assert iou([[1, 1, 1, 1]], [[1, 1, 1, 1]]).tolist() == [[0.0]]
