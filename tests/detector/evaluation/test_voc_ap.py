"""AP as PASCAL VOC measures it, and the figures at one threshold."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.evaluation.curves import at_threshold, threshold_for, voc_curve
from detector.evaluation.matching import match
from tests.detector.evaluation.cases import faces, found, random_set
from tests.detector.evaluation.slow import voc_ap

TWO = [[0, 0, 20, 20], [100, 0, 120, 20]]
MISS = [300, 0, 320, 20]


def ap(truth, detections):
    return voc_curve(match(truth, detections)).ap


def test_hand_made_precision_and_recall():
    rows = found([*TWO[0], 0.9], [*MISS, 0.6], [*TWO[1], 0.1])
    assert ap([faces("a", TWO)], {"a": rows}) == pytest.approx(0.5 + 0.5 * 2 / 3)


def test_difficult_faces_are_neither_found_nor_missed():
    truth = [faces("a", TWO, ignored=[1])]
    assert ap(truth, {"a": found([*TWO[0], 0.5])}) == 1.0
    assert ap(truth, {"a": found([*TWO[1], 0.9], [*TWO[0], 0.5])}) == 1.0
    only_difficult = [faces("a", TWO, ignored=[0, 1])]
    assert ap(only_difficult, {"a": found([*TWO[1], 0.9])}) is None


def test_a_box_is_not_a_pixel_larger():
    rows = found([0, 0, 20, 10, 0.9], [100, 0, 120, 9.9, 0.8])
    assert ap([faces("a", TWO)], {"a": rows}) == pytest.approx(0.5)


def test_one_score_is_one_step():
    # Right and wrong with the same score: neither order is better than the other.
    rows = found([*TWO[0], 0.5], [*MISS, 0.5])
    assert ap([faces("a", TWO[:1])], {"a": rows}) == pytest.approx(0.5)
    assert ap([faces("a", TWO[:1])], {"a": rows[::-1]}) == pytest.approx(0.5)


def test_false_positives_on_an_image_without_faces_count():
    truth = [faces("a", TWO[:1]), faces("b", [])]
    rows = {"a": found([*TWO[0], 0.5]), "b": found([*MISS, 0.9])}
    assert ap(truth, rows) == pytest.approx(0.5)


def test_nothing_detected_and_nothing_to_detect():
    assert ap([faces("a", TWO)], {}) == 0.0
    assert ap([faces("a", [])], {}) is None


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_the_same_as_the_slow_implementation(seed):
    truth, detections = random_set(seed)
    expected = voc_ap(truth, detections)
    result = ap(truth, detections)
    assert result == (None if expected is None else pytest.approx(expected, abs=1e-9))


def test_the_figures_at_a_threshold():
    truth = [faces("a", [*TWO, [200, 0, 220, 20]], ignored=[2]), faces("b", [])]
    rows = found([*TWO[0], 0.9], [0, 0, 19, 20, 0.8], [200, 0, 220, 20, 0.9], [*TWO[1], 0.4])
    matches = match(truth, {"a": rows, "b": found([*MISS, 0.5], [*MISS, 0.3])})
    at = at_threshold(matches, 0.5)
    assert (at.images, at.faces, at.found, at.false_positives) == (2, 2, 1, 2)
    assert at.precision == pytest.approx(1 / 3)
    assert at.recall == 0.5
    assert at.false_positives_per_image == 1.0
    at = at_threshold(matches, 0.95)
    assert (at.precision, at.recall, at.false_positives) == (None, 0.0, 0)
    at = at_threshold(match([faces("a", [])], {}), 0.5)
    assert (at.precision, at.recall, at.false_positives_per_image) == (None, None, 0.0)


def test_the_threshold_for_a_number_of_false_positives():
    truth = [faces("a", TWO), faces("b", [])]
    rows = {
        "a": found([*TWO[0], 0.9], [*MISS, 0.7], [*TWO[1], 0.6]),
        "b": found([*MISS, 0.5], [*MISS, 0.3]),
    }
    matches = match(truth, rows)
    assert threshold_for(matches, 0.0) == 0.9
    assert threshold_for(matches, 0.5) == 0.6  # one false positive on two images
    assert threshold_for(matches, 1.0) == 0.5
    assert threshold_for(matches, 10.0) == 0.3
    assert threshold_for(match(truth, {"b": found([*MISS, 0.5])}), 0.4) is None
    assert threshold_for(match(truth, {}), 1.0) is None
