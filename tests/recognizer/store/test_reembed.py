"""A file of people carried over to another embedder."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from faces.errors import UserError
from recognizer.gallery import Head
from recognizer.rule import Thresholds
from recognizer.store.face_picture import FacePicture
from recognizer.store.people import Store
from recognizer.store.reembed import reembed
from recognizer.store.unknown import UnknownFace, judge, keep, unknown_faces
from tests.fake_embedder import FakeEmbedder

OLD = FakeEmbedder(size=32, dimension=64)
NEW = FakeEmbedder(size=48, dimension=24, seed=1)
BOX = np.array([30, 20, 90, 100], np.float32)


def photo(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (120, 130, 3), np.uint8)


def enroll(store: Store, name: str, seeds: list[int], keep: bool = True) -> None:
    vectors = np.concatenate([OLD.embed(OLD.crop(photo(seed), BOX[None])) for seed in seeds])
    store.add(name, vectors, [FacePicture.of(photo(seed), BOX) for seed in seeds] if keep else None)


def test_the_new_vectors_are_those_of_the_photos(path):
    with Store.open(path, OLD.fingerprint, OLD.dimension) as store:
        enroll(store, "Anna", list(range(40)))  # more than a batch
        enroll(store, "Bob", [50])
        store.save_head(Head(OLD.fingerprint, ("Anna",), np.ones((1, 64)), np.zeros(1)))
        store.save_thresholds(Thresholds(0.1, 0.2))
        seen: list[int] = []
        done = reembed(store, NEW, progress=seen.append)
        assert (done.samples, done.lost_samples, done.lost_people) == (41, 0, ())
        assert sum(seen) == 41
    with pytest.raises(UserError, match="another embedder"):
        Store.open(path, OLD.fingerprint, OLD.dimension)
    with Store.open(path, NEW.fingerprint, NEW.dimension) as store:
        snapshot = store.snapshot()
        expected = [NEW.embed(NEW.crop(photo(s), BOX[None]))[0] for s in [*range(40), 50]]
        assert snapshot.gallery.embeddings == pytest.approx(np.array(expected), abs=1e-6)
        assert snapshot.gallery.names == ("Anna",) * 40 + ("Bob",)
        assert snapshot.head is None, "it knew other vectors"
        assert snapshot.thresholds == Thresholds(), "they belong to the embedder"
        assert [p.crops for p in store.people()] == [40, 1], "the pictures stay for the next time"


def test_unknown_and_ignored_faces_are_lost_and_it_is_told(path):
    with Store.open(path, OLD.fingerprint, OLD.dimension) as store:
        enroll(store, "Anna", [0])
        vectors = OLD.embed(OLD.crop(photo(1), BOX[None]))
        now = datetime.now(UTC).isoformat(timespec="seconds")
        face = UnknownFace("1", vectors[0], None, 0.5, "door", now)
        keep(store, [face, face], timedelta(days=1))
        judge(store, [unknown_faces(store)[0].id], "ignored", "ignored")
        assert reembed(store, NEW).lost_unknown == 2
        assert unknown_faces(store) == []
    with Store.open(path, NEW.fingerprint, NEW.dimension) as store:
        assert reembed(store, OLD).lost_unknown == 0


def test_a_file_with_nobody_in_it_is_only_bound_to_the_new_embedder(path):
    with Store.open(path, OLD.fingerprint, OLD.dimension) as store:
        assert reembed(store, NEW).samples == 0
    with Store.open(path, NEW.fingerprint, NEW.dimension) as store:
        assert store.people() == []


def test_samples_without_a_picture_are_lost_only_when_asked(path):
    with Store.open(path, OLD.fingerprint, OLD.dimension) as store:
        enroll(store, "Anna", [1, 2])
        enroll(store, "Anna", [3], keep=False)
        enroll(store, "Bob", [4, 5], keep=False)
        before = store.version()
        with pytest.raises(UserError, match=r"3 samples of 2 people.*drop_missing=True.*1 .*Bob"):
            reembed(store, NEW)
        assert store.version() == before
        done = reembed(store, NEW, drop_missing=True)
        assert (done.samples, done.lost_samples, done.lost_people) == (2, 3, ("Bob",))
        assert [(p.name, p.samples) for p in store.people()] == [("Anna", 2)]
        store.add("Cleo", NEW.embed(np.zeros((1, 48, 48, 3), np.uint8)))


def test_without_any_picture_nothing_is_lost(path):
    with Store.open(path, OLD.fingerprint, OLD.dimension) as store:
        enroll(store, "Anna", [1, 2], keep=False)
        for drop in (False, True):
            with pytest.raises(UserError, match=r"no stored pictures.*--keep-crops"):
                reembed(store, NEW, drop_missing=drop)
        assert store.people()[0].samples == 2


def test_a_change_meanwhile_is_not_lost(path):
    with (
        Store.open(path, OLD.fingerprint, OLD.dimension) as store,
        Store.open(path, OLD.fingerprint, OLD.dimension) as other,
    ):
        enroll(store, "Anna", [1])
        with pytest.raises(UserError, match="changed by another program"):
            reembed(store, NEW, progress=lambda count: enroll(other, "Bob", [2]))
        assert store.fingerprint == OLD.fingerprint
        assert len(store.people()) == 2


def test_a_file_of_another_embedder_says_what_can_be_moved(path):
    with Store.open(path, OLD.fingerprint, OLD.dimension) as store:
        enroll(store, "Anna", [1, 2])
        enroll(store, "Anna", [3], keep=False)
        enroll(store, "Bob", [4, 5], keep=False)
    with pytest.raises(
        UserError,
        match=r"reembed` from the pictures of 2 of its 5 samples \(--drop-missing gives up the "
        r"others\); ask 1 person for a photo again: Bob$",
    ):
        Store.open(path, NEW.fingerprint, NEW.dimension)


def test_a_file_without_pictures_says_whom_to_enroll_again(path):
    with Store.open(path, OLD.fingerprint, OLD.dimension) as store:
        enroll(store, "Anna", [1], keep=False)
        enroll(store, "Bob", [2], keep=False)
    with pytest.raises(UserError, match=r"enroll its 2 people again .*has no pictures"):
        Store.open(path, NEW.fingerprint, NEW.dimension)
