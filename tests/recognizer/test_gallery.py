"""The people that are known by examples."""

from __future__ import annotations

import numpy as np
import pytest

from recognizer.gallery import Gallery
from recognizer.types import cosines_of, unit


def vectors(count: int, seed: int = 0) -> np.ndarray:
    return unit(np.random.default_rng(seed).normal(size=(count, 8)))


def test_nobody():
    gallery = Gallery.empty("c", 8)
    assert (len(gallery), gallery.people, gallery.prototypes.shape) == (0, (), (0, 8))
    position, cosine = gallery.nearest(vectors(3))
    assert position.tolist() == [-1, -1, -1]
    assert cosine.tolist() == [-1, -1, -1]


def test_prototypes_are_the_unit_means_of_people_in_any_order():
    v = vectors(5)
    gallery = Gallery("c", ("Bob", "Anna", "Cleo", "Anna", "Bob"), v)
    assert gallery.people == ("Anna", "Bob", "Cleo")
    expected = unit(np.stack([v[1] + v[3], v[0] + v[4], v[2]]))
    assert gallery.prototypes == pytest.approx(expected, abs=1e-6)
    assert not gallery.prototypes.flags.writeable


def test_the_nearest_person_and_the_cosine():
    gallery = Gallery.empty("c", 8).add("Bob", vectors(3)).add("Anna", vectors(2, 1))
    position, cosine = gallery.nearest(gallery.prototypes[::-1])
    assert [gallery.people[i] for i in position] == ["Bob", "Anna"]
    assert cosine == pytest.approx(1, abs=1e-6)
    assert [array.shape for array in gallery.nearest(vectors(1)[:0])] == [(0,), (0,)]


def test_no_cosine_is_beyond_one():
    many = vectors(500, 7)
    plain = np.einsum("nd,nd->n", many, many)
    assert plain.max() > 1, "rounding does that"
    gallery = Gallery("c", tuple(f"P{i:03}" for i in range(len(many))), many)
    for known, faces in ((gallery, many), (gallery, -many)):
        assert known.nearest(faces)[1].max() <= 1
    every = cosines_of(many, many)
    assert np.abs(every).max() == 1
    assert np.abs(cosines_of(many, -many)).max() == 1
    assert cosines_of(many[0], many[0]) <= 1


def test_a_change_is_a_new_gallery():
    one = Gallery.empty("c", 8).add("Bob", vectors(3))
    two = one.add("Anna", vectors(1, 1))
    three = two.remove("Bob")
    assert [g.people for g in (one, two, three)] == [("Bob",), ("Anna", "Bob"), ("Anna",)]
    assert one.nearest(vectors(1))[0].tolist() == [0]
    with pytest.raises(KeyError, match="Cleo"):
        three.remove("Cleo")


@pytest.mark.parametrize(
    ("names", "embeddings", "message"),
    [
        (("A",), vectors(2), "1 names"),
        (("A",), vectors(1)[0], "1 names"),
        (("A", "B"), vectors(2) * [[1], [2]], "vector 1 has length 2"),
        (("A", "B"), vectors(2) * [[np.nan], [1]], "vector 0 has length nan"),
    ],
)
def test_what_does_not_go_together_is_refused(names, embeddings, message):
    with pytest.raises(ValueError, match=message):
        Gallery("c", names, embeddings.astype(np.float32))
