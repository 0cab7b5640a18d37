"""Every pair once, and the worst of them."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from recognizer.evaluation import all_pairs
from recognizer.evaluation.all_pairs import worst_pairs
from tests.recognizer.evaluation.cases import people


def slow_pairs(faces):
    """(first, second, cosine, same) of every pair."""
    for i, j in combinations(range(len(faces)), 2):
        failed = faces.failed[i] or faces.failed[j]
        cosine = -1.0 if failed else float(faces.embeddings[i] @ faces.embeddings[j])
        yield i, j, cosine, faces.person[i] == faces.person[j]


@pytest.mark.parametrize("block", [3, 7, 512])
def test_every_pair_once_whatever_the_block(block, monkeypatch):
    monkeypatch.setattr(all_pairs, "BLOCK", block)
    faces = people([3, 1, 4, 2], failed=[5])
    found = {
        (int(i), int(j)): c
        for first, second, cosines in faces.pairs()
        for i, j, c in zip(first, second, cosines, strict=True)
    }
    expected = {(i, j): c for i, j, c, _ in slow_pairs(faces)}
    assert found == pytest.approx(expected, abs=1e-6)
    scores = faces.scores()
    genuine = sorted(c for _, _, c, same in slow_pairs(faces) if same)
    impostor = sorted(c for _, _, c, same in slow_pairs(faces) if not same)
    assert scores.genuine == pytest.approx(genuine, abs=1e-6)
    assert scores.impostor == pytest.approx(impostor, abs=1e-6)


def test_listed_pairs_get_the_same_cosines():
    faces = people([2, 2], failed=[3])
    expected = {(i, j): c for i, j, c, _ in slow_pairs(faces)}
    found = faces.cosines(np.array([0, 0, 2]), np.array([1, 2, 3]))
    assert found == pytest.approx([expected[0, 1], expected[0, 2], -1], abs=1e-6)


@pytest.mark.parametrize(("counts", "kinds"), [([1], (0, 0)), ([4], (6, 0)), ([1] * 4, (0, 6))])
def test_one_person_or_one_photo_each(counts, kinds):
    scores = people(counts).scores()
    assert (len(scores.genuine), len(scores.impostor)) == kinds


@pytest.mark.parametrize("block", [2, 512])
def test_the_worst_pairs_one_for_two_people(block, monkeypatch):
    monkeypatch.setattr(all_pairs, "BLOCK", block)
    faces = people([3, 2, 3, 2, 2], noise=1.5, failed=[4])
    threshold = 0.2
    best: dict = {}
    for i, j, cosine, same in slow_pairs(faces):
        if (cosine > threshold) != same and not (faces.failed[i] or faces.failed[j]):
            who = tuple(sorted((int(faces.person[i]), int(faces.person[j]))))
            badness = -cosine if same else cosine
            if who not in best or badness > best[who][0]:
                best[who] = (badness, i, j, same)
    expected = sorted(best.values(), key=lambda row: (row[3], -row[0]))
    found = worst_pairs(faces, threshold)
    assert [(w.first, w.second, w.same) for w in found] == [row[1:] for row in expected]
    assert {w.same for w in found} == {True, False}  # the case has both kinds
    one_each = worst_pairs(faces, threshold, count=1)
    assert [w.same for w in one_each] == [False, True]
    assert one_each[0] == found[0]


def test_perfect_vectors_have_no_worst_pairs():
    assert worst_pairs(people([2, 2], noise=0), 0.9) == []
