"""What becomes of detections and of the loop's ticks in files: JSON lines, an annotated video,
snapshots.
"""

from __future__ import annotations

import errno
import json
import re
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from detector.types import Detections
from faces.closing import Closing
from faces.errors import UserError
from faces.images.write import save_image
from faces.prefetch import WriteBehind
from faces.video.film import VideoReader, VideoWriter
from faces.video.sound import copy_sound
from pipeline.live.patience import Patience
from pipeline.types import Tick


def json_line(
    path: Path, detections: Detections, frame: int | None = None, time: float | None = None
) -> str:
    """One line without its end, in ASCII: odd bytes in a file's name become escapes."""
    line: dict[str, object] = {"path": path.as_posix()}
    found = detections.to_json()
    faces = found.pop("faces")
    line |= found
    if frame is not None and time is not None:
        line |= {"frame": frame, "time": round(time, 6)}
    return json.dumps(line | {"faces": faces})


class LineFile(Closing):
    """A new file that grows by whole lines, which can be read at once; a context manager.

    Every line is one write to the file, so a killed process leaves only complete ones. Raises
    OSError when the file cannot be written; what a full disk took of a line is cut off again.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("wb", buffering=0)

    def write(self, line: str) -> None:
        """Append ``line`` and its end."""
        data = line.encode() + b"\n"
        start = self._file.tell()
        try:
            if self._file.write(data) != len(data):
                raise OSError(errno.ENOSPC, "no space left for a whole line", str(self.path))
        except OSError:
            self._file.truncate(start)
            self._file.seek(start)
            raise

    def close(self) -> None:
        """Close the file."""
        self._file.close()


LONGEST_GAP = 2.0
"""Seconds of video that a single tick may add to a live recording."""


class Shows(Protocol):
    """Takes every tick of a loop."""

    def show(self, tick: Tick) -> None:
        """Take one tick, which may not be ``fresh``."""


class Sink(Shows, AbstractContextManager[Any], Protocol):
    """The same, and what it writes is whole when its block has ended.

    ``show`` is called in the loop's thread and must be quick: what takes long belongs in a thread
    of the sink, which drops what it has no time for.
    """


class Showing:
    """Hands ticks to sinks, so that an error in one on one frame ends neither it nor the others.

    Files that cannot be written and readers who have left do end it, as does a `UserError`.
    """

    def __init__(self, sinks: Sequence[Shows]) -> None:
        self._sinks = [(sink, Patience(f"{type(sink).__name__}.show")) for sink in sinks]

    @property
    def failures(self) -> int:
        """Ticks that a sink could not take, in all; each was reported when it happened."""
        return sum(patience.failures for _, patience in self._sinks)

    def show(self, tick: Tick) -> None:
        """Raises `pipeline.live.patience.GaveUp` when one sink has failed many times in a row."""
        for sink, patience in self._sinks:
            try:
                sink.show(tick)
            except (OSError, UserError):
                raise
            except Exception as error:
                patience.failed(error, f" (frame {tick.picture.index})")
            else:
                patience.fine()


class JsonLines(Closing):
    """One line of `pipeline.types.FrameFaces` for each frame.

    Args:
        target: a file, or a function that takes each line.
    """

    def __init__(self, target: Path | Callable[[str], None]) -> None:
        self._stack = ExitStack()
        if isinstance(target, Path):
            self._write: Callable[[str], None] = self._stack.enter_context(LineFile(target)).write
        else:
            self._write = target

    def show(self, tick: Tick) -> None:
        """Write the faces of a new frame."""
        if tick.fresh:
            self._write(tick.faces.line())

    def close(self) -> None:
        """Close the file."""
        self._stack.close()


class Recorder(Closing):
    """Writes the drawn pictures as an MPEG-4 video, encoded in a thread.

    Args:
        path: ends in .mp4. It appears when the block ends without an exception.
        fps: frames a second of the video.
        live: frames come at any time: pictures are repeated or left out, so that the video is as
            long as what it shows. That goes on while no picture comes. Only when there were no
            ticks either (the program stood still) for longer than ``LONGEST_GAP``, the video is
            shorter. Else every frame is at its own time, see `VideoWriter.write`.
        film: which film is shown: its rate is taken instead of ``fps``, it says when its last frame
            is over, and its sound is copied, see `copy_sound`.
    """

    def __init__(
        self,
        path: Path,
        fps: float,
        live: bool = False,
        film: VideoReader | None = None,
        camera: str | None = None,
    ) -> None:
        self._fps, self._camera = film.rate if film else fps, camera
        self.path, self._live, self._film = path, live, film
        self._stack = ExitStack()
        self._writer = self._stack.enter_context(VideoWriter(path, self._fps))
        # One thread keeps the frames in order; it ends before the writer does.
        self._behind = self._stack.enter_context(WriteBehind(threads=1))
        self._size: tuple[int, int] | None = None
        self._written = 0  # with those that a gap left out

    def show(self, tick: Tick) -> None:
        """Append a new frame; a live recording repeats the last one when there is none."""
        if tick.camera != self._camera:
            return
        count = self._due(tick) if self._live else int(tick.fresh)
        if count <= 0:
            return
        self._written += count
        self._size = self._size or tick.picture.size
        if self._live:
            # Whoever wrote an hour at once would keep the loop waiting until it is encoded.
            count = min(count, max(1, round(LONGEST_GAP * self._fps)))
        self._behind.submit(lambda: self._append(tick, count), tick.picture.image)

    def _due(self, tick: Tick) -> int:
        """How many frames a live recording lacks up to now; may be negative.

        Without a fresh picture the frame of this moment is left open: one may still come for it.
        """
        if tick.fresh:
            return round(tick.picture.time * self._fps) + 1 - self._written
        now = tick.picture.time + time.monotonic() - tick.picture.captured
        return round(now * self._fps) - self._written

    def _append(self, tick: Tick, count: int) -> None:
        assert self._size is not None
        picture = fit(tick.drawn, self._size)
        if not self._live:
            self._writer.write(picture, tick.picture.time)
            return
        for _ in range(count):
            self._writer.write(picture)

    def __exit__(self, kind: Any, error: Any, traceback: Any) -> None:
        film = self._film if error is None and self._written else None
        if film is not None and not self._live:
            self._writer.end = film.end
        self._stack.__exit__(kind, error, traceback)
        if film is not None:
            # Whoever ends the playing early does not want to hear the rest.
            copy_sound(film, self.path, self._written / self._fps if self._live else None)


def fit(image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """The picture itself when it has the ``size`` (height, width), else shrunk into it on black."""
    height, width = size
    if image.shape[:2] == size:
        return image
    picture = Image.fromarray(image)
    picture.thumbnail((width, height), Image.Resampling.BILINEAR)
    canvas = Image.new("RGB", (width, height))
    canvas.paste(picture, ((width - picture.width) // 2, (height - picture.height) // 2))
    return np.asarray(canvas)


class Snapshots:
    """Saves drawn pictures into a folder, each with its faces as JSON beside it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def save(self, tick: Tick, label: str = "snapshot") -> Path:
        """Save a tick now; the file's path. Its name tells ``label``, frame and a free number."""
        safe = file_name(label)
        stem = f"{safe}-{tick.picture.index:06d}"
        number, path = 1, self.folder / f"{stem}.jpg"
        while path.exists():
            number += 1
            path = self.folder / f"{stem}-{number}.jpg"
        save_image(path, tick.drawn)
        path.with_suffix(".json").write_text(tick.faces.line() + "\n", encoding="utf-8")
        return path


def file_name(text: str) -> str:
    """``text`` as the harmless part of a file name: letters and digits of any script, - and _."""
    return re.sub(r"[^\w-]+", "_", text).strip("_")[:60] or "unnamed"
