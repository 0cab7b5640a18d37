"""What five points say about a face's depth, and which position that is by the demands of a policy.

The eyes and the corners of the mouth of a symmetric face lie in one plane; the tip of the nose
stands about half the distance of the eyes in front of it. A homography carries the four points of
a reference view to those of another view exactly, and with them every point of their plane. On a
flat photo, however it is held, the nose is carried along with them; on a head that turns, the nose
moves against the plane. What is left over is the parallax.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline.liveness.policy import TURNS, Distance, Policy, Turn

PLANE = [0, 1, 3, 4]  # eyes and corners of the mouth, of: eye, eye, nose, corner, corner
NOSE = 2


@dataclass(frozen=True)
class View:
    """How a face is seen, compared with a reference view of the same face."""

    # x, y: parallax of the nose along the line of the eyes (positive: to the right in the picture)
    # and across it (positive: down), in distances between the eyes
    x: float
    y: float
    tilt: float  # radians between the plane of eyes and mouth and its position in the reference
    scale: float  # size, 1 as in the reference; turning the head does not change it
    roll: float  # radians of the line of the eyes against the rows of the picture

    @property
    def parallax(self) -> float:
        """Length of the parallax."""
        return math.hypot(self.x, self.y)

    @property
    def depth(self) -> float:
        """How far the nose stands out, in distances between the eyes: about 0.5 on a face, 0 on a
        photo. Means little at tilts of less than 10 degrees.
        """
        return self.parallax / max(math.sin(self.tilt), 1e-3)


def view(reference: NDArray[np.float64], points: NDArray[np.float64]) -> View | None:
    """Compare five points (5, 2) with those of a reference; None when they are no face's points."""
    if not (is_face(reference) and is_face(points)):
        return None
    carried = _carry(reference[PLANE], points[PLANE], reference[NOSE])
    if carried is None:
        return None
    stretch = np.linalg.svd(_affine(reference[PLANE], points[PLANE]), compute_uv=False)
    eyes = points[1] - points[0]
    along = eyes / np.linalg.norm(eyes)
    unit = float(stretch[0] * np.linalg.norm(reference[1] - reference[0]))
    left_over = (points[NOSE] - carried) / unit
    return View(
        x=float(left_over @ along),
        y=float(left_over @ (-along[1], along[0])),
        tilt=math.acos(min(1.0, float(stretch[1] / stretch[0]))),
        scale=float(stretch[0]),
        roll=math.atan2(eyes[1], eyes[0]),
    )


def is_face(points: ArrayLike) -> bool:
    """Whether points (5, 2) are finite, and eyes and mouth corners a convex quadrilateral of some
    size, in their order: eye, eye, nose, corner, corner, left in the picture first.
    """
    points = np.asarray(points, np.float64)
    if points.shape != (5, 2) or not np.isfinite(points).all():
        return False
    ring = points[[0, 1, 4, 3]]  # around the quadrilateral, clockwise in the picture
    side = np.roll(ring, -1, axis=0) - ring
    following = np.roll(side, -1, axis=0)
    turn = side[:, 0] * following[:, 1] - side[:, 1] * following[:, 0]
    return bool((turn > 1e-3 * (side**2).sum()).all()) and bool((side**2).sum() > 1)


def balance(points: NDArray[np.float64]) -> float:
    """Where the nose stands between the left (-1) and right (1) edge of the face; 0 is frontal."""
    left, right = points[[0, 3]].mean(axis=0), points[[1, 4]].mean(axis=0)
    across = right - left
    return float(2 * ((points[NOSE] - left) @ across) / (across @ across) - 1)


def center_and_size(points: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
    """Middle of eyes and mouth (2,), and the square root of the area between them, in pixels."""
    ring = points[[0, 1, 4, 3]]
    following = np.roll(ring, -1, axis=0)
    area = np.sum(ring[:, 0] * following[:, 1] - ring[:, 1] * following[:, 0]) / 2
    return points[PLANE].mean(axis=0), math.sqrt(max(float(area), 1e-6))


def _carry(
    source: NDArray[np.float64], target: NDArray[np.float64], point: NDArray[np.float64]
) -> NDArray[np.float64] | None:
    """``point`` (2,) under the homography that takes four points (4, 2) to four others."""
    matrix = cv2.getPerspectiveTransform(source.astype(np.float32), target.astype(np.float32))
    x, y, w = matrix @ (*point, 1)
    return np.array([x, y]) / w if abs(w) > 1e-9 else None


def _affine(source: NDArray[np.float64], target: NDArray[np.float64]) -> NDArray[np.float64]:
    """The linear part (2, 2) of the affine map nearest to taking four points to four others."""
    from_middle, to_middle = source - source.mean(axis=0), target - target.mean(axis=0)
    return np.linalg.lstsq(from_middle, to_middle, rcond=None)[0].T


ON_THE_WAY = 0.35  # share of the parallax asked for that must be seen just before it is reached
# How far a movement may go astray, as a part of it. Landmarks of a head that is turned to a side
# also rise by up to half of what they move.
CROSS_ASIDE, CROSS_UPRIGHT = 1.3, 0.6


def toward(turn: str, x: float, y: float, policy: Policy) -> tuple[float, float]:
    """A parallax in the direction of a turn, and across it."""
    if turn in ("up", "down"):
        return (y if turn == "down" else -y), x
    # One's own left is to the right in the picture, unless that is a mirror image.
    return (x if (turn == "left") != policy.mirrored else -x), y


def turn_of(seen: View, policy: Policy) -> Turn | None:
    """The turn that a view shows; None when it shows none clearly."""
    if seen.depth < policy.depth:
        return None
    for turn in TURNS:
        along, across = toward(turn, seen.x, seen.y, policy)
        cross = CROSS_UPRIGHT if turn in ("up", "down") else CROSS_ASIDE
        if along >= policy.parallax and abs(across) < cross * along:
            return turn
    return None


def distance_of(change: float, policy: Policy) -> Distance | None:
    """What a change of size shows."""
    if change >= policy.nearer:
        return "nearer"
    return "farther" if change <= policy.farther else None


def is_flat(seen: View, policy: Policy) -> bool:
    """Whether the plane of the face has turned without the nose."""
    return seen.tilt > policy.flat_tilt and seen.parallax < policy.flat_parallax


def on_the_way(turn: str, before: Sequence[float] | None, policy: Policy) -> bool:
    """Whether the parallax ``before`` was between the neutral position and a turn."""
    if before is None:
        return False
    return toward(turn, before[0], before[1], policy)[0] >= ON_THE_WAY * policy.parallax
