"""Where frames come from: cameras, streams and pipes as they happen, files and folders in full.

A live source (`pipeline.sources.live`) keeps the newest frame only, so that what is shown is never
late; a file gives every frame. Both read in a thread of their own, and both raise in the caller's
thread what went wrong in the other.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from faces.closing import Closing
from faces.errors import UserError
from faces.images.find import find_images
from faces.images.read import read_image
from faces.run import in_thread
from pipeline.sources.captures import (
    Layout,
    PlayedFile,
    RawFrames,
    VideoCapture,
    find_camera,
    refuse_misspelt,
    wait_for_answer,
    without_secrets,
)
from pipeline.sources.live import LiveSource, Together
from pipeline.types import Picture

if TYPE_CHECKING:
    from faces.video.film import VideoReader

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SourceOptions:
    """How to open a source."""

    # files play at their own speed and late frames are dropped; else every frame counts
    live: bool = False
    again: bool = False  # a played file begins again at its end
    mirror: bool = False  # left and right are exchanged, as in a mirror (live only)
    # (width, height) to ask a camera for, and the size of raw frames
    size: tuple[int, int] | None = None
    fps: float | None = None  # of a camera to ask for, of raw frames, and of a folder of pictures
    layout: Layout = "rgb24"  # of raw frames
    # for messages, in place of one made of the source's own without its secrets
    name: str | None = None
    together: Together | None = None  # for one of several cameras


class EverySource(Closing):
    """Every frame of something finite, decoded ahead in a thread.

    Args:
        pictures: gives them in order, None at the end; called in the thread.
        frames: how many there will be, None when nobody knows.
        follow: whether its frames belong together; photos do not.
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
        film: VideoReader | None = None,
    ) -> None:
        from faces.prefetch import read_ahead

        self.name, self.fps, self.frames, self.follow = name, fps, frames, follow
        self.film = film
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


AnySource = LiveSource | EverySource


def open_source(
    what: str, options: SourceOptions = SourceOptions(), stdin: BinaryIO | None = None
) -> AnySource:
    """Open what a command line names.

    Args:
        what: a camera's index or name, a video file, an ``rtsp://`` or ``http://`` address, a
            folder of pictures (or one picture), or ``-`` for raw frames on the standard input.

    Raises UserError when it cannot be opened.
    """
    if what == "-":
        # No buffer: a thread that waits for the pipe would hold its lock when Python ends, and so
        # abort the process.
        raw = stdin or open(sys.stdin.fileno(), "rb", buffering=0, closefd=False)  # noqa: SIM115
        return _raw(options, raw)
    if "://" in what:
        shown = without_secrets(what)  # also where there is a name: it refuses what is misspelt
        name = options.name or shown

        def connect() -> VideoCapture:
            if options.together is not None:
                wait_for_answer(what, name)
            return VideoCapture(what, name)

        return LiveSource(
            lambda: in_thread(connect), name, mirror=options.mirror, together=options.together
        )
    refuse_misspelt(what)
    from faces.video.kinds import is_picture

    path = Path(what).expanduser()
    if path.is_dir() or (path.is_file() and is_picture(path)):
        return _photos(path, options.fps or 1.0)
    if path.is_file() and not path.as_posix().startswith("/dev/"):
        if options.live:
            return LiveSource(
                lambda: PlayedFile(path, options.again), options.name or path.name, False,
                options.mirror, together=options.together,
            )  # fmt: skip
        return _video(path)
    if path.exists() and not path.as_posix().startswith("/dev/"):
        raise UserError(
            f"{what} is a pipe: save its contents as a file, or give its raw frames to the "
            "standard input, faces run - --stdin-size 640x480 --stdin-fps 30"
        )
    if path.suffix and not what.startswith("/dev/"):
        raise UserError(f"{what}: there is no such file, folder or camera")
    target = find_camera(what)
    name = options.name or f"camera {what}"
    return LiveSource(
        lambda: VideoCapture(target, name, options.size, options.fps), name, mirror=options.mirror,
        together=options.together,
    )  # fmt: skip


def _video(path: Path) -> EverySource:
    from faces.video.film import VideoReader

    reader = VideoReader(path)

    def read() -> Picture | None:
        frame = reader.read()
        if frame is None:
            return None
        return Picture(frame.index, frame.time, frame.image, time.monotonic())

    return EverySource(
        read, path.name, reader.fps, reader.frames or None, True, reader.close, reader.check_end,
        reader,
    )  # fmt: skip


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
