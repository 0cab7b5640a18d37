"""Where frames come from: cameras, streams and pipes as they happen, files and folders in full.

A live source keeps the newest frame only, so that what is shown is never late; a file gives every
frame. Both read in a thread of their own, and both raise in the reader's thread what went wrong in
the other.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from common.errors import UserError
from common.images import IMAGE_SUFFIXES, find_images, read_image
from pipeline.captures import (
    Capture,
    Layout,
    PlayedFile,
    RawFrames,
    VideoCapture,
    find_camera,
    without_secrets,
)
from pipeline.types import Picture

logger = logging.getLogger(__name__)

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 10.0
"""Seconds until a camera that is gone is tried again: the first time, and at most."""

STALLED = 5.0
"""Seconds without a frame after which a live source says so."""


@dataclass(frozen=True)
class SourceOptions:
    """How to open a source.

    Args:
        live: files play at their own speed and late frames are dropped; else every frame counts.
        again: a played file begins anew at its end.
        mirror: left and right are exchanged, as in a mirror (live only).
        size: (width, height) to ask a camera for, and the size of raw frames.
        fps: of a camera to ask for, of raw frames, and of a folder of pictures.
        layout: of raw frames.
    """

    live: bool = False
    again: bool = False
    mirror: bool = False
    size: tuple[int, int] | None = None
    fps: float | None = None
    layout: Layout = "rgb24"


class LiveSource:
    """The newest frame of a capture that is read in a thread.

    Args:
        open_capture: opens it; called again when it is gone. The first time in the caller's thread,
            where its UserError belongs.
        name: for messages, without secrets.
        reopen: wait for a capture that is gone and open it again; else its end is the end.
        mirror: exchange left and right.
        pauses: see ``FIRST_PAUSE``.

    Attributes:
        fps: as the capture says.
        dropped: frames that were replaced by newer ones before anybody took them.
        frames: None: nobody knows how many will come.
        follow: True: its frames belong together.
    """

    frames: int | None = None
    follow = True
    live = True

    def __init__(
        self,
        open_capture: Callable[[], Capture],
        name: str,
        reopen: bool = True,
        mirror: bool = False,
        pauses: tuple[float, float] = (FIRST_PAUSE, LONGEST_PAUSE),
    ) -> None:
        self.name = name
        self.dropped = 0
        self._open, self._reopen, self._mirror, self._pauses = open_capture, reopen, mirror, pauses
        first = open_capture()
        self.fps = first.fps
        self._slot = threading.Condition()
        self._newest: Picture | None = None
        self._problem: str | None = None
        self._error: BaseException | None = None
        self._over = False
        self._count = 0
        self._start = self._heard = time.monotonic()
        self._stop = threading.Event()
        # A thread that hangs in a driver must not keep the program from ending.
        self._thread = threading.Thread(
            target=self._work, args=(first,), name=f"read {name}", daemon=True
        )
        self._thread.start()

    @property
    def ended(self) -> bool:
        """Whether there will be no frame any more."""
        with self._slot:
            return self._over and self._newest is None

    @property
    def status(self) -> str | None:
        """Why there is no picture just now."""
        silent = time.monotonic() - self._heard
        if self._problem is None and silent > STALLED and not self._over:
            return f"no picture from {self.name} for {silent:.0f} s"
        return self._problem

    def read(self, timeout: float) -> Picture | None:
        """The newest frame that was not read yet; None after ``timeout`` seconds without one.

        Raises what ended the thread.
        """
        with self._slot:
            self._slot.wait_for(lambda: self._newest is not None or self._over, timeout)
            picture, self._newest = self._newest, None
            if picture is None and self._error is not None:
                raise self._error
            return picture

    def check_end(self) -> None:
        """A live source may end at any time."""

    def close(self) -> None:
        """End the thread."""
        self._stop.set()
        self._thread.join(timeout=2.0)

    def __enter__(self) -> LiveSource:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _work(self, capture: Capture | None) -> None:
        try:
            while capture is not None and not self._stop.is_set():
                image = capture.read()
                if image is not None:
                    self._put(image)
                    continue
                capture.close()
                capture = self._wait_for_it() if self._reopen else None
            if capture is not None:
                capture.close()
        except BaseException as error:  # for the thread that reads us
            self._error = error
        finally:
            with self._slot:
                self._over = True
                self._slot.notify_all()

    def _put(self, image: NDArray[np.uint8]) -> None:
        now = time.monotonic()
        if self._mirror:
            image = np.ascontiguousarray(image[:, ::-1])
        if self._count == 0:
            self._start = now
        picture = Picture(self._count, now - self._start, image, now)
        self._count += 1
        with self._slot:
            self.dropped += self._newest is not None
            self._newest, self._problem, self._heard = picture, None, now
            self._slot.notify_all()

    def _wait_for_it(self) -> Capture | None:
        """Try until it is there again; None when we are closed meanwhile."""
        pause, longest = self._pauses
        logger.warning("%s is gone; waiting for it", self.name)
        while True:
            self._problem = f"{self.name} is gone; trying again in {pause:.1f} s"
            if self._stop.wait(pause):
                return None
            try:
                capture = self._open()
            except UserError:
                pause = min(pause * 2, longest)
                continue
            self._problem = f"{self.name} is back; waiting for a picture"
            logger.warning("%s is back", self.name)
            return capture


class EverySource:
    """Every frame of something finite, decoded ahead in a thread.

    Args:
        pictures: gives them in order, None at the end; called in the thread.
        name: for messages.
        fps: frames a second.
        frames: how many there will be, None when nobody knows.
        follow: whether its frames belong together; photos do not.
        finish: called when it is closed.
        check: raises UserError after the end when not everything could be read.
    """

    dropped = 0
    status: str | None = None
    live = False

    def __init__(
        self,
        pictures: Callable[[], Picture | None],
        name: str,
        fps: float,
        frames: int | None = None,
        follow: bool = True,
        finish: Callable[[], None] = lambda: None,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        from detector.ahead import read_ahead

        self.name, self.fps, self.frames, self.follow = name, fps, frames, follow
        self.ended = False
        self._finish, self._check = finish, check
        pixels = 2_000_000  # a 1080p frame; about a dozen are decoded ahead
        self._ahead: Generator[Picture | None] = read_ahead(repeat((pictures, pixels)), threads=1)

    def read(self, timeout: float = 0.0) -> Picture | None:
        """The next frame, however long it takes; None at the end. Raises what reading raised."""
        picture = None if self.ended else next(self._ahead)
        self.ended = picture is None
        return picture

    def check_end(self) -> None:
        """After the last frame: raise UserError when something could not be read."""
        self._check()

    def close(self) -> None:
        """End the thread and let go of the file."""
        self.ended = True
        self._ahead.close()
        self._finish()

    def __enter__(self) -> EverySource:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


AnySource = LiveSource | EverySource


def open_source(
    what: str, options: SourceOptions = SourceOptions(), stdin: BinaryIO | None = None
) -> AnySource:
    """Open what a command line names.

    Args:
        what: a camera's index or name, a video file, an ``rtsp://`` or ``http://`` address, a
            folder of pictures (or one picture), or ``-`` for raw frames on the standard input.
        options: see `SourceOptions`.
        stdin: in place of the standard input.

    Raises UserError when it cannot be opened.
    """
    if what == "-":
        return _raw(options, stdin or sys.stdin.buffer)
    if "://" in what:
        name = without_secrets(what)
        return LiveSource(lambda: VideoCapture(what, name), name, mirror=options.mirror)
    path = Path(what).expanduser()
    if path.is_dir() or (path.is_file() and path.suffix.lower() in IMAGE_SUFFIXES):
        return _photos(path, options.fps or 1.0)
    if path.is_file() and not path.as_posix().startswith("/dev/"):
        if options.live:
            return LiveSource(
                lambda: PlayedFile(path, options.again), path.name, False, options.mirror
            )
        return _video(path)
    if path.suffix and not what.startswith("/dev/"):
        raise UserError(f"{what}: there is no such file, folder or camera")
    target = find_camera(what)
    name = f"camera {what}"
    return LiveSource(
        lambda: VideoCapture(target, name, options.size, options.fps), name, mirror=options.mirror
    )


def _video(path: Path) -> EverySource:
    from detector.video import VideoReader

    reader = VideoReader(path)

    def read() -> Picture | None:
        frame = reader.read()
        if frame is None:
            return None
        return Picture(frame.index, frame.time, frame.image, time.monotonic())

    return EverySource(
        read, path.name, reader.fps, reader.frames or None, True, reader.close, reader.check_end
    )


def _photos(path: Path, fps: float) -> EverySource:
    files = find_images(path) if path.is_dir() else [path]
    if not files:
        raise UserError(f"{path}: there are no pictures in this folder")
    left = iter(enumerate(files))
    broken: list[str] = []

    def read() -> Picture | None:
        for index, file in left:
            try:
                image = read_image(file)
            except UserError as error:
                logger.warning("%s", error)
                broken.append(str(file))
                continue
            name = file.relative_to(path).as_posix() if path.is_dir() else file.name
            return Picture(index, index / fps, image, time.monotonic(), name)
        return None

    def check() -> None:
        if broken:
            raise UserError(f"{len(broken)} of {len(files)} pictures could not be read")

    return EverySource(read, path.name, fps, len(files), False, check=check)


def _raw(options: SourceOptions, stream: BinaryIO) -> AnySource:
    if options.size is None or options.fps is None:
        raise UserError(
            "raw frames on the standard input have no header: give their size and rate, "
            "--stdin-size 640x480 --stdin-fps 30"
        )
    frames = RawFrames(stream, options.size, options.fps, options.layout)
    if options.live:
        return LiveSource(lambda: frames, "standard input", False, options.mirror)
    count = iter(range(sys.maxsize))

    def read() -> Picture | None:
        image = frames.read()
        if image is None:
            return None
        index = next(count)
        return Picture(index, index / frames.fps, image, time.monotonic())

    def check() -> None:
        if frames.cut:
            raise UserError(
                f"the standard input ended within a frame ({frames.cut} bytes of it were left): "
                "are --stdin-size and --stdin-format right?"
            )

    return EverySource(read, "standard input", frames.fps, check=check)
