"""What five points say about a face's depth.

The eyes and the corners of the mouth of a symmetric face lie in one plane; the tip of the nose
stands about half the distance of the eyes in front of it. A homography carries the four points of
a reference view to those of another view exactly, and with them every point of their plane. On a
flat photo, however it is held, the nose is carried along with them; on a head that turns, the nose
moves against the plane. What is left over is the parallax.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

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
    rows = np.zeros((8, 8))
    rows[0::2, :2] = rows[1::2, 3:5] = source
    rows[0::2, 2] = rows[1::2, 5] = 1
    rows[:, 6:] = -target.reshape(8, 1) * np.repeat(source, 2, axis=0)
    try:
        h = np.append(np.linalg.solve(rows, target.reshape(8)), 1).reshape(3, 3)
    except np.linalg.LinAlgError:
        return None
    x, y, w = h @ (*point, 1)
    return np.array([x, y]) / w if abs(w) > 1e-9 else None


def _affine(source: NDArray[np.float64], target: NDArray[np.float64]) -> NDArray[np.float64]:
    """The linear part (2, 2) of the affine map nearest to taking four points to four others."""
    from_middle, to_middle = source - source.mean(axis=0), target - target.mean(axis=0)
    return np.linalg.lstsq(from_middle, to_middle, rcond=None)[0].T
