"""Rates, their intervals, and thresholds."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from pipeline.liveness.report import Rate, Scores, Trial, format_scores, format_trials

NAN = float("nan")


@pytest.mark.parametrize(
    ("errors", "count", "low", "high"),
    [
        # scipy.stats.binomtest(k, n).proportion_ci(method="exact")
        (0, 10, 0.0, 0.3085),
        (1, 10, 0.0025, 0.4450),
        (5, 100, 0.0164, 0.1128),
        (10, 10, 0.6915, 1.0),
        (0, 0, 0.0, 1.0),
    ],
)
def test_intervals(errors, count, low, high):
    assert Rate(errors, count).interval == pytest.approx((low, high), abs=1e-4)


def test_a_rate_of_nothing_is_unknown():
    assert Rate(0, 0).value is None
    assert str(Rate(0, 0)) == "no presentations"
    with pytest.raises(ValueError, match="2 errors of 1"):
        Rate(2, 1)


SCORES = Scores(
    np.array([0.9, 0.8, 0.5, 0.2, NAN]),
    {"print": np.array([0.1, 0.2, 0.3, 0.6]), "screen": np.array([0.95, 0.1, NAN])},
)


def test_rates_at_a_threshold():
    """0.5 itself is live; a face that was not found is neither right nor wrong."""
    assert SCORES.bpcer(0.5) == Rate(1, 4)
    assert SCORES.apcer(0.5) == {"print": Rate(1, 4), "screen": Rate(1, 2)}
    report = SCORES.to_json(0.5)
    assert report["apcer_worst_kind"]["rate"] == 0.5
    assert report["without_face"] == {"live": 1, "print": 0, "screen": 1}


def test_the_threshold_for_an_apcer_is_the_least_that_does():
    attacks = np.linspace(0, 0.99, 100)
    scores = Scores(np.array([0.9, 0.96]), {"print": attacks})
    at = scores.threshold_for(0.05)
    assert scores.apcer(at)["print"].errors == 5
    assert scores.apcer(np.nextafter(at, 0))["print"].errors == 6
    assert scores.bpcer(at) == Rate(1, 2)
    assert SCORES.apcer(SCORES.threshold_for(0.05)) == {"print": Rate(0, 4), "screen": Rate(0, 2)}


def test_the_table_says_what_is_missing():
    assert "both needed" in format_scores(Scores(np.array([0.9]), {}), 0.5)
    text = format_scores(SCORES, 0.5)
    assert "BPCER  25.0%" in text
    assert "APCER  50.0% (1.3% to 98.7%, 1 of 2)  screen" in text
    assert "left out: 2" in text
    assert "both needed" not in text


def test_trials():
    people = Trial("people", False, Counter(passed=9, lost=1))
    photo = Trial("photo", True, Counter({"passed": 1, "flat": 7}))
    mask = Trial("mask", None, Counter(passed=5))
    assert (people.rate, photo.rate, mask.rate) == (Rate(1, 10), Rate(1, 8), Rate(5, 5))
    assert people.to_json()["rate"] == 0.1
    assert [t.to_json()["name"] for t in (people, photo)] == ["BPCER", "APCER"]
    assert mask.to_json()["expected_to_fail"] is False
    text = format_trials([people, photo, mask])
    assert "BPCER  10.0%" in text
    assert "7 flat" in text
    assert text.count("not stopped") == 1
