"""Thresholds for a wanted false match rate: right, and only as much as the pairs can say."""

from __future__ import annotations

import json
import logging

import numpy as np
import pytest

from faces.errors import UserError
from recognizer.calibrate import (
    calibrate_head,
    calibrate_pairs,
    calibrate_people,
    pairs_needed,
    write_defaults,
)
from recognizer.rule import Thresholds, default_thresholds, read_defaults
from recognizer.types import unit


def people(count: int, each: int, noise: float = 0.6, seed: int = 0, dimension: int = 32):
    rng = np.random.default_rng(seed)
    vectors = np.repeat(unit(rng.standard_normal((count, dimension))), each, axis=0)
    vectors = unit(vectors + noise * rng.standard_normal(vectors.shape) / np.sqrt(dimension))
    return vectors, [f"p{i:03d}" for i in range(count) for _ in range(each)]


def test_the_threshold_lets_the_wanted_share_of_impostors_pass_and_no_more():
    impostor = np.linspace(-0.5, 0.5, 1001)[:-1]  # 1000 values, 0.001 apart
    genuine = np.array([0.45, 0.485, 0.6, 0.9])
    cosines = np.concatenate([genuine, impostor])
    same = np.arange(len(cosines)) < 4
    found = calibrate_pairs(cosines, same, 0.01)
    assert (impostor > found.threshold).sum() == 10
    assert found.fmr == 0.01
    assert found.fnmr == 0.5  # 0.45 and 0.485 do not match at 0.489
    assert found.interval[0] < 0.01 < found.interval[1]
    assert (found.genuine, found.impostor, found.people) == (4, 1000, None)


def test_equal_impostors_never_exceed_the_wanted_share():
    cosines = np.concatenate([[0.9], np.full(500, 0.3), np.full(500, 0.1)])
    found = calibrate_pairs(cosines, np.arange(1001) < 1, 0.1)
    assert found.fmr <= 0.1
    assert found.threshold == 0.3


def test_1e_4_is_not_claimed_from_1800_pairs():
    rng = np.random.default_rng(0)
    cosines, same = rng.uniform(-1, 1, 3600), np.arange(3600) < 1800
    with pytest.raises(UserError, match=r"1e-04|0\.0001") as caught:
        calibrate_pairs(cosines, same, 1e-4)
    assert "100,000 pairs" in str(caught.value)
    assert "there are 1,800" in str(caught.value)
    assert "0.0056 at best" in str(caught.value)
    assert calibrate_pairs(cosines, same, 0.01).fmr == pytest.approx(0.01)


@pytest.mark.parametrize(
    ("fmr", "pairs"), [(0.1, 100), (1e-2, 1_000), (1e-3, 10_000), (1e-4, 100_000)]
)
def test_pairs_needed(fmr, pairs):
    assert pairs_needed(fmr) == pairs


def test_the_rate_that_is_said_to_be_supported_is_more_than_the_refused_one():
    same = np.arange(97) < 1
    with pytest.raises(UserError, match=r"rate of 0.1 takes .* there are 96; they support 0.11 at"):
        calibrate_pairs(np.linspace(-1, 1, 97), same, 0.1)


def test_without_genuine_pairs_there_is_no_answer():
    with pytest.raises(UserError, match="no pair of one person"):
        calibrate_pairs(np.linspace(0, 1, 1000), np.zeros(1000, bool), 0.1)
    vectors, names = people(100, 1)
    with pytest.raises(UserError, match="two photos or more"):
        calibrate_people(vectors, names, 0.01)


def test_every_image_against_every_other():
    vectors, names = people(60, 3)
    found = calibrate_people(vectors, names, 1e-3)
    assert found.people == 60
    assert found.genuine == 60 * 3
    assert found.impostor == 180 * 179 // 2 - 180
    cosines = vectors @ vectors.T
    other = np.array(names)[:, None] != np.array(names)
    assert (cosines[other] > found.threshold).mean() == pytest.approx(found.fmr)
    assert found.fmr <= 1e-3


def test_the_interval_knows_that_pairs_share_people():
    """Ten images of each person say hardly more than one: the interval must not shrink tenfold."""
    few, names_few = people(60, 2, noise=0.1)
    many, names_many = people(60, 10, noise=0.1)
    narrow = calibrate_people(many, names_many, 0.01).interval
    wide = calibrate_people(few, names_few, 0.01).interval
    assert narrow[1] - narrow[0] > 0.6 * (wide[1] - wide[0])
    assert narrow[0] < 0.01 < narrow[1]


def test_more_images_than_can_be_compared_are_sampled(monkeypatch):
    monkeypatch.setattr("recognizer.calibrate.MOST_IMAGES", 100)
    vectors, names = people(60, 3)
    assert calibrate_people(vectors, names, 0.01).impostor < 100 * 99 / 2


def test_the_head_s_threshold_is_raised_where_0_7_names_too_many_strangers():
    vectors, names = people(120, 4, noise=1.4, dimension=16)  # a poor embedder
    strict = calibrate_head(vectors, names, 1e-5)
    lax = calibrate_head(vectors, names, 0.5)
    assert lax.threshold == 0.7
    assert strict.threshold > 0.7
    assert strict.strangers_named <= lax.strangers_named
    assert strict.enrolled == 50
    assert 0 < lax.recognized <= 1


def test_too_few_people_leave_the_head_s_threshold_unmeasured():
    vectors, names = people(15, 4)
    assert calibrate_head(vectors, names, 1e-3) is None
    vectors, names = people(100, 2)
    assert calibrate_head(vectors, names, 1e-3) is None


def test_defaults_are_kept_by_fingerprint(tmp_path, caplog):
    path = tmp_path / "thresholds.json"
    vectors, names = people(60, 3)
    found = calibrate_people(vectors, names, 1e-3)
    write_defaults(path, "a", Thresholds(0.7, found.threshold), found, "sixty people")
    write_defaults(path, "b", Thresholds(0.8, 0.5), found, "others")
    assert default_thresholds("a", path) == Thresholds(0.7, found.threshold)
    assert default_thresholds("b", path) == Thresholds(0.8, 0.5)
    assert read_defaults(path)["a"]["measured"]["impostor"] == found.impostor
    assert read_defaults(path)["a"]["data"] == "sixty people"
    with caplog.at_level(logging.WARNING):
        assert default_thresholds("c", path) == Thresholds()
    assert "faces calibrate" in caplog.text
    assert default_thresholds("a", tmp_path / "none.json") == Thresholds()


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"format": "x"}', '{"format": "faces-thresholds", "version": 2}',
             '{"format": "faces-thresholds", "version": 1, "embedders": {"a": {"head": "x"}}}'],
)  # fmt: skip
def test_a_damaged_file_of_defaults_is_named(tmp_path, text):
    path = tmp_path / "thresholds.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=r"thresholds\.json"):
        default_thresholds("a", path)


def test_the_file_is_json_for_people(tmp_path):
    path = tmp_path / "thresholds.json"
    vectors, names = people(60, 3)
    write_defaults(path, "a", Thresholds(), calibrate_people(vectors, names, 1e-2), "x")
    content = json.loads(path.read_text(encoding="utf-8"))
    assert content["format"] == "faces-thresholds"
    assert path.read_text(encoding="utf-8").endswith("}\n")
