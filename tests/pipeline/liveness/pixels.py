"""Made videos of real faces: a photo laid over a head, a sheet or a rolled sheet, and filmed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.liveness.scene import FACE, FOCAL, HEIGHT, WIDTH, Pose, rotation
from recognizer.landmarks import LandmarkNet

STEP = 0.055  # cm between the dots that a surface is made of


def head_depth(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Surface of a face toward the camera, cm: an ellipsoid, a dent for the eyes, and a nose.

    Fitted to MediaPipe's canonical face model (Apache-2.0); 2.3 mm off on average. NaN beside it.
    """
    round_part = 1 - (x / 6.72) ** 2 - ((y - 2.22) / 16.71) ** 2
    dent = 1.9 * np.exp(-((x / 4.67) ** 2) - ((y - 1.95) / 1.55) ** 2)
    along = (y + 0.8) / np.where(y > -0.8, 2.6, 1.2)
    nose = 2.76 * np.exp(-((x / 1.43) ** 2) - along**2)
    return np.where(round_part > 0, 5.3 * np.sqrt(round_part.clip(0)), np.nan) - dent + nose


@dataclass
class Surface:
    """Colored dots in space: places (N, 3) in cm as in `scene.FACE`, colors uint8 (N, 3)."""

    places: NDArray[np.float64]
    colors: NDArray[np.uint8]

    def film(self, pose: Pose, pivot: NDArray[np.float64]) -> NDArray[np.uint8]:
        """The picture of a camera, RGB uint8 (720, 1280, 3), in front of gray."""
        turn = rotation(pose.yaw, pose.pitch, pose.roll)
        placed = (self.places - pivot) @ turn.T + pivot
        away = pose.distance - placed[:, 2]
        column = WIDTH / 2 + FOCAL * (placed[:, 0] + pose.x) / away
        row = HEIGHT / 2 - FOCAL * (placed[:, 1] + pose.y) / away
        order = np.argsort(-away)  # the nearest dots are painted last
        column, row = column[order], row[order]
        # Four bytes as one number, and one index instead of two, are painted three times as fast.
        dots = np.zeros((len(order), 4), np.uint8)
        dots[:, :3] = self.colors[order]
        image = np.full((HEIGHT, WIDTH, 4), 128, np.uint8)
        pixels = image.reshape(-1).view(np.uint32)
        for dx in (0, 1):
            for dy in (0, 1):
                x = (column + dx).astype(int).clip(0, WIDTH - 1)
                y = (row + dy).astype(int).clip(0, HEIGHT - 1)
                pixels[y * WIDTH + x] = dots.view(np.uint32)[:, 0]
        return image[..., :3].copy()


def surface(
    image: NDArray[np.uint8],
    points: NDArray[np.float32],
    shape: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    reach: float,
) -> Surface:
    """A photo with known points (5, 2), life-size; ``shape`` moves its dots (N, 3) out of z=0."""
    flat = FACE[[0, 1, 3, 4], :2] * [1, -1]
    to_photo, _ = cv2.estimateAffinePartial2D(flat.astype(np.float32), points[[0, 1, 3, 4]])
    x, y = np.meshgrid(np.arange(-reach, reach, STEP), np.arange(-11.5, 11.5, STEP))
    places = np.stack([x.ravel(), y.ravel(), np.zeros(x.size)], axis=1)
    where = places[:, :2] * [1, -1] @ to_photo[:, :2].T + to_photo[:, 2]
    there = ((where >= 0) & (where < [image.shape[1] - 1, image.shape[0] - 1])).all(axis=1)
    places, where = shape(places[there]), where[there].astype(np.float32)
    real = np.isfinite(places).all(axis=1)
    parts = np.array_split(where[real], 1 + len(where) // 30000)  # remap takes 32767 rows at most
    colors = [cv2.remap(image, part[:, None], None, cv2.INTER_LINEAR)[:, 0] for part in parts]
    return Surface(places[real], np.concatenate(colors))


def over_head(places: NDArray[np.float64]) -> NDArray[np.float64]:
    """Shape of a head."""
    x, y, _ = places.T
    return np.stack([x, y, head_depth(x, y)], axis=1)


def rolled(radius: float) -> Callable[[NDArray[np.float64]], NDArray[np.float64]]:
    """Shape of a sheet rolled about an upright axis, cm."""

    def shape(places: NDArray[np.float64]) -> NDArray[np.float64]:
        angle = places[:, 0] / radius
        return np.stack(
            [radius * np.sin(angle), places[:, 1], radius * (np.cos(angle) - 1)], axis=1
        )

    return shape


def find_points(
    net: LandmarkNet, image: NDArray[np.uint8], near: NDArray[np.float64]
) -> NDArray[np.float32] | None:
    """Landmarks in a box around where the face is known to be (5, 2); None when not trusted."""
    low, high = near.min(axis=0), near.max(axis=0)
    span = (high - low).max()
    middle = (low + high) / 2
    reach = span * np.array([[-0.85, -1.1], [0.85, 0.95]])
    box = (middle + reach).reshape(4)
    points, trusted = net(image, box[None].astype(np.float32))
    return points[0] if trusted[0] else None


def faces() -> dict[str, tuple[Path, NDArray[np.float32]]]:
    """Two photos in the public domain, and the box of the face in each."""
    import matplotlib
    import skimage

    hopper = Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg"
    astronaut = Path(skimage.__file__).parent / "data" / "astronaut.png"
    return {
        "Hopper": (hopper, np.array([172, 104, 356, 329], np.float32)),
        "Collins": (astronaut, np.array([178, 63, 270, 184], np.float32)),
    }
