"""Whoever is removed is gone to the last byte of every file."""

from __future__ import annotations

import logging
import sqlite3
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from faces.errors import UserError
from recognizer.store.people import Store
from recognizer.store.schema import connect
from tests.recognizer.store.test_people import DIMENSION, head, picture, vectors


def bytes_of(path: Path) -> bytes:
    """Everything that the file and its companions hold."""
    return b"".join(file.read_bytes() for file in sorted(path.parent.glob(f"{path.name}*")))


@pytest.fixture
def store(path):
    with Store.open(path, "c", DIMENSION) as store:
        yield store


MARK = "Zyxwvutsrq"


@pytest.mark.parametrize("neighbors", [0, 40])
@pytest.mark.parametrize("reader_is_there", [False, True])
def test_removing_leaves_no_trace_in_any_file(file, neighbors, reader_is_there):
    with Store.open(file, "c", DIMENSION) as store, Store.open(file, "c", DIMENSION) as reader:
        for i in range(neighbors):
            store.add(f"Other {i}", vectors(3, 100 + i), [picture(j) for j in range(3)])
        mine, pictures = vectors(5, 7), [picture(50 + i) for i in range(5)]
        for i in range(5):
            store.add(MARK, mine[i : i + 1], pictures[i : i + 1], f"photo {MARK}.jpg")
            store.add("Other", vectors(1, 200 + i))
        store.save_head(head(MARK, "Other", None))
        if reader_is_there:
            reader.snapshot()
        needles = {
            "name": MARK.encode(),
            "vector": mine[0].tobytes(),
            "picture": pictures[0].png[40:140],
            "class": head(MARK, "Other", None).weight[0].tobytes(),
        }
        everything = bytes_of(file)
        for what, needle in needles.items():
            assert needle in everything, f"the test must be able to find the {what}"
        store.remove(MARK)
        everything = bytes_of(file)
        assert [what for what, needle in needles.items() if needle in everything] == []
        assert store.snapshot().head.names == ("Other", None)
        assert len(store.people()) == neighbors + 1


def test_a_former_name_leaves_no_trace(file):
    with Store.open(file, "c", DIMENSION) as store:
        store.add(MARK, vectors(1))
        store.rename(MARK, "Anna")
        assert MARK.encode() in bytes_of(file), "it can be undone for a day"
        store.forget_acts()
        assert MARK.encode() not in bytes_of(file)
        store.add(MARK, vectors(1))
        store.merge(MARK, "Anna")
        store.remove("Anna")  # whoever is forgotten takes along what could be undone
        assert MARK.encode() not in bytes_of(file)


def test_traces_that_a_reader_held_are_wiped_at_the_next_opening(file, monkeypatch, caplog):
    monkeypatch.setattr("recognizer.store.schema.BUSY_SECONDS", 0.05)
    with Store.open(file, "c", DIMENSION) as store:
        store.add(MARK, vectors(1))
        with closing(sqlite3.connect(file, isolation_level=None)) as reader:
            reader.execute("BEGIN")
            assert reader.execute("SELECT count(*) FROM person").fetchone() == (1,)
            with caplog.at_level(logging.WARNING):
                store.remove(MARK)
            assert "another program is reading" in caplog.text
            assert store.people() == []
            assert MARK.encode() in bytes_of(file), "otherwise this test shows nothing"
            reader.execute("COMMIT")
        with Store.open_existing(file):
            assert MARK.encode() not in bytes_of(file)
    with closing(sqlite3.connect(file)) as db:
        assert db.execute("SELECT value FROM meta WHERE key = 'unscrubbed'").fetchone() == (0,)


class Troubled:
    """A connection whose disk or memory makes trouble as soon as the file is to be scrubbed."""

    def __init__(self, db: sqlite3.Connection, trouble: Exception, at: str) -> None:
        self._db, self._trouble, self._at = db, trouble, at

    def __getattr__(self, name: str) -> Any:
        return getattr(self._db, name)

    def execute(self, sql: str, *values: Any) -> sqlite3.Cursor:
        if self._at in sql:
            raise self._trouble
        return self._db.execute(sql, *values)


def sqlite_error(code: int) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError("as SQLite says it")
    error.sqlite_errorcode = code
    return error


@pytest.mark.parametrize("at", ["VACUUM", "wal_checkpoint", "SET value = 0"])
@pytest.mark.parametrize(
    ("trouble", "reason"),
    [
        (sqlite_error(sqlite3.SQLITE_FULL), "the disk is full"),
        (sqlite_error(sqlite3.SQLITE_IOERR | 3 << 8), "the disk reports an error"),
        (MemoryError(), "the memory is full"),
    ],
    ids=["full", "ioerr", "nomem"],
)
def test_what_keeps_from_scrubbing_undoes_no_forgetting_and_locks_nobody_out(
    file, monkeypatch, caplog, trouble, reason, at
):
    with Store.open(file, "c", DIMENSION) as store:
        store.add(MARK, vectors(1))
    with monkeypatch.context() as patched, caplog.at_level(logging.WARNING):
        patched.setattr(
            "recognizer.store.schema.connect", lambda path: Troubled(connect(path), trouble, at)
        )
        with Store.open(file, "c", DIMENSION) as store:
            store.remove(MARK)
            assert store.people() == []
            assert f"{file}: {reason}; the change is made" in caplog.text
            store.add("Anna", vectors(1))  # the store goes on
        caplog.clear()
        with Store.open_existing(file) as store:
            assert [person.name for person in store.people()] == ["Anna"]
        assert reason in caplog.text
    with Store.open_existing(file):
        assert MARK.encode() not in bytes_of(file)
    with closing(sqlite3.connect(file)) as db:
        assert db.execute("SELECT value FROM meta WHERE key = 'unscrubbed'").fetchone() == (0,)


def test_a_file_larger_than_the_memory_is_scrubbed_later(file, monkeypatch, caplog):
    with Store.open(file, "c", DIMENSION) as store:
        store.add(MARK, vectors(1))
        with monkeypatch.context() as patched, caplog.at_level(logging.WARNING):
            memory = SimpleNamespace(available=1000)
            patched.setattr("recognizer.store.schema.psutil.virtual_memory", lambda: memory)
            store.remove(MARK)
        assert "less memory free than the file is large; the change is made" in caplog.text
        assert store.people() == []
    with Store.open_existing(file):
        assert MARK.encode() not in bytes_of(file)


def test_a_damaged_file_is_no_reason_to_put_scrubbing_off(file, monkeypatch):
    trouble = sqlite_error(sqlite3.SQLITE_CORRUPT)
    monkeypatch.setattr(
        "recognizer.store.schema.connect", lambda path: Troubled(connect(path), trouble, "VACUUM")
    )
    with Store.open(file, "c", DIMENSION) as store:
        store.add("Anna", vectors(1))
        with pytest.raises(UserError, match="damaged"):
            store.remove("Anna")
