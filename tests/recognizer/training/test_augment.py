"""Augmentation: bounded changes, one for each seed, none where none is asked for."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest

from recognizer.training.augment import MASK_ONLY, PLAIN, STRONG, Augmentation, augment, augment_all

NONE = Augmentation(flip=0)


def picture(side: int = 64) -> np.ndarray:
    """Smooth, and different in every part."""
    y, x = np.mgrid[:side, :side] / side
    return np.stack([255 * x, 255 * y, 255 * (1 - x) * y], axis=-1).astype(np.uint8)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_nothing_asked_for_changes_nothing():
    assert np.array_equal(augment(picture(), NONE, rng()), picture())


def test_flip_mirrors():
    assert np.array_equal(augment(picture(), Augmentation(flip=1), rng()), picture()[:, ::-1])


@pytest.mark.parametrize(
    "change",
    [
        {"degrees": 10}, {"shift": 0.1}, {"scale": 0.2}, {"brightness": 0.3}, {"contrast": 0.3},
        {"color": 0.2}, {"noise": 10, "rare": 1}, {"blur": 3, "rare": 1}, {"jpeg": 10, "rare": 1},
        {"mask": 1},
    ],
    ids=lambda change: next(iter(change)),
)  # fmt: skip
def test_each_change_changes_and_repeats(change):
    how = replace(NONE, **change)
    face = picture()
    face[20:30, 20:30] = 90  # something sharp, for blur and JPEG
    results = [augment(face, how, rng(seed)) for seed in range(6)]
    assert all(r.shape == face.shape and r.dtype == np.uint8 for r in results)
    assert sum(not np.array_equal(r, face) for r in results) >= 4  # a little of it may be none
    assert np.array_equal(results[3], augment(face, how, rng(3)))
    assert results[3].flags.writeable
    assert results[3].base is None  # no view of the original


def test_a_field_for_everything_the_test_above_covers():
    """A new kind of change must be added to the table above."""
    assert {f.name for f in fields(Augmentation)} == {
        "flip", "degrees", "shift", "scale", "brightness", "contrast", "color", "noise", "blur",
        "jpeg", "rare", "mask",
    }  # fmt: skip


def test_rotation_turns_about_the_middle_by_no_more_than_asked():
    face = np.zeros((65, 65, 3), np.uint8)
    face[30:35, 55:60] = 255  # 25 pixels right of the middle
    for seed in range(20):
        turned = augment(face, replace(NONE, degrees=20), rng(seed)).mean(axis=2)
        y, x = np.average(np.indices(turned.shape).reshape(2, -1), axis=1, weights=turned.ravel())
        assert np.hypot(x - 32, y - 32) == pytest.approx(25, abs=0.5)
        assert abs(np.degrees(np.arctan2(y - 32, x - 32))) <= 20.5


def test_shift_stays_in_its_range():
    face = np.zeros((64, 64, 3), np.uint8)
    face[32, 32] = 255
    places = []
    for seed in range(30):
        moved = augment(face, replace(NONE, shift=0.1), rng(seed)).mean(axis=2)
        y, x = np.average(np.indices(moved.shape).reshape(2, -1), axis=1, weights=moved.ravel())
        places.append((x - 32, y - 32))
    assert np.abs(places).max() <= 6.5
    assert np.abs(places).max() > 3
    assert np.abs(np.mean(places, axis=0)).max() < 2.5  # around no change


def test_strong_changes_more_than_plain():
    face = picture(112)

    def size(how: Augmentation) -> float:
        copies = [augment(face, replace(how, flip=0), rng(seed)) for seed in range(20)]
        return float(np.mean([np.abs(c.astype(int) - face).mean() for c in copies]))

    assert size(STRONG) > 2 * size(PLAIN) > 0


def test_masked_copies_are_all_masked():
    face = np.full((112, 112, 3), 150, np.uint8)
    for seed in range(10):
        copy = augment(face, MASK_ONLY, rng(seed)).astype(int)
        assert np.abs(copy[85:95, 50:62] - copy[20:30, 50:62].mean()).mean() > 8


def test_a_copy_depends_on_its_place_and_the_seed_alone():
    faces = np.stack([picture(), picture()[::-1], picture()[:, ::-1]])
    copies = augment_all(faces, STRONG, 5)
    assert np.array_equal(copies[:2], augment_all(faces[:2], STRONG, 5))
    assert not np.array_equal(copies, augment_all(faces, STRONG, 6))
    assert augment_all(faces[:0], STRONG, 5).shape == (0, 64, 64, 3)


def test_an_embedder_s_read_only_crops_are_welcome():
    face = picture()
    face.flags.writeable = False
    assert augment(face, STRONG, rng()).flags.writeable
