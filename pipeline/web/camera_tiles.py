"""Several cameras on the page: a tile each, and the zones that are drawn on it."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from faces.errors import UserError
from pipeline.live.area import Area, AreaFile
from pipeline.live.cameras import Watched
from pipeline.web.camera_switch import CameraSwitch


class CameraTiles(CameraSwitch):
    """In place of the switch, where no browser's camera takes the place of the machine's.

    Args:
        cameras: of the machine.
        areas: the file that keeps what is drawn.
    """

    def __init__(self, cameras: Sequence[Watched], areas: Path) -> None:
        super().__init__(cameras[0].source)
        self._cameras = {camera.name: camera for camera in cameras}
        self._file, self._saving = AreaFile(areas), threading.Lock()

    @property
    def status(self) -> str | None:
        """None: each tile has its own."""
        return None

    @property
    def mirrored(self) -> bool:
        """Whether left and right are exchanged in what is looked at."""
        return all(camera.source.mirrored for camera in self._cameras.values())

    def claim(self, owner: object) -> None:
        """No browser's camera is looked at here."""

    def describe(self) -> list[dict[str, Any]] | None:
        """What the page is told of each camera, see docs/live.md."""
        told = []
        for name, camera in self._cameras.items():
            stats = None if camera.last is None else camera.last.stats
            told.append(
                {
                    "name": name,
                    "status": camera.status,
                    "fps": 0.0 if stats is None else round(stats.fps, 1),
                    "looks": 0.0 if stats is None else round(stats.looks, 1),
                    **camera.loop.area.to_json(),
                }
            )
        return told

    def set_area(self, name: str, area: Area) -> None:
        """Look there from now on, and after a restart. Raises UserError when it cannot be kept."""
        camera = self._cameras.get(name)
        if camera is None:
            raise UserError(f"there is no camera called {name}")
        with self._saving:
            self._file.save(name, area)
            camera.loop.area = area
