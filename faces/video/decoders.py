"""What decodes films: OpenCV (with FFmpeg), and Pillow for animated GIF, PNG and WebP."""

from __future__ import annotations

import logging
import math
import os
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from faces.errors import UserError
from faces.images.read import MAX_PIXELS
from faces.video.ffprobe import FilmFacts, Matrix, film_facts
from faces.video.kinds import ANIMATED, QUICKTIME

logger = logging.getLogger(__name__)

DEFAULT_FPS = 25.0
"""For the rare file that does not say its frame rate."""

FASTEST = 1000.0
"""Frames a second above which a rate is the tick of a clock."""

LEAST_DELAY, USUAL_DELAY = 0.011, 0.1
"""Seconds: animations that ask for less than the first get the second, as in browsers."""

WIDEST = 8.0
"""How often wider than high (or the reverse) a pixel may be; more is an error in the file."""


class Decoder(Protocol):
    """Gives the frames of a film in the order in which they are shown.

    Attributes:
        fps: frames a second as the file declares; nan when it does not.
        frames: how many there are by the file's own account, often an estimate; 0 when unknown.
        counted: whether ``frames`` is a count and no estimate.
        start: what the file's own clock shows at the first frame, in seconds.
        facts: what ffprobe tells; None without it.
    """

    fps: float
    frames: int
    counted: bool
    start: float
    facts: FilmFacts | None

    def read(self) -> tuple[NDArray[np.uint8], float, float | None] | None:
        """RGB (H, W, 3) as players show it, seconds, and how long it lasts; None at the end.

        Seconds count from the beginning of the picture track; they may repeat where the file has
        none. How long a frame lasts is None where only the next one tells.
        """

    def packet_times(self, most: int | None = None) -> list[float]:
        """When the frames that are really in the file are shown, in seconds and in order.

        Nothing is decoded for it. ``most``: of how many at most, from the beginning.
        """

    def close(self) -> None:
        """Let go of the file."""


class OpenCVDecoder:
    """See `Decoder`. Raises UserError, naming the file, when it cannot be opened."""

    def __init__(self, path: Path) -> None:
        import cv2

        self._path = path
        self._capture = _open(path)
        if not self._capture.isOpened():
            raise UserError(f"{path}: cannot read the video: damaged, cut short or none at all")
        get = self._capture.get
        self._capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 0)
        size = (int(get(cv2.CAP_PROP_FRAME_WIDTH)), int(get(cv2.CAP_PROP_FRAME_HEIGHT)))
        self.facts = film_facts(path, size)
        if self.facts and (useless := _useless(path, self.facts)):
            self._capture.release()
            raise UserError(f"{path}: {useless}")
        if self.facts and self.facts.pictures > 1:
            logger.warning(
                "%s: %d picture tracks; number %d, %dx%d, is looked at (another alone: "
                "ffmpeg -i %s -map 0:v:%d -c copy other.mkv)",
                path, self.facts.pictures, self.facts.picture, *size, path.name,
                1 if self.facts.picture == 1 else 0,
            )  # fmt: skip
        matrix = self.facts.matrix if self.facts else None
        if self.facts is None:  # OpenCV turns, but does not mirror
            self._capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 1)
            turned = get(cv2.CAP_PROP_ORIENTATION_META) % 180 == 90
        else:
            turned = matrix is not None and _on_its_side(matrix)
        self._matrix = matrix
        # Pixels as wide as this times their height, after turning.
        self._wide = _pixel_shape(get(cv2.CAP_PROP_SAR_NUM), get(cv2.CAP_PROP_SAR_DEN), turned)
        fps = get(cv2.CAP_PROP_FPS)
        self.fps = fps if math.isfinite(fps) and 0 < fps <= FASTEST else math.nan
        count = get(cv2.CAP_PROP_FRAME_COUNT)
        self.frames = int(count) if math.isfinite(count) and 0 < count < 1e9 else 0
        self.counted = _counts_frames(path)
        self.start = 0.0
        self._begun = False

    def read(self) -> tuple[NDArray[np.uint8], float, float | None] | None:
        import cv2

        fine, bgr = self._capture.read()
        if not fine:
            return None
        if not self._begun:
            self._begun = True
            ticks = self._capture.get(cv2.CAP_PROP_PTS)
            if math.isfinite(ticks) and self.fps > 0:
                self.start = max(0.0, ticks / self.fps)
        time = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
        if self._matrix is not None:
            bgr = _turn(bgr, self._matrix)
        if self._wide != 1:
            bgr = _square(bgr, self._wide)
        return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8), time, None

    def packet_times(self, most: int | None = None) -> list[float]:
        import cv2

        capture = _open(self._path, cv2.CAP_PROP_FORMAT, -1)  # packets instead of pictures
        times: list[float] = []
        try:
            while (most is None or len(times) < most) and capture.grab():
                times.append(capture.get(cv2.CAP_PROP_POS_MSEC) / 1000)
        finally:
            capture.release()
        return sorted(times)  # they are stored in the order in which they are decoded

    def close(self) -> None:
        """Let go of the file."""
        self._capture.release()


class AnimationDecoder:
    """See `Decoder`. Raises UserError, naming the file, when it cannot be opened."""

    fps, start = math.nan, 0.0
    counted = True
    facts: FilmFacts | None = None

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._image = Image.open(path, formats=ANIMATED)
            # An animated PNG may begin with a picture for programs that cannot play it.
            self._index = 1 if self._image.info.get("default_image") else 0
            self._end = getattr(self._image, "n_frames", 1)
        except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
            raise UserError(f"{path}: cannot read the animation: {error}") from error
        width, height = self._image.size
        if width * height > MAX_PIXELS:
            self._image.close()
            raise UserError(
                f"{path}: the animation has {width}x{height} pixels, more than the limit of "
                f"{MAX_PIXELS}; make it smaller"
            )
        self.frames = self._end - self._index
        self._time = 0.0

    def read(self) -> tuple[NDArray[np.uint8], float, float | None] | None:
        if self._index >= self._end:
            self._warn_of_its_end()
            return None
        try:
            self._image.seek(self._index)
            image = np.array(self._image.convert("RGB"))
        except (OSError, ValueError, SyntaxError, EOFError):  # cut short
            self._warn_of_its_end()
            return None
        self._index += 1
        delay = self._delay()
        time, self._time = self._time, self._time + delay
        return image, time, delay

    def packet_times(self, most: int | None = None) -> list[float]:
        times, time = [], 0.0
        first = self._end - self.frames
        for index in range(first, self._end if most is None else min(self._end, first + most)):
            try:
                self._image.seek(index)
                self._image.load()  # only then WebP tells the delay
            except (OSError, ValueError, SyntaxError, EOFError):  # cut short
                break
            times.append(time)
            time += self._delay()
        return times

    def _warn_of_its_end(self) -> None:
        if self._image.format == "GIF" and not _ends_as_gif(self._path):
            logger.warning(
                "%s: the animation has no end mark; if it was cut short, frames are missing",
                self._path,
            )

    def _delay(self) -> float:
        delay = float(self._image.info.get("duration", 0)) / 1000
        return delay if delay >= LEAST_DELAY else USUAL_DELAY

    def close(self) -> None:
        """Let go of the file."""
        self._image.close()


def _ends_as_gif(path: Path) -> bool:
    """Whether the mark is there that ends a GIF (version 89a, 27), which does not count its frames;
    zeros may follow."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 4096))
        return file.read().rstrip(b"\0").endswith(b";")


def _useless(path: Path, facts: FilmFacts) -> str | None:
    """Why OpenCV would give no pictures of a film, or wrong ones; None when it gives them."""
    if facts.cover:
        return "no film: it is sound with a cover picture"
    if facts.interlaced:  # its FFmpeg refuses to convert them, and it gives unset memory
        return (
            "the film is interlaced, which OpenCV cannot decode; make it progressive: "
            f'ffmpeg -i "{path.name}" -vf yadif "{path.stem}-progressive.mp4"'
        )
    return None


def _open(path: Path, *settings: int) -> Any:
    import cv2

    # FFmpeg by name: other backends take digits in a file name for a sequence of pictures. In full:
    # a name may look like an address.
    return cv2.VideoCapture(os.fspath(path.absolute()), cv2.CAP_FFMPEG, settings)


def _counts_frames(path: Path) -> bool:
    """Whether a file is of a kind that counts its frames: AVI, MP4 and QuickTime in one piece.

    In the others, and in MP4 in fragments (as recorders write it), the count is reckoned from the
    duration of the whole file.
    """
    with path.open("rb") as file:
        head = file.read(65536)
    if head[:4] == b"RIFF":
        return head[8:11] == b"AVI"
    return head[4:8] in (b"ftyp", *QUICKTIME) and b"mvex" not in head


def _on_its_side(matrix: Matrix) -> bool:
    """Whether rows become columns."""
    a, b, _, _ = matrix
    return abs(b) > abs(a)


def _turn(image: NDArray[np.uint8], matrix: Matrix) -> NDArray[np.uint8]:
    """Turn by the nearest quarter and mirror as a display matrix says."""
    a, b, c, d = matrix
    if _on_its_side(matrix):
        image = image.swapaxes(0, 1)
        across, down = c, b
    else:
        across, down = a, d
    image = image[:: -1 if down < 0 else 1, :: -1 if across < 0 else 1]
    return np.ascontiguousarray(image)


def _pixel_shape(width: float, height: float, turned: bool) -> float:
    """Width through height of a pixel as shown; 1 where the file does not say, or nearly so."""
    if not (width > 0 and height > 0):
        return 1.0
    wide = height / width if turned else width / height
    return wide if 1 / WIDEST <= wide <= WIDEST and abs(wide - 1) > 0.01 else 1.0


def _square(image: NDArray[np.uint8], wide: float) -> NDArray[np.uint8]:
    """Make pixels square, keeping every one of them: the picture becomes wider or higher."""
    import cv2

    height, width = image.shape[:2]
    size = (round(width * wide), height) if wide > 1 else (width, round(height / wide))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_LINEAR), np.uint8)
