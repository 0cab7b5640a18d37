"""The pictures of several cameras side by side, each with its name."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from pipeline.live.cameras import Watched
from pipeline.live.draw import UNKNOWN_COLOR, draw_message, draw_speed
from pipeline.sinks.files import fit
from pipeline.types import Tick

SIZE = (1280, 720)
"""Width and height of all tiles together."""


class Tiles:
    """Draws them; used by one thread.

    Args:
        cameras: in the order of their tiles, row by row.
    """

    def __init__(self, cameras: Sequence[Watched]) -> None:
        self._cameras = tuple(cameras)
        self.columns = math.ceil(math.sqrt(len(self._cameras)))
        self._rows = math.ceil(len(self._cameras) / self.columns)
        self.width, self.height = SIZE[0] // self.columns, SIZE[1] // self._rows
        self._drawn: dict[str, tuple[object, NDArray[np.uint8]]] = {}

    def draw(self) -> NDArray[np.uint8]:
        """The newest picture of each camera, RGB uint8 (H, W, 3)."""
        canvas = np.zeros((self._rows * self.height, self.columns * self.width, 3), np.uint8)
        for i, camera in enumerate(self._cameras):
            y, x = self.height * (i // self.columns), self.width * (i % self.columns)
            canvas[y : y + self.height, x : x + self.width] = self._tile(camera)
        return canvas

    def at(self, x: float, y: float) -> tuple[Tick, tuple[float, float]] | None:
        """The tick under a point, and the point in its picture; None beside all pictures."""
        column, row = int(x // self.width), int(y // self.height)
        number = row * self.columns + column
        if not (0 <= column < self.columns and 0 <= number < len(self._cameras)):
            return None
        tick = self._cameras[number].last
        if tick is None:
            return None
        scale, left, top = self._place(tick)
        own = (x - column * self.width - left) / scale, (y - row * self.height - top) / scale
        height, width = tick.picture.size
        return (tick, own) if 0 <= own[0] < width and 0 <= own[1] < height else None

    def _place(self, tick: Tick) -> tuple[float, float, float]:
        """How large a picture is in its tile, and where."""
        height, width = tick.picture.size
        scale = min(self.width / width, self.height / height, 1.0)
        return scale, (self.width - scale * width) / 2, (self.height - scale * height) / 2

    def _tile(self, camera: Watched) -> NDArray[np.uint8]:
        tick, status = camera.last, camera.status
        key = (tick, status, camera.loop.area)
        known = self._drawn.get(camera.name)
        if known is not None and known[0] == key:
            return known[1]
        if tick is None:
            tile = np.zeros((self.height, self.width, 3), np.uint8)
            tile = draw_message(tile, f"{camera.name}: {status or 'waiting for a picture'}")
        else:
            tile = fit(tick.drawn, (self.height, self.width))
            if camera.loop.area.zones:
                tile = self._with_zones(tile, tick, camera)
            tile = draw_speed(tile, tick, camera.name)
            if status and status != tick.status:
                tile = draw_message(tile, status)
        self._drawn[camera.name] = key, tile
        return tile

    def _with_zones(
        self, tile: NDArray[np.uint8], tick: Tick, camera: Watched
    ) -> NDArray[np.uint8]:
        picture = Image.fromarray(tile)
        scale, left, top = self._place(tick)
        height, width = tick.picture.size
        for zone in camera.loop.area.zones:
            corners = [(left + scale * width * x, top + scale * height * y) for x, y in zone]
            ImageDraw.Draw(picture).polygon(corners, outline=UNKNOWN_COLOR)
        return np.asarray(picture)
