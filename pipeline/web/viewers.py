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


class Viewer:
    """What is to be sent to one browser. Only the server's event loop may touch it."""

    def __init__(self) -> None:
        self.latency: float | None = None
        self.numbers: dict[int, int] = {}  # frames of its own camera: our index -> its number
        self._frame: Frame | None = None
        self._texts: dict[str, str] = {}
        self._replies: deque[str] = deque(maxlen=REPLIES)
        self._sent: dict[int, float] = {}  # frames on their way: index -> captured
        self._latencies: deque[float] = deque(maxlen=15)
        self._something = asyncio.Event()

    @property
    def wants_frame(self) -> bool:
        """Whether a frame would be sent at once."""
        return len(self._sent) < IN_FLIGHT and self._frame is None

    def offer(self, frame: Frame) -> None:
        """Show this next, in place of an older one."""
        self._frame = frame
        self._something.set()

    def shown(self, index: int) -> None:
        """The browser has painted a frame; older ones are past as well."""
        captured = self._sent.get(index)
        if captured is None:
            return
        self._sent = {i: when for i, when in self._sent.items() if i > index}
        self._latencies.append(time.monotonic() - captured)
        self.latency = sorted(self._latencies)[len(self._latencies) // 2]
        self._something.set()

    def restart(self) -> None:
        """Forget what is on its way: its own camera is shown from now on, or no more."""
        self._sent.clear()
        self.numbers.clear()
        self._latencies.clear()
        self._frame, self.latency = None, None
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
            frame = self._frame
            if frame is not None and len(self._sent) < IN_FLIGHT:
                self._frame = None
                self._sent[frame.index] = frame.captured
                await send_bytes(frame.data)
