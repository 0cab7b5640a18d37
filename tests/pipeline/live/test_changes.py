"""Cuts, and faces that are not the same any more."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.moving_scene import MovingScene, photo_background, portrait_actors
from detector.data.portraits import PORTRAIT_FACES, portraits
from pipeline.live.changes import SAME_FACE, SceneWatch, face_view, likeness

PORTRAITS = dict(portraits())
ONE, TWO = (np.ascontiguousarray(image[:512]) for image in PORTRAITS.values())


def cuts(frames: list[np.ndarray]) -> list[int]:
    watch = SceneWatch()
    return [i for i, frame in enumerate(frames) if watch.cut(frame)]


def test_another_picture_is_a_cut_and_the_first_one_is_none():
    assert cuts([ONE] * 3 + [TWO] * 3 + [ONE] * 2) == [3, 6]
    assert cuts([ONE, TWO, ONE, TWO]) == [1, 2, 3], "slides"


def test_another_size_is_a_cut():
    assert cuts([ONE, ONE[:-2], ONE[:-2]]) == [1]


def test_light_noise_and_movement_are_no_cut():
    random = np.random.default_rng(0)
    darker = [(ONE * share).astype(np.uint8) for share in (1.0, 0.7, 0.4, 1.0)]
    noisy = [
        np.clip(ONE + random.normal(0, 12, ONE.shape), 0, 255).astype(np.uint8) for _ in range(4)
    ]
    black = [random.integers(0, 4, ONE.shape, np.uint8) for _ in range(4)]
    assert cuts(darker) == cuts(noisy) == cuts(black) == []
    scene = MovingScene(portrait_actors(), photo_background(), 6.0)
    assert cuts([scene.frame(i / 10)[0] for i in range(60)]) == []


def test_somebody_who_steps_before_a_dark_wall_is_no_cut():
    wall = np.full((240, 320, 3), 20, np.uint8)
    person = wall.copy()
    person[50:90, 50:90] = 220
    assert cuts([wall] * 4 + [person] * 4) == []


def test_a_face_is_like_itself_and_not_like_another():
    boxes = [PORTRAIT_FACES[name] for name in PORTRAITS]
    one, two = (face_view(image, box) for image, box in zip(PORTRAITS.values(), boxes, strict=True))
    x1, y1, x2, y2 = boxes[0]
    side = x2 - x1
    moved = (x1 + 0.03 * side, y1 - 0.03 * side, x2 + 0.03 * side, y2)
    dark = face_view((ONE * 0.5).astype(np.uint8), boxes[0])
    assert likeness(one, one) == pytest.approx(1, abs=1e-4)
    assert likeness(one, dark) > 0.99
    assert likeness(one, face_view(ONE, moved)) > SAME_FACE
    assert likeness(one, two) < SAME_FACE


@pytest.mark.parametrize("by", [-0.1, 0.1], ids=["smaller", "larger"])
@pytest.mark.parametrize("dx", [-0.1, 0.0, 0.1])
@pytest.mark.parametrize("dy", [-0.1, 0.0, 0.1])
def test_a_box_that_sits_otherwise_on_a_face_is_no_other_face(by, dx, dy):
    x1, y1, x2, y2 = next(iter(PORTRAIT_FACES.values()))
    side = x2 - x1
    other = (x1 + dx * side, y1 + dy * side, x2 + (dx + by / 2) * side, y2 + (dy + by / 2) * side)
    assert likeness(face_view(ONE, (x1, y1, x2, y2)), face_view(ONE, other)) > SAME_FACE


@pytest.mark.parametrize("box", [(-9, -9, 1, 1), (5, 5, 5, 5), (900, 9, 950, 60)])
def test_no_pixels_are_like_nothing(box):
    view = face_view(ONE, box)
    assert not view.any()
    assert likeness(view, view) == 0
