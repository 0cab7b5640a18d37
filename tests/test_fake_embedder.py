"""The stand-in keeps an embedder's promises, so tests that use it say something."""

from __future__ import annotations

import numpy as np
import pytest

from recognizer.types import Embedder
from tests.fake_embedder import FakeEmbedder


def noise(seed: int, side: int = 60) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3), np.uint8)


def smooth(seed: int, side: int = 64) -> np.ndarray:
    return np.kron(noise(seed, 8), np.ones((side // 8, side // 8, 1), np.uint8))


def test_crops_and_vectors_have_the_promised_form():
    embedder: Embedder = FakeEmbedder(size=32, dimension=16)
    boxes = np.array([[0, 0, 20, 30], [-5, -5, 10, 10]], np.float32)
    faces = embedder.crop(noise(0), boxes)
    assert faces.shape == (2, 32, 32, 3)
    assert faces.dtype == np.uint8
    vectors = embedder.embed(faces)
    assert vectors.shape == (2, 16)
    assert vectors.dtype == np.float32
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-6)
    assert embedder.embed(faces[:0]).shape == (0, 16)


def test_it_is_deterministic_and_a_seed_is_another_fingerprint():
    faces = FakeEmbedder().crop(noise(0), np.array([[0, 0, 60, 60]], np.float32))
    assert np.array_equal(FakeEmbedder().embed(faces), FakeEmbedder().embed(faces))
    assert FakeEmbedder().fingerprint != FakeEmbedder(seed=1).fingerprint
    assert not np.allclose(FakeEmbedder().embed(faces), FakeEmbedder(seed=1).embed(faces))


def test_the_same_face_is_nearer_than_another():
    embedder = FakeEmbedder(size=32)
    box = np.array([[0, 0, 64, 64]], np.float32)
    one = smooth(1)
    brighter = np.clip(one.astype(int) + 10, 0, 255).astype(np.uint8)
    a, b, other = (
        embedder.embed(embedder.crop(image, box))[0] for image in (one, brighter, smooth(2))
    )
    assert a @ b > 0.98
    assert a @ other < 0.6


def test_crops_of_another_size_are_refused():
    with pytest.raises(ValueError, match="expected uint8"):
        FakeEmbedder(size=32).embed(np.zeros((1, 16, 16, 3), np.uint8))
