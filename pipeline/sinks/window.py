"""A window on the screen, through OpenCV; the pictures of several cameras side by side in it."""

from __future__ import annotations

import math
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from faces.closing import Closing
from faces.errors import UserError
from pipeline.live.cameras import Watched
from pipeline.live.draw import UNKNOWN_COLOR, draw_message, draw_speed
from pipeline.sinks.files import fit
from pipeline.types import Face, Tick

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


TITLE = "faces"
ESCAPE = 27
RETURN, BACKSPACE = 13, 8
SPECIAL = {0xFF0D: RETURN, 0xFF8D: RETURN, 0xFF08: BACKSPACE, 0xFF1B: ESCAPE}
"""Keysyms of X11, as OpenCV's windows of GTK and Qt give them, for keys that have a character;
0xFF8D is Enter beside the digits."""

TILES_SECONDS = 0.05
"""Between two pictures of several cameras: each is drawn when it is shown only."""

KEYS = 8
"""Keys that are taken between two pictures, at most."""

_PROBE = "import cv2; cv2.namedWindow('faces'); cv2.waitKey(1); cv2.destroyAllWindows()"

INSTALL = (
    "the installed OpenCV is the one without windows. For one with windows:\n"
    "    pip uninstall -y opencv-python-headless\n"
    "    pip install opencv-python"
)


def require_window() -> None:
    """Raise UserError, saying what to do, where no window can be opened.

    OpenCV itself would end the whole process, without an exception, when there is no display. So
    the display is asked for first, and a process that may die tries to open a window.
    """
    import cv2

    gui = re.search(r"^\s*GUI:\s*(\S+)", cv2.getBuildInformation(), re.MULTILINE)
    if gui is None or gui[1] == "NONE":
        raise UserError(f"no window can be opened: {INSTALL}")
    if sys.platform == "linux" and not (
        os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    ):
        raise UserError(
            "no window can be opened: there is no display (DISPLAY and WAYLAND_DISPLAY are not set)"
        )
    try:
        tried = subprocess.run(
            [sys.executable, "-P", "-c", _PROBE], capture_output=True, check=False, timeout=30
        )
    except subprocess.TimeoutExpired as error:
        raise UserError("no window can be opened: the display does not answer") from error
    if tried.returncode != 0:
        lines = tried.stderr.decode(errors="replace").strip().splitlines() or ["no reason given"]
        raise UserError(f"no window can be opened: {lines[-1]}")


class Window(Closing):
    """Shows the drawn pictures; a sink. Only the main thread may use it.

    Args:
        keys: what a key does, by its character code (``ord("s")``; `ESCAPE`). ``q`` and closing the
            window always close it.
        on_click: called with the tick that is shown and the face under the mouse (None beside all
            faces) when the left button goes down.
        typing: asked first about every key; True takes it, so that letters of a name end nothing.
        tiles: the pictures of several cameras, in place of the one of a tick.

    Attributes:
        closed: whether the user has closed it; the loop should end.
    """

    def __init__(
        self,
        keys: Mapping[int, Callable[[Tick], None]] | None = None,
        on_click: Callable[[Tick, Face | None], None] | None = None,
        typing: Callable[[int], bool] = lambda key: False,
        tiles: Tiles | None = None,
    ) -> None:
        import cv2

        self.closed = False
        self._tiles, self._shown = tiles, 0.0
        self._keys = dict(keys or {})
        self._on_click, self._typing = on_click, typing
        self._tick: Tick | None = None
        cv2.namedWindow(TITLE)
        cv2.setMouseCallback(TITLE, self._mouse)

    def show(self, tick: Tick) -> None:
        """Show a tick and do what keys and mouse ask for."""
        import cv2

        if self.closed:
            return
        self._tick = tick
        if self._tiles is None:
            picture = draw_speed(tick.drawn, tick)
        elif time.monotonic() - self._shown < TILES_SECONDS:
            return
        else:
            picture = self._tiles.draw()
            self._shown = time.monotonic()
        cv2.imshow(TITLE, cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
        for _ in range(KEYS):  # whoever types is faster than a slow picture
            code = cv2.waitKeyEx(1)
            if code == -1:
                break
            key = character(code)
            if key is None or self._typing(key):
                continue
            if key == ord("q"):
                self.closed = True
            elif key in self._keys:
                self._keys[key](tick)
        if cv2.getWindowProperty(TITLE, cv2.WND_PROP_VISIBLE) < 1:
            self.closed = True

    def _mouse(self, event: int, x: int, y: int, flags: int, data: object) -> None:
        import cv2

        if event != cv2.EVENT_LBUTTONDOWN or self._tick is None or not self._on_click:
            return
        tick, place = self._tick, (float(x), float(y))
        if self._tiles is not None:
            found = self._tiles.at(x, y)
            if found is None:
                return
            tick, place = found
        self._on_click(tick, face_at(tick, *place))

    def close(self) -> None:
        """Close the window."""
        import cv2

        cv2.destroyAllWindows()
        cv2.waitKey(1)  # some systems close it only then


def character(code: int) -> int | None:
    """The character (0..255) of what `cv2.waitKeyEx` gave; None for a key that has none.

    Shift, arrows and the like have codes above 255 in their lower 16 bits, which `cv2.waitKey`
    would cut down to those of letters (on Windows theirs are 0). The upper bits tell which
    modifiers were held.
    """
    key = code & 0xFFFF
    key = SPECIAL.get(key, key)
    return key if 0 < key <= 0xFF else None


def face_at(tick: Tick, x: float, y: float) -> Face | None:
    """The face at a point of the picture; the smallest where several lie over one another."""
    under = [
        face
        for face in tick.faces.faces
        if face.box[0] <= x < face.box[2] and face.box[1] <= y < face.box[3]
    ]
    return min(
        under,
        key=lambda face: (face.box[2] - face.box[0]) * (face.box[3] - face.box[1]),
        default=None,
    )
