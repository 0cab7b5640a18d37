"""How often somebody may ask."""

from __future__ import annotations

import math
import time

from limits import RateLimitItem, parse
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

from faces.errors import UserError
from pipeline.net.sockets import network_of
from pipeline.service.errors import ServiceError

WRONG_KEYS = "30/minute"  # of one address; a key cannot be guessed anyway, this keeps logs short


class RateLimits:
    """Moving windows, in memory.

    Args:
        per_key, per_address: "1200/minute", "20/second", or "none".

    Raises UserError for anything else.
    """

    def __init__(self, per_key: str, per_address: str) -> None:
        self._limiter = MovingWindowRateLimiter(MemoryStorage())
        self._per_key = _parse("per key", per_key)
        self._per_address = _parse("per address", per_address)
        self._wrong_keys = parse(WRONG_KEYS)

    def check_address(self, address: str) -> None:
        """Raises ServiceError ``rate_limited``."""
        self._hit(self._per_address, "address", network_of(address))

    def check_key(self, name: str) -> None:
        """Raises ServiceError ``rate_limited``."""
        self._hit(self._per_key, "key", name)

    def wrong_key(self, address: str) -> None:
        """Somebody has shown a key that is none. Raises ServiceError when it is one of many."""
        self._hit(self._wrong_keys, "wrong", network_of(address))

    def _hit(self, item: RateLimitItem | None, kind: str, who: str) -> None:
        if item is not None and not self._limiter.hit(item, kind, who):
            self._refuse(item, kind, who)

    def _refuse(self, item: RateLimitItem, kind: str, who: str) -> None:
        again = self._limiter.get_window_stats(item, kind, who).reset_time
        pause = max(1, math.ceil(again - time.time()))
        raise ServiceError("rate_limited", f"more than {item} requests", retry_after=pause)


def _parse(what: str, text: str) -> RateLimitItem | None:
    if text == "none":
        return None
    try:
        return parse(text)
    except ValueError as error:
        raise UserError(f"the rate {what} is like 1200/minute, or none; got {text!r}") from error
