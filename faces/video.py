"""Reading and writing video files with OpenCV, which is imported only here and only when needed."""

from __future__ import annotations

import math
import os
import threading
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from faces.errors import UserError
from faces.files import temporary_name

DEFAULT_FPS = 25.0
"""For the rare file that does not say its frame rate."""


@dataclass(frozen=True, eq=False)
class Frame:
    """One frame of a video.

    Args:
        index: 0 for the first.
        time: seconds from the first frame, as the file says; frames need not be evenly spaced.
        image: RGB uint8 (H, W, 3), upright.
    """

    index: int
    time: float
    image: NDArray[np.uint8]


class VideoReader:
    """Reads a video file frame by frame, upright as its rotation metadata says; a context manager.

    Attributes:
        fps: frames a second, a fraction such as 29.97 kept.
        frames: how many there are by the file's own account; 0 when it does not say.

    Raises UserError, naming the file, when it is missing or no video that can be decoded.
    """

    def __init__(self, path: Path) -> None:
        import cv2

        self.path = path
        if not path.is_file():
            raise UserError(f"{path}: there is no such file")
        # FFmpeg by name: other backends take digits in a file name for a sequence of pictures.
        self._capture = cv2.VideoCapture(os.fspath(path), cv2.CAP_FFMPEG)
        if not self._capture.isOpened():
            raise UserError(f"{path}: cannot read the video: damaged, cut short or none at all")
        self._capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 1)
        fps = self._capture.get(cv2.CAP_PROP_FPS)
        self.fps = fps if math.isfinite(fps) and fps > 0 else DEFAULT_FPS
        self.frames = max(0, int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT)))
        self._index = 0
        self._time = -1.0
        self._ended = False
        self._reading = threading.Lock()

    def read(self) -> Frame | None:
        """The next frame; None after the last that can be decoded."""
        import cv2

        if not self._ended:
            with self._reading:
                fine, bgr = self._capture.read()
            self._ended = not fine
        if self._ended:  # what comes after a damaged place is not read
            return None
        time = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
        if not time > self._time:  # some containers carry no times
            time = self._time + 1 / self.fps if self._index else 0.0
        frame = Frame(self._index, time, np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8))
        self._index, self._time = self._index + 1, time
        return frame

    def check_end(self) -> None:
        """After the last frame: raise UserError when the file promised clearly more."""
        seen = self._time + 1 / self.fps
        promised = self.frames / self.fps
        if self._index == 0:
            raise UserError(f"{self.path}: cannot read the video: no frame can be decoded")
        # The count is an estimate in some containers: half a second or 5 % is no sign of damage.
        if promised - seen > max(0.5, 0.05 * promised):
            raise UserError(
                f"{self.path}: the video is damaged or cut short: only {seen:.1f} of "
                f"{promised:.1f} seconds could be read"
            )

    def close(self) -> None:
        """Let go of the file; but not while a thread that was left alone still reads it."""
        if self._reading.acquire(blocking=False):
            self._capture.release()
            self._reading.release()

    def __enter__(self) -> VideoReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class VideoWriter:
    """Writes an MPEG-4 video (.mp4, no sound); a context manager.

    The file takes its name when the block ends without an exception and with at least one frame;
    until then it is a hidden one beside it. Its size is that of the first frame, without the last
    column or row where that is odd.

    Args:
        path: ends in .mp4; its folder is created.
        fps: frames a second, a fraction such as 29.97 kept.

    Raises OSError when the file cannot be written.
    """

    def __init__(self, path: Path, fps: float) -> None:
        self.path = path
        # MPEG-4 counts time in at most 1/65535 seconds.
        self._fps = round(fps, 3 if fps < 65 else 2)
        self._frames = 0
        self._writer: Any = None  # OpenCV's, from the first frame on
        path.parent.mkdir(parents=True, exist_ok=True)
        self._part = temporary_name(path).with_suffix(path.suffix)  # by which OpenCV goes

    def write(self, image: NDArray[np.uint8]) -> None:
        """Append an RGB uint8 (H, W, 3) frame; all have the size of the first."""
        import cv2

        height, width = image.shape[:2]
        if self._writer is None:
            # mp4v is the one codec that OpenCV's wheels can encode everywhere.
            code = cv2.VideoWriter.fourcc(*"mp4v")  # type: ignore[attr-defined]
            self._writer = cv2.VideoWriter(
                os.fspath(self._part), cv2.CAP_FFMPEG, code, self._fps, (width, height)
            )
            if not self._writer.isOpened():
                raise OSError(f"{self.path}: OpenCV cannot write a video of {width}x{height}")
            self._size = (height, width)
        if (height, width) != self._size:
            raise ValueError(f"a frame of {height, width} pixels after one of {self._size}")
        self._writer.write(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
        self._frames += 1

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if self._writer is not None:
                self._writer.release()
            if error is None and self._frames:
                self._check()
                self._part.replace(self.path)
        finally:
            self._part.unlink(missing_ok=True)

    def _check(self) -> None:
        """OpenCV says nothing when the disk is full; the finished file does."""
        try:
            with VideoReader(self._part) as video:
                complete = video.frames == self._frames
        except UserError:
            complete = False
        if not complete:
            raise OSError(f"{self.path}: the video could not be written in full; is the disk full?")
