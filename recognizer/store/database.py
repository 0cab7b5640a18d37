"""What `recognizer.store.people` asks of the database behind it: SQLite's file or PostgreSQL.

Both understand the same SQL, see `recognizer.store.read` and `recognizer.store.write`: parameters
are ``?``, ``ON CONFLICT`` in place of what only one of them knows.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from faces.errors import UserError


class StoreUnreachable(UserError):
    """The database does not answer; nothing was changed, unless the message says otherwise.

    Args:
        retry_after: seconds until it is tried again; asking sooner gives the same answer.
        in_doubt: it went away while a change was being made, wholly or not at all.
    """

    def __init__(self, message: str, retry_after: float = 1.0, in_doubt: bool = False) -> None:
        super().__init__(message)
        self.retry_after, self.in_doubt = retry_after, in_doubt


class Rows(Protocol):
    """What a statement gives."""

    @property
    def rowcount(self) -> int:
        """How many rows it changed."""

    def __iter__(self) -> Iterator[Any]: ...
    def fetchone(self) -> Any:
        """The next row, None at the end."""

    def fetchall(self) -> list[Any]:
        """The rest."""


class Connection(Protocol):
    """One thread at a time may use it."""

    def execute(self, sql: str, parameters: Sequence[Any] = (), /) -> Rows:
        """One statement."""

    def executemany(self, sql: str, parameters: Iterable[Sequence[Any]], /) -> object:
        """One statement for each row of parameters."""

    def close(self) -> None:
        """Let go; what was not committed is undone."""


class Database(Protocol):
    """Where the tables are."""

    def exists(self) -> bool:
        """Whether people are, or have been, kept there."""

    def prepare(self, create: dict[str, object] | None) -> None:
        """Make the tables when they are missing, and bring them to this version.

        Args:
            create: what the table ``meta`` shall hold when it is made; None when it must exist.

        Raises UserError when it is missing, foreign, or of a newer version.
        """

    def connect(self) -> Any:
        """A new connection, outside of any transaction."""

    def current(self, db: Any) -> Any:
        """``db``; or a new connection in its place, where it would not see what others wrote."""

    def is_misfit(self, error: Exception) -> bool:
        """Whether a change was refused because it does not go with what is there."""

    def explained(self) -> AbstractContextManager[None]:
        """Turn what can happen to a database into UserError; mistakes of ours pass unchanged."""

    def reading(self, db: Any) -> AbstractContextManager[None]:
        """One moment: what others write meanwhile is not seen."""

    def changing(self, db: Any) -> AbstractContextManager[None]:
        """All or nothing, one writer at a time; others are told at the end."""

    def schema(self, db: Any) -> int:
        """The version of the tables."""

    def noted(self, db: Any, act: int) -> AbstractContextManager[None]:
        """Note every row that is changed inside under an act, see `recognizer.store.journal`."""

    def scrub(self, db: Any) -> str | None:
        """Overwrite the bytes of what was deleted and note in ``meta`` that it is done, as far as
        that is ours to do; None, or what is in the way."""

    def wait(self, stop: threading.Event, seconds: float) -> None:
        """Until something may have changed, ``stop`` is set, or about ``seconds`` are over."""

    def close(self) -> None:
        """Let go of what `wait` holds."""
