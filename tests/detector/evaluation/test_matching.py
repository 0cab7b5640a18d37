"""Which detection lies on which face."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.evaluation.matching import best_overlap, match
from tests.detector.evaluation.cases import faces, found, random_set
from tests.detector.evaluation.slow import overlap


@pytest.mark.parametrize(
    ("box", "face", "pixel", "expected"),
    [
        ([0, 0, 10, 10], [0, 0, 10, 10], 0, 1.0),
        ([0, 0, 10, 10], [5, 0, 15, 10], 0, 50 / 150),
        ([0, 0, 10, 10], [10, 0, 20, 10], 0, 0.0),  # they touch
        ([0, 0, 10, 10], [10, 0, 20, 10], 1, 11 / (121 + 121 - 11)),  # and share a pixel column
        ([0, 0, 10, 10], [30, 30, 40, 40], 0, 0.0),  # both gaps negative: no positive product
        ([0, 0, 3, 3], [3, 3, 3, 3], 1, 1 / 16),  # a face without area is one pixel
        ([0, 0, 9, 9], [4, 4, 2, 2], 1, 0.0),  # an inverted face overlaps nothing
    ],
)
def test_overlap(box, face, pixel, expected):
    index, value = best_overlap(np.array([box], float), np.array([face], float), pixel=pixel)
    assert index[0] == 0
    assert value[0] == pytest.approx(expected)


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.0, 1.0]))
def test_overlaps_are_those_of_the_plain_definition(seed, pixel):
    random = np.random.default_rng(seed)
    boxes = random.uniform(0, 20, (5, 4))
    others = random.uniform(0, 20, (4, 4))
    for array in (boxes, others):
        array[:, 2:] += array[:, :2]
    index, value = best_overlap(boxes, others, pixel=pixel)
    table = [[overlap(a, b, pixel) for b in others] for a in boxes]
    np.testing.assert_allclose(value, np.max(table, axis=1))
    np.testing.assert_array_equal(index, np.argmax(table, axis=1))


def test_without_faces_nothing_overlaps():
    index, value = best_overlap(np.ones((3, 4)), np.zeros((0, 4)))
    assert index.shape == value.shape == (3,)
    assert not value.any()


def test_the_best_scored_detection_finds_the_face_and_the_others_are_false_positives():
    truth = [faces("a", [[0, 0, 10, 10], [40, 40, 60, 60]])]
    rows = found([0, 0, 10, 9, 0.3], [0, 0, 10, 10, 0.8], [20, 0, 30, 10, 0.9])
    matches = match(truth, {"a": rows})
    assert matches.face.tolist() == [0, 0, -1]
    assert matches.first.tolist() == [False, True, False]
    assert matches.false_positive.tolist() == [True, False, True]
    assert matches.face_score.tolist() == [0.8, -np.inf]


def test_a_detection_belongs_to_the_face_it_overlaps_most_even_one_to_ignore():
    truth = [faces("a", [[0, 0, 10, 10], [2, 0, 12, 10]], ignored=[1])]
    matches = match(truth, {"a": found([2, 0, 12, 10, 0.9])})
    assert matches.face.tolist() == [1]
    assert not matches.counted.any()
    assert not matches.false_positive.any()
    assert matches.face_score[0] == -np.inf


def test_exactly_half_is_enough():
    truth = [faces("a", [[0, 0, 10, 10]])]
    assert match(truth, {"a": found([0, 0, 10, 5, 0.9])}).face.tolist() == [0]
    assert match(truth, {"a": found([0, 0, 10, 4.99, 0.9])}).face.tolist() == [-1]


def test_images_without_detections_or_without_faces():
    truth = [faces("a", [[0, 0, 5, 5]]), faces("b", [])]
    matches = match(truth, {"b": found([0, 0, 5, 5, 0.4])})
    assert matches.false_positive.tolist() == [True]
    assert matches.image.tolist() == [1]
    assert matches.face_score.tolist() == [-np.inf]
    nothing = match(truth, {})
    assert len(nothing.score) == 0
    assert len(nothing.face_score) == 1
    assert len(match([], {}).names) == 0


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.booleans())
def test_the_order_of_the_input_does_not_matter(seed, ties):
    truth, detections = random_set(seed, ties=ties)
    random = np.random.default_rng(seed)
    mixed = {name: random.permutation(rows) for name, rows in reversed(detections.items())}
    one, two = match(truth, detections), match(truth, mixed)
    np.testing.assert_array_equal(one.face_score, two.face_score)

    def alarms(matches):
        rows = np.column_stack([matches.image, matches.xyxy, matches.score])
        return sorted(map(tuple, rows[matches.false_positive]))

    assert alarms(one) == alarms(two)


def test_detections_of_unknown_images_are_refused_not_lost():
    with pytest.raises(ValueError, match="'b'"):
        match([faces("a", [])], {"b": found()})
    with pytest.raises(ValueError, match="twice"):
        match([faces("a", []), faces("a", [])], {})


def test_the_callers_arrays_stay_as_they_are():
    rows = found([0, 0, 10, 10, 0.3], [5, 5, 9, 9, 0.9])
    before = rows.copy()
    match([faces("a", [[0, 0, 10, 10]])], {"a": rows}, pixel=1.0)
    np.testing.assert_array_equal(rows, before)
