"""What has an end: a context manager for all that has a `close`."""

from __future__ import annotations

from types import TracebackType
from typing import Self


class Closing:
    """Leaving the block calls `close`, whatever happened in it."""

    def close(self) -> None:
        """Give back what is held."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
