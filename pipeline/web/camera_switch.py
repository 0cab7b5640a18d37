"""Where the frames come from: the machine's camera, that of a browser which offers its own, or
several cameras of the machine with a tile each, and the zones that are drawn on it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from faces.errors import UserError
from pipeline.live.area import Area, AreaFile
from pipeline.live.cameras import Watched
from pipeline.sources.live import LiveSource
from pipeline.types import Picture

WAITING = "waiting for a browser that offers its camera"


class CameraSwitch:
    """A source for `pipeline.live.loop.Loop`. The browser that asked last has precedence.

    Args:
        camera: of the machine; None where only browsers have cameras.
    """

    def __init__(self, camera: LiveSource | None) -> None:
        self.camera = camera
        self._changed = threading.Condition()
        self._owner: object | None = None
        self._pushed: Picture | None = None
        self._count = 0
        self._lost = 0
        self._camera_seen = -1
        self._start = time.monotonic()
        self._last = 0.0

    @property
    def owner(self) -> object | None:
        """The browser whose camera is looked at."""
        return self._owner

    def mirrored(self, camera: str | None) -> bool:
        """Whether left and right are exchanged in what is looked at, of several in this camera."""
        return self._owner is None and self.camera is not None and self.camera.mirrored

    @property
    def dropped(self) -> int:
        """Frames nobody looked at."""
        return self._lost + (self.camera.dropped if self.camera is not None else 0)

    @property
    def status(self) -> str | None:
        """What is wrong just now, for people."""
        if self._owner is not None:
            return None
        return WAITING if self.camera is None else self.camera.status

    @property
    def ended(self) -> bool:
        """A browser may come at any time; the machine's camera may end."""
        return self.camera is not None and self._owner is None and self.camera.ended

    def describe(self) -> list[dict[str, Any]] | None:
        """What is told of each of several cameras; None: there is one."""
        return None

    def set_area(self, name: str, area: Area) -> None:
        """Where faces count. Raises UserError: only cameras with names keep that."""
        raise UserError("zones are kept by a camera's name: start with a name, `door=0`")

    def claim(self, owner: object) -> None:
        """Look at the frames of this browser from now on."""
        with self._changed:
            self._owner, self._pushed = owner, None
            self._changed.notify_all()

    def release(self, owner: object) -> None:
        """This browser gives no frames any more."""
        with self._changed:
            if self._owner is owner:
                self._owner = self._pushed = None
                self._changed.notify_all()

    def push(self, owner: object, image: NDArray[np.uint8], captured: float) -> int | None:
        """A frame of a browser; its index, or None when another browser's are looked at.

        Args:
            image: RGB uint8 (H, W, 3).
            captured: `time.monotonic` seconds when it came.
        """
        with self._changed:
            if self._owner is not owner:
                return None
            self._lost += self._pushed is not None
            self._pushed = self._numbered(Picture(0, 0.0, image, captured), 1)
            self._changed.notify_all()
            return self._pushed.index

    def read(self, timeout: float) -> Picture | None:
        """The newest frame; None after ``timeout`` seconds without one."""
        if self._owner is None and self.camera is not None:
            picture = self.camera.read(timeout)
            if picture is None:
                return None
            with self._changed:
                if self._owner is not None:  # claimed while the camera was waited for
                    return None
                steps = picture.index - self._camera_seen  # the dropped ones count as well
                self._camera_seen = picture.index
                return self._numbered(picture, steps)
        with self._changed:
            self._changed.wait_for(lambda: self._pushed is not None, timeout)
            picture, self._pushed = self._pushed, None
            return picture

    def _numbered(self, picture: Picture, steps: int) -> Picture:
        """With index and time of this source, both of which only grow."""
        self._count += max(1, steps)
        self._last = max(self._last + 1e-3, picture.captured - self._start)
        return replace(picture, index=self._count - 1, time=self._last)


class CameraTiles(CameraSwitch):
    """In place of the switch, where no browser's camera takes the place of the machine's.

    Args:
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

    def mirrored(self, camera: str | None) -> bool:
        return camera is not None and self._cameras[camera].source.mirrored

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
