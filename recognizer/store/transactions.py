"""The transactions of `recognizer.store.people.Store`: one connection to read and one to write."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from faces.closing import Closing
from faces.errors import UserError
from recognizer.store import journal
from recognizer.store import read as store_read
from recognizer.store.address import Place, PostgresAddress
from recognizer.store.database import Connection, Database
from recognizer.store.journal import Doing
from recognizer.store.schema import SqliteFile
from recognizer.store.tables import SCHEMA
from recognizer.store.write import set_meta

logger = logging.getLogger(__name__)


class Transactions(Closing):
    """A database that is open, bound to one fingerprint; every thread may use it.

    Raises UserError, inside of transactions too, for what can happen to a file or a server.
    """

    def __init__(self, path: Place) -> None:
        self.path = path
        self._database = database_at(path)
        self._reader, self._writer = self._database.connect(), self._database.connect()
        self._read_lock, self._write_lock = threading.Lock(), threading.Lock()
        meta = store_read.meta(self._reader)
        self._fingerprint, self._dimension = str(meta["contract"]), int(meta["dimension"])
        if int(meta.get("unscrubbed", 0)):
            self._scrub()

    def close(self) -> None:
        """The last one to close the file also folds its log into it."""
        self._database.close()
        self._reader.close()
        self._writer.close()

    @property
    def fingerprint(self) -> str:
        """Of the embedder whose vectors it holds."""
        return self._fingerprint

    @property
    def dimension(self) -> int:
        """Length D of its vectors."""
        return self._dimension

    def wait(self, stop: threading.Event, seconds: float) -> None:
        """Until another program may have changed something, ``stop`` is set, or the time is over.

        A database tells of changes at once; a file has to be looked at, which is what the
        ``seconds`` are for. One thread may wait.
        """
        self._database.wait(stop, seconds)

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """One moment: what another program writes meanwhile is not seen."""
        with (
            self._read_lock, self._database.explained(), self._database.reading(self._current())
        ):  # fmt: skip
            self._check_unchanged(self._reader)
            yield self._reader

    def _current(self) -> Connection:
        """The connection to read from, which sees what has been written until now."""
        self._reader = self._database.current(self._reader)
        return self._reader

    @contextmanager
    def noting(self) -> Iterator[Connection]:
        """A transaction that changes nothing of who is known: ``version`` stays."""
        with self._write_lock, self._database.explained(), self._database.changing(self._writer):
            self._check_unchanged(self._writer)
            yield self._writer

    @contextmanager
    def changing(self, doing: Doing | None = None) -> Iterator[Connection]:
        """A transaction; ``doing`` is what a person does by it, so that it can be undone."""
        with self.noting() as db:
            with (
                nullcontext()
                if doing is None
                else journal.recorded(db, doing, self._database.noted)
            ):
                yield db
            db.execute("UPDATE meta SET value = CAST(value AS BIGINT) + 1 WHERE key = 'version'")

    @contextmanager
    def forgetting(self) -> Iterator[Connection]:
        """A change after which what it took away shall not be found in the file's bytes.

        The note that this is still to be done is part of the change: whoever opens the file next
        does it, should we be killed.
        """
        with self.changing() as db:
            yield db
            set_meta(db, "unscrubbed", 1)
        with self._write_lock, self._database.explained():
            self._scrub()

    def _scrub(self) -> None:
        in_the_way = self._database.scrub(self._writer)
        if in_the_way is not None:
            logger.warning(
                "%s: %s; the change is made, but the bytes of what was removed are overwritten "
                "only when the file is opened next",
                self.path, in_the_way,
            )  # fmt: skip

    def _check_unchanged(self, db: Connection) -> None:
        meta = store_read.meta(db)
        schema = self._database.schema(db)
        if (meta["contract"], int(meta["dimension"])) != (self._fingerprint, self._dimension):
            raise UserError(
                f"{self.path} was rebuilt for another embedder ({meta['contract']}): start again"
            )
        if schema != SCHEMA:
            raise UserError(f"{self.path} was upgraded by a newer version of faces: update faces")


def database_at(where: Place) -> Database:
    """What is at this place; nothing is opened yet."""
    if isinstance(where, PostgresAddress):
        from recognizer.store.postgres import Postgres

        return Postgres(where)
    return SqliteFile(where)
