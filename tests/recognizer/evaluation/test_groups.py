"""Error rates of groups, their intervals and ratios."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from recognizer.evaluation.all_pairs import Faces
from recognizer.evaluation.groups import audit
from tests.recognizer.evaluation.cases import people


def slow_rates(faces, labels, group, threshold):
    """Genuine, impostor, FNMR and FMR of one group, pair by pair."""
    counts = {True: [0, 0], False: [0, 0]}
    for i, j in combinations(range(len(faces)), 2):
        if labels[i] == labels[j] == group:
            failed = faces.failed[i] or faces.failed[j]
            match = not failed and float(faces.embeddings[i] @ faces.embeddings[j]) > threshold
            same = bool(faces.person[i] == faces.person[j])
            counts[same][0] += 1
            counts[same][1] += match != same
    (genuine, missed), (impostor, false) = counts[True], counts[False]
    return genuine, impostor, missed / genuine, false / impostor


def test_rates_against_the_slow_way():
    # Labels by image: some people have photos in both groups, some photos in none.
    faces = people([4, 3, 5, 2, 4, 3, 4, 4], dimension=4, noise=1, failed=[6])
    labels = np.random.default_rng(1).choice(["", "a", "b"], len(faces)).tolist()
    found = audit(faces, "kind", labels, 0.4)
    assert [group["group"] for group in found["groups"]] == ["a", "b"]
    assert found["unlabeled"] == labels.count("")
    for group in found["groups"]:
        expected = slow_rates(faces, labels, group["group"], 0.4)
        assert (group["genuine"], group["impostor"], group["fnmr"], group["fmr"]) == pytest.approx(
            expected
        )
        assert group["images"] == labels.count(group["group"])
        assert group["fnmr_interval"][0] <= group["fnmr"] <= group["fnmr_interval"][1]
        assert group["fmr_interval"][0] <= group["fmr"] <= group["fmr_interval"][1]


def test_draws_of_people_against_the_slow_way():
    """The bootstrap: every draw written out as a list of people, with copies."""
    from recognizer.evaluation.groups import _Tally

    faces = people([2, 3, 2, 4], dimension=3, noise=1)
    group = np.random.default_rng(0).integers(0, 2, len(faces))
    drawn = _Tally(faces, group, 2, 0.3).draw(20, seed=5)
    random = np.random.default_rng(5)
    chosen = random.integers(0, 4, (20, 4))
    cosines = faces.embeddings @ faces.embeddings.T
    for r, draw in enumerate(chosen):
        for g in (0, 1):
            false = impostors = missed = genuine = 0
            for a, b in combinations(range(4), 2):
                for i in np.flatnonzero((faces.person == draw[a]) & (group == g)):
                    for j in np.flatnonzero((faces.person == draw[b]) & (group == g)):
                        if draw[a] != draw[b]:  # a person and their copy are no impostors
                            impostors += 1
                            false += cosines[i, j] > 0.3
            for a in range(4):
                own = np.flatnonzero((faces.person == draw[a]) & (group == g))
                for i, j in combinations(own, 2):
                    genuine += 1
                    missed += cosines[i, j] <= 0.3
            expected = false / impostors if impostors else np.nan
            assert drawn["FMR"][r, g] == pytest.approx(expected, nan_ok=True)
            expected = missed / genuine if genuine else np.nan
            assert drawn["FNMR"][r, g] == pytest.approx(expected, nan_ok=True)


def alike(counts, spread) -> Faces:
    """People who look alike when ``spread`` is small."""
    random = np.random.default_rng(3)
    person = np.repeat(np.arange(len(counts)), counts)
    own = random.normal(size=(len(counts), 8)) * spread + np.eye(8)[0]
    vectors = own[person] + 0.05 * random.normal(size=(len(person), 8))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return Faces(vectors.astype(np.float32), person, np.zeros(len(person), bool))


def test_the_group_whose_people_look_alike_stands_out():
    close, apart = alike([3] * 30, 0.35), alike([3] * 30, 0.8)
    faces = Faces(
        np.concatenate([close.embeddings, apart.embeddings]),
        np.concatenate([close.person, apart.person + 30]),
        np.zeros(180, bool),
    )
    found = audit(faces, "kind", ["close"] * 90 + ["apart"] * 90, 0.7)
    ratio = found["fmr_ratio"]
    assert (ratio["worst"], ratio["best"]) == ("close", "apart")
    rates = {group["group"]: group["fmr"] for group in found["groups"]}
    assert ratio["ratio"] == pytest.approx(rates["close"] / rates["apart"])
    assert 1 < ratio["interval"][0] < ratio["ratio"] < ratio["interval"][1]


def test_intervals_over_people_are_wider_than_over_pairs():
    """40 people with 10 photos each: 1,800 genuine pairs are far fewer facts than 1,800."""
    faces = people([10] * 40, dimension=8, noise=0.9)
    (group,) = audit(faces, "kind", ["all"] * 400, 0.3)["groups"]
    half = (group["fmr_interval"][1] - group["fmr_interval"][0]) / 2
    independent = 1.96 * (group["fmr"] * (1 - group["fmr"]) / group["impostor"]) ** 0.5
    assert half > 3 * independent


def test_the_seed_decides_the_intervals():
    faces = people([4] * 10, dimension=4, noise=1)
    labels = ["a", "b"] * 20
    one, again, other = (audit(faces, "k", labels, 0.4, seed=seed) for seed in (0, 0, 1))
    assert one == again
    assert one != other


def test_a_group_with_one_person():
    faces = people([3, 3, 3], noise=0.5)
    found = audit(faces, "kind", ["alone"] * 3 + ["two"] * 6, 0.99)
    alone, two = found["groups"]
    assert (alone["people"], alone["genuine"], alone["impostor"]) == (1, 3, 0)
    assert (alone["fmr"], alone["fmr_interval"]) == (None, None)
    assert alone["fnmr"] == 1.0
    assert alone["fnmr_interval"] is None  # one person says nothing about others
    assert two["fnmr_interval"] is not None
    assert found["fmr_ratio"] is None  # one group has no impostor pairs, the other no false match
    assert found["fnmr_ratio"]["ratio"] == 1


def test_a_group_of_single_photos_has_no_genuine_pairs():
    faces = people([1, 1, 1, 2, 2])
    found = audit(faces, "kind", ["single"] * 3 + ["pairs"] * 4, 0.5)
    single = found["groups"][1]
    assert (single["group"], single["genuine"], single["fnmr"]) == ("single", 0, None)
    assert single["impostor"] == 3
    assert found["fnmr_ratio"] is None


def test_no_errors_have_an_interval_that_ends_above_zero():
    faces = people([2] * 20, noise=0.01, dimension=64)
    (group,) = audit(faces, "kind", ["all"] * 40, 0.6)["groups"]
    assert (group["fnmr"], group["fmr"]) == (0, 0)
    assert group["fnmr_interval"] == (0, pytest.approx(1 - 0.025 ** (1 / 20)))
    assert group["fmr_interval"] == (0, pytest.approx(1 - 0.025 ** (1 / 10)))


def test_a_ratio_to_a_group_without_errors_has_no_bound():
    # Three people look alike; the two others look like nobody.
    person = np.repeat(np.arange(5), 2)
    directions = np.array([[1, 0.2, 0], [1, 0, 0], [1, 0, 0.2], [0, 1, 0], [0, 0, 1]])
    vectors = (directions / np.linalg.norm(directions, axis=1, keepdims=True))[person]
    faces = Faces(vectors, person, np.zeros(10, bool))
    found = audit(faces, "kind", ["many"] * 6 + ["few"] * 4, 0.97)
    rates = {group["group"]: group["fmr"] for group in found["groups"]}
    assert rates["few"] == 0 < rates["many"]
    assert (found["fmr_ratio"]["worst"], found["fmr_ratio"]["best"]) == ("many", "few")
    assert (found["fmr_ratio"]["ratio"], found["fmr_ratio"]["interval"]) == (None, None)


def test_no_labels_at_all():
    found = audit(people([2, 2]), "kind", [""] * 4, 0.5)
    assert (found["groups"], found["unlabeled"], found["fmr_ratio"]) == ([], 4, None)


def test_each_group_has_its_own_threshold_and_its_failures():
    # Group "b" lies closer together: its impostors need a higher threshold.
    random = np.random.default_rng(0)
    wide, close = random.normal(size=(150, 6)), random.normal(size=(150, 6)) * 0.4 + 1
    vectors = np.concatenate([wide, close])
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    failed = np.zeros(300, bool)
    failed[:30] = True
    faces = Faces(vectors, np.arange(300), failed)
    labels = ["a"] * 150 + ["b"] * 150
    a, b = audit(faces, "kind", labels, 0.5, fmr=1e-2)["groups"]
    assert a["threshold"] < b["threshold"]
    cosines = np.sort((vectors[150:] @ vectors[150:].T)[np.triu_indices(150, 1)])
    assert (
        (cosines > b["threshold"]).mean() <= 1e-2 < (cosines > b["threshold"] - 1e-4).mean() + 1e-4
    )
    assert (a["failed"], b["failed"]) == (30, 0)
    assert a["failed_interval"][0] < 0.2 < a["failed_interval"][1]
    assert b["failed_interval"][0] == 0 < b["failed_interval"][1]
    few = audit(faces, "kind", labels, 0.5, fmr=1e-5)["groups"]
    assert few[0]["threshold"] is None
