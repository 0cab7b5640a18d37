"""How often somebody may ask."""

from __future__ import annotations

import math
import time
from typing import Literal

from limits import RateLimitItem, parse
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

from faces.errors import UserError
from pipeline.net import network_of
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
        self._rates = {
            "key": _parse("per key", per_key),
            "address": _parse("per address", per_address),
            "wrong key": parse(WRONG_KEYS),
        }

    def check(self, kind: Literal["key", "address", "wrong key"], who: str) -> None:
        """Count one request; ``who`` is the id of a key, or an address.

        Raises ServiceError ``rate_limited`` when it is one too many.
        """
        item = self._rates[kind]
        who = who if kind == "key" else network_of(who)
        if item is not None and not self._limiter.hit(item, kind, who):
            again = self._limiter.get_window_stats(item, kind, who).reset_time
            pause = max(1, math.ceil(again - time.time()))
            raise ServiceError("rate_limited", f"more than {item} requests", retry_after=pause)


def _parse(what: str, text: str) -> RateLimitItem | None:
    if text == "none":
        return None
    try:
        item = parse(text)
    except ValueError as error:
        raise UserError(f"the rate {what} is like 1200/minute, or none; got {text!r}") from error
    if item.amount < 1:
        raise UserError(f"the rate {what} lets nobody in; got {text!r}")
    return item
