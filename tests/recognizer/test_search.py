"""The nearest vector, exactly and with codes."""

from __future__ import annotations

import logging
import sys

import numpy as np
import pytest

from recognizer.search import CompactIndex, ExactIndex, build_index
from recognizer.types import unit


def vectors(count: int, dimension: int, seed: int = 0) -> np.ndarray:
    return unit(np.random.default_rng(seed).normal(size=(count, dimension)))


def near(targets: np.ndarray, cosine: float, seed: int = 1) -> np.ndarray:
    """Unit vectors with this cosine to each target."""
    noise = np.random.default_rng(seed).normal(size=targets.shape)
    noise -= (noise * targets).sum(axis=1, keepdims=True) * targets
    return (cosine * targets + np.sqrt(1 - cosine**2) * unit(noise)).astype(np.float32)


def test_exact_search_is_the_plain_maximum(monkeypatch):
    known, queries = vectors(50, 16), vectors(33, 16, 1)
    monkeypatch.setattr("recognizer.search._BLOCK", 200)  # four queries at a time
    position, cosine = ExactIndex(known).search(queries)
    table = queries @ known.T
    assert np.array_equal(position, table.argmax(axis=1))
    assert position.dtype == np.int64
    assert cosine == pytest.approx(table.max(axis=1), abs=1e-6)
    assert cosine.dtype == np.float32


@pytest.mark.slow
@pytest.mark.parametrize("dimension", [64, 128, 500, 512, 600])
def test_codes_find_whom_exact_search_finds(dimension):
    pytest.importorskip("faiss")
    known = vectors(5_000, dimension)
    wanted = np.random.default_rng(2).integers(0, len(known), 100)
    queries = near(known[wanted], 0.6)
    index = build_index(known, exact_limit=1_000)
    assert isinstance(index, CompactIndex)
    position, cosine = index.search(queries)
    exact, exact_cosine = ExactIndex(known).search(queries)
    assert np.array_equal(position, exact)
    assert cosine == pytest.approx(exact_cosine, abs=5e-4), "cosines are those of the vectors"
    assert (position.dtype, cosine.dtype) == (np.int64, np.float32)


def test_fewer_vectors_than_candidates():
    pytest.importorskip("faiss")
    known = vectors(20, 32)
    index = CompactIndex(known)
    index.add(known[:12])
    index.add(known[12:])
    position, _ = index.search(known[::-1].copy())
    assert position.tolist() == list(range(20))[::-1]


@pytest.mark.parametrize("limit", [3, 100])
def test_no_query_is_no_answer(limit):
    pytest.importorskip("faiss")
    position, cosine = build_index(vectors(20, 16), limit).search(np.zeros((0, 16), np.float32))
    assert (position.shape, cosine.shape) == ((0,), (0,))


def test_small_galleries_are_searched_exactly_and_never_import_faiss(monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    assert isinstance(build_index(vectors(10, 16)), ExactIndex)


def test_without_faiss_the_search_is_exact_and_says_that_it_is_slow(monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with caplog.at_level(logging.WARNING):
        index = build_index(vectors(20, 16), exact_limit=10)
    assert isinstance(index, ExactIndex)
    assert "pip install 'faces[large]'" in caplog.text
