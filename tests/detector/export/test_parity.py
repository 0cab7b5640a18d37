"""What counts as the same result, and what does not."""

from __future__ import annotations

import json

import numpy as np
import pytest
from numpy.typing import NDArray

from detector.export.parity import Case, check, compare, draw_crowd, make_cases, report, table

BOXES = np.array([[10, 10, 30, 40], [12, 11, 33, 41], [100, 50, 130, 90]], np.float32)
SCORES = np.array([0.9, 0.7, 0.3], np.float32)
EMPTY = (np.zeros((0, 4), np.float32), np.zeros(0, np.float32))


def outcome(expected: tuple[NDArray, NDArray], actual: tuple[NDArray, NDArray], limit: int = 750):  # type: ignore[no-untyped-def]
    case = Case("one", np.zeros((1, 64, 64, 3), np.uint8), 0.02)
    return check(lambda *_: [expected], lambda *_: [actual], [case], 0.4, limit)[0]


def test_equal_results_pass_in_any_order() -> None:
    result = outcome((BOXES, SCORES), (BOXES[::-1], SCORES[::-1]))
    assert result.passed
    assert (result.faces, result.compared, result.tied, result.missing) == (3, 3, 0, 0)
    assert outcome(EMPTY, EMPTY).passed


@pytest.mark.parametrize(("by", "passed"), [(0.009, True), (0.02, False), (0.9, False)])
def test_a_box_that_moves_is_seen(by: float, passed: bool) -> None:
    result = outcome((BOXES, SCORES), (BOXES + np.float32([0, by, 0, 0]), SCORES))
    assert result.passed is passed
    assert result.compared == 3
    assert result.box_error == pytest.approx(by, abs=1e-4)


@pytest.mark.parametrize(("by", "passed"), [(0.00009, True), (0.0002, False)])
def test_a_score_that_moves_is_seen(by: float, passed: bool) -> None:
    assert outcome((BOXES, SCORES), (BOXES, SCORES + np.float32(by))).passed is passed


@pytest.mark.parametrize("swap", [False, True])
def test_a_face_that_only_one_finds_is_seen(swap: bool) -> None:
    pair = [(BOXES, SCORES), (BOXES[:2], SCORES[:2])]
    result = outcome(*(reversed(pair) if swap else pair))
    assert not result.passed
    assert result.missing == 1
    result = outcome(*(reversed([EMPTY, pair[1]]) if swap else [EMPTY, pair[1]]))
    assert (result.missing, result.passed) == (2, False)


def test_of_two_overlapping_boxes_with_one_score_either_may_stay() -> None:
    scores = np.array([0.7, 0.7], np.float32)
    first, second = (BOXES[:1], scores[:1]), (BOXES[1:2], scores[1:])
    assert compare(first, second, 0.02, 0.4, 750)[1:4] == (0, 2, 0)
    apart = (BOXES[2:], scores[:1])  # the same score, but no overlap to choose between
    assert compare(first, apart, 0.02, 0.4, 750)[1:4] == (0, 0, 2)
    lower = (BOXES[1:2], scores[1:] - np.float32(0.01))
    assert compare(first, lower, 0.02, 0.4, 750)[1:4] == (0, 0, 2)


def test_a_score_at_the_threshold_or_at_the_limit_may_be_left_out() -> None:
    scores = np.array([0.9, 0.7, 0.02005], np.float32)
    assert outcome((BOXES, scores), (BOXES[:2], scores[:2])).passed
    near = np.array([0.9, 0.70005, 0.7], np.float32)
    result = outcome((BOXES[[0, 1]], near[:2]), (BOXES[[0, 2]], near[[0, 2]]), limit=2)
    assert (result.passed, result.tied) == (True, 2)
    assert not outcome((BOXES[[0, 1]], near[:2]), (BOXES[[0, 2]], near[[0, 2]])).passed


@pytest.mark.slow
def test_the_cases_are_what_the_promise_says() -> None:
    cases = make_cases([np.zeros((64, 96, 3), np.uint8)])
    sizes = {case.images.shape[1:3] for case in cases}
    assert len(sizes) >= 6
    assert sum(height > width for height, width in sizes) >= 2
    assert sum(width > height for height, width in sizes) >= 2
    assert all(side % 32 == 0 for size in sizes for side in size)
    assert {len(case.images) for case in cases} == {1, 3}
    assert cases[-1].images.shape == (1, 64, 96, 3)
    assert "no face" in {case.name for case in cases}
    for a, b in zip(cases, make_cases(), strict=False):
        np.testing.assert_array_equal(a.images, b.images)


def test_a_crowd_of_none_is_a_background() -> None:
    picture = draw_crowd(64, 96, 0, np.random.default_rng(0))
    assert picture.shape == (64, 96, 3)
    assert picture.dtype == np.uint8


def test_the_report_is_json_and_the_table_names_what_failed() -> None:
    good, bad = outcome((BOXES, SCORES), (BOXES, SCORES)), outcome((BOXES, SCORES), EMPTY)
    values = json.loads(json.dumps(report([good, bad], file="x.onnx")))
    assert values["file"] == "x.onnx"
    assert values["passed"] is False
    assert [case["passed"] for case in values["cases"]] == [True, False]
    assert values["cases"][0]["size"] == [1, 64, 64]
    assert [line.endswith("FAILED") for line in table([good, bad]).splitlines()] == [
        False,
        False,
        True,
    ]
