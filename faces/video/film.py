"""Reading films frame by frame as players show them, and writing them."""

from __future__ import annotations

import logging
import os
import threading
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from faces.closing import Closing
from faces.errors import UserError
from faces.files import refuse_pipe, temporary_name
from faces.video.decoders import DEFAULT_FPS, AnimationDecoder, Decoder, OpenCVDecoder
from faces.video.ffprobe import film_packets
from faces.video.kinds import is_animated

logger = logging.getLogger(__name__)

SAMPLE = 3000
"""So many packets, a minute and a half of most films, show at what rate its frames come."""

LONGEST_PAUSE = 3600.0
"""Seconds between two frames above which the recorder's clock was set or began again."""

BELIEVED = 60.5
"""The highest rate for which the word of a film of varying rate is taken: phones and browsers
declare the ticks of their clocks, 1000 or 90000, as the rate."""


@dataclass(frozen=True, eq=False)
class Frame:
    """One frame of a video."""

    index: int  # 0 for the first
    time: float  # seconds from the first frame, as the file says; frames need not be evenly spaced
    image: NDArray[np.uint8]  # RGB uint8 (H, W, 3), as players show it


class VideoReader(Closing):
    """Reads a film frame by frame; a context manager.

    Frames are turned as the film's rotation says and have square pixels. They are mirrored where
    the film says so and ``ffprobe`` is installed (see `faces.video.ffprobe`).

    Attributes:
        fps: frames a second, usually; a fraction such as 29.97 is kept. Where the file's word does
            not fit the times of its frames, these decide.
        rate: frames a second that a film of a constant rate needs to show these: `fps`, or more
            where the rate varies.
        frames: how many there are by the file's own account, often an estimate; 0 when unknown.
        has_sound: None when nobody knows: ``ffprobe`` is missing.
        ended: whether all frames have been read.

    Raises UserError, naming the file, when it is missing or no video that can be decoded.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        refuse_pipe(path)
        if not path.is_file():
            raise UserError(f"{path}: there is no such file")
        self._reading = threading.Lock()
        self._decoder: Decoder
        if is_animated(path):
            self._decoder = AnimationDecoder(path)
            self.has_sound: bool | None = False
        else:
            self._decoder = OpenCVDecoder(path)
            facts = self._decoder.facts
            self.has_sound = facts.has_sound if facts else None
        self.frames = self._decoder.frames
        self.ended = False
        self._declared = self._decoder.fps
        self._step = 1 / (self._declared if self._declared > 0 else DEFAULT_FPS)
        self._decoded = 0
        self._first = 0.0  # of the picture track's clock
        self._leapt = 0.0  # by which that clock was set forward
        self._last = 0.0  # time of the last frame, from the first
        self._lasts: float | None = None  # how long that is shown
        self.fps, self.rate = _rates(self._declared, self._decoder.packet_times(SAMPLE))

    def read(self) -> Frame | None:
        """The next frame; None after the last that can be decoded."""
        found = None
        if not self.ended:
            with self._reading:
                found = self._decoder.read()
        if found is None:  # what comes after a damaged place is not read
            self.ended = True
            return None
        image, clock, self._lasts = found
        if self._decoded == 0:
            self._first = clock
        time = clock - self._first - self._leapt
        if self._decoded and time - self._last > LONGEST_PAUSE:
            self._leapt += time - self._last - self._step
            time = self._last + self._step
        elif self._decoded and not time > self._last:  # some files have no times, or one twice
            time = self._last + self._step
        frame = Frame(self._decoded, time, image)
        self._decoded, self._last = self._decoded + 1, time
        return frame

    @property
    def start(self) -> float:
        """Seconds from the beginning of the file, where sound may begin, to the first frame."""
        facts = self._decoder.facts
        return max(0.0, facts.start + self._first) if facts else 0.0

    @cached_property
    def end(self) -> float:
        """After the last frame: seconds from the first frame until the last one is over."""
        facts = self._decoder.facts
        if self._lasts is None and facts and facts.duration and self._damage is None:
            end = facts.duration - self._first - self._leapt
            if end > self._last:
                return end
        return self._last + self._shown

    @property
    def _shown(self) -> float:
        """For how long the last frame is shown, as far as it tells itself."""
        return 1 / self.rate if self._lasts is None else self._lasts

    def check_end(self) -> None:
        """After the last frame: raise UserError when the file promised clearly more."""
        if self._decoded == 0:
            name = self.path.name
            raise UserError(
                f"{self.path}: cannot read the video: no frame can be decoded; if players show "
                f'it, convert it: ffmpeg -i "{name}" "{self.path.stem}-read.mp4"'
            )
        if self._damage is not None:
            raise UserError(f"{self.path}: the video is damaged or cut short: {self._damage}")

    @cached_property
    def _damage(self) -> str | None:
        """After the last frame: what is missing, None when nothing is.

        A duration proves nothing by itself: it may be an estimate, that of the sound, that of what
        was there before the film was cut, or one that begins before the picture. So where it
        promises more than was seen, what is really in the file is looked at.
        """
        facts, decoder = self._decoder.facts, self._decoder
        seen = self._first + self._leapt + self._last + self._shown
        own = facts is not None and facts.duration is not None
        promised = 0.0
        if decoder.frames:
            promised = decoder.frames / (self._declared if self._declared > 0 else self.fps)
            promised -= 0 if decoder.counted else decoder.start
        if facts is not None and not decoder.counted:
            promised = (facts.duration if own else facts.whole_duration) or 0.0
        elif facts is not None:  # the head of an AVI film counts frames that its duration forgets
            promised = max(promised, facts.duration or 0.0)
        # An estimate may be wrong by half a second or 5 %; by less where the track's end is known.
        slack = max(0.1, 2.5 / self.fps) if own else max(0.5, 0.05 * promised)
        if promised - seen <= slack:
            return None
        told = f"only {seen:.1f} of {promised:.1f} seconds could be read"
        packets = film_packets(self.path, facts) if facts else None
        if facts is not None and packets is not None:
            if packets.last - self._first - self._leapt - self._last > slack:
                return told  # there is more, but it cannot be decoded
            if facts.packets is not None:
                return told if packets.count < facts.packets else None
            reached = packets.whole_end + (0 if own else facts.start + facts.clock)
            return None if promised - reached <= slack else told
        if decoder.counted and len(decoder.packet_times()) < decoder.frames:
            return told
        logger.warning(
            "%s: the picture ends after %.1f of %.1f seconds; only ffprobe, a part of ffmpeg, "
            "could tell whether the rest is sound, was cut off on purpose or is missing",
            self.path, seen, promised,
        )  # fmt: skip
        return None

    def close(self) -> None:
        """Let go of the file; but not while a thread that was left alone still reads it."""
        if self._reading.acquire(blocking=False):
            self._decoder.close()
            self._reading.release()


def _rates(declared: float, times: list[float]) -> tuple[float, float]:
    """`VideoReader.fps` and `VideoReader.rate` from the times of frames, in order."""
    gaps = np.diff(times)
    gaps = gaps[gaps > 0]  # some files have no times, or one twice
    if not len(gaps):
        fps = declared if 0 < declared <= 4 * BELIEVED else DEFAULT_FPS
        return fps, fps
    usual = float(np.sort(gaps)[(len(gaps) - 1) // 2])  # the median, as one of them
    # Many containers round times to milliseconds; what is off by more is a pause or varies.
    alike = gaps[np.abs(gaps - usual) <= max(0.0011, 0.05 * usual)]
    gap, others = float(alike.mean()), len(gaps) - len(alike)
    fps = 1 / gap
    if declared > 0 and abs(1 / declared - gap) <= 0.0015 * (1 + others) / len(alike):
        fps = declared
    if others <= 0.1 * len(gaps):
        return fps, fps
    fastest = 1 / float(np.percentile(gaps, 5))
    if 0.9 * fastest <= declared <= BELIEVED:
        return fps, max(fps, declared)
    return fps, max(fps, fastest)


class VideoWriter(Closing):
    """Writes an MPEG-4 video (.mp4, no sound); a context manager.

    The file takes its name when the block ends without an exception and with at least one frame;
    until then it is a hidden one beside it. Its size is that of the first frame, without the last
    column or row where that is odd.

    Args:
        path: ends in .mp4; its folder is created.
        fps: frames a second, a fraction such as 29.97 kept.

    Attributes:
        end: when the last frame is over, in seconds; None: it lasts as long as any other.

    Raises OSError when the file cannot be written.
    """

    def __init__(self, path: Path, fps: float) -> None:
        self.path = path
        # MPEG-4 counts time in at most 1/65535 seconds.
        self._fps = round(fps, 3 if fps < 65 else 2)
        self._frames = 0
        self._waiting: NDArray[np.uint8] | None = None  # BGR; the next frame tells for how long
        self.end: float | None = None
        self._writer: Any = None  # OpenCV's, from the first frame on
        self._real = Path(os.path.realpath(path))  # where a link leads to: the link stays
        self._real.parent.mkdir(parents=True, exist_ok=True)
        self._part = temporary_name(self._real).with_suffix(path.suffix)  # by which OpenCV goes

    def write(self, image: NDArray[np.uint8], time: float | None = None) -> None:
        """Append an RGB uint8 (H, W, 3) frame; all have the size of the first.

        Args:
            time: seconds from the first frame. The rate of the file is constant, so the frame
                before is repeated until then, or left out where two fall on one place. None: right
                after the frame before.
        """
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
        if self._waiting is not None:
            self._append(1 if time is None else round(time * self._fps) - self._frames)
        self._waiting = np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2BGR), np.uint8)

    def _append(self, count: int) -> None:
        """Write the waiting frame so many times, which may be none."""
        for _ in range(count):
            self._writer.write(self._waiting)
            self._frames += 1

    def leave(self, error: BaseException | None) -> None:
        try:
            if self._writer is not None:
                if error is None:
                    lasts = 1 if self.end is None else round(self.end * self._fps) - self._frames
                    self._append(max(1, lasts))
                self._writer.release()
            if error is None and self._frames:
                self._check()
                self._part.replace(self._real)
        finally:
            self._part.unlink(missing_ok=True)

    def _check(self) -> None:
        """OpenCV says nothing when the disk is full; the finished file does."""
        import cv2

        written = cv2.VideoCapture(os.fspath(self._part), cv2.CAP_FFMPEG)
        complete = written.get(cv2.CAP_PROP_FRAME_COUNT) == self._frames  # 0 when it is broken
        written.release()
        if not complete:
            raise OSError(f"{self.path}: the video could not be written in full; is the disk full?")
