"""Galleries, probes and strangers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recognizer.evaluation.identification import (
    fnir_at,
    operating_point,
    search,
    split,
    within_rank,
)
from recognizer.gallery import Gallery
from recognizer.types import unit

EAST, NORTH, UP = np.eye(3, dtype=np.float32)


def gallery() -> Gallery:
    return Gallery("c", ("Ann", "Bob", "Cy"), np.eye(3, dtype=np.float32))


def look_up(vectors, truth, failed=None):
    vectors = unit(np.array(vectors, np.float32))
    failed = np.zeros(len(vectors), bool) if failed is None else np.array(failed)
    return search(gallery(), vectors, failed, truth)


def test_a_search_by_hand():
    probes = [[1, 0, 0], [0.8, 0.6, 0], [0.6, 0.8, 0], [0.6, 0, 0.8]]
    found = look_up(probes, ["Ann", "Bob", "Ann", "Zoe"])
    assert found.people == ("Ann", "Bob", "Cy")
    assert found.mate.tolist() == [0, 1, 0, -1]
    assert found.nearest.tolist() == [0, 0, 1, 2]
    assert found.cosine == pytest.approx([1, 0.8, 0.8, 0.8])
    assert found.rank.tolist() == [1, 2, 2, 0]
    assert within_rank(found, 1) == pytest.approx(1 / 3)
    assert within_rank(found, 2) == 1
    # Ann alone is given her own name, until the threshold reaches her cosine.
    assert found.fnir(np.array([0.5, 0.999, 1.0])) == pytest.approx([2 / 3, 2 / 3, 1])
    assert found.fpir(np.array([0.5, 0.85])).tolist() == [1, 0]


def test_a_tie_goes_to_the_first_as_in_the_gallery():
    found = look_up([[1, 1, 0], [1, 1, 0]], ["Ann", "Bob"])
    assert found.rank.tolist() == [1, 2]
    named, _ = gallery().nearest(unit(np.array([[1, 1, 0]] * 2)))
    assert [found.people[i] for i in found.nearest] == named


def test_failed_probes_are_missed_and_never_named():
    found = look_up([[1, 0, 0], [1, 0, 0]], ["Ann", "Zoe"], [True, True])
    assert found.rank.tolist() == [0, 0]
    assert found.nearest.tolist() == [-1, -1]
    assert found.fnir(np.array([-1.0])).tolist() == [1]
    assert found.fpir(np.array([-1.0])).tolist() == [0]
    assert within_rank(found, 5) == 0


def test_nobody_enrolled_no_mates_no_strangers():
    empty = Gallery.empty("c", 3)
    found = search(empty, np.eye(3, dtype=np.float32), np.zeros(3, bool), ["Ann", "Bob", None])
    assert not found.mated.any()
    assert within_rank(found, 1) is None
    assert np.isnan(found.fnir(np.array([0.5]))).all()
    mates_only = look_up([[1, 0, 0]], ["Ann"])
    assert np.isnan(mates_only.fpir(np.array([0.5]))).all()
    assert fnir_at(mates_only, 0.1)["fnir"] is None


def test_fnir_at_an_fpir_needs_strangers_enough():
    random = np.random.default_rng(0)
    vectors = np.concatenate([np.tile(EAST, (10, 1)), random.normal(size=(100, 3))])
    truth = ["Ann"] * 10 + ["Zoe"] * 100
    found = look_up(vectors, truth)
    point = fnir_at(found, 0.1)
    assert float(found.fpir(np.array(point["threshold"]))) == pytest.approx(0.1)
    assert point["fnir"] == 0
    rare = fnir_at(found, 0.01)
    assert (rare["fnir"], rare["needed"]) == (None, 1000)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10**6))
def test_random_searches_against_the_slow_way(seed):
    random = np.random.default_rng(seed)
    vectors = unit(random.integers(-2, 3, (12, 3)) + 0.25)  # so coarse that cosines tie
    truth = random.choice(["Ann", "Bob", "Cy", "Zoe"], 12).tolist()
    found = look_up(vectors, truth)
    for i, name in enumerate(truth):
        cosines = [float(c) for c in vectors[i] @ gallery().prototypes.T]
        order = sorted(range(3), key=lambda p: (-cosines[p], p))
        assert found.nearest[i] == order[0]
        if name != "Zoe":
            assert found.rank[i] == order.index(["Ann", "Bob", "Cy"].index(name)) + 1
    for threshold in (-0.5, 0.0, 0.5, 0.9):
        mated = [i for i, name in enumerate(truth) if name != "Zoe"]
        missed = [i for i in mated if found.rank[i] != 1 or not found.cosine[i] > threshold]
        named = [i for i in set(range(12)) - set(mated) if found.cosine[i] > threshold]
        if mated:
            assert float(found.fnir(threshold)) == pytest.approx(len(missed) / len(mated))
        if len(mated) < 12:
            assert float(found.fpir(threshold)) == pytest.approx(len(named) / (12 - len(mated)))


def test_the_split_enrols_only_who_has_photos_to_spare():
    person = np.repeat([0, 1, 2, 3], [5, 3, 1, 4])
    parts = split(person, enroll=3)
    assert set(person[parts.enroll]) == {0, 3}
    assert np.bincount(person[parts.enroll]).tolist() == [3, 0, 0, 3]
    assert np.bincount(person[parts.mated]).tolist() == [2, 0, 0, 1]
    assert sorted(person[parts.nonmated]) == [1, 1, 1, 2]
    everything = np.concatenate([parts.enroll, parts.probes])
    assert sorted(everything) == list(range(len(person)))


def test_more_strangers_on_demand_and_the_seed_decides_who():
    person = np.repeat(np.arange(10), 4)
    parts = split(person, enroll=2, nonmated=0.3, seed=1)
    assert len(set(person[parts.nonmated])) == 3
    assert len(parts.nonmated) == 12
    again, other = (split(person, 2, 0.3, seed) for seed in (1, 2))
    assert again.enroll.tolist() == parts.enroll.tolist()
    assert other.enroll.tolist() != parts.enroll.tolist()
    assert len(split(person, 2, 1.0).enroll) == 0


def test_the_operating_point_by_hand():
    mate = np.array([0, 0, 1, 1, -1, -1, -1, -1])
    named = np.array([0, -1, 0, 1, -1, 1, -1, -1])
    sources = ["head", "none", "gallery", "gallery", "none", "gallery", "none", "none"]
    point = operating_point(mate, named, sources)
    assert (point["mated"], point["nonmated"]) == (4, 4)
    assert (point["fnir"], point["misidentified"], point["fpir"]) == (0.5, 0.25, 0.25)
    assert point["by"] == {"head": 1, "gallery": 3, "none": 4}
    nobody = operating_point(mate[:0], named[:0], [])
    assert (nobody["fnir"], nobody["misidentified"], nobody["fpir"]) == (None, None, None)
