"""The SQLite file behind `recognizer.store.people`: made, recognized, upgraded and scrubbed."""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path

import psutil

from faces.errors import UserError
from recognizer.store.tables import NEXT, SCHEMA, STEPS, noting_triggers, touching_triggers

logger = logging.getLogger(__name__)

APPLICATION_ID = 0x46414345  # "FACE", at byte 68 of the file: how `file` and we know it
BUSY_SECONDS = 10.0  # how long a writer waits for another one

# What goes wrong with files, as opposed to mistakes in our SQL.
_REASONS = {
    sqlite3.SQLITE_BUSY: f"another program has been writing to it for {BUSY_SECONDS:g} s; try "
    "again when it is done",
    sqlite3.SQLITE_LOCKED: "it is in use; try again",
    sqlite3.SQLITE_CORRUPT: "it is damaged; take a backup, or an export of `faces people export`",
    sqlite3.SQLITE_NOTADB: "it is not a file of people; choose another name",
    sqlite3.SQLITE_FULL: "the disk is full; nothing was changed",
    sqlite3.SQLITE_IOERR: "the disk reports an error",
    sqlite3.SQLITE_IOERR_SHMSIZE: "the disk is full, and reading takes 32 KB beside the file, too",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened; are the file and its folder writable? If "
    "not, copy it, and its -wal where there is one, to a folder where you may write",
    sqlite3.SQLITE_READONLY: "it or its folder cannot be written to; to change it, copy it to a "
    "folder where you may write",
    sqlite3.SQLITE_PERM: "access is not allowed",
}

# What may keep a change that is made already from being scrubbed: that is put off, and the file
# stays usable.
_SCRUB_LATER = {
    sqlite3.SQLITE_BUSY: "another program is using it",
    sqlite3.SQLITE_LOCKED: "another program is using it",
    sqlite3.SQLITE_FULL: "the disk is full",
    sqlite3.SQLITE_IOERR: "the disk reports an error",
    sqlite3.SQLITE_READONLY: "it or its folder cannot be written to",
}


class SqliteFile:
    """A file, see `recognizer.store.database.Database`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._seen: object = None  # the state of a file that cannot be written to, when opened

    def exists(self) -> bool:
        """Whether the file is there."""
        return self.path.exists()

    def prepare(self, create: dict[str, object] | None) -> None:
        prepare(self.path, create)

    def connect(self) -> sqlite3.Connection:
        seen = None if is_writable(self.path) else _state(self.path)
        db = connect(self.path)
        self._seen = seen
        return db

    def current(self, db: sqlite3.Connection) -> sqlite3.Connection:
        if self._seen is None or self._seen == _state(self.path):
            return db
        new = self.connect()  # first: while that fails, the old one is what there is
        db.close()
        return new

    def is_misfit(self, error: Exception) -> bool:
        return isinstance(error, sqlite3.IntegrityError)

    def explained(self) -> AbstractContextManager[None]:
        return explained(self.path)

    def reading(self, db: sqlite3.Connection) -> AbstractContextManager[None]:
        return transaction(db, "DEFERRED")

    def changing(self, db: sqlite3.Connection) -> AbstractContextManager[None]:
        return transaction(db, "IMMEDIATE")

    def schema(self, db: sqlite3.Connection) -> int:
        return int(db.execute("PRAGMA user_version").fetchone()[0])

    @contextmanager
    def noted(self, db: sqlite3.Connection, act: int) -> Iterator[None]:
        """Triggers that last as long as the act note its rows."""
        names = []
        for name, table, event, op, values in noting_triggers():
            names.append(name)
            db.execute(
                f"CREATE TEMP TRIGGER {name} AFTER {event} ON main.{table} BEGIN "
                f"INSERT INTO undo_{table} (act, op, {', '.join(values)}) "
                f"VALUES ({act}, '{op}', {', '.join(values.values())}); END"
            )
        yield
        for name in names:
            db.execute(f"DROP TRIGGER temp.{name}")

    def scrub(self, db: sqlite3.Connection) -> str | None:
        # VACUUM builds the file anew in memory, see `connect`. Who is killed for it would try again
        # at each opening.
        if self.path.stat().st_size > psutil.virtual_memory().available:
            return "there is less memory free than the file is large"
        return scrub(db)

    def wait(self, stop: threading.Event, seconds: float) -> None:
        """Nobody tells: one has to look."""
        stop.wait(seconds)

    def close(self) -> None:
        """Nothing is held."""


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn what can happen to a file into UserError; mistakes of the program pass unchanged."""
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", None)
        reason = None if code is None else _REASONS.get(code) or _REASONS.get(code & 0xFF)
        if reason is None:
            raise
        raise UserError(f"{path}: {reason} ({error})") from error


def connect(path: Path) -> sqlite3.Connection:
    """A connection in autocommit mode to a file that exists.

    ``secure_delete`` overwrites what is deleted; temporary tables stay in memory, so that no copy
    of anybody's vectors gets into the folder of temporary files; ``synchronous=FULL`` makes an
    enrollment that was reported last through a power cut.

    A file that cannot be written to is opened for reading. Where there is no log, nobody is writing
    to it, and SQLite is told that it stays as it is: it could not make the log to see otherwise.
    """
    mode = "rw"
    if not is_writable(path):
        mode = "ro" if _log(path).exists() else "ro&immutable=1"
    db = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}",
        uri=True,
        timeout=BUSY_SECONDS,
        isolation_level=None,
        check_same_thread=False,  # the store has its own locks
    )
    for setting in (
        "foreign_keys=ON",
        "secure_delete=ON",
        "temp_store=MEMORY",
        "synchronous=FULL",
        "trusted_schema=OFF",
    ):
        db.execute(f"PRAGMA {setting}")
    return db


def is_writable(path: Path) -> bool:
    """Whether a file can be changed: itself, and the log beside it made, or written to."""
    log = _log(path)
    beside = os.access(log.parent, os.W_OK) or os.access(log, os.W_OK)
    return os.access(path, os.W_OK) and beside


def _log(path: Path) -> Path:
    """SQLite's write-ahead log; it is beside the file that a link leads to."""
    real = path.resolve()
    return real.with_name(f"{real.name}-wal")


def _state(path: Path) -> tuple[bool, int, int]:
    """Differs when somebody has written to the file, or may be writing. Raises UserError: gone."""
    try:
        there = path.stat()
    except OSError as error:
        raise UserError(f"{path} cannot be read any more: {error.strerror}") from error
    return _log(path).exists(), there.st_mtime_ns, there.st_size


def prepare(path: Path, create: dict[str, object] | None) -> None:
    """Make the file when it is missing, and bring it to this version of the tables.

    Args:
        create: what its table ``meta`` shall hold when it is made; None when it must exist.

    Raises UserError when it is missing, foreign, or of a newer version; nothing is changed then.
    """
    try:
        is_folder, is_there = path.is_dir(), path.exists()
    except OSError as error:
        raise UserError(f"{path} cannot be opened: {error.strerror}") from error
    if is_folder:
        raise UserError(f"{path} is a folder: name the file of people")
    if not is_there:
        if create is None:
            raise UserError(
                f"there is no file of people {path}: enroll somebody with `faces enroll`, or name "
                "another file"
            )
        _touch(path)
    with explained(path), closing(connect(path)) as db:
        version = recognize(db, path)
        if version == 0 and create is None:
            raise UserError(f"{path} is empty: enroll somebody with `faces enroll`")
        if is_writable(path):
            _write_ahead(db)
        if version < SCHEMA:
            _upgrade(db, path, create)


def recognize(db: sqlite3.Connection, path: Path) -> int:
    """The version of a file's tables, 0 for an empty file. Raises UserError for a foreign one."""
    identity, version, tables = db.execute(
        "SELECT (SELECT application_id FROM pragma_application_id), "
        "(SELECT user_version FROM pragma_user_version), (SELECT count(*) FROM sqlite_master)"
    ).fetchone()
    if not tables and not identity and not version:
        return 0
    if identity != APPLICATION_ID:
        raise UserError(f"{path} is a database of another program; choose another name")
    if version > SCHEMA:
        raise UserError(
            f"{path} was written by a newer version of faces (tables of version {version}, this "
            f"one knows up to {SCHEMA}): update faces"
        )
    return int(version)


@contextmanager
def transaction(db: sqlite3.Connection, mode: str) -> Iterator[None]:
    """All or nothing. IMMEDIATE for writers: they wait at the start, never in the middle."""
    db.execute(f"BEGIN {mode}")
    try:
        yield
        db.execute("COMMIT")  # when it fails, the connection must not stay in the transaction
    except BaseException:
        if db.in_transaction:  # a full disk has rolled back already
            db.execute("ROLLBACK")
        raise


def scrub(db: sqlite3.Connection) -> str | None:
    """Leave nothing of what was deleted in the file or its log, and note in it that this is done.

    Deleted rows are overwritten at once (``secure_delete``), but pages that SQLite rearranged may
    hold copies, and the log holds pages as they were: both are written again.

    Returns None, or what is in the way, in words; it can be tried again later.
    """
    try:
        db.execute("VACUUM")
        busy, *_ = db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if busy:
            return "another program is reading"
        with transaction(db, "IMMEDIATE"):
            db.execute("UPDATE meta SET value = 0 WHERE key = 'unscrubbed'")
    except MemoryError:  # what Python makes of SQLITE_NOMEM
        return "the memory is full"
    except sqlite3.OperationalError as error:
        reason = _SCRUB_LATER.get(error.sqlite_errorcode & 0xFF)
        if reason is None:
            raise
        return reason
    return None


def _touch(path: Path) -> None:
    """An empty file that only its owner can read: it will hold faces. The log follows it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))
    except OSError as error:
        raise UserError(f"{path} cannot be made: {error}; name another file") from error


def _write_ahead(db: sqlite3.Connection) -> None:
    """Switch to a write-ahead log: readers and the writer do not wait for each other."""
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            db.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            # Two programs that switch at once: SQLite does not wait here by itself.
            busy = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
            if not busy or time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def _upgrade(db: sqlite3.Connection, path: Path, create: dict[str, object] | None) -> None:
    with transaction(db, "IMMEDIATE"):
        version = recognize(db, path)  # another program may have been faster
        for step in STEPS[version:]:
            for statement in step.split(";"):
                db.execute(statement)  # executescript would commit first
        for name, table, event, _, who in touching_triggers():
            db.execute(f"DROP TRIGGER IF EXISTS {name}")
            db.execute(
                f"CREATE TRIGGER {name} AFTER {event} ON {table} BEGIN "
                f"INSERT INTO touched VALUES ({who}, {NEXT}) "
                "ON CONFLICT (person) DO UPDATE SET version = excluded.version; END"
            )
        if version == 0 and create is not None:
            rows = {"version": 0, "unscrubbed": 0, **create}
            db.executemany("INSERT INTO meta VALUES (?, ?)", list(rows.items()))
            db.execute(f"PRAGMA application_id={APPLICATION_ID}")
        db.execute(f"PRAGMA user_version={SCHEMA}")
    if 0 < version < SCHEMA:
        logger.info("%s: upgraded from version %d to %d", path, version, SCHEMA)
