"""A camera, a stream or a pipe that is read in a thread, of which only the newest frame counts."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from faces.closing import Closing
from faces.errors import UserError
from pipeline.sources.captures import DEFAULT_FPS, Capture
from pipeline.types import Picture

if TYPE_CHECKING:
    from faces.video.film import VideoReader

logger = logging.getLogger(__name__)

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 10.0
"""Seconds until a camera that is gone is tried again: the first time, and at most. The pause grows
until there is a frame: some devices can be opened and give none."""

STALLED = 5.0
"""Seconds without a frame after which a live source says so."""

FLOOD = 100.0
"""Frames a second, on average, that are read of one of several cameras: decoding one that sends as
fast as it can would keep a core busy."""

BURST = 2.0
"""Seconds of them that may come at once, as after a pause, so that the newest is soon there."""


MOST_WAITING = 12
"""Frames of a played film that wait at most, however large they are."""


@dataclass
class Together:
    """What several cameras share.

    One that is not there when the program begins is waited for, as one that is unplugged later.
    """

    # the `time.monotonic` from which the times of their frames count, all alike
    zero: float = field(default_factory=time.monotonic)
    # set when any of them has a new frame, or has ended
    news: threading.Event = field(default_factory=threading.Event)


class LiveSource(Closing):
    """The newest frame of a capture that is read in a thread.

    Args:
        open_capture: opens it; called again when it is gone. The first time in the caller's thread,
            where its UserError belongs.
        name: for messages, without secrets.
        reopen: wait for a capture that is gone and open it again; else its end is the end.

    Attributes:
        film: the film that is played; None for a camera.
        mirrored: left and right are exchanged.
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
        together: Together | None = None,
    ) -> None:
        self.name = name
        self.dropped = 0
        self.mirrored = mirror
        self._open, self._reopen, self._pauses = open_capture, reopen, pauses
        self._pause = pauses[0]  # until the next try
        self._gone = False  # and that was said
        self._together = together
        self._credit, self._credited = FLOOD * BURST, 0.0
        first = None if together and reopen else open_capture()
        self.fps = first.fps if first else DEFAULT_FPS
        self.film: VideoReader | None = getattr(first, "film", None)
        self._slot = threading.Condition()
        self._waiting: deque[Picture] = deque(maxlen=MOST_WAITING)
        self._problem: str | None = None
        self._error: BaseException | None = None
        self._over = False
        self._count = 0
        self._start = self._heard = time.monotonic()
        self._stop = threading.Event()
        self._first = first
        # A thread that hangs in a driver must not keep the program from ending.
        self._thread = threading.Thread(
            target=self._work, args=(first,), name=f"read {name}", daemon=True
        )

    def start(self) -> None:
        """Begin to read; the first `read` does it, too.

        Until then a camera is open and a played file stands still, while networks are loaded.
        """
        if self._thread.ident is None:
            self._start = self._heard = time.monotonic()
            self._thread.start()

    @property
    def ready(self) -> bool:
        """Whether `read` gives something without waiting: a frame, the end or an error."""
        return bool(self._waiting) or self._over

    @property
    def ended(self) -> bool:
        """Whether there will be no frame any more."""
        with self._slot:
            return self._over and not self._waiting

    @property
    def status(self) -> str | None:
        """Why there is no picture just now."""
        silent = time.monotonic() - self._heard
        begun = self._thread.ident is not None
        if self._problem is None and silent > STALLED and begun and not self._over:
            return f"no picture from {self.name} for {silent:.0f} s"
        return self._problem

    def read(self, timeout: float) -> Picture | None:
        """The newest frame that was not read yet; None after ``timeout`` seconds without one.

        Of a played film, whose frames may wait, the oldest that is not too late yet.

        Raises what ended the thread.
        """
        self.start()
        with self._slot:
            self._slot.wait_for(lambda: self._waiting or self._over, timeout)
            picture = self._waiting.popleft() if self._waiting else None
            if picture is None and self._error is not None:
                raise self._error
            return picture

    def check_end(self) -> None:
        """A live source may end at any time."""

    def stop(self) -> None:
        """Begin to end the thread, without waiting for it; `close` does."""
        self._stop.set()

    def close(self) -> None:
        """End the thread."""
        self.stop()
        if self._thread.ident is None:
            if self._first is not None:
                self._first.close()
        else:
            self._thread.join(timeout=2.0)

    def _work(self, capture: Capture | None) -> None:
        try:
            if capture is None:
                capture = self._open_at_last()
            while capture is not None and not self._stop.is_set():
                with closing(capture):  # whatever goes wrong while it is read
                    while not self._stop.is_set() and (image := capture.read()) is not None:
                        self._put(
                            image, getattr(capture, "time", None), getattr(capture, "wait", 0.0)
                        )
                        if self._together is not None:
                            self._hold_back()
                again = self._reopen and not self._stop.is_set()
                capture = self._wait_for_it() if again else None
            if capture is not None:
                capture.close()
        except BaseException as error:  # for the thread that reads us
            self._error = error
        finally:
            with self._slot:
                self._over = True
                self._slot.notify_all()
            self._tell()

    def _tell(self) -> None:
        if self._together is not None:
            self._together.news.set()

    def _hold_back(self) -> None:
        """Let one that floods wait, see `FLOOD`."""
        now = time.monotonic()
        earned = FLOOD * (now - self._credited)
        self._credit, self._credited = min(self._credit + earned, FLOOD * BURST) - 1, now
        if self._credit < 0:
            self._stop.wait(-self._credit / FLOOD)

    def _put(self, image: NDArray[np.uint8], time_of_file: float | None, wait: float) -> None:
        now = time.monotonic()
        if self._gone:
            logger.warning("%s is back", self.name)
            self._gone, self._pause = False, self._pauses[0]
        if self.mirrored:
            image = np.ascontiguousarray(image[:, ::-1])
        if self._count == 0:
            self._start = now
        # A file's pictures have times of their own; those of a camera are when they came.
        seconds = now - self._start if time_of_file is None else time_of_file
        if self._together is not None:
            seconds, wait = now - self._together.zero, 0.0  # nobody waits for anybody
        picture = Picture(self._count, seconds, image, now, wait=wait)
        self._count += 1
        with self._slot:
            self._drop_late(now)
            self._waiting.append(picture)
            self._problem, self._heard = None, now
            self._slot.notify_all()
        self._tell()

    def _drop_late(self, now: float) -> None:
        """A frame is replaced by a newer one; of a film when it has waited longer than it may."""
        waiting = self._waiting
        while waiting and (
            len(waiting) == MOST_WAITING or now - waiting[0].captured >= 2 * waiting[0].wait
        ):
            waiting.popleft()
            self.dropped += 1

    def _open_at_last(self) -> Capture | None:
        """The first time, in the thread: a camera that is away must not keep the others waiting."""
        self._problem = f"opening {self.name}"
        try:
            return self._open()
        except UserError as error:
            logger.warning("%s; waiting for it", error)
            self._gone = True
            return self._wait_for_it()

    def _wait_for_it(self) -> Capture | None:
        """Try until it is there again; None when we are closed meanwhile."""
        if not self._gone:
            logger.warning("%s is gone; waiting for it", self.name)
            self._gone = True
        while True:
            self._problem = f"{self.name} is gone; trying again in {self._pause:.1f} s"
            if self._stop.wait(self._pause):
                return None
            self._pause = min(self._pause * 2, self._pauses[1])
            try:
                capture = self._open()
            except UserError:
                continue
            self._problem = f"{self.name} can be opened again; waiting for a picture"
            return capture
