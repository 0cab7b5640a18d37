"""Counts failures: one bad frame must not end a loop that runs for days, many in a row must."""

from __future__ import annotations

import logging

log = logging.getLogger(__name__)

MANY = 30
"""Failures in a row after which it is given up."""


class GaveUp(RuntimeError):
    """Nothing has worked for `MANY` times in a row; the last reason is its cause."""


class Patience:
    """Counts failures, and reports them.

    Args:
        what: that fails, for the messages: "looking at a frame".
        many: failures in a row after which `failed` raises.
    """

    def __init__(self, what: str, many: int = MANY) -> None:
        self.what, self.many = what, many
        self.failures = 0
        self._row = 0

    def fine(self) -> None:
        """It has worked."""
        if self._row > 1:
            log.warning("%s works again after %d failures", self.what, self._row)
        self._row = 0

    def failed(self, error: Exception, where: str = "") -> None:
        """Report it: the first of a row with its trace, and those after it briefly.

        Raises GaveUp after too many in a row.
        """
        self.failures += 1
        self._row += 1
        text = f"{self.what} has failed{where}: {describe(error)}"
        if self._row >= self.many:
            raise GaveUp(
                f"gave up: {self.what} has failed {self._row} times in a row, at last with "
                f"{describe(error)}"
            ) from error
        log.warning("%s; it is skipped", text, exc_info=error if self._row == 1 else None)


def describe(error: Exception) -> str:
    """The kind of an error and what it says."""
    return f"{type(error).__name__}: {error}".removesuffix(": ")
