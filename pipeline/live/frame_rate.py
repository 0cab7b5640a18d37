"""How fast the loop goes, over its last two seconds."""

from __future__ import annotations

import statistics
import time
from collections import deque

from pipeline.types import Stats

WINDOW = 2.0
"""Seconds that `pipeline.types.Stats` speak of."""


class FrameRate:
    """Counts frames and looks of one loop."""

    def __init__(self) -> None:
        self.dropped = 0
        self._ticks: deque[tuple[float, float]] = deque()  # (when it came out, its latency)
        self._looks: deque[float] = deque()

    def look(self) -> None:
        """The detector has run once more."""
        self._looks.append(time.monotonic())

    def tick(self, captured: float) -> Stats:
        """A frame that was ``captured`` at that `time.monotonic` has come out."""
        now = time.monotonic()
        self._ticks.append((now, now - captured))
        while now - self._ticks[0][0] > WINDOW:
            self._ticks.popleft()
        while self._looks and now - self._looks[0] > WINDOW:
            self._looks.popleft()
        span = now - self._ticks[0][0]
        return Stats(
            fps=(len(self._ticks) - 1) / span if span > 0 else 0.0,
            looks=len(self._looks) / max(span, 0.5),
            latency=statistics.median(latency for _, latency in self._ticks),
            dropped=self.dropped,
        )
