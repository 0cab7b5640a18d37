"""Drawn strangers: they lie as real ones do, and come from nobody."""

from __future__ import annotations

import numpy as np
import pytest

from faces.errors import UserError
from recognizer.gallery import Gallery
from recognizer.rule import read_defaults
from recognizer.training.background import (
    draw_background,
    measure_spread,
    read_spreads,
    spread_of_gallery,
    write_spreads,
)
from recognizer.types import unit

D = 32


def crowd(count: int, seed: int = 0) -> np.ndarray:
    """Vectors that differ far more in some directions than in others."""
    rng = np.random.default_rng(seed)
    scale = np.linspace(2, 0.1, D)
    return unit(rng.standard_normal((count, D)) * scale + np.eye(D)[0] * 1.5)


@pytest.mark.parametrize("rank", [8, 31])
def test_drawn_vectors_have_the_mean_and_spread_of_the_measured(rank):
    real = crowd(4000)
    drawn = measure_spread(real, rank).draw(4000, np.random.default_rng(1))
    assert np.allclose(np.linalg.norm(drawn, axis=1), 1, atol=1e-5)
    assert np.abs(drawn.mean(axis=0) - real.mean(axis=0)).max() < 0.03
    assert np.allclose(drawn.std(axis=0)[:8], real.std(axis=0)[:8], atol=0.04)


def test_few_vectors_still_give_a_spread_in_every_direction():
    spread = measure_spread(crowd(5))
    drawn = spread.draw(500, np.random.default_rng(0))
    assert np.linalg.matrix_rank(drawn) == D
    with pytest.raises(ValueError, match="two vectors"):
        measure_spread(crowd(1))


@pytest.mark.parametrize("people", [0, 1, 2, 30])
def test_a_gallery_of_an_unknown_embedder_is_enough(people, tmp_path):
    vectors = crowd(people * 2) if people else np.zeros((0, D), np.float32)
    gallery = Gallery("new", tuple(f"p{i // 2}" for i in range(people * 2)), vectors)
    drawn = draw_background(gallery, 300, path=tmp_path / "none.npz")
    assert drawn.shape == (300, D)
    assert drawn.dtype == np.float32
    if people:
        cosines = drawn @ gallery.prototypes.T
        assert (cosines > 0.95).mean() < 0.01  # nobody is drawn as a stranger to himself
    assert np.array_equal(drawn, draw_background(gallery, 300, path=tmp_path / "none.npz"))
    assert spread_of_gallery(gallery).mean.shape == (D,)


def test_a_measured_spread_is_kept_and_used(tmp_path):
    path = tmp_path / "strangers.npz"
    plain, masked = measure_spread(crowd(500)), measure_spread(-crowd(500, 1))
    write_spreads(path, "a", {"plain": plain, "masked": masked})
    write_spreads(path, "b/c 1", {"plain": masked})
    back = read_spreads("a", path)
    assert np.allclose(back["masked"].directions, masked.directions, atol=2e-3)
    assert set(read_spreads("b/c 1", path)) == {"plain"}
    assert read_spreads("unknown", path) == {}
    gallery = Gallery.empty("a", D)
    bare = draw_background(gallery, 1000, path=path)
    half = draw_background(gallery, 1000, masked=True, path=path)
    assert (bare[:, 0] > 0).mean() > 0.7
    assert (half[:, 0] > 0).mean() == pytest.approx(0.5, abs=0.08)


def test_a_damaged_file_is_named(tmp_path):
    path = tmp_path / "strangers.npz"
    path.write_bytes(b"no archive")
    with pytest.raises(UserError, match=r"strangers\.npz"):
        read_spreads("a", path)
    np.savez(path, fingerprints=np.array([{}], dtype=object))  # would need unpickling
    with pytest.raises(UserError, match="damaged"):
        read_spreads("a", path)


@pytest.mark.parametrize(
    "weights",
    [
        "mini-83612e3c845adcd3",
        "mini-f0e5d24019d029ad",
        "mini-9dbfb75c21ea9b1a",
        "mini-1e65f84e27506996",
    ],
)
def test_what_was_measured_for_shipped_weights_stays(weights):
    """Libraries and galleries of a former release are grouped and named as before."""
    fingerprint = f"{weights}/crop1-aligned-112-0.08"
    assert set(read_spreads(fingerprint)) >= {"plain", "masked"}
    assert 0.4 < read_defaults()[fingerprint]["gallery"] < 0.5
