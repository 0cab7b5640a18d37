"""Which files are taken, which are refused, and what becomes of those of an older version."""

from __future__ import annotations

import logging
import os
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from faces.errors import UserError
from recognizer.rule import Thresholds
from recognizer.store.face_picture import FacePicture
from recognizer.store.people import Store
from recognizer.store.schema import (
    APPLICATION_ID,
    SCHEMA,
    STEPS,
    connect,
    explained,
    transaction,
)
from recognizer.store.write import NewSample
from recognizer.types import unit

DIMENSION = 8
VECTORS = unit(np.random.default_rng(0).normal(size=(3, DIMENSION)))

# Word for word what version 1 wrote; it must never be changed to suit the code.
VERSION_1 = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value NOT NULL) WITHOUT ROWID;
CREATE TABLE person (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    created TEXT NOT NULL
);
CREATE TABLE sample (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    person_id INTEGER NOT NULL REFERENCES person (id) ON DELETE CASCADE,
    embedding BLOB NOT NULL,
    source TEXT NOT NULL,
    created TEXT NOT NULL
);
CREATE INDEX sample_person ON sample (person_id);
INSERT INTO meta VALUES ('version', 12), ('unscrubbed', 0), ('contract', 'c'), ('dimension', 8);
INSERT INTO person VALUES (3, 'Anna', '2024-01-02T03:04:05+00:00');
INSERT INTO person VALUES (4, 'Bob', '2024-01-02T03:04:06+00:00');
PRAGMA application_id = 1178682181;
PRAGMA user_version = 1;
"""


def make_version_1(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA journal_mode=WAL")
        db.executescript(VERSION_1)
        for person, vector in zip((3, 3, 4), VECTORS, strict=True):
            row = (person, vector.astype("<f4").tobytes(), "photo old.jpg", "2024-01-02T03:04:05Z")
            db.execute(
                "INSERT INTO sample (person_id, embedding, source, created) VALUES (?, ?, ?, ?)",
                row,
            )
        db.commit()


def schema(path: Path) -> tuple[int, list[str]]:
    with closing(sqlite3.connect(path)) as db:
        tables = db.execute("SELECT name FROM sqlite_master WHERE sql IS NOT NULL ORDER BY name")
        return db.execute("PRAGMA user_version").fetchone()[0], [name for (name,) in tables]


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "people.db"


# -- older versions


def test_a_file_of_version_1_is_upgraded_with_everything_in_it(path, caplog):
    make_version_1(path)
    with caplog.at_level(logging.INFO), Store.open(path, "c", DIMENSION) as store:
        gallery = store.snapshot().gallery
        assert gallery.names == ("Anna", "Anna", "Bob")
        assert np.array_equal(gallery.embeddings, VECTORS)
        assert store.version() == 12
        assert store.people()[0].created == "2024-01-02T03:04:05+00:00"
        assert store.samples("Bob")[0].source == "photo old.jpg"
        # What came with version 2 works on the old rows and on new ones.
        picture = FacePicture.of(np.zeros((9, 9, 3), np.uint8), np.array([1, 1, 8, 8], np.float32))
        store.add("Anna", VECTORS[:1], [picture])
        assert [sample.picture is None for sample in store.samples("Anna")] == [True, True, False]
        store.save_thresholds(Thresholds(0.6, 0.6))
        # And what came with version 3.
        store.deny("Anna", [NewSample(VECTORS[2])])
        assert store.snapshot().denied.names == ("Anna",)
        assert store.undo().what == "this is not Anna"
        assert store.snapshot().denied.names == ()
        store.remove("Bob")
    assert "upgraded from version 1 to 4" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.INFO), Store.open(path, "c", DIMENSION) as store:
        assert store.snapshot().gallery.people == ("Anna",)
    assert caplog.text == "", "the second time there is nothing to upgrade"


def test_an_upgraded_file_has_the_tables_of_a_new_one(path, tmp_path):
    make_version_1(path)
    Store.open(path, "c", DIMENSION).close()
    new = tmp_path / "new.db"
    Store.open(new, "c", DIMENSION).close()
    assert schema(path) == schema(new)
    assert schema(new)[0] == SCHEMA == len(STEPS) == 4


def test_an_upgrade_that_fails_leaves_the_old_file(path, monkeypatch):
    make_version_1(path)
    monkeypatch.setattr(
        "recognizer.store.schema.STEPS", (STEPS[0], STEPS[1] + "; CREATE TABLE person (id INTEGER)")
    )
    with pytest.raises(sqlite3.OperationalError, match="already exists"):
        Store.open(path, "c", DIMENSION)
    version, tables = schema(path)
    assert version == 1
    assert "head_class" not in tables


# -- files that are not ours


def test_another_fingerprint_is_refused_with_advice(path):
    with Store.open(path, "mini", DIMENSION) as store:
        store.add("Anna", VECTORS)
    with pytest.raises(UserError, match=r"(?s)another embedder.*mini.*faces people reembed"):
        Store.open(path, "inception", DIMENSION)
    with Store.open_existing(path) as store:
        assert (store.fingerprint, store.dimension) == ("mini", DIMENSION)


@pytest.mark.parametrize("kept", ["", "a person", "thresholds"])
def test_a_file_in_which_nothing_is_kept_becomes_the_next_embedders(path, kept):
    with Store.open(path, "mini", DIMENSION) as store:
        store.add("Anna", VECTORS)
        if kept != "a person":
            store.undo()
        if kept == "thresholds":
            store.save_thresholds(Thresholds(0.6, 0.6))
    if kept:
        with pytest.raises(UserError, match="another embedder"):
            Store.open(path, "inception", 4, take_over=True)
        return
    with Store.open(path, "inception", 4, take_over=True) as store:
        assert (store.fingerprint, store.dimension) == ("inception", 4)
        store.add("Anna", unit(np.ones((1, 4))))
    with Store.open(path, "inception", 4) as store:
        assert store.snapshot().gallery.names == ("Anna",)


def test_who_only_reads_takes_over_no_file_of_a_program_that_runs(path):
    with Store.open(path, "mini", DIMENSION) as running:
        with pytest.raises(UserError, match=r"another embedder.*enroll somebody with this one"):
            Store.open(path, "inception", 4)
        assert running.snapshot().gallery.names == ()
        running.add("Anna", VECTORS)


def test_a_newer_file_is_refused_and_left_alone(path):
    Store.open(path, "c", DIMENSION).close()
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version = 99")
    before = path.read_bytes()
    with pytest.raises(UserError, match=r"newer version of faces .*99.*: update faces"):
        Store.open(path, "c", DIMENSION)
    assert path.read_bytes() == before


def test_the_database_of_another_program_is_refused_and_left_alone(path):
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE bookmarks (url TEXT)")
    before = path.read_bytes()
    with pytest.raises(UserError, match="database of another program; choose another name"):
        Store.open(path, "c", DIMENSION)
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize(
    "content", [b"name,vector\n" * 100, os.urandom(5000)], ids=["csv", "noise"]
)
def test_what_is_no_database_is_refused_and_left_alone(path, content):
    path.write_bytes(content)
    with pytest.raises(UserError, match="choose another name"):
        Store.open(path, "c", DIMENSION)
    assert path.read_bytes() == content


def test_a_folder_is_refused(tmp_path):
    with pytest.raises(UserError, match="is a folder"):
        Store.open(tmp_path, "c", DIMENSION)


@pytest.mark.parametrize("place", ["people.db", "x/people.db"])
def test_a_path_below_a_file_is_refused(tmp_path, place):
    (tmp_path / "plain").write_text("a file, no folder", encoding="utf-8")
    with pytest.raises(UserError, match=r"people.db cannot be made: .*name another file"):
        Store.open(tmp_path / "plain" / place, "c", DIMENSION)


def test_a_path_that_cannot_be_looked_at_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"cannot be (opened|made)"):
        Store.open(tmp_path / ("x" * 5000), "c", DIMENSION)


def test_reading_makes_no_file(path):
    with pytest.raises(UserError, match=r"no file of people.*faces enroll"):
        Store.open_existing(path)
    assert not path.exists()


def test_an_empty_file_is_as_good_as_none(path):
    """It is what a program leaves that is killed right after making the file."""
    path.touch()
    with pytest.raises(UserError, match="empty"):
        Store.open_existing(path)
    with Store.open(path, "c", DIMENSION) as store:
        assert store.people() == []


def test_a_damaged_file_is_reported_in_one_line(path):
    with Store.open(path, "c", DIMENSION) as store:
        for i in range(50):
            store.add(f"P{i}", VECTORS)
    content = bytearray(path.read_bytes())
    content[4096:] = os.urandom(len(content) - 4096)
    path.write_bytes(content)
    with pytest.raises(UserError, match="damaged"), Store.open(path, "c", DIMENSION) as store:
        store.snapshot()


def test_a_vector_of_another_length_is_reported(path):
    with Store.open(path, "c", DIMENSION) as store:
        store.add("Anna", VECTORS)
        with closing(sqlite3.connect(path)) as db:
            db.execute("UPDATE sample SET embedding = x'00' WHERE id = 2")
            db.execute("UPDATE meta SET value = value + 1 WHERE key = 'version'")
            db.commit()
        with pytest.raises(UserError, match="damaged: the vector of sample 2"):
            store.snapshot()


# -- files that cannot be written to


@pytest.fixture
def locked(path, monkeypatch) -> Path:
    """A file with Anna in a folder that cannot be written to, also for root."""
    with Store.open(path, "c", DIMENSION) as store:
        store.add("Anna", VECTORS)
    access = os.access
    monkeypatch.setattr(os, "access", lambda place, mode: mode != os.W_OK and access(place, mode))
    return path


def test_a_file_that_cannot_be_written_to_can_be_read(locked, monkeypatch):
    monkeypatch.setattr("recognizer.store.schema._write_ahead", None)
    with Store.open(locked, "c", DIMENSION) as store, Store.open_existing(locked) as other:
        assert store.snapshot().gallery.people == ("Anna",)
        assert [person.name for person in other.people()] == ["Anna"]
        for change in (lambda: store.rename("Anna", "Bob"), lambda: store.remove("Anna")):
            with pytest.raises(UserError, match=r"cannot be written to; to change it, copy it"):
                change()
        assert store.snapshot().gallery.people == ("Anna",)
    assert [file.name for file in locked.parent.iterdir()] == [locked.name]


def test_what_another_program_writes_is_seen_where_one_can_only_read(locked):
    with Store.open_existing(locked) as reader:
        before = reader.version()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("recognizer.store.schema.is_writable", lambda path: True)
            with Store.open_existing(locked) as writer:
                writer.add("Bob", VECTORS)
                writer.remove("Anna")
        assert reader.version() > before
        assert reader.snapshot().gallery.people == ("Bob",)
        assert [person.name for person in reader.people()] == ["Bob"]
    with Store.open_existing(locked) as reader:
        assert reader.snapshot().gallery.people == ("Bob",)


def test_a_file_that_cannot_be_opened_for_a_moment_can_be_read_later(locked, monkeypatch):
    def refused(path: Path) -> sqlite3.Connection:
        error = sqlite3.OperationalError("unable to open database file")
        error.sqlite_errorcode = sqlite3.SQLITE_CANTOPEN
        raise error

    with Store.open_existing(locked) as reader:
        os.utime(locked, (1, 1))
        with monkeypatch.context() as patch:
            patch.setattr("recognizer.store.schema.connect", refused)
            for _ in range(2):
                with pytest.raises(UserError, match="cannot be opened"):
                    reader.version()
        assert reader.snapshot().gallery.people == ("Anna",)


def test_what_is_still_to_be_overwritten_waits_where_one_can_only_read(path, monkeypatch, caplog):
    with Store.open(path, "c", DIMENSION) as store:
        store.add("Anna", VECTORS)
        monkeypatch.setattr(store, "_scrub", lambda: None)
        store.forget_acts()
    monkeypatch.setattr("recognizer.store.schema.is_writable", lambda path: False)
    with Store.open_existing(path) as store:
        assert store.snapshot().gallery.people == ("Anna",)
    assert "cannot be written to" in caplog.text


def test_a_disk_without_room_to_read_says_so(path):
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = sqlite3.SQLITE_IOERR_SHMSIZE
    with pytest.raises(UserError, match="the disk is full"), explained(path):
        raise error


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such permissions")
def test_only_the_owner_can_read_the_file(path):
    with Store.open(path, "c", DIMENSION) as store:
        store.add("Anna", VECTORS)
        modes = {file.name: file.stat().st_mode & 0o777 for file in path.parent.iterdir()}
    assert modes == dict.fromkeys([path.name, f"{path.name}-wal", f"{path.name}-shm"], 0o600)


def test_the_folder_is_made_and_odd_characters_are_fine(tmp_path):
    path = tmp_path / "new folder" / "people #1? 100% é.db"
    with Store.open(path, "c", DIMENSION) as store:
        store.add("Anna", VECTORS)
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
        assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)


# -- what other programs and the disk do meanwhile


def test_a_commit_that_fails_leaves_no_open_transaction(path):
    Store.open(path, "c", DIMENSION).close()
    with closing(connect(path)) as db:
        db.execute("CREATE TABLE a (x REFERENCES person (id) DEFERRABLE INITIALLY DEFERRED)")
        with pytest.raises(sqlite3.IntegrityError), transaction(db, "IMMEDIATE"):
            db.execute("INSERT INTO a VALUES (5)")
        assert not db.in_transaction


def test_a_writer_that_waits_too_long_says_so(path, monkeypatch):
    monkeypatch.setattr("recognizer.store.schema.BUSY_SECONDS", 0.05)
    with Store.open(path, "c", DIMENSION) as store, closing(sqlite3.connect(path)) as other:
        store.add("Anna", VECTORS)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(UserError, match="another program has been writing"):
            store.add("Bob", VECTORS)
        assert store.snapshot().gallery.people == ("Anna",), "readers do not wait"
        other.rollback()
        store.add("Bob", VECTORS)


def test_a_program_with_the_old_embedder_is_told_when_the_file_was_rebuilt(path):
    with Store.open(path, "c", DIMENSION) as live, Store.open(path, "c", DIMENSION) as other:
        live.add("Anna", VECTORS)
        live.snapshot()
        seen = other.snapshot().version
        other.rebind("new", 4, {other.samples("Anna")[0].id: unit(np.ones(4))}, seen)
        assert other.snapshot().gallery.fingerprint == "new"
        for act in (live.snapshot, live.people, lambda: live.add("Bob", VECTORS)):
            with pytest.raises(UserError, match="rebuilt for another embedder"):
                act()


def test_rebuilding_from_an_old_state_is_refused(path):
    with Store.open(path, "c", DIMENSION) as store:
        store.add("Anna", VECTORS)
        seen = store.version()
        store.add("Bob", VECTORS)
        with pytest.raises(UserError, match="changed by another program"):
            store.rebind("new", 4, {}, seen)
        assert len(store.people()) == 2
