"""Which photos become samples of a person, whoever asks."""

from __future__ import annotations

import numpy as np

from recognizer.gallery import Gallery
from recognizer.quality import Gates
from recognizer.rule import Thresholds
from recognizer.sample_rule import Decision, decide
from recognizer.snapshot import Snapshot
from recognizer.types import unit

ANN, BOB = np.eye(8, dtype=np.float32)[:2]


def near(center, *seeds: int) -> np.ndarray:
    """Photos of one person, cosine about 0.87 with each other."""
    noise = [np.random.default_rng(seed).normal(0, 0.14, 8) for seed in seeds]
    return unit(center + np.array(noise))


def known(**people: np.ndarray) -> Snapshot:
    names = tuple(name for name, vectors in people.items() for _ in vectors)
    vectors = np.concatenate([np.zeros((0, 8), np.float32), *people.values()])
    return Snapshot(Gallery("c", names, vectors), None, Thresholds(0.7, 0.6))


def kinds(decisions: list[Decision]) -> list[str | None]:
    return [decision.why for decision in decisions]


def test_a_wrong_photo_is_found_whichever_comes_first():
    for place in range(4):
        photos = np.insert(near(ANN, 1, 2, 3), place, near(BOB, 4), axis=0)
        expected = [None] * 4
        expected[place] = "another_face"
        decisions = decide(known(), "Ann", photos, None)
        assert kinds(decisions) == expected
        assert decisions[place].similarity < 0.36
    assert kinds(decide(known(), "Ann", photos, None, force=True)) == [None] * 4


def test_photos_of_two_people_are_not_all_taken_for_a_new_one():
    """Compared with the mean of all others each of them would do: there it is half of the mean."""
    for wrong in range(2, 8):
        photos = np.concatenate([near(BOB, *range(wrong)), near(ANN, *range(20, 28))])
        photos = photos[np.random.default_rng(wrong).permutation(len(photos))]
        bob = photos @ BOB > 0.5
        decisions = decide(known(), "Ann", photos, None)
        assert [why is not None for why in kinds(decisions)] == bob.tolist()
    even = np.concatenate([near(ANN, *range(4)), near(BOB, *range(4, 8))])
    assert kinds(decide(known(), "Ann", even, None)) == [None] * 4 + ["another_face"] * 4
    assert kinds(decide(known(), "Ann", even, None, force=True)) == [None] * 8


def test_thousands_of_photos_are_grouped_by_some(monkeypatch):
    monkeypatch.setattr("recognizer.sample_rule.GROUPED", 5)
    photos = np.concatenate([near(BOB, *range(4)), near(ANN, *range(20, 30))])
    assert kinds(decide(known(), "Ann", photos, None)) == ["another_face"] * 4 + [None] * 10


def test_a_photo_is_compared_with_what_is_known():
    snapshot = known(Ann=near(ANN, 1, 2), Bob=near(BOB, 3, 4))
    [wrong] = decide(snapshot, "Ann", near(BOB, 5), None)
    assert (wrong.why, wrong.looks_like[0]) == ("another_face", "Bob")
    assert "does not look like the other photos of Ann" in wrong.reason
    [newcomer] = decide(snapshot, "Bobby", near(BOB, 5), None)
    assert (newcomer.why, newcomer.looks_like[0]) == (None, "Bob")
    assert decide(snapshot, "Bob", near(BOB, 5), None) == [Decision()]


def test_many_wrong_photos_do_not_outvote_what_is_known():
    snapshot = known(Bob=near(BOB, 1))
    assert kinds(decide(snapshot, "Bob", near(ANN, 2, 3, 4), None)) == ["another_face"] * 3
    photos = np.concatenate([near(ANN, 2, 3, 4), near(BOB, 5)])
    decisions = decide(snapshot, "Bob", photos, None)
    assert kinds(decisions) == ["another_face"] * 3 + [None]
    assert decisions[0].similarity < 0.36
    assert kinds(decide(snapshot, "Bob", photos, None, force=True)) == [None] * 4
    assert kinds(decide(snapshot, "Bob", photos, None, enrolled_before=True))[:3] == (
        ["another_face"] * 3
    )


def test_a_photo_may_be_like_what_is_known_with_the_other_new_ones():
    half = unit(ANN + BOB)
    snapshot = known(Ann=ANN[None])
    assert kinds(decide(snapshot, "Ann", BOB[None], None)) == ["another_face"]
    assert kinds(decide(snapshot, "Ann", np.stack([BOB, half]), None)) == [None, None]


def test_duplicates_of_each_other_and_of_what_is_known():
    photos = near(ANN, 1, 2, 2)
    assert kinds(decide(known(), "Ann", photos, Gates())) == [None, None, "duplicate_photo"]
    assert kinds(decide(known(), "Ann", photos, None)) == [None] * 3
    snapshot = known(Ann=photos[:1])
    assert kinds(decide(snapshot, "Ann", photos, Gates()))[0] == "duplicate_photo"
    again = decide(snapshot, "Ann", photos, Gates(), enrolled_before=True)
    assert kinds(again) == [None, None, "duplicate_photo"]


def test_no_photos():
    assert decide(known(), "Ann", np.zeros((0, 8), np.float32), Gates()) == []
