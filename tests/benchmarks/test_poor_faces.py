"""What benchmarks/poor_faces.py says of gates, on made numbers."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.open_set import Draw
from benchmarks.poor_faces import Pairs, ask, compare, shares, weigh
from benchmarks.spoiled import GOOD, WAYS, Faces
from recognizer.gallery import Gallery, Head
from recognizer.rule import Thresholds
from recognizer.snapshot import Snapshot
from recognizer.types import unit


def pairs() -> Pairs:
    """Of ten people one face each; those of the odd ones are poor.

    A good face has a cosine of 0.9 with its person's other one and matches no stranger; a poor one
    has 0.45, and 0.6 with a stranger. At 0.5 half of the people are recognized.
    """
    faces = np.arange(10)
    poor = faces % 2 == 1
    return Pairs(
        np.where(poor, 0.45, 0.9).astype(np.float32),
        np.where(poor, 0.6, 0.1).astype(np.float32),
        faces,
        faces,
    )


def test_a_gate_is_worth_it_where_fewer_strangers_match_at_the_same_recall():
    quality = np.where(np.arange(10) % 2, 0.0, 1.0)
    gate = weigh("quality", quality, pairs(), np.arange(10), 0.5, 0.5)
    assert gate.refused == 0.5
    assert gate.threshold is None  # all that is left would have to match, more cannot
    more = pairs()
    more = Pairs(
        np.append(more.genuine, np.float32(0.3)), more.impostor,
        np.append(more.genuine_face, 0), more.impostor_face,
    )  # fmt: skip
    gate = weigh("quality", quality, more, np.arange(10), 0.5, 0.5)
    assert gate.threshold == pytest.approx(0.3)
    assert gate.ratio == 0.0


def test_a_gate_that_refuses_the_good_ones_is_not():
    wrong_way = np.where(np.arange(10) % 2, 1.0, 0.0)
    wrong_way[0] = 2.0  # one good face passes
    gate = weigh("made", wrong_way, pairs(), np.arange(10), 0.5, 0.4)
    assert gate.threshold is not None
    assert gate.threshold < 0.5
    assert gate.ratio is not None
    assert gate.ratio >= 1


def test_pairs_are_of_two_photos_and_of_one_poor_side():
    vectors = unit(np.array([[1, 0], [1, 0.1], [0, 1]]))
    poor = unit(np.array([[0, 1], [1, 0], [1, 0]]))
    found = compare(poor, vectors, np.array([0, 0, 1]), 0.5)
    assert len(found.genuine) == 2  # a photo is not compared with itself
    assert found.genuine_face.tolist() == [0, 1]
    # Poor 0 looks like person 1, poor 2 like both photos of person 0.
    assert found.impostor_face.tolist() == [0, 2, 2]


def test_a_head_that_is_sure_of_nobody_in_particular_is_stopped_by_its_own_photos():
    people = np.array(["a", "b", "c"])
    vectors = np.eye(3, 4, dtype=np.float32)
    gallery = Gallery("made", ("a", "b"), vectors[:2])
    blur = np.array([[0, 0, 0, 1.0]] * 3, np.float32)  # all poor faces look the same
    weight = np.zeros((3, 4), np.float32)
    weight[0, 3] = 50  # ... and the head takes that for a
    head = Head("made", ("a", "b", None), weight, np.zeros(3, np.float32))
    snapshot = Snapshot(gallery, head, Thresholds(gallery=0.5))
    drawn = Draw(np.array([0, 1]), np.array([0, 1]), np.array([2]))
    ways = {
        GOOD: Faces(vectors, {"size": np.full(3, 99.0)}),
        "16 px": Faces(blur, {"size": np.full(3, 16.0)}),
    }
    each, gates = ask(snapshot, ways, people, drawn, {"size": [20.0]})
    assert each[0].tolist() == [1, 0, 0]
    assert each[1].tolist() == [0, 0, 0]
    assert gates["own", 0.0].tolist() == [0.75, 0.25, 0.5]
    assert gates["own", 0.7].tolist() == gates["size", 20.0].tolist() == [0.5, 0, 0]


def test_shares_count_known_and_strangers_apart():
    truth, given = np.array([0, 1, 2, -1, -1]), np.array([0, 2, -1, -1, 1])
    assert shares(truth, given).tolist() == pytest.approx([1 / 3, 1 / 3, 1 / 2])


@pytest.mark.parametrize("way", WAYS)
def test_every_way_keeps_the_face_in_the_picture(way):
    image = np.random.default_rng(0).integers(0, 256, (150, 150, 3), np.uint8)
    change, value = WAYS[way]
    changed = change(image, 129.0, value)
    assert changed.dtype == np.uint8
    assert changed.shape[0] == changed.shape[1]
    if way.endswith(" px"):
        assert changed.shape[0] == round(150 * value / 129)
    else:
        assert changed.shape == image.shape
    assert (way == GOOD) == (changed.shape == image.shape and bool((changed == image).all()))
