"""People on disk: what goes in comes out, and what is removed is gone to the last byte."""

from __future__ import annotations

import logging
import threading

import numpy as np
import pytest

from faces.errors import UserError
from recognizer.gallery import Head
from recognizer.rule import Thresholds, read_defaults
from recognizer.store.face_picture import FacePicture
from recognizer.store.people import Store
from recognizer.store.write import Change, NewSample
from recognizer.types import unit

DIMENSION = 16


def vectors(count: int, seed: int = 0) -> np.ndarray:
    return unit(np.random.default_rng(seed).normal(size=(count, DIMENSION)))


def picture(seed: int) -> FacePicture:
    image = np.random.default_rng(seed).integers(0, 256, (40, 30, 3), np.uint8)
    return FacePicture.of(image, np.array([5, 5, 25, 30], np.float32))


def head(*names: str | None, fingerprint: str = "c") -> Head:
    weight = np.random.default_rng(9).normal(size=(len(names), DIMENSION)).astype(np.float32)
    return Head(fingerprint, names, weight, np.arange(len(names), dtype=np.float32))


@pytest.fixture
def store(path):
    with Store.open(path, "c", DIMENSION) as store:
        yield store


# -- what goes in comes out


def test_a_new_file_knows_nobody(store):
    snapshot = store.snapshot()
    assert (len(snapshot.gallery), snapshot.head, snapshot.version) == (0, None, 0)
    assert snapshot.thresholds == Thresholds()
    assert store.people() == []


def test_people_come_back_in_another_program(store, path):
    store.add("Bob", vectors(1, 1), source="photo bob.jpg")
    store.add("Anna", vectors(3, 2), crops=[picture(i) for i in range(3)])
    store.add("Bob", vectors(2, 3))
    with Store.open(path, "c", DIMENSION) as other:
        gallery = other.snapshot().gallery
        people = other.people()
        bob = other.samples("Bob")
        anna = other.samples("Anna")
    assert gallery.names == ("Anna",) * 3 + ("Bob",) * 3
    assert gallery.embeddings == pytest.approx(
        np.concatenate([vectors(3, 2), vectors(1, 1), vectors(2, 3)])
    )
    assert [(p.name, p.samples, p.crops, p.in_head) for p in people] == [
        ("Anna", 3, 3, False),
        ("Bob", 3, 0, False),
    ]
    assert [s.source for s in bob] == ["photo bob.jpg", "", ""]
    assert [s.picture for s in bob] == [None] * 3
    for i, sample in enumerate(anna):
        assert np.array_equal(sample.picture.image, picture(i).image)
        assert np.array_equal(sample.picture.box, picture(i).box)
        assert sample.embedding == pytest.approx(vectors(3, 2)[i])


def test_names_are_cleaned_and_found_again(store):
    store.add("  Zoe\u0301  van   Dam ", vectors(1))
    assert [p.name for p in store.people()] == ["Zo\u00e9 van Dam"]
    assert len(store.samples("Zoe\u0301 van Dam")) == 1


def test_two_spellings_in_one_call_are_one_person(store):
    a, b = vectors(2)
    store.add_samples({"Anna": [NewSample(a)], "Anna ": [NewSample(b)]})
    assert [(p.name, p.samples) for p in store.people()] == [("Anna", 2)]


@pytest.mark.parametrize(
    "bad",
    [np.zeros((1, DIMENSION), np.float32), vectors(1)[:, :-1], vectors(1) * np.nan, vectors(1)[0]],
    ids=["zero", "short", "nan", "flat"],
)
def test_vectors_that_are_none_are_refused_and_nothing_is_stored(store, bad):
    with pytest.raises(ValueError, match=r"vector|samples"):
        store.add("Anna", bad)
    assert store.people() == []


def test_one_bad_name_stops_the_whole_call(store):
    a, b = vectors(2)
    with pytest.raises(UserError, match="empty"):
        store.add_samples({"Anna": [NewSample(a)], " ": [NewSample(b)]})
    assert store.people() == []


# -- version and snapshot


def test_every_change_makes_the_version_grow(store):
    store.add("Anna", vectors(3))
    store.add("Bob", vectors(3, 1))
    seen = [store.version()]
    for change in (
        lambda: store.add("Cleo", vectors(1)),
        lambda: store.rename("Cleo", "Clio"),
        lambda: store.merge("Clio", "Bob"),
        lambda: store.move_samples([store.samples("Bob")[0].id], "Dora"),
        lambda: store.save_head(head("Anna", None)),
        lambda: store.save_thresholds(Thresholds(0.5, 0.4)),
        lambda: store.remove("Dora"),
        lambda: store.save_head(None),
    ):
        change()
        seen.append(store.version())
    assert seen == list(range(2, 11))


def test_the_snapshot_is_the_same_object_until_something_changes(store, path):
    store.add("Anna", vectors(1))
    first = store.snapshot()
    assert store.snapshot() is first
    with Store.open(path, "c", DIMENSION) as other:  # as another program would
        other.add("Bob", vectors(1, 1))
    second = store.snapshot()
    assert second is not first
    assert second.version == store.version() == first.version + 1
    assert first.gallery.people == ("Anna",)
    assert second.gallery.people == ("Anna", "Bob")


def test_of_a_change_only_what_changed_is_read_again_and_nothing_is_missed(
    store, path, monkeypatch
):
    """The snapshot of a store that saw every change is that of one that is opened anew."""
    store.add_samples({f"P{i:02}": [NewSample(v) for v in vectors(3, i)] for i in range(30)})
    store.deny("P05", [NewSample(vectors(1, 100)[0])])
    with Store.open(path, "c", DIMENSION) as reader:
        reader.snapshot()
        monkeypatch.setattr(
            reader._galleries, "_read_everything", lambda db: pytest.fail("all of it was read")
        )

        def stolen() -> None:  # a name goes to somebody else within what the reader has not seen
            store.remove("P07")
            store.rename("P08", "P07")
            store.add("P08", vectors(2, 101))

        for change in (
            lambda: store.add("Aaron", vectors(2, 102)),
            lambda: store.add("P01", vectors(1, 103)),
            lambda: store.rename("P02", "Zoe"),
            lambda: store.rename("Zoe", "P02b"),
            lambda: store.merge("P03", "P04"),
            lambda: store.deny("P05", [NewSample(vectors(1, 104)[0])]),
            lambda: store.add("P05", vectors(1, 104)),  # which lifts what was denied
            lambda: store.remove("P06"),
            stolen,
            lambda: store.move_samples([store.samples("P09")[0].id], "P10"),
            lambda: store.move_samples([s.id for s in store.samples("P11")], "Nina"),
            lambda: store.apply(Change(remove=[s.id for s in store.samples("P12")])),
            lambda: store.save_head(head("P01", "P13", "P14", None)),
            lambda: store.rename("P13", "P13b"),
            lambda: store.remove("P14"),
            lambda: store.save_thresholds(Thresholds(0.5, 0.4)),
            lambda: store.merge("P15", "P16"),
            store.undo,
            lambda: store.add_samples({"Q1": [NewSample(vectors(1, 105)[0])]}),
            store.undo,
            lambda: store.save_head(None),
            store.undo,
        ):
            change()
            seen = reader.snapshot()
            with Store.open(path, "c", DIMENSION) as other:
                expected = other.snapshot()
            assert (seen.version, seen.thresholds) == (expected.version, expected.thresholds)
            for one, two in ((seen.gallery, expected.gallery), (seen.denied, expected.denied)):
                assert (one.names, one.people, len(one)) == (two.names, two.people, len(two))
                assert np.array_equal(one.embeddings, two.embeddings)
            assert (seen.head is None) == (expected.head is None)
            if seen.head is not None:
                assert seen.head.names == expected.head.names
                assert np.array_equal(seen.head.weight, expected.head.weight)


def test_when_many_have_changed_all_are_read_again(store, path, monkeypatch):
    monkeypatch.setattr("recognizer.store.read.FEW", 3)
    with Store.open(path, "c", DIMENSION) as reader:
        assert reader.snapshot().gallery.people == ()
        for i in range(9):
            store.add(f"P{i}", vectors(2, i))
            assert reader.snapshot().gallery.people == tuple(f"P{j}" for j in range(i + 1))
            assert len(reader._galleries._called) <= 3


def test_a_file_of_an_older_version_tells_of_changes_too(file, monkeypatch):
    from recognizer.store import schema

    with monkeypatch.context() as old:
        old.setattr(schema, "SCHEMA", 3)
        old.setattr(schema, "STEPS", schema.STEPS[:3])
        old.setattr(schema, "touching_triggers", list)
        old.setattr("recognizer.store.transactions.SCHEMA", 3)
        with Store.open(file, "c", DIMENSION) as store:
            store.add("Anna", vectors(2))
    with Store.open(file, "c", DIMENSION) as reader, Store.open(file, "c", DIMENSION) as store:
        assert reader.snapshot().gallery.people == ("Anna",)
        store.add("Bob", vectors(1, 1))
        store.rename("Anna", "Ann")
        assert reader.snapshot().gallery.people == ("Ann", "Bob")


def test_a_change_that_fails_changes_nothing(store):
    store.add("Anna", vectors(1))
    before = store.version()
    with pytest.raises(UserError, match="no sample 77"):
        store.move_samples([store.samples("Anna")[0].id, 77], "Bob")
    assert store.version() == before
    assert [p.name for p in store.people()] == ["Anna"]


def test_thresholds_are_the_embedders_until_others_are_saved(path):
    with Store.open(path, "c", DIMENSION, Thresholds(0.6, 0.5)) as store:
        assert store.snapshot().thresholds == Thresholds(0.6, 0.5)
        store.save_thresholds(Thresholds(0.9, 0.3))
        assert store.snapshot().thresholds == Thresholds(0.9, 0.3)
    with Store.open(path, "c", DIMENSION, Thresholds(0.6, 0.5)) as store:
        assert store.snapshot().thresholds == Thresholds(0.9, 0.3)


# -- the classifier head follows the people


def test_the_head_comes_back_with_its_provenance(store):
    store.add("Anna", vectors(1))
    store.add("Bob", vectors(1, 1))
    saved = head("Bob", None, "Anna")
    store.save_head(saved, {"epochs": 7})
    loaded = store.snapshot().head
    assert loaded.names == ("Bob", None, "Anna")
    assert np.array_equal(loaded.weight, saved.weight)
    assert np.array_equal(loaded.bias, saved.bias)
    assert store.head_provenance() == {"epochs": 7}
    assert [p.in_head for p in store.people()] == [True, True]
    store.save_head(None)
    assert store.snapshot().head is None
    assert store.head_provenance() is None


def test_renaming_and_removing_people_does_the_same_to_their_classes(store):
    for seed, name in enumerate(["Anna", "Bob", "Cleo"]):
        store.add(name, vectors(1, seed))
    saved = head("Anna", "Bob", None, "Cleo")
    store.save_head(saved)
    store.rename("Cleo", "Clio")
    store.remove("Bob")
    loaded = store.snapshot().head
    assert loaded.names == ("Anna", None, "Clio")
    assert np.array_equal(loaded.weight, saved.weight[[0, 2, 3]])
    store.remove("Anna")
    store.remove("Clio")
    assert store.snapshot().head is None, "a head that knows only strangers is none"


def test_merging_keeps_one_class(store):
    for seed, name in enumerate(["Anna", "Ann", "Annie", "Bob"]):
        store.add(name, vectors(2, seed))
    saved = head("Anna", "Ann", None, "Bob")
    store.save_head(saved)
    store.merge("Ann", "Anna")  # the head knows both
    assert store.snapshot().head.names == ("Anna", None, "Bob")
    assert np.array_equal(store.snapshot().head.weight, saved.weight[[0, 2, 3]])
    store.merge("Anna", "Annie")  # only the first
    assert store.snapshot().head.names == ("Annie", None, "Bob")
    assert [(p.name, p.samples) for p in store.people()] == [("Annie", 6), ("Bob", 2)]


def test_whoever_was_removed_while_the_head_was_trained_does_not_come_back(store, caplog):
    store.add("Anna", vectors(1))
    with caplog.at_level(logging.WARNING):
        store.save_head(head("Anna", "Removed", None))
    assert store.snapshot().head.names == ("Anna", None)
    assert "Removed" in caplog.text
    with pytest.raises(UserError, match="none of the people"):
        store.save_head(head("Removed", None))
    assert store.snapshot().head.names == ("Anna", None), "the refused head must not have cost it"


def test_a_head_of_another_fingerprint_is_refused(store):
    store.add("Anna", vectors(1))
    with pytest.raises(ValueError, match="head for other"):
        store.save_head(head("Anna", fingerprint="other"))


# -- mistakes with names


@pytest.mark.parametrize(
    "act",
    [
        lambda s: s.remove("Ana"),
        lambda s: s.rename("ana", "X"),
        lambda s: s.merge("Ana", "Bob"),
        lambda s: s.merge("Bob", "Ana"),
        lambda s: s.samples("Ana"),
    ],
)
def test_a_misspelt_name_gets_the_nearest_one(store, act):
    store.add("Anna", vectors(1))
    store.add("Bob", vectors(1))
    with pytest.raises(UserError, match=r"nobody called '[Aa]na'; did you mean 'Anna'\?"):
        act(store)
    assert store.version() == 2


def test_renaming_to_somebody_else_is_refused_with_the_way_out(store):
    store.add("Anna", vectors(1))
    store.add("Bob", vectors(1))
    with pytest.raises(UserError, match="faces people merge 'Anna' 'Bob'"):
        store.rename("Anna", "Bob")
    store.rename("Anna", "Anna")
    store.rename("Anna", "ANNA")
    assert [p.name for p in store.people()] == ["ANNA", "Bob"]
    with pytest.raises(UserError, match="the same person"):
        store.merge("Bob", "Bob")


def test_moving_the_last_sample_forgets_the_person(store):
    store.add("Anna", vectors(2))
    store.add("Bob", vectors(1, 5))
    store.move_samples([s.id for s in store.samples("Anna")], "Cleo")
    assert [(p.name, p.samples) for p in store.people()] == [("Bob", 1), ("Cleo", 2)]


def test_somebody_whose_stored_name_is_no_clean_one_can_be_renamed(store):
    store.add("Ann", vectors(1))
    with store.changing() as db:  # as an older release took it
        db.execute("UPDATE person SET name = ?", ("Ann\u200d",))
    with pytest.raises(UserError, match="D800"):
        store.rename("\ud800", "Ann")
    store.rename("Ann\u200d", "Ann")
    assert [person.name for person in store.people()] == ["Ann"]


# -- threads


def test_threads_share_one_store(path):
    """Readers see whole changes only: every person has two samples, versions never go back."""
    with Store.open(path, "c", DIMENSION) as store:
        failures: list[object] = []
        done = threading.Event()

        def read() -> None:
            last = -1
            try:
                while not done.is_set():
                    version = store.version()
                    snapshot = store.snapshot()
                    if not last <= version <= snapshot.version:
                        failures.append((last, version, snapshot.version))
                    if len(snapshot.gallery) != 2 * len(snapshot.gallery.people):
                        failures.append(snapshot.gallery.names)
                    last = snapshot.version
            except Exception as error:
                failures.append(error)

        def write(start: int) -> None:
            try:
                for i in range(start, start + 20):
                    store.add(f"P{i}", vectors(2, i))
            except Exception as error:
                failures.append(error)

        readers = [threading.Thread(target=read) for _ in range(3)]
        writers = [threading.Thread(target=write, args=(start,)) for start in (0, 100)]
        for thread in readers + writers:
            thread.start()
        for thread in writers:
            thread.join()
        done.set()
        for thread in readers:
            thread.join()
        assert failures == []
        assert len(store.people()) == 40


def test_a_store_opened_without_thresholds_has_those_of_its_embedder(path):
    """What `faces` commands name, Python names as well."""
    fingerprint, wanted = next(iter(read_defaults().items()))
    with Store.open(path, fingerprint, DIMENSION) as store:
        assert store.snapshot().thresholds == Thresholds(wanted["head"], wanted["gallery"])
    with Store.open_existing(path) as store:
        assert store.snapshot().thresholds.gallery == wanted["gallery"]
        store.save_thresholds(Thresholds(0.9, 0.3))
        assert store.snapshot().thresholds == Thresholds(0.9, 0.3)
