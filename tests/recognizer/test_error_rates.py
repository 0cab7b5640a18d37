"""Error rates of score lists: known ones, and random ones against a slow implementation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recognizer.error_rates import (
    FAILED,
    Scores,
    area_under,
    best_threshold,
    equal_error_rate,
    roc,
    threshold_for,
    wilson,
)
from tests.recognizer.evaluation import slow

GENUINE = [0.9, 0.8, 0.7, 0.3]
IMPOSTOR = [0.5, 0.2, 0.1, 0.0]


def scores(genuine=GENUINE, impostor=IMPOSTOR) -> Scores:
    return Scores(np.array(genuine, float), np.array(impostor, float))


def test_rates_by_hand():
    found = scores()
    assert found.fmr([0.6, 0.5, 0.4, 0.0, -1]).tolist() == [0, 0, 0.25, 0.75, 1]
    assert found.fnmr([0.9, 0.8, 0.3, 0.2]).tolist() == [1, 0.75, 0.25, 0]


def test_a_cosine_of_just_the_threshold_does_not_match():
    found = scores([0.7], [0.7])
    assert (float(found.fmr(0.7)), float(found.fnmr(0.7))) == (0, 1)


def test_the_curve_by_hand():
    curve = roc(scores([0.9, 0.4], [0.5, 0.4]))
    assert curve.threshold.tolist() == [0.9, 0.5, 0.4, -1]
    assert curve.fmr.tolist() == [0, 0, 0.5, 1]
    assert curve.fnmr.tolist() == [1, 0.5, 0.5, 0]


@pytest.mark.parametrize(
    ("genuine", "impostor", "auc", "eer"),
    [
        (GENUINE, IMPOSTOR, 15 / 16, 0.25),
        ([0.9, 0.8], [0.1, 0.2], 1, 0),
        ([0.1, 0.2], [0.8, 0.9], 0, 1),
        ([0.5, 0.5], [0.5, 0.5], 0.5, 0.5),  # all tied: a coin
        ([0.5, 0.9], [0.5, 0.1], 7 / 8, 0.25),  # half tied: on the line between two points
        ([0.6], [0.4], 1, 0),
    ],
)
def test_known_auc_and_eer(genuine, impostor, auc, eer):
    found = scores(genuine, impostor)
    assert area_under(found) == pytest.approx(auc)
    assert equal_error_rate(roc(found)) == pytest.approx(eer)


def test_known_tar():
    impostor = np.arange(1000) / 2000  # 0 .. 0.4995
    genuine = [0.4945, 0.49455, 0.9, 0.2]
    threshold = threshold_for(np.sort(impostor), 0.01)
    assert threshold == pytest.approx(0.4945)  # the ten highest are above
    found = scores(genuine, impostor)
    assert found.fmr(threshold) == pytest.approx(0.01)
    assert float(1 - found.fnmr(threshold)) == 0.5


def test_ties_never_exceed_the_allowed_rate():
    impostor = np.sort(np.array([0.1] * 980 + [0.4] * 20))
    threshold = threshold_for(impostor, 0.01)
    assert threshold == 0.4
    assert float(scores(GENUINE, impostor).fmr(threshold)) == 0


def test_too_few_impostors_measure_no_small_rate():
    impostor = np.linspace(0, 0.5, 999)
    assert threshold_for(impostor, 0.01) is None
    assert threshold_for(np.linspace(0, 0.5, 1000), 0.01) is not None
    assert threshold_for(np.empty(0), 0.01) is None


@pytest.mark.parametrize(("genuine", "impostor"), [([], [0.1]), ([0.9], []), ([], [])])
def test_a_missing_kind_of_pair_gives_nothing_rather_than_something(genuine, impostor):
    found = scores(genuine, impostor)
    assert roc(found) is None
    assert area_under(found) is None
    with pytest.raises(ValueError, match="genuine and impostor"):
        best_threshold(found, roc(found))
    assert np.isnan(found.fnmr(0.5)) == (not genuine)
    assert np.isnan(found.fmr(0.5)) == (not impostor)


def test_failed_pairs_never_match():
    found = scores([0.9, FAILED], [0.1, FAILED])
    assert float(found.fnmr(-1)) == 0.5
    assert float(found.fmr(-1)) == 0.5
    assert roc(found).fnmr.min() == 0.5


def test_no_equal_error_rate_when_every_genuine_pair_failed():
    assert equal_error_rate(roc(scores([FAILED], [FAILED]))) is None


@pytest.mark.parametrize("value", [1.5, -2, np.nan, np.inf])
def test_what_is_no_cosine_is_refused(value):
    with pytest.raises(ValueError, match="impostor pairs need cosines"):
        scores(GENUINE, [0.1, value])


def test_rounding_beyond_one_is_forgiven():
    assert scores([1.0000001]).genuine.tolist() == [1]


def test_the_best_threshold_lies_half_way():
    threshold, accuracy = best_threshold(found := scores([0.8, 0.9], [0.1, 0.2]), roc(found))
    assert threshold == pytest.approx(0.5)
    assert accuracy == 1


def test_inputs_are_left_alone():
    values = np.array([0.9, 0.1])
    Scores(values, values)
    assert values.tolist() == [0.9, 0.1]


# A few values only, so that there are ties of every kind.
cosines = st.lists(st.integers(-5, 10).map(lambda n: n / 10), min_size=1, max_size=12)


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(cosines, cosines)
def test_random_lists_against_the_slow_way(genuine, impostor):
    found = scores(genuine, impostor)
    curve = roc(found)
    assert area_under(found) == pytest.approx(slow.auc(genuine, impostor))
    assert equal_error_rate(curve) == pytest.approx(slow.eer(genuine, impostor))
    for threshold, fmr, fnmr in zip(curve.threshold, curve.fmr, curve.fnmr, strict=True):
        assert (fmr, fnmr) == pytest.approx(slow.rates(genuine, impostor, threshold))
    threshold, accuracy = best_threshold(found, curve)
    assert accuracy == pytest.approx(slow.best_accuracy(genuine, impostor))
    fmr, fnmr = slow.rates(genuine, impostor, threshold)
    right = (1 - fnmr) * len(genuine) + (1 - fmr) * len(impostor)
    assert right == pytest.approx(accuracy * (len(genuine) + len(impostor)))


@settings(max_examples=100, deadline=None)
@given(cosines, cosines, st.sampled_from([0.01, 0.02, 0.1, 0.25]))
def test_random_tar_against_the_slow_way(genuine, few, far):
    impostor = few * (1000 // len(few) + 1)
    found = scores(genuine, impostor)
    threshold = threshold_for(found.impostor, far)
    assert float(1 - found.fnmr(threshold)) == pytest.approx(slow.tar_at(genuine, impostor, far))


def test_the_area_is_the_rank_statistic_of_scipy():
    from scipy.stats import mannwhitneyu

    random = np.random.default_rng(0)
    genuine, impostor = random.normal(0.6, 0.1, 300), random.normal(0.4, 0.1, 500)
    expected = mannwhitneyu(genuine, impostor).statistic / (300 * 500)
    assert area_under(Scores(genuine, impostor)) == pytest.approx(expected)


@pytest.mark.parametrize(("errors", "trials"), [(8, 10), (297, 300), (0, 20), (20, 20)])
def test_wilsons_interval_solves_its_equation(errors, trials):
    share = errors / trials
    for end in wilson(errors, trials):
        # The share is 1.96 standard errors of the end away from it.
        reach = 1.959964 * (end * (1 - end) / trials) ** 0.5
        assert abs(share - end) == pytest.approx(reach, abs=1e-7)
