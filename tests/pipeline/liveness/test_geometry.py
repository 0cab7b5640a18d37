"""Parallax is nothing on a plane, however it is seen, and the turn of a head on a face."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.liveness.geometry import balance, center_and_size, is_face, view
from pipeline.liveness.scene import FACE, NECK, Pose, bent, flat, folded, project

CENTER = np.zeros(3)
REFERENCE = project(FACE, Pose(), NECK)


def angle(limit):
    return st.floats(-math.radians(limit), math.radians(limit))


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(
    yaw=angle(60), pitch=angle(60), roll=angle(90),
    x=st.floats(-10, 10), y=st.floats(-8, 8), distance=st.floats(25, 150),
)  # fmt: skip
def test_a_flat_photo_never_shows_parallax(yaw, pitch, roll, x, y, distance):
    photo = flat(FACE)
    reference = project(photo, Pose(distance=60), CENTER)
    seen = view(reference, project(photo, Pose(yaw, pitch, roll, x, y, distance), CENTER))
    assert seen is not None
    assert seen.parallax < 1e-5


@pytest.mark.parametrize("roll", [-0.3, 0, 0.3])
@pytest.mark.parametrize(
    ("pose", "x", "y"),
    [
        (Pose(yaw=math.radians(25)), 1, 0),
        (Pose(yaw=-math.radians(25)), -1, 0),
        (Pose(pitch=math.radians(20)), 0, 1),
        (Pose(pitch=-math.radians(20)), 0, -1),
    ],
)
def test_a_turning_head_moves_its_nose_to_that_side(pose, x, y, roll):
    """Also with the head tilted to a shoulder: directions are those of the face."""
    pose = Pose(pose.yaw, pose.pitch, roll)
    seen = view(REFERENCE, project(FACE, pose, NECK))
    assert seen is not None
    along, across = (seen.x * x, seen.y) if x else (seen.y * y, seen.x)
    assert along > 0.15
    assert abs(across) < 0.05
    assert 0.4 < seen.depth < 0.7
    assert seen.roll == pytest.approx(-roll, abs=0.12)


def test_tilt_and_scale_are_measured():
    photo = flat(FACE)
    reference = project(photo, Pose(distance=200), CENTER)
    seen = view(reference, project(photo, Pose(yaw=0.6, distance=100), CENTER))
    assert seen is not None
    assert seen.tilt == pytest.approx(0.6, abs=0.02)
    assert seen.scale == pytest.approx(2, abs=0.02)


@pytest.mark.parametrize(
    ("shape", "depth"),
    [(bent(FACE, 20), 0.05), (bent(FACE, 10), 0.1), (bent(FACE, 10, False), 0.12)],
)
def test_a_bent_photo_is_shallow(shape, depth):
    reference = project(shape, Pose(), CENTER)
    for pose in (Pose(yaw=0.6), Pose(pitch=0.6)):
        seen = view(reference, project(shape, pose, CENTER))
        assert seen is not None
        assert seen.depth < depth


def test_a_steep_fold_is_as_deep_as_a_face():
    """The known weakness that docs/liveness.md states."""
    roof = folded(FACE, math.radians(40))
    seen = view(project(roof, Pose(), CENTER), project(roof, Pose(yaw=0.5), CENTER))
    assert seen is not None
    assert seen.depth > 0.3


@pytest.mark.parametrize(
    "points",
    [
        np.zeros((5, 2)),
        np.full((5, 2), np.nan),
        np.zeros((4, 2)),
        REFERENCE[[1, 0, 2, 3, 4]],  # eyes exchanged
        REFERENCE[[3, 4, 2, 0, 1]],  # upside down
        np.array([[0, 0], [10, 0], [5, 0], [0, 0], [10, 0]]),  # on a line
        np.array([[0, 0], [10, 0], [5, 5], [9, 10], [9.001, 10]]),  # corners at one place
    ],
)
def test_what_is_no_face(points):
    assert not is_face(points)
    assert points.shape != (5, 2) or view(REFERENCE, points) is None


def test_balance_and_size():
    assert balance(REFERENCE) == pytest.approx(0, abs=1e-6)
    assert balance(project(FACE, Pose(yaw=0.6), NECK)) > 0.5
    middle, size = center_and_size(np.array([[0, 0], [4, 0], [2, 2], [0, 9], [4, 9]], float))
    assert middle.tolist() == [2, 4.5]
    assert size == pytest.approx(6)
