"""The area under hand-made curves."""

from __future__ import annotations

import numpy as np
import pytest

from detector.evaluation.curves import average_precision, curve


@pytest.mark.parametrize(
    ("recall", "precision", "expected"),
    [
        ([], [], 0.0),
        ([1.0], [1.0], 1.0),
        ([0.5], [1.0], 0.5),  # half of the faces are never found
        ([0.5, 0.5, 1.0], [1.0, 0.5, 2 / 3], 0.5 + 0.5 * 2 / 3),
        ([0.0, 0.5, 1.0], [0.0, 0.5, 2 / 3], 2 / 3),  # the envelope lifts the first half
        ([0.5, 1.0], [0.2, 0.9], 0.9),
    ],
)
def test_area(recall, precision, expected):
    assert average_precision(np.array(recall), np.array(precision)) == pytest.approx(expected)


def test_a_detection_at_the_threshold_is_in():
    result = curve(np.array([0.5]), np.array([0.5, 0.25]), np.array([0.75, 0.5, 0.25]), faces=2)
    assert result.recall.tolist() == [0.0, 0.5, 0.5]
    assert result.precision.tolist() == [0.0, 1.0, 0.5]
    assert result.ap == 0.5


def test_faces_never_found_have_no_score_and_lower_the_recall():
    result = curve(np.array([0.9, -np.inf]), np.array([0.9]), np.array([0.5, -5.0]), faces=2)
    assert result.recall.tolist() == [0.5, 0.5]


def test_without_faces_there_is_no_ap_rather_than_a_zero():
    assert curve(np.zeros(0), np.array([0.9]), np.array([0.5]), faces=0).ap is None
