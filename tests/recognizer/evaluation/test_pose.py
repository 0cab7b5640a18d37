from __future__ import annotations

import numpy as np
import pytest

from recognizer.evaluation.all_pairs import Faces
from recognizer.evaluation.pose import by_yaw
from recognizer.landmarks import NOSE, yaw


def turned(degrees: float, tilt: float = 0.0) -> np.ndarray:
    """Five points of a face in space, turned to the side, then tilted in the picture."""
    eyes_apart = 60.0
    space = np.array(
        [[-30, 0, 0], [30, 0, 0], [0, 30, NOSE * eyes_apart], [-20, 60, 5], [20, 60, 5]]
    )
    t, r = np.radians(degrees), np.radians(tilt)
    x = space[:, 0] * np.cos(t) + space[:, 2] * np.sin(t)
    flat = np.stack([x, space[:, 1]], axis=1)
    spin = np.array([[np.cos(r), np.sin(r)], [-np.sin(r), np.cos(r)]])
    return (flat @ spin * 1.7 + 100).astype(np.float32)


@pytest.mark.parametrize("degrees", [-50, -20, 0, 10, 40])
def test_yaw_of_a_turned_face(degrees: float) -> None:
    found = yaw(np.stack([turned(degrees), turned(degrees, tilt=25)]))
    assert found[0] == pytest.approx(degrees, abs=0.5)
    assert found[1] == pytest.approx(degrees, abs=10)  # the tip lies below the eyes


def test_a_pair_counts_where_its_more_turned_face_belongs() -> None:
    vectors = np.array([[1, 0], [1, 0], [0, 1], [0.8, 0.6]], np.float32)
    faces = Faces(vectors, np.array([0, 0, 0, 1]), np.zeros(4, bool))
    rows = by_yaw(faces, np.array([5, -20, 50, 10], np.float32), threshold=0.7)
    assert [(r["least"], r["most"]) for r in rows] == [(0, 15), (15, 30), (30, 45), (45, None)]
    assert [r["genuine"] for r in rows] == [0, 1, 0, 2]
    assert [r["impostor"] for r in rows] == [1, 1, 0, 1]
    assert [r["fnmr"] for r in rows] == [None, 0.0, None, 1.0]
    assert [r["fmr"] for r in rows] == [1.0, 1.0, None, 0.0]
    assert rows[3]["fnmr_interval"] is None  # a single person
    unknown = by_yaw(faces, np.array([5, np.nan, np.nan, 10], np.float32), threshold=0.7)
    assert sum(r["genuine"] + r["impostor"] for r in unknown) == 1


def test_the_interval_is_over_people() -> None:
    rng = np.random.default_rng(0)
    person = np.repeat(np.arange(30), 4)
    vectors = rng.normal(size=(120, 8)) * 0.7 + np.repeat(rng.normal(size=(30, 8)), 4, axis=0)
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    faces = Faces(vectors, person, np.zeros(120, bool))
    first = by_yaw(faces, np.zeros(120, np.float32), 0.6)[0]
    assert first["fnmr"] is not None
    assert first["fnmr_interval"] is not None
    low, high = first["fnmr_interval"]
    assert low < first["fnmr"] < high
    naive = 2 * 1.96 * (first["fnmr"] * (1 - first["fnmr"]) / first["genuine"]) ** 0.5
    assert high - low > 1.2 * naive
