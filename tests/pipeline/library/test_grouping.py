"""Faces are grouped without knowing anybody, and never against what is known."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.library.who import neighbors as graph
from pipeline.library.who.grouping import RULE, Rule, group_faces
from pipeline.library.who.neighbors import neighbors
from tests.pipeline.library.made import D, vectors

T = 0.45


def people(*counts: int, likeness: float = 0.8) -> tuple[np.ndarray, np.ndarray]:
    """Vectors of people with so many photos each, and who they are."""
    rows = np.concatenate([vectors(i + 10, n, likeness) for i, n in enumerate(counts)])
    return rows, np.repeat(np.arange(len(counts)), counts)


def alone(count: int) -> np.ndarray:
    return np.arange(count)


def test_faces_of_each_person_come_together_whoever_is_met_most_often_first():
    rows, who = people(3, 9, 1, 5)
    shuffled = np.random.default_rng(0).permutation(len(rows))
    found = group_faces(rows[shuffled], alone(len(rows)), T)
    assert found.moments.tolist() == [9, 5, 3, 1]
    assert [len(set(who[shuffled][found.group == g])) for g in range(4)] == [1, 1, 1, 1]
    assert (np.bincount(found.group) == [9, 5, 3, 1]).all()


def test_the_same_faces_give_the_same_groups_in_whatever_order():
    rows, _ = people(4, 6, 3, 2, 2, likeness=0.72)
    first = group_faces(rows, alone(len(rows)), T).group
    order = np.random.default_rng(1).permutation(len(rows))
    again = group_faces(rows[order], alone(len(rows)), T).group
    same = first[:, None] == first
    assert (same[np.ix_(order, order)] == (again[:, None] == again)).all()


def test_two_faces_of_one_photo_are_never_one_person():
    rows, _ = people(6, likeness=0.95)
    found = group_faces(rows, np.array([0, 0, 1, 2, 3, 3]), T)
    assert found.group[0] != found.group[1]
    assert found.group[4] != found.group[5]


def test_a_single_pair_needs_more_than_groups_do():
    own, other = np.zeros(D), np.zeros(D)
    own[0] = 1
    cosine = (RULE.required(T, 5_000, np.ones(1), np.ones(1))[0] + 0.01) / T
    assert cosine > 1  # more than the calibrated threshold
    for factor, groups in ((cosine, 1), (1.0, 2)):
        other[:2] = factor * T, np.sqrt(1 - (factor * T) ** 2)
        pair = np.stack([own, other]).astype(np.float32)
        found = group_faces(pair, alone(2), T, rule=Rule(decade=0))
        assert len(found) == groups, factor


def test_a_larger_library_asks_for_more():
    ones = np.ones(1)
    few, many = (RULE.required(T, n, ones, ones)[0] for n in (200, 200_000))
    assert few < RULE.required(T, 5_000, ones, ones)[0] < many


def test_relatives_on_one_photo_raise_the_threshold():
    """Two people who are as alike as one person's photos are told apart by standing together."""
    rows, calibrated = np.concatenate([vectors(100 + i, 2, 0.75) for i in range(600)]), T
    pairs = np.repeat(np.arange(600), 2)
    cosines = np.einsum("nd,nd->n", rows[::2], rows[1::2])
    least = float(np.quantile(cosines, 0.97))
    assert RULE.threshold(rows, calibrated, alone(1200)) < least
    assert RULE.threshold(rows, calibrated, pairs) >= least
    few = np.where(pairs < RULE.pairs - 1, pairs, 1000 + alone(1200))
    assert RULE.threshold(rows, calibrated, few) == RULE.threshold(rows, calibrated, alone(1200))
    # Of poor faces nothing is learned, nor of one face that was found twice.
    poor = np.ones(1200, bool)
    assert RULE.threshold(rows, calibrated, pairs, poor) < least
    twice = np.repeat(rows[::2], 2, axis=0)
    assert RULE.threshold(twice, calibrated, pairs) < least


def test_strangers_who_are_alike_raise_the_threshold():
    """As in a family: calibrated on strangers, every second pair would be one person."""
    common = vectors(1, 1)[0]
    random = np.random.default_rng(0).standard_normal((600, D)).astype(np.float32)
    random /= np.linalg.norm(random, axis=1, keepdims=True)
    family = random + 0.75 * common
    family /= np.linalg.norm(family, axis=1, keepdims=True)
    calibrated = 0.55  # for strangers as alike as chance has it in so few dimensions
    assert RULE.threshold(random, calibrated, alone(600)) == calibrated
    assert RULE.threshold(family, calibrated, alone(600)) > calibrated + 0.1
    found = group_faces(family.astype(np.float32), alone(600), calibrated)
    assert (np.bincount(found.group) == 1).mean() > 0.95
    blind = group_faces(family.astype(np.float32), alone(600), calibrated, rule=Rule(spread=0))
    assert len(blind) < len(found)


def test_bursts_and_copies_are_one_moment():
    rows = vectors(3, 6, 0.8)
    rows[5] = rows[4]  # a copy, taken who knows when
    time = np.array([0, 10, 20, 5_000, 9_000, np.nan])
    found = group_faces(rows, alone(6), T, time=time)
    assert len(found) == 1
    assert found.moments.tolist() == [3]
    assert len(set(found.moment[:3])) == 1
    assert found.moment[4] == found.moment[5]


def test_what_is_known_holds_against_what_faces_look_like():
    rows, _ = people(4, 4, likeness=0.9)
    person = np.full(8, -1)
    person[[0, 4]] = 0  # the same one, though nothing alike
    person[1] = 1  # somebody else, though just like the first
    found = group_faces(rows, alone(8), T, person=person, named=2)
    assert found.group[0] == found.group[4]
    assert found.group[0] != found.group[1]
    # Without names, two decisions say nothing about each other.
    loose = group_faces(rows, alone(8), T, person=np.array([0, 0, 1, 1, -1, -1, -1, -1]))
    assert len(loose) == 2


def test_a_face_that_is_not_somebody_stays_away_from_them():
    rows, _ = people(6, likeness=0.95)
    person = np.array([0, -1, -1, -1, -1, -1])
    found = group_faces(
        rows, alone(6), T, person=person, named=1, not_person=np.array([[5, 0], [4, 0]])
    )
    assert set(found.group[:4]) == {found.group[0]}
    assert found.group[5] != found.group[0]
    assert found.group[4] == found.group[5]  # nothing is known against these two


def test_poor_faces_join_others_and_not_each_other():
    rows, _ = people(5, 3, likeness=0.9)
    poor = np.array([0, 0, 0, 0, 1, 1, 1, 1], bool)
    found = group_faces(rows, alone(8), T, poor=poor)
    assert found.group[4] == found.group[0]
    assert len(set(found.group[5:])) == 3


def test_poor_faces_that_join_bring_nobody_else():
    """A chain from one person to faces that are like her only by way of others."""
    turn = np.radians([0, 4, 25, 60, 95, 130])  # from her, a good face at 0 and at 4 degrees
    rows = np.zeros((6, D), np.float32)
    rows[:, 0], rows[:, 1] = np.cos(turn), np.sin(turn)
    poor = np.array([0, 0, 1, 1, 1, 1], bool)
    found = group_faces(rows, alone(6), 0.7, poor=poor).group
    assert (found[:3] == found[0]).all()
    assert len(set(found[2:].tolist())) == 4
    moved = group_faces(rows, alone(6), 0.7).group
    assert (np.bincount(moved) > 1).sum() < 4, "they would come together"
    # Who is known to be one person stays together, however little is to be seen.
    known = np.array([-1, -1, -1, 0, 0, 0])
    found = group_faces(rows, alone(6), 0.7, poor=poor, person=known, named=1).group
    assert len(set(found[3:].tolist())) == 1


def test_a_good_face_has_its_place_before_a_poor_one_of_the_same_photo():
    rows, _ = people(5, likeness=0.9)
    rows[4] = rows[0] + rows[1]  # nearer to both than any other, in the photo of the last one
    rows[4] /= np.linalg.norm(rows[4])
    poor = np.array([0, 0, 0, 0, 1], bool)
    found = group_faces(rows, np.array([0, 1, 2, 3, 3]), T, poor=poor).group
    assert found[:4].tolist() == [0] * 4
    assert found[4] != 0


def test_no_faces_and_one_face():
    assert len(group_faces(np.zeros((0, D), np.float32), alone(0), T)) == 0
    assert group_faces(vectors(1, 1), alone(1), T).group.tolist() == [0]


def test_faiss_finds_the_neighbors_of_many(monkeypatch):
    pytest.importorskip("faiss")
    rows, _ = people(*[8] * 300, likeness=0.85)
    exact = neighbors(rows, 0.4)
    monkeypatch.setattr(graph, "EXACT", 1000)
    fast = neighbors(rows, 0.4)
    found = set(zip(*fast[:2], strict=True)) & set(zip(*exact[:2], strict=True))
    assert len(found) / len(exact[0]) > 0.99
    by_pair = dict(zip(zip(*exact[:2], strict=True), exact[2], strict=True))
    for a, b, cosine in list(zip(*fast, strict=True))[:200]:
        assert cosine == pytest.approx(by_pair[a, b], abs=1e-5)
