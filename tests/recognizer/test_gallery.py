"""The people that are known by examples."""

from __future__ import annotations

import numpy as np
import pytest

from recognizer.gallery import Altered, Gallery
from recognizer.types import cosines_of, unit


def vectors(count: int, seed: int = 0) -> np.ndarray:
    return unit(np.random.default_rng(seed).normal(size=(count, 8)))


def test_nobody():
    gallery = Gallery.empty("c", 8)
    assert (len(gallery), gallery.people, gallery.prototypes.shape) == (0, (), (0, 8))
    who, cosine = gallery.nearest(vectors(3))
    assert who == [None, None, None]
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
    who, cosine = gallery.nearest(gallery.prototypes[::-1])
    assert who == ["Bob", "Anna"]
    assert cosine == pytest.approx(1, abs=1e-6)
    who, _ = gallery.nearest(gallery.prototypes, without=["Bob", "Nobody"])
    assert who == ["Anna", "Anna"]
    assert gallery.nearest(gallery.prototypes, without=["Bob", "Anna"])[0] == [None, None]
    assert list(map(len, gallery.nearest(vectors(1)[:0]))) == [0, 0]


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
    assert one.nearest(vectors(1))[0] == ["Bob"]
    with pytest.raises(KeyError, match="Cleo"):
        three.remove("Cleo")


@pytest.mark.parametrize("limit", [1000, 16])  # compared with everybody, and by codes
def test_an_altered_gallery_is_what_it_would_be_if_it_were_made_anew(monkeypatch, limit):
    if limit < 1000:
        pytest.importorskip("faiss")
        from recognizer import gallery as module
        from recognizer.search import build_index

        monkeypatch.setattr(module, "build_index", lambda vectors: build_index(vectors, limit))
    names = sorted(f"P{i % 40:02}" for i in range(100))
    base = Gallery("c", tuple(names), vectors(100))
    changed = {
        "P03": vectors(0),  # gone
        "P07": vectors(4, 5),  # with other vectors
        "Aaron": vectors(2, 6),  # new ones, before and behind all others and among them
        "Zoe": vectors(1, 7),
        "P11b": vectors(1, 8),
        "Nobody": vectors(0),  # was never there
    }
    rows = [(n, v) for n, v in zip(names, base.embeddings, strict=True) if n not in changed]
    rows += [(name, vector) for name in changed for vector in changed[name]]
    rows.sort(key=lambda row: row[0])
    anew = Gallery("c", tuple(n for n, _ in rows), np.stack([v for _, v in rows]))
    altered = Altered(base, changed)
    altered.prepare()
    assert len(altered) == len(anew)
    assert altered.people == anew.people
    assert altered.names == anew.names
    assert np.array_equal(altered.embeddings, anew.embeddings)
    assert np.array_equal(altered.prototypes, anew.prototypes)
    probes = np.concatenate([base.embeddings, *changed.values(), vectors(50, 9)])
    for without in ((), ["P07", "P12", "Zoe"], anew.people):
        who, cosine = altered.nearest(probes, without)
        expected, best = anew.nearest(probes, without)
        assert who == expected
        assert cosine == pytest.approx(best, abs=1e-3)
    for name in (*changed, "P12", "Somebody"):
        assert np.array_equal(altered.of(name), anew.of(name))
        one, other = altered.prototype(name), anew.prototype(name)
        assert (one is None) == (other is None) == (name not in anew.people)
        assert one is None or np.array_equal(one, other)
    emptied = Altered(base, dict.fromkeys(base.people, vectors(0)))
    assert (len(emptied), emptied.people) == (0, ())
    assert emptied.nearest(probes[:2])[0] == [None, None]


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
