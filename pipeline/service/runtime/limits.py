"""How much is taken from a caller, and shares of what all callers have in common."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from pipeline.service.errors import ServiceError

MEGABYTE = 2**20


@dataclass(frozen=True)
class Limits:
    """What the service takes; `info` tells callers."""

    max_bytes: int = 20 * MEGABYTE  # of one encoded image
    max_request: int = 64 * MEGABYTE  # bytes of all images of a request, as they are sent
    max_pixels: int = 25_000_000  # of one image; read from its header before anything is decoded
    max_images: int = 16  # in one request
    max_faces: int = 100  # that are given back for one image, the best first
    max_waiting: int = 64  # images in the service at once; more are refused as ``overloaded``
    max_memory: int = 1024 * MEGABYTE  # bytes of all images in the service, encoded and decoded
    batch: int = 4  # images that go through the detector together
    lanes: int = 1  # such batches at once, side by side
    face_batch: int = 16  # faces that go through the embedder at once
    # seconds that the detector waits for images which are just being decoded
    batch_wait: float = 0.004
    decoders: int = 2  # threads that decode images
    deadline: float = 30.0  # seconds after which a request is given up, unless it asks for less
    # liveness challenges at once, those included that can still be asked for
    max_sessions: int = 64


class Shares:
    """A common good of which one caller may hold at most a part.

    So a caller that sends as much as it can finds its own requests refused, and leaves room for
    others.

    Args:
        what: for messages, "images waiting".
        part: fraction (0..1] that one caller may hold.
        pause: seconds after which a refused caller should come back.
    """

    def __init__(
        self,
        what: str,
        total: int,
        part: float = 0.75,
        pause: Callable[[], float] = lambda: 1.0,
    ) -> None:
        self.what, self.total, self.pause = what, total, pause
        self.most = max(1, int(total * part))
        self._held: Counter[str] = Counter()
        self._sum = 0
        self._lock = threading.Lock()

    @property
    def held(self) -> int:
        """By everyone."""
        return self._sum

    def take(self, caller: str, amount: int) -> None:
        """Hold more. Raises ServiceError ``overloaded``, at once, when too much is held.

        A caller that holds nothing may take any amount that fits into the total: otherwise a large
        request could never be served.
        """
        with self._lock:
            held = self._held[caller]
            alone = held == 0 and self._sum + amount <= self.total
            if not alone and (self._sum + amount > self.total or held + amount > self.most):
                if not held:
                    del self._held[caller]
                raise ServiceError(
                    "overloaded", f"too many {self.what}: come back later", retry_after=self.pause()
                )
            self._held[caller] += amount
            self._sum += amount

    def give_back(self, caller: str, amount: int) -> None:
        """Hold less."""
        with self._lock:
            self._sum -= amount
            self._held[caller] -= amount
            if not self._held[caller]:
                del self._held[caller]
