"""One browser that looks at the page: what to send it next.

Nothing queues up here. There is one place for a frame and one for a state, a newer one replaces the
older, and the browser says when a frame is on its screen. So a slow viewer sees fewer frames, never
late ones, and no other viewer waits for it.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

IN_FLIGHT = 2
"""Frames on their way to a browser: one that travels while the other is painted."""

REPLIES = 32
"""Replies that may wait; nobody who clicks has as many."""


@dataclass(frozen=True, eq=False)
class Frame:
    """A message for every viewer: the same bytes, made once."""

    index: int
    captured: float
    data: bytes
    camera: str | None = None


class Viewer:
    """What is to be sent to one browser. Only the server's event loop may touch it."""

    def __init__(self) -> None:
        self.latency: float | None = None
        self.numbers: dict[int, int] = {}  # frames of its own camera: our index -> its number
        self._frames: dict[str | None, Frame] = {}  # camera -> its newest
        self._texts: dict[str, str] = {}
        self._replies: deque[str] = deque(maxlen=REPLIES)
        self._sent: dict[tuple[str | None, int], float] = {}  # on their way -> when captured
        self._latencies: deque[float] = deque(maxlen=15)
        self._something = asyncio.Event()

    def wants(self, camera: str | None) -> bool:
        """Whether a frame of this camera would be sent at once."""
        return self._free(camera) and camera not in self._frames

    def _free(self, camera: str | None) -> bool:
        return sum(of == camera for of, _ in tuple(self._sent)) < IN_FLIGHT

    def offer(self, frame: Frame) -> None:
        """Show this next, in place of an older one."""
        self._frames[frame.camera] = frame
        self._something.set()

    def shown(self, index: int, camera: str | None = None) -> None:
        """The browser has painted a frame; older ones of the camera are past as well."""
        captured = self._sent.get((camera, index))
        if captured is None:
            return
        self._sent = {
            (of, i): when for (of, i), when in self._sent.items() if of != camera or i > index
        }
        self._latencies.append(time.monotonic() - captured)
        self.latency = sorted(self._latencies)[len(self._latencies) // 2]
        self._something.set()

    def restart(self) -> None:
        """Forget what is on its way: its own camera is shown from now on, or no more."""
        self._sent.clear()
        self.numbers.clear()
        self._latencies.clear()
        self._frames.clear()
        self.latency = None
        self._something.set()

    def tell(self, kind: str, text: str) -> None:
        """Send a text of this kind, in place of an older one that was not sent yet."""
        self._texts[kind] = text
        self._something.set()

    def answer(self, text: str) -> None:
        """Send a text that nothing replaces."""
        self._replies.append(text)
        self._something.set()

    async def send(
        self,
        send_text: Callable[[str], Awaitable[None]],
        send_bytes: Callable[[bytes], Awaitable[None]],
    ) -> None:
        """Send for ever; ends with what sending raises."""
        while True:
            await self._something.wait()
            self._something.clear()
            while self._replies:
                await send_text(self._replies.popleft())
            while self._texts:
                await send_text(self._texts.pop(next(iter(self._texts))))
            for camera in tuple(self._frames):
                if self._free(camera) and (frame := self._frames.pop(camera, None)):
                    self._sent[camera, frame.index] = frame.captured
                    await send_bytes(frame.data)
