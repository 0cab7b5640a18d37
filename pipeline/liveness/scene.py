"""A made camera, and faces and photos that move in front of it: the five points, without pixels."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

# Centimeters; x to the right in the picture, y up, z toward the camera. From MediaPipe's canonical
# face (mediapipe/modules/face_geometry/data/canonical_face_model.obj, Apache-2.0): the middle
# between the corners of an eye (vertices 33 and 133; its depth is that of the lids), the tip of the
# nose (1), a corner of the mouth (61).
FACE = np.array(
    [
        [-3.15, 2.62, 3.80],
        [3.15, 2.62, 3.80],
        [0.0, -1.13, 7.48],
        [-2.46, -4.34, 4.28],
        [2.46, -4.34, 4.28],
    ]
)
NECK = np.array([0.0, -8.0, -6.0])  # a head turns about it
WIDTH, HEIGHT = 1280, 720
FOCAL = 1000.0  # pixels; about 65 degrees across


@dataclass(frozen=True)
class Pose:
    """Where a face is; angles in radians, places in cm."""

    yaw: float = 0.0  # positive: toward the right of the picture
    pitch: float = 0.0  # positive: down
    roll: float = 0.0
    x: float = 0.0
    y: float = 0.0
    distance: float = 55.0


@dataclass
class Errors:
    """Of a landmark network, in distances between the eyes: from picture to picture, and slow."""

    source: np.random.Generator
    quick: float
    slow: float
    memory: float = 1.0  # seconds
    state: NDArray[np.float64] = field(default_factory=lambda: np.zeros((5, 2)))

    def add(self, points: NDArray[np.float64], step: float) -> NDArray[np.float64]:
        """``points`` in pixels as the network gives them ``step`` seconds after the last ones."""
        keep = np.exp(-step / self.memory)
        fresh = self.source.normal(0, self.slow, (5, 2))
        self.state = keep * self.state + np.sqrt(1 - keep**2) * fresh
        size = np.linalg.norm(points[1] - points[0])
        return points + size * (self.state + self.source.normal(0, self.quick, (5, 2)))


def rotation(yaw: float, pitch: float, roll: float) -> NDArray[np.float64]:
    """Matrix (3, 3): first yaw, then pitch, then roll."""
    return Rotation.from_euler("yxz", (yaw, pitch, roll)).as_matrix()


def project(shape: NDArray[np.float64], pose: Pose, pivot: NDArray[np.float64]) -> NDArray:
    """Points (N, 3) of a shape that is turned about ``pivot`` -> pixels (N, 2)."""
    turned = (shape - pivot) @ rotation(pose.yaw, pose.pitch, pose.roll).T + pivot
    away = pose.distance - turned[:, 2]
    return np.stack(
        [
            WIDTH / 2 + FOCAL * (turned[:, 0] + pose.x) / away,
            HEIGHT / 2 - FOCAL * (turned[:, 1] + pose.y) / away,
        ],
        axis=1,
    )


def person(source: np.random.Generator) -> NDArray[np.float64]:
    """Somebody's five points: the canonical face with other proportions."""
    shape = FACE * source.normal(1, [0.04, 0.05, 0.0], (1, 3))
    plane = 4.05  # where the plane of eyes and mouth is under the nose
    shape[2, 2] = plane + (FACE[2, 2] - plane) * source.uniform(0.7, 1.15)
    shape[2] += source.normal(0, [0.1, 0.25, 0])
    return shape


def flat(shape: NDArray[np.float64]) -> NDArray[np.float64]:
    """A life-size photo of a face."""
    return shape * [1, 1, 0]


def bent(shape: NDArray[np.float64], radius: float, upright: bool = True) -> NDArray[np.float64]:
    """A photo rolled to a part of a tube, about an upright or a level axis; radius in cm."""
    photo = flat(shape)
    along = 0 if upright else 1
    angle = photo[:, along] / radius
    photo[:, along] = radius * np.sin(angle)
    photo[:, 2] = radius * (np.cos(angle) - 1)
    return photo


def folded(shape: NDArray[np.float64], angle: float) -> NDArray[np.float64]:
    """A photo folded along the nose like a roof, each half by ``angle`` radians."""
    photo = flat(shape)
    photo[:, 2] = -np.abs(photo[:, 0]) * np.sin(angle)
    photo[:, 0] *= np.cos(angle)
    return photo
