"""Undo: whatever a person does to the people can be taken back, to the last byte of every row."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from faces.errors import UserError
from recognizer.gallery import Head
from recognizer.rule import Thresholds
from recognizer.store import journal, unknown
from recognizer.store.face_picture import FacePicture
from recognizer.store.journal import Doing
from recognizer.store.people import Store
from recognizer.store.write import Change, NewSample
from recognizer.types import unit

D = 64
TABLES = ("person", "sample", "head_class", "unknown")


def vectors(count: int, seed: int = 0) -> np.ndarray:
    return unit(np.random.default_rng(seed).normal(size=(count, D)))


def picture(seed: int) -> FacePicture:
    image = np.random.default_rng(seed).integers(0, 256, (40, 30, 3), np.uint8)
    return FacePicture.of(image, np.array([5, 5, 25, 30], np.float32))


def head(*names: str | None) -> Head:
    weight = np.random.default_rng(len(names)).normal(size=(len(names), D)).astype(np.float32)
    return Head("c", names, weight, np.zeros(len(names), np.float32))


def face(seed: int, **more: object) -> unknown.UnknownFace:
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return unknown.UnknownFace("1", vectors(1, seed)[0], picture(seed), 0.5, "door", now, **more)


def rows(store: Store) -> dict[str, list[tuple]]:
    with store.reading() as db:
        found = {t: db.execute(f"SELECT * FROM {t} ORDER BY 1").fetchall() for t in TABLES}
        keep = "SELECT * FROM meta WHERE key IN ('head', 'thresholds') ORDER BY key"
        if isinstance(store.path, Path):
            assert db.execute("PRAGMA foreign_key_check").fetchall() == []
        return {**found, "meta": db.execute(keep).fetchall()}


def everything_in(store: Store) -> bytes:
    """The bytes of the file and its log; of a database, whose keeper has those, all rows."""
    if isinstance(store.path, Path):
        return b"".join(f.read_bytes() for f in store.path.parent.glob("people.db*"))
    tables = ("person", "sample", "unknown", "act", "undo_person", "undo_sample", "undo_unknown")
    with store.reading() as db:
        found = [row for table in tables for row in db.execute(f"SELECT * FROM {table}")]
    values = [value for row in found for value in row]
    return b"".join(v if isinstance(v, bytes) else str(v).encode() for v in values)


@pytest.fixture
def store(path):
    """Three people, with pictures, denials, a head and somebody unknown."""
    with Store.open(path, "c", D, Thresholds(0.7, 0.5)) as store:
        for i, name in enumerate(("Ann", "Bob", "Cleo")):
            store.add(name, vectors(3, i), [picture(10 * i + j) for j in range(3)], "photo")
        store.deny("Ann", [NewSample(vectors(1, 50)[0], picture(50))])
        store.save_head(head("Ann", "Bob", None), {"by": "test"})
        unknown.keep(store, [face(60), face(61, guess="Ann")], timedelta(days=7))
        store.forget_acts()
        yield store


def numbers(store: Store, name: str) -> list[int]:
    return [sample.id for sample in store.samples(name)]


ACTS: dict[str, Callable[[Store], object]] = {
    "a newcomer": lambda s: s.add("Dora", vectors(2, 9), [picture(1), picture(2)]),
    "more of somebody": lambda s: s.add("Ann", vectors(2, 9)),
    "several": lambda s: s.add_samples({"E": [NewSample(vectors(1, 8)[0])], "Ann": [
        NewSample(vectors(1, 7)[0])]}),
    "overruling what was denied": lambda s: s.add("Ann", vectors(1, 50)),
    "rename": lambda s: s.rename("Ann", "Anna"),
    "merge": lambda s: s.merge("Ann", "Bob"),
    "merge of one without a class": lambda s: s.merge("Cleo", "Ann"),
    "move some": lambda s: s.move_samples(numbers(s, "Ann")[:2], "Bob"),
    "move all to a newcomer": lambda s: s.move_samples(numbers(s, "Ann"), "Zoe"),
    "not Ann": lambda s: s.deny("Ann", [NewSample(vectors(1, 51)[0], picture(3))]),
    "remove samples": lambda s: s.apply(
        Change(remove=numbers(s, "Ann"), doing=Doing("x", head=True))),
    "another picture": lambda s: s.choose_picture("Ann", numbers(s, "Ann")[1]),
    "name the unknown": lambda s: s.apply(
        Change(
            add={"Dora": [NewSample(f.embedding, f.picture) for f in unknown.unknown_faces(s)]},
            known=[f.id for f in unknown.unknown_faces(s)], doing=Doing("named"),
        )),
    "ignore": lambda s: unknown.judge(s, [1], "ignored", "ignored"),
    "not a face": lambda s: unknown.judge(s, [1, 2], "not a face", "no face"),
    "a new head": lambda s: s.save_head(head("Cleo", None)),
    "no head": lambda s: s.save_head(None),
    "calibrated": lambda s: s.save_thresholds(Thresholds(0.9, 0.6)),
}  # fmt: skip


@pytest.mark.parametrize("act", ACTS)
def test_an_act_is_undone_altogether(store, act):
    before, version = rows(store), store.version()
    ACTS[act](store)
    assert rows(store) != before
    [done] = store.acts()
    assert store.undo(done.id) == done
    assert rows(store) == before
    assert store.version() == version + 2  # programs that watch the file see both
    assert store.acts() == []


def test_all_acts_in_a_row_are_undone_one_by_one(store):
    states = []
    for act in ACTS.values():
        before = rows(store)
        try:
            act(store)
        except UserError:  # somebody has gone, or has another name by now
            assert rows(store) == before
            continue
        states.append(before)
    assert len(states) > 8
    while states:
        store.undo()
        assert rows(store) == states.pop()
    with pytest.raises(UserError, match="nothing to undo"):
        store.undo()


def test_only_what_was_shown_is_undone(store):
    store.rename("Ann", "Anna")
    [shown] = store.acts()
    store.rename("Bob", "Rob")
    with pytest.raises(UserError, match="Bob was renamed Rob"):
        store.undo(shown.id)
    assert [person.name for person in store.people()] == ["Anna", "Cleo", "Rob"]


def test_what_was_added_later_goes_with_its_act(store):
    before = rows(store)
    doing = Doing("taught", more="live 1")
    store.apply(Change(add={"Ann": [NewSample(vectors(1, 5)[0], source="live 1")]}, doing=doing))
    store.apply(Change(add={"Ann": [NewSample(v, source="live 1") for v in vectors(5, 6)]}))
    assert len(store.samples("Ann")) == 9
    store.undo()
    assert rows(store) == before


def test_forgetting_cannot_be_undone_and_takes_along_what_could(store):
    store.rename("Bob", "Zyxwvu")
    store.merge("Zyxwvu", "Ann")
    store.rename("Cleo", "Clio")
    store.remove("Ann")
    everything = everything_in(store)
    assert b"Zyxwvu" not in everything
    assert picture(11).png[40:140] not in everything  # of Bob, who was Ann
    assert [face.guess for face in unknown.unknown_faces(store)] == [None]
    assert [act.what for act in store.acts()] == ["Cleo was renamed Clio"]
    store.undo()
    assert [person.name for person in store.people()] == ["Cleo"]


def test_unknown_faces_of_somebody_forgotten_go_too(store):
    unknown.keep(store, [face(0)], timedelta(days=7))  # the first vector of Ann's
    assert len(unknown.unknown_faces(store)) == 3
    store.remove("Ann")
    assert [one.id for one in unknown.unknown_faces(store)] == [1]


@pytest.mark.parametrize("guess", ["Ann", "Bob"])  # herself, and who became one with her
def test_unknown_faces_that_an_undo_would_bring_back_go_with_somebody_forgotten(store, guess):
    unknown.keep(store, [face(0), face(70, guess=guess)], timedelta(days=7))
    ids = [one.id for one in unknown.unknown_faces(store)]
    unknown.judge(store, ids, "not a face", "no face")
    store.merge("Bob", "Ann")
    store.remove("Ann")
    everything = everything_in(store)
    assert vectors(1, 0).tobytes() not in everything  # as Ann's first sample
    assert picture(70).png[40:140] not in everything
    assert store.undo().what == "no face"
    assert [one.id for one in unknown.unknown_faces(store)] == [1]


def test_an_undo_does_without_a_guess_who_is_gone(store):
    unknown.judge(store, [2], "ignored", "ignored")  # may be Ann, for all one knows
    store.apply(Change(remove=numbers(store, "Ann")))
    store.undo()
    assert [one.guess for one in unknown.unknown_faces(store)] == [None, None]


def test_an_undo_that_cannot_be_says_so_and_changes_nothing(store):
    store.rename("Bob", "Robert")
    store.apply(Change(add={"Bob": [NewSample(vectors(1, 9)[0])]}))  # as a trainer may have it
    before = rows(store)
    with pytest.raises(UserError, match="undo --clear"):
        store.undo()
    assert rows(store) == before


def test_no_undo_brings_back_unknown_faces_that_were_deleted(store):
    unknown.judge(store, [1], "ignored", "ignored")
    assert unknown.clear(store) == 1
    assert store.undo().what == "ignored"
    assert unknown.unknown_faces(store) == []
    assert len(unknown.judged(store)["ignored"]) == 0


def test_acts_end_after_a_day_and_after_fifty(store, monkeypatch):
    store.rename("Ann", "Anna")
    for i in range(journal.ACTS):
        store.rename("Bob" if i == 0 else f"Bob {i - 1}", f"Bob {i}")
    assert len(store.acts()) == journal.ACTS
    assert store.acts()[-1].what == "Bob was renamed Bob 0"
    monkeypatch.setattr(journal, "KEPT", timedelta(seconds=-5))
    assert store.acts() == []
    with pytest.raises(UserError, match="nothing to undo"):
        store.undo()


def test_unknown_faces_end_with_their_time_whoever_opens_the_file(store, path):
    everything = unknown.unknown_faces(store)
    assert len(everything) == 2
    unknown.keep(store, [face(70)], timedelta(seconds=-5))
    assert [one.id for one in unknown.unknown_faces(store)] == [1, 2]
    store.add("Ann", vectors(1, 99))  # any change deletes what is over
    with store.reading() as db:
        assert db.execute("SELECT count(*) FROM unknown").fetchone()[0] == 2
    needle = face(70).picture.png[40:140]
    store.close()
    with Store.open(path, "c", D) as store:
        assert needle not in everything_in(store)


def test_what_is_ignored_for_ever_keeps_no_picture(store):
    unknown.judge(store, [1], "ignored", "ignored")
    assert np.array_equal(unknown.judged(store)["ignored"], vectors(1, 60))
    assert len(unknown.judged(store)["not a face"]) == 0
    with store.reading() as db:
        [(crop,)] = db.execute("SELECT crop FROM unknown WHERE verdict = 'ignored'").fetchall()
    assert crop is None
