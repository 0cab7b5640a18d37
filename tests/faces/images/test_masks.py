"""Synthetic masks: on the lower face, varied, the same for the same seed."""

from __future__ import annotations

import numpy as np
import pytest

from faces.images.masks import draw_mask
from recognizer.crop import ALIGNED


def skin(side: int = 112, level: int = 150) -> np.ndarray:
    return np.full((side, side, 3), level, np.uint8)


def changed(face: np.ndarray, masked: np.ndarray) -> np.ndarray:
    return np.abs(face.astype(int) - masked).sum(axis=2) > 12


def at(points: np.ndarray, where: np.ndarray) -> bool:
    x, y = np.round(points).astype(int)
    return bool(where[y, x])


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("side", [64, 112, 160])
def test_the_mouth_is_covered_and_the_eyes_are_free(seed, side):
    face = skin(side)
    # without noise in the landmarks the places are exact
    landmarks = ALIGNED * side
    where = changed(face, draw_mask(face, np.random.default_rng(seed), landmarks))
    mouth, eyes = landmarks[3:].mean(axis=0), landmarks[:2]
    assert at(mouth, where)
    assert not at(eyes[0], where)
    assert not at(eyes[1], where)
    assert 0.1 < where.mean() < 0.65


def test_the_mask_follows_the_landmarks():
    face = skin()
    turned = np.array([[75, 38], [75, 74], [55, 56], [35, 42], [35, 70]], np.float32)  # lies down
    where = changed(face, draw_mask(face, np.random.default_rng(1), turned))
    assert where[:, :45].mean() > 3 * where[:, 67:].mean()


def test_the_same_seed_gives_the_same_mask_and_others_differ():
    face = skin()
    first = [draw_mask(face, np.random.default_rng(i), ALIGNED * 112) for i in range(12)]
    again = [draw_mask(face, np.random.default_rng(i), ALIGNED * 112) for i in range(12)]
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert len({a.tobytes() for a in first}) == 12
    areas = {int(changed(face, a).sum()) for a in first}
    assert len(areas) > 8  # shapes differ, not only colors


def test_the_face_that_was_given_stays_as_it_is():
    face = skin()
    before = face.copy()
    face.flags.writeable = False
    masked = draw_mask(face, np.random.default_rng(0), ALIGNED * 112)
    assert np.array_equal(face, before)
    assert masked.dtype == np.uint8
    assert masked.shape == face.shape


def test_a_mask_is_dark_in_the_dark():
    light = draw_mask(skin(level=170), np.random.default_rng(4), ALIGNED * 112)
    dark = draw_mask(skin(level=25), np.random.default_rng(4), ALIGNED * 112)
    mouth = slice(88, 96), slice(50, 62)
    assert dark[mouth].mean() < 0.7 * light[mouth].mean()


@pytest.mark.parametrize(
    "landmarks", [np.zeros((4, 2)), np.full((5, 2), 50.0), np.full((5, 2), np.nan)]
)
def test_what_is_no_face_is_refused(landmarks):
    with pytest.raises(ValueError, match="landmarks"):
        draw_mask(skin(), np.random.default_rng(0), landmarks)
