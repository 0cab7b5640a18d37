"""The hybrid rule as a table, and what a snapshot refuses."""

from __future__ import annotations

import numpy as np
import pytest

from recognizer.gallery import Gallery, Head
from recognizer.rule import Thresholds, default_thresholds, read_defaults
from recognizer.snapshot import Snapshot
from recognizer.types import Match, Recognizer, unit


class FixedHead(Head):
    """Gives the probabilities it is told, whatever the vector."""

    given: tuple[float, ...]

    def probabilities(self, embeddings):
        return np.tile(np.array(self.given, np.float64), (len(embeddings), 1))


def head(*given: float, names: tuple[str | None, ...] = ("ada", "bob", None)) -> Head:
    result = FixedHead("c", names, np.zeros((len(names), 2)), np.zeros(len(names)))
    object.__setattr__(result, "given", given)
    return result


ADA, BOB = np.array([1, 0], np.float32), np.array([0, 1], np.float32)
GALLERY = Gallery("c", ("ada", "bob"), np.stack([ADA, BOB]))
NOBODY = Gallery.empty("c", 2)


def face(cosine: float) -> np.ndarray:
    """A vector whose cosine with Ada's is this (and with Bob's never larger)."""
    return np.array([[cosine, -((1 - cosine**2) ** 0.5)]], np.float32)


EXACT = Thresholds(head=0.75, gallery=0.75)  # a binary fraction: exact as float32 too
HIGH = Thresholds(head=0.75, gallery=0.8125)
LIKE_BOTH = np.array([[0.8, 0.6]], np.float32)  # more like Ada; like Bob above 0.7 of EXACT
JUST_MORE = float(np.nextafter(np.float32(0.75), np.float32(1)))

# name: (gallery, head, cosine with Ada or a face, thresholds) -> (name, source, nearest)
RULE = {
    "the head is sure": (GALLERY, head(0.9, 0.0, 0.1), 0.6, EXACT, ("ada", "head", "ada")),
    "exactly the threshold is not enough for the head": (
        GALLERY, head(0.75, 0.0, 0.25), 0.6, EXACT, (None, "none", "ada")),
    "just more than the threshold is": (
        GALLERY, head(JUST_MORE, 0.0, 1 - JUST_MORE), 0.6, EXACT, ("ada", "head", "ada")),
    "exactly 0.7 is not enough for the rule as it is written": (
        GALLERY, head(0.7, 0.0, 0.3), 0.6, Thresholds(), (None, "none", "ada")),
    "0.7001 is": (GALLERY, head(0.7001, 0.0, 0.2999), 0.6, Thresholds(), ("ada", "head", "ada")),
    "the head is sure of somebody whom the face is not like": (
        GALLERY, head(0.9, 0.0, 0.1), 0.5, EXACT, (None, "none", "ada")),
    "the head is sure of somebody whom the face is not like, the gallery decides": (
        GALLERY, head(0.0, 0.9, 0.1), 0.95, EXACT, ("ada", "gallery", "ada")),
    "the head is sure of somebody who has no photos": (
        GALLERY, head(0.0, 0.9, 0.1, names=("ada", "cy", None)), 0.5, EXACT, ("cy", "head", "ada")),
    "the head unsure, the gallery close": (
        GALLERY, head(0.4, 0.5, 0.1), 0.8, EXACT, ("ada", "gallery", "ada")),
    "the head unsure, the gallery far": (
        GALLERY, head(0.4, 0.5, 0.1), 0.7, EXACT, (None, "none", "ada")),
    "exactly the threshold is not enough for the gallery": (
        GALLERY, None, 0.75, EXACT, (None, "none", "ada")),
    "the head is sure of a stranger, but the gallery knows the face": (
        GALLERY, head(0.0, 0.01, 0.99), 0.9, EXACT, ("ada", "gallery", "ada")),
    "the head is sure of a stranger and the gallery far": (
        GALLERY, head(0.0, 0.01, 0.99), 0.5, EXACT, (None, "none", "ada")),
    "the gallery's nearest is nobody of the head's, close, and nearer": (
        GALLERY, head(0.9, 0.1, names=("bob", None)), LIKE_BOTH, EXACT, ("ada", "gallery", "ada")),
    "nobody of the head's and nearer, but not close": (
        GALLERY, head(0.9, 0.1, names=("bob", None)), LIKE_BOTH, HIGH, ("bob", "head", "ada")),
    "nobody of the head's and close, but the head's is nearer": (
        GALLERY, head(0.9, 0.1, names=("ada", None)), LIKE_BOTH, EXACT, ("ada", "head", "ada")),
    "close and nearer, but the head knows both": (
        GALLERY, head(0.0, 0.9, 0.1), LIKE_BOTH, EXACT, ("bob", "head", "ada")),
    "no head": (GALLERY, None, 0.9, EXACT, ("ada", "gallery", "ada")),
    "no head, far": (GALLERY, None, 0.2, EXACT, (None, "none", "ada")),
    "nobody enrolled": (NOBODY, None, 0.9, EXACT, (None, "none", None)),
    "nobody enrolled, but the head is sure": (
        NOBODY, head(0.9, 0.0, 0.1), 0.9, EXACT, ("ada", "head", None)),
    "nobody enrolled, the head unsure": (
        NOBODY, head(0.4, 0.4, 0.2), 0.9, EXACT, (None, "none", None)),
    "a head without unknown": (
        GALLERY, head(0.8, 0.2, names=("ada", "bob")), 0.6, EXACT, ("ada", "head", "ada")),
    "a threshold of -1 names everybody": (
        GALLERY, None, -0.5, Thresholds(gallery=-1), ("bob", "gallery", "bob")),
    "a threshold of 1 names nobody": (
        GALLERY, head(1.0, 0.0, 0.0), 1.0, Thresholds(1, 1), (None, "none", "ada")),
}  # fmt: skip


@pytest.mark.parametrize("case", RULE)
def test_the_rule(case):
    gallery, classifier, cosine, thresholds, expected = RULE[case]
    if isinstance(cosine, np.ndarray):
        vector = cosine
    else:
        vector = face(cosine) if cosine >= 0 else -face(-cosine)
    [match] = Snapshot(gallery, classifier, thresholds).identify(vector)
    assert (match.name, match.source, match.nearest) == expected
    assert (match.similarity is None) == (not gallery.people)
    assert (match.confidence is None) == (classifier is None)


def test_cosine_0_7_as_float32_is_not_more_than_0_7():
    [match] = Snapshot(GALLERY).identify(face(0.7))
    assert match.name is None
    assert match.similarity == pytest.approx(0.7, abs=1e-6)


def test_many_faces_are_answered_in_order_and_none_with_none():
    snapshot = Snapshot(GALLERY)
    names = [m.name for m in snapshot.identify(np.stack([BOB, ADA, -ADA, BOB]))]
    assert names == ["bob", "ada", None, "bob"]
    assert snapshot.identify(np.zeros((0, 2), np.float32)) == []


def test_it_is_a_recognizer():
    recognizer: Recognizer = Snapshot(GALLERY, version=7)
    assert recognizer.version == 7
    assert recognizer.identify(ADA[None])[0] == Match("ada", 1.0, None, "gallery", "ada")


def test_parts_of_two_embedders_do_not_mix():
    other = Head("d", ("ada",), np.zeros((1, 2)), np.zeros(1))
    with pytest.raises(ValueError, match="vectors of d"):
        Snapshot(GALLERY, other)


def test_nothing_in_a_snapshot_can_be_changed():
    snapshot = Snapshot(GALLERY, head(0.1, 0.2, 0.7))
    with pytest.raises(AttributeError):
        snapshot.version = 3  # type: ignore[misc]
    with pytest.raises(ValueError, match="read-only"):
        snapshot.gallery.embeddings[0, 0] = 0
    assert snapshot.head is not None
    with pytest.raises(ValueError, match="read-only"):
        snapshot.head.weight[0, 0] = 1


def test_thresholds_cannot_be_left_out():
    """Those of the embedder take their place; 0.7 is for an embedder of which nothing is known."""
    fingerprint = next(iter(read_defaults()))
    snapshot = Snapshot(Gallery(fingerprint, ("ada",), np.eye(1, 4, dtype=np.float32)))
    assert snapshot.thresholds == default_thresholds(fingerprint)
    assert snapshot.thresholds.gallery < 0.6
    assert snapshot.same == snapshot.thresholds.gallery


# -- "this is not Ada"


def near(vector: np.ndarray, cosine: float, seed: int = 0) -> np.ndarray:
    """A unit vector with this cosine to another one."""
    aside = np.random.default_rng(seed).normal(size=len(vector)).astype(np.float32)
    aside -= (aside @ vector) * vector
    aside /= np.linalg.norm(aside)
    return np.float32(cosine) * vector + np.float32((1 - cosine**2) ** 0.5) * aside


def of(*names: str, seed: int = 3) -> dict[str, np.ndarray]:
    return {
        name: unit(np.random.default_rng((seed, i)).normal(size=64).astype(np.float32))
        for i, name in enumerate(names)
    }


def test_a_denied_face_loses_that_name_alone_and_nobody_else_loses_anything():
    who = of("Ada", "Bob")
    gallery = Gallery("c", tuple(who), np.stack(list(who.values())))
    double = near(who["Ada"], 0.6)  # somebody who looks like her
    before = Snapshot(gallery, None, Thresholds(0.7, 0.5))
    [taken] = before.identify(double[None])
    assert taken.name == "Ada"
    after = Snapshot(gallery, None, before.thresholds, denied=Gallery("c", ("Ada",), double[None]))
    for cosine in (1.0, 0.95, 0.9):  # the same face, a little different each time
        again = np.stack([near(double, cosine, seed) for seed in range(1, 20)])
        assert {match.name for match in after.identify(again)} == {None}
    [match] = after.identify(double[None])
    assert match.nearest == "Bob"  # nobody is told that it may be Ada
    for name, vector in who.items():
        probes = np.stack([near(vector, c, i) for i in range(1, 50) for c in (0.95, 0.85)])
        same = [match.name for match in after.identify(probes)]
        assert same == [match.name for match in before.identify(probes)] == [name] * len(same)


def test_a_sure_head_is_overruled_and_the_next_nearest_gets_the_name():
    who = of("Ada", "Bob")
    gallery = Gallery("c", tuple(who), np.stack(list(who.values())))
    both = unit(who["Ada"] + who["Bob"] * np.float32(0.98))
    sure = Head("c", ("Ada", None), np.stack([50 * who["Ada"], 0 * who["Ada"]]), np.zeros(2))
    thresholds = Thresholds(0.7, 0.5)
    assert Snapshot(gallery, sure, thresholds).identify(both[None])[0].name == "Ada"
    denied = Gallery("c", ("Ada",), both[None])
    [match] = Snapshot(gallery, sure, thresholds, denied=denied).identify(both[None])
    assert (match.name, match.source) == ("Bob", "gallery")
    everybody = Gallery("c", ("Ada", "Bob"), np.stack([both, both]))
    [match] = Snapshot(gallery, sure, thresholds, denied=everybody).identify(both[None])
    assert (match.name, match.similarity, match.nearest) == (None, None, None)


def test_denied_faces_of_nobody_are_strangers_for_a_head():
    who = of("Ada", "Bob")
    gallery = Gallery("c", tuple(who), np.stack(list(who.values())))
    stranger = near(who["Ada"], 0.6)
    bob = near(who["Bob"], 0.9)
    denied = Gallery("c", ("Ada", "Ada"), np.stack([stranger, bob]))
    snapshot = Snapshot(gallery, None, Thresholds(0.7, 0.5), denied=denied)
    assert np.array_equal(snapshot.strangers, stranger[None])  # that one is Bob, who is known
    assert Snapshot(gallery).strangers.shape == (0, 64)
