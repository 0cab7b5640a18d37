"""What has an end: a context manager for all that has a `close`."""

from __future__ import annotations

from types import TracebackType
from typing import Self


class Closing:
    """Leaving the block calls `close`, whatever happened in it, unless `leave` says otherwise."""

    def close(self) -> None:
        """Give back what is held."""
        raise NotImplementedError

    def leave(self, error: BaseException | None) -> None:
        """The end of the block, with what was raised in it."""
        self.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.leave(error)
