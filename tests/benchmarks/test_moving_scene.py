"""The truth about a made film."""

from __future__ import annotations

import numpy as np

from benchmarks.moving_scene import Actor, MovingScene

GRAY = np.full((240, 320, 3), 128, np.uint8)


def actor(name: str, color: tuple[int, int, int]) -> Actor:
    """A face of 40 px in a patch of 60."""
    return Actor(name, np.full((60, 60, 3), color, np.uint8), (10, 10, 50, 50))


def test_a_face_behind_another_is_not_there():
    people = [actor("Ada", (255, 0, 0)), actor("Bob", (0, 0, 255))]
    scene = MovingScene(people, GRAY, 10.0, (40, 40), leave={"Ada": True, "Bob": True})
    seen: set[tuple[str, ...]] = set()
    for time in np.arange(0, 10, 0.1):
        image, truth = scene.frame(time)
        seen.add(tuple(truth))
        for name, (x1, y1, x2, y2) in truth.items():
            part = image[int(y1) : int(y2), int(x1) : int(x2)].reshape(-1, 3)
            own = part[:, 0 if name == "Ada" else 2] > 200
            assert own.mean() > 0.6, "what is said to be there can be seen"
    assert ("Ada", "Bob") in seen
    assert ("Bob",) in seen


def test_a_face_that_has_left_is_not_there():
    scene = MovingScene([actor("Ada", (255, 0, 0))], GRAY, 10.0, (40, 40), leave={"Ada": True})
    boxes = [scene.frame(time)[1] for time in np.arange(0, 10, 0.1)]
    assert {} in boxes
    assert any(boxes)
