"""What a head or a network learns from."""

from __future__ import annotations

import numpy as np
import pytest

from faces.errors import UserError
from recognizer.rule import Thresholds
from recognizer.store.face_picture import FacePicture
from recognizer.store.people import Store
from recognizer.store.reembed import reembed
from recognizer.store.write import NewSample
from recognizer.training.head_samples import refuse_without_pictures, samples_of_store
from tests.fake_embedder import FakeEmbedder

EMBEDDER = FakeEmbedder()
PICTURE = FacePicture.of(np.zeros((40, 40, 3), np.uint8), np.array([5, 5, 35, 35], np.float32))
VECTORS = np.eye(4, EMBEDDER.dimension, dtype=np.float32)


def opened(path) -> Store:
    return Store.open(path, EMBEDDER.fingerprint, EMBEDDER.dimension, Thresholds(0.7, 0.5))


@pytest.fixture
def store(tmp_path):
    with opened(tmp_path / "people.db") as store:
        for i, name in enumerate(("Ann", "Bob", "Cleo")):
            store.add(name, VECTORS[i : i + 1], [PICTURE])
        yield store


def test_everybody_is_read_at_one_moment(store):
    class Merging(FakeEmbedder):
        def crop(self, *arguments):
            with opened(store.path) as other:
                if len(other.people()) == 3:
                    other.merge("Ann", "Cleo")
            return super().crop(*arguments)

    assert samples_of_store(store, Merging()).names == ("Ann", "Bob", "Cleo")
    assert samples_of_store(store, EMBEDDER).names == ("Bob", "Cleo", "Cleo")


def test_a_denied_face_without_a_picture_is_refused_and_can_be_given_up(store):
    store.deny("Ann", [NewSample(VECTORS[3], PICTURE)])
    refuse_without_pictures(store)
    store.deny("Ann", [NewSample(VECTORS[3])])
    with pytest.raises(UserError, match=r"1 denied face without .* --drop-missing"):
        refuse_without_pictures(store)
    reembed(store, EMBEDDER, drop_missing=True)
    refuse_without_pictures(store)
    assert len(store.samples("Ann", denied=True)) == 1
