"""Confusion matrix, precision, recall and F1."""

from __future__ import annotations

import numpy as np
import pytest

from recognizer.evaluation.naming import (
    accuracy,
    confusion_matrix,
    confusions,
    macro,
    per_person,
)

PEOPLE = ("Ann", "Bob", "Cy")
TRUTH = np.array([0, 0, 0, 1, 1, -1, -1])
NAMED = np.array([0, 0, 1, 1, -1, -1, 0])


def test_by_hand():
    matrix = confusion_matrix(3, TRUTH, NAMED)
    assert matrix.tolist() == [[2, 1, 0, 0], [0, 1, 0, 1], [0, 0, 0, 0], [1, 0, 0, 1]]
    assert accuracy(matrix) == pytest.approx(4 / 7)
    ann, bob, cy = per_person(PEOPLE, matrix)
    assert (ann["probes"], ann["named"], ann["right"]) == (3, 3, 2)
    assert (ann["precision"], ann["recall"], ann["f1"]) == pytest.approx((2 / 3, 2 / 3, 2 / 3))
    assert (bob["precision"], bob["recall"]) == (0.5, 0.5)
    assert (cy["precision"], cy["recall"], cy["f1"]) == (None, None, None)
    mean = macro([ann, bob, cy])  # Cy has no probes and does not count
    assert (mean["people"], mean["recall"]) == (2, pytest.approx((2 / 3 + 0.5) / 2))
    assert confusions(PEOPLE, matrix) == [("Ann", "Bob", 1)]


def test_a_name_that_is_never_given_has_precision_zero_in_the_mean():
    figures = per_person(PEOPLE, confusion_matrix(3, np.array([0, 1]), np.array([0, 0])))
    assert figures[1]["precision"] is None
    mean = macro(figures)
    assert (mean["precision"], mean["recall"]) == (0.25, 0.5)
    assert mean["f1"] == pytest.approx((2 / 3 + 0) / 2)


def test_nothing_to_name():
    empty = np.empty(0, np.int64)
    matrix = confusion_matrix(2, empty, empty)
    assert accuracy(matrix) is None
    assert macro(per_person(PEOPLE[:2], matrix))["people"] == 0


def test_the_figures_against_counting_one_by_one():
    random = np.random.default_rng(0)
    truth, named = random.integers(-1, 3, 200), random.integers(-1, 3, 200)
    matrix = confusion_matrix(3, truth, named)
    order = [0, 1, 2, -1]
    pairs = list(zip(truth.tolist(), named.tolist(), strict=True))
    assert matrix.tolist() == [[pairs.count((is_, said)) for said in order] for is_ in order]
    found = per_person(PEOPLE, matrix)
    for i, person in enumerate(found):
        right, wrong = pairs.count((i, i)), sum(t != i == n for t, n in pairs)
        missed = sum(t == i != n for t, n in pairs)
        assert person["probes"] == right + missed
        assert person["precision"] == pytest.approx(right / (right + wrong))
        assert person["recall"] == pytest.approx(right / (right + missed))
        assert person["f1"] == pytest.approx(right / (right + (wrong + missed) / 2))
    assert macro(found)["f1"] == pytest.approx(np.mean([person["f1"] for person in found]))
