"""A new snapshot must not be worse for anybody whom the old one knew."""

from __future__ import annotations

import numpy as np

from recognizer.acceptance import HeldBack, compare_snapshots, held_back, known_people
from recognizer.gallery import Gallery, Head
from recognizer.rule import Thresholds
from recognizer.snapshot import Snapshot
from recognizer.types import unit

AXES = np.eye(6, dtype=np.float32)
NAMES = ("ada", "bob", "cyd")


def snapshot(vectors: dict[str, np.ndarray], gallery: float = 0.7, fingerprint="c") -> Snapshot:
    return Snapshot(
        Gallery(fingerprint, tuple(vectors), np.stack(list(vectors.values()))),
        thresholds=Thresholds(gallery=gallery),
    )


OLD = snapshot({"ada": AXES[0], "bob": AXES[1]})


def near(axis: int, seed: int) -> np.ndarray:
    return unit(AXES[axis] + 0.1 * np.random.default_rng(seed).standard_normal(6))


HELD = HeldBack(
    ("ada",) * 4 + ("bob",) * 4 + (None,) * 3,
    np.stack([near(a, i) for i, a in enumerate([0] * 4 + [1] * 4 + [3] * 3)]),
)


def test_the_same_is_accepted():
    verdict = compare_snapshots(OLD, OLD, HELD)
    assert verdict.accepted
    assert verdict.problems == ()
    assert {name: count.new_right for name, count in verdict.people.items()} == {"ada": 4, "bob": 4}
    assert (verdict.impostors.vectors, verdict.impostors.new_wrong) == (3, 0)
    assert verdict.newcomers == {}
    assert verdict.untested == ()


def test_a_newcomer_is_welcome():
    new = snapshot({"ada": AXES[0], "bob": AXES[1], "cyd": AXES[2]})
    held = HeldBack((*HELD.names, "cyd"), np.concatenate([HELD.embeddings, AXES[2:3]]))
    verdict = compare_snapshots(OLD, new, held)
    assert verdict.accepted
    assert verdict.newcomers["cyd"].new_right == 1
    assert "cyd" not in verdict.people


def test_a_newcomer_who_takes_somebody_s_faces_is_refused():
    new = snapshot({"ada": AXES[0], "bob": -AXES[1], "cyd": near(1, 50)})
    verdict = compare_snapshots(OLD, new, HELD)
    assert not verdict.accepted
    assert verdict.people["bob"].new_wrong == 4
    [problem] = verdict.problems
    assert problem.startswith("bob: 0 of 4 photos recognized, 4 before; 4 taken for somebody else")


def test_one_photo_less_of_one_person_is_refused_however_much_others_gain():
    old = snapshot({"ada": AXES[0], "bob": unit(AXES[1] + 2 * AXES[5])})  # bob is hardly known
    new = snapshot({"ada": unit(AXES[0] + 1.05 * AXES[4]), "bob": AXES[1]})
    verdict = compare_snapshots(old, new, HELD)
    assert verdict.people["bob"].new_right > verdict.people["bob"].old_right
    assert verdict.people["ada"].new_right < verdict.people["ada"].old_right
    assert not verdict.accepted


def test_named_strangers_are_refused():
    verdict = compare_snapshots(OLD, snapshot({"ada": AXES[0], "bob": AXES[1]}, -1), HELD)
    assert not verdict.accepted
    assert verdict.impostors.new_wrong == 3
    assert "3 of 3 strangers named, 0 before" in verdict.problems


def test_who_was_removed_must_be_unknown_and_was_rightly_named_before():
    verdict = compare_snapshots(OLD, snapshot({"ada": AXES[0]}), HELD)
    assert verdict.accepted
    assert set(verdict.people) == {"ada"}
    assert verdict.impostors.vectors == 3 + 4
    still = snapshot({"ada": unit(AXES[0] + AXES[1])})
    assert not compare_snapshots(OLD, still, HELD).accepted  # bob is called ada now


def test_who_has_nothing_held_back_is_said():
    held = HeldBack(("ada",), AXES[:1])
    assert compare_snapshots(OLD, OLD, held).untested == ("bob",)


def test_people_of_the_head_are_known_too():
    head = Head("c", ("eve", None), np.zeros((2, 6)), np.zeros(2))
    assert known_people(Snapshot(OLD.gallery, head)) == {"ada", "bob", "eve"}


def test_a_fifth_is_held_back_and_stays_so():
    rng = np.random.default_rng(0)
    vectors = unit(rng.standard_normal((600, 8)))
    names = ["many"] * 590 + ["few"] * 4 + ["five"] * 6
    chosen = held_back(names, vectors)
    assert 0.15 < chosen[:590].mean() < 0.25
    assert not chosen[590:594].any()
    # others that join, or another order, change nobody's side
    order = rng.permutation(600)
    again = held_back([names[i] for i in order] + ["new"] * 9, np.concatenate(
        [vectors[order], unit(rng.standard_normal((9, 8)))]))  # fmt: skip
    assert np.array_equal(again[:600], chosen[order])
