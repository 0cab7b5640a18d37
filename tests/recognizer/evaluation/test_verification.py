"""Folds, standard error, TAR at FAR, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from faces.errors import UserError
from recognizer.error_rates import Scores, roc
from recognizer.evaluation.verification import (
    accuracy,
    by_folds,
    summarize,
    tar_at,
)

# Three folds of two genuine and two impostor pairs. Alone, fold 3 would choose about 0.2.
COSINES = np.array([0.9, 0.7, 0.3, 0.1, 0.9, 0.8, 0.4, 0.1, 0.9, 0.3, 0.1, 0.05])
SAME = np.array([True, True, False, False] * 3)
FOLD = np.repeat([1, 2, 3], 4)


def test_each_fold_is_tested_with_the_threshold_of_the_others():
    first, second, third = by_folds(COSINES, SAME, FOLD)
    assert (first.fold, second.fold, third.fold) == (1, 2, 3)
    # Folds 1 and 2 are split best anywhere from 0.4 to 0.7: half-way, and 0.3 is then a miss.
    assert third.threshold == pytest.approx(0.55)
    assert third.accuracy == 0.75
    assert third.pairs == 4


def test_named_folds_are_tested_with_the_threshold_of_all_the_others():
    (third,) = by_folds(COSINES, SAME, FOLD, [3])
    assert third.threshold == pytest.approx(0.55)
    both = by_folds(COSINES, SAME, FOLD, [3, 1])
    assert [fold.fold for fold in both] == [1, 3]
    assert both[0].threshold == both[1].threshold == pytest.approx(0.6)  # of fold 2 alone


def test_the_tested_fold_has_no_say_in_its_threshold():
    spoiled = COSINES.copy()
    spoiled[FOLD == 3] = [-0.9, -0.8, 0.99, 0.98]
    assert by_folds(spoiled, SAME, FOLD)[2].threshold == by_folds(COSINES, SAME, FOLD)[2].threshold
    assert by_folds(spoiled, SAME, FOLD)[2].accuracy == 0


def test_the_mean_and_its_standard_error():
    found = by_folds(COSINES, SAME, FOLD)
    values = [fold.accuracy for fold in found]
    mean, error = accuracy(found)
    assert mean == pytest.approx(sum(values) / 3)
    spread = sum((value - mean) ** 2 for value in values) / 2
    assert error == pytest.approx((spread / 3) ** 0.5)
    assert accuracy(found[:1]) == (values[0], None)  # one fold shows no spread


@pytest.mark.parametrize(
    ("fold", "same", "test", "message"),
    [
        ([1] * 12, SAME, None, "have 1 fold, the protocol needs two"),
        (FOLD, SAME, [4], "no fold 4, only 1, 2, 3"),
        (FOLD, SAME, [1, 2, 3], "every fold is a test fold"),
        (FOLD, FOLD == 1, None, "fold 1: the other folds have 0 genuine and 8 impostor"),
        (FOLD, FOLD < 4, [1], "8 genuine and 0 impostor"),
    ],
)
def test_what_is_refused(fold, same, test, message):
    with pytest.raises(UserError, match=message):
        by_folds(COSINES, np.array(same), np.array(fold), test)


def test_the_summary_says_what_is_too_rare_to_measure():
    scores = Scores(np.linspace(0.5, 1, 50), np.linspace(-0.5, 0.6, 1000))
    found = summarize(scores, roc(scores))
    assert (found["genuine"], found["impostor"]) == (50, 1000)
    assert [point["tar"] is None for point in found["tar"]] == [False, True, True]
    assert [point["needed"] for point in found["tar"]] == [1_000, 10_000, 100_000]
    assert found["tar"][0]["threshold"] == pytest.approx(scores.impostor[-11])


@pytest.mark.parametrize(("genuine", "impostor"), [([], [0.1] * 2000), ([0.5], [])])
def test_a_missing_kind_of_pair(genuine, impostor):
    scores = Scores(np.array(genuine), np.array(impostor))
    found = summarize(scores, roc(scores))
    assert (found["auc"], found["eer"], found["best_threshold"]) == (None, None, None)
    assert tar_at(scores, 0.01)["tar"] is None
