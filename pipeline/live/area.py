"""Where in a camera's picture faces count, and from which size on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from faces.errors import UserError
from faces.files import atomic_write_text
from pipeline.service.runtime.file_locks import hold

Polygon = tuple[tuple[float, float], ...]
"""Corners (x, y), each 0..1 of the picture's width and height, so that its size may change."""

MOST_ZONES, MOST_CORNERS = 20, 50
"""Of one camera, and of one zone."""


@dataclass(frozen=True)
class Area:
    """Which faces of a camera count.

    Raises UserError for polygons that are none, or too many.
    """

    # only faces whose center is in one of these; everywhere when there are none
    zones: tuple[Polygon, ...] = ()
    min_face: int = 20  # only faces at least this many pixels wide and high

    def __post_init__(self) -> None:
        if self.min_face < 1:
            raise UserError(f"the smallest face must have at least 1 pixel, not {self.min_face}")
        if len(self.zones) > MOST_ZONES:
            raise UserError(f"{len(self.zones)} zones; a camera can have {MOST_ZONES}")
        for zone in self.zones:
            if not 3 <= len(zone) <= MOST_CORNERS:
                raise UserError(f"a zone has 3 to {MOST_CORNERS} corners, not {len(zone)}")
            if not all(0 <= value <= 1 for corner in zone for value in corner):
                raise UserError(
                    "the corners of a zone are parts of the picture's width and height, 0 to 1"
                )

    def holds(self, xyxy: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.bool_]:
        """Which of the boxes (N, 4) in a picture of ``size`` (height, width) count: (N,)."""
        large = np.minimum(xyxy[:, 2] - xyxy[:, 0], xyxy[:, 3] - xyxy[:, 1]) >= self.min_face
        if not self.zones:
            return large
        centers = ((xyxy[:, :2] + xyxy[:, 2:]) / 2 / size[::-1]).astype(np.float32)
        return large & np.logical_or.reduce([_inside(centers, zone) for zone in self.zones])

    def to_json(self) -> dict[str, Any]:
        """Plain values for `json`."""
        return {"zones": self.zones, "min_face": self.min_face}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Area:
        """The inverse. Raises UserError, KeyError, TypeError or ValueError for anything else."""
        zones = tuple(tuple((float(x), float(y)) for x, y in zone) for zone in value["zones"])
        return cls(zones, int(value["min_face"]))


def _inside(points: NDArray[np.float32], zone: Polygon) -> NDArray[np.bool_]:
    """Which points (N, 2) are in a polygon."""
    corners = np.array(zone, np.float32)
    return np.array([cv2.pointPolygonTest(corners, (x, y), False) >= 0 for x, y in points], bool)


class AreaFile:
    """The areas that were drawn on the page, by the cameras' names; used by one thread.

    Other programs may keep those of their cameras in the same file. Raises UserError when it is
    damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.areas = self._read()

    def _read(self) -> dict[str, Area]:
        try:
            cameras = json.loads(self.path.read_text(encoding="utf-8"))["cameras"]
            return {name: Area.from_json(value) for name, value in cameras.items()}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, KeyError, TypeError, AttributeError, UserError) as error:
            raise UserError(
                f"{self.path} should hold the cameras' zones, and is damaged ({error}): delete it"
            ) from error

    def save(self, name: str, area: Area) -> None:
        """Keep the area of a camera. Raises UserError when it cannot be written."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            lock = hold(self.path.with_name(self.path.name + ".lock"), seconds=10)
            if lock is None:
                raise UserError(f"{self.path} is in use by another program: try again")
            with lock:
                areas = {**self._read(), name: area}
                cameras = {name: one.to_json() for name, one in areas.items()}
                text = json.dumps({"cameras": cameras}, indent=1, ensure_ascii=False)
                atomic_write_text(self.path, text + "\n")
        except OSError as error:
            raise UserError(f"the zones cannot be kept in {self.path}: {error.strerror}") from error
        self.areas = areas
