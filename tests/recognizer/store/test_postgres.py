"""A gallery in PostgreSQL: who may share it, when the server goes away, what never shows."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from faces.errors import UserError
from recognizer.store.address import place
from recognizer.store.database import StoreUnreachable
from recognizer.store.people import Store
from recognizer.store.write import NewSample
from recognizer.types import unit
from tests.postgres import USER

ROOT = Path(__file__).resolve().parents[3]
DIMENSION = 32

pytestmark = pytest.mark.postgres

# Enrolls for ever, and says so when it is done; goes on when the server was away.
WRITER = """
import sys, time
import numpy as np
from recognizer.store.database import StoreUnreachable
from recognizer.store.people import Store
from recognizer.types import unit

address, first, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
random = np.random.default_rng(first)
with Store.open(address, "c", 32) as store:
    i = first
    while i < first + count:
        try:
            store.add(f"P{i}", unit(random.normal(size=(3, 32))))
            print(i, flush=True)
        except StoreUnreachable as error:
            print(f"away {error.in_doubt}", flush=True)
            time.sleep(min(error.retry_after, 0.2))
            continue  # the same one again: who is in doubt may have samples twice
        i += 1
"""

READER = """
import sys, threading
from recognizer.store.database import StoreUnreachable
from recognizer.store.people import Store

wanted, stop = set(sys.argv[2].split()), threading.Event()
with Store.open(sys.argv[1], "c", 32) as store:
    print("ready", flush=True)
    last = -1
    while True:
        try:
            snapshot = store.snapshot()
        except StoreUnreachable:
            stop.wait(0.1)
            continue
        assert snapshot.version >= last, (snapshot.version, last)
        assert len(snapshot.gallery) % 3 == 0, "part of an enrollment is seen"
        last = snapshot.version
        if wanted <= set(snapshot.gallery.people):
            break
        store.wait(stop, 0.5)
"""


def vectors(count: int, seed: int = 0) -> np.ndarray:
    return unit(np.random.default_rng(seed).normal(size=(count, DIMENSION)))


def start(code: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def until(holds: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.01)


@pytest.fixture
def address(postgres_server):
    return postgres_server.database()


@pytest.fixture
def store(address):
    with Store.open(address, "c", DIMENSION) as store:
        yield store


def test_three_writers_and_two_readers_share_it_and_nothing_acknowledged_is_lost(
    postgres_server, address
):
    """The database is killed while they write, and so is a writer."""
    Store.open(address, "c", DIMENSION).close()
    count = 25
    wanted = " ".join(f"P{first + count - 1}" for first in (0, 1000))
    readers = [start(READER, address, wanted) for _ in range(2)]
    for reader in readers:
        assert reader.stdout.readline() == "ready\n", reader.stderr.read()
    writers = [start(WRITER, address, first, count) for first in (0, 1000)]
    doomed = start(WRITER, address, 2000, 100_000)
    told: list[str] = [writer.stdout.readline() for writer in writers for _ in range(3)]
    told.append(doomed.stdout.readline())  # all of them are at work when it is killed
    postgres_server.kill()
    postgres_server.start()
    spoken = [doomed.stdout.readline() for _ in range(5)]
    doomed.kill()
    spoken += doomed.stdout.read().splitlines(
        keepends=True
    )  # communicate() loses what was buffered
    doomed.wait(60)
    for writer in writers:
        told += writer.stdout.read().splitlines(keepends=True)
        assert writer.wait(120) == 0, writer.stderr.read()
    for reader in readers:
        assert reader.wait(60) == 0, reader.stderr.read()
    told += spoken
    acknowledged = {f"P{line.strip()}" for line in told if line.endswith("\n") and line[0] != "a"}
    assert {f"P{first + i}" for first in (0, 1000) for i in range(count)} <= acknowledged
    assert any(line.startswith("away") for line in told), "the kill must have been felt"
    with Store.open(address, "c", DIMENSION) as store:
        people = {person.name: person.samples for person in store.people()}
        assert acknowledged <= people.keys()
        # One that was in doubt may be there without having been acknowledged, or twice.
        assert all(samples % 3 == 0 for samples in people.values())
        assert len(people) <= len(acknowledged) + 1
        store.add("After", vectors(1))


def test_a_change_is_told_within_a_second(store, address):
    stop, seen = threading.Event(), threading.Event()
    store.wait(stop, 0.5)  # begins to listen

    def watch() -> None:
        while store.version() < 1:
            store.wait(stop, 0.5)
        seen.set()

    thread = threading.Thread(target=watch)
    thread.start()
    with Store.open(address, "c", DIMENSION) as other:
        began = time.monotonic()
        other.add("Anna", vectors(1))
        assert seen.wait(5), "it looks by itself only after 10 s: nobody told it"
        assert time.monotonic() - began < 1 or os.getloadavg()[0] > os.cpu_count()
    thread.join()
    assert store.snapshot().gallery.people == ("Anna",)


def test_waiting_ends_when_it_is_stopped(store):
    stop = threading.Event()
    store.wait(stop, 0.5)
    stop.set()
    began = time.monotonic()
    store.wait(stop, 60)
    assert time.monotonic() - began < 5


def test_a_server_that_is_away_is_told_and_taken_up_again(postgres_server, store, address):
    store.add("Anna", vectors(1))
    assert store.snapshot().gallery.people == ("Anna",)
    postgres_server.kill()
    try:
        with pytest.raises(StoreUnreachable, match=r"cannot be reached.*nothing was changed") as no:
            store.add("Bob", vectors(1, 1))
        assert not no.value.in_doubt
        with pytest.raises(StoreUnreachable):
            store.snapshot()
        with pytest.raises(StoreUnreachable, match="is the server running"):
            Store.open(address, "c", DIMENSION)
    finally:
        postgres_server.start()
    with Store.open(address, "c", DIMENSION) as other:
        other.add("Cleo", vectors(1, 2))

    def is_back() -> bool:
        try:
            return store.snapshot().gallery.people == ("Anna", "Cleo")
        except StoreUnreachable:
            return False

    until(is_back)
    store.add("Bob", vectors(1, 1))
    assert [person.name for person in store.people()] == ["Anna", "Bob", "Cleo"]


def test_an_idle_link_that_broke_is_made_again_without_a_word(postgres_server, store, address):
    store.add("Anna", vectors(1))
    name = address.rpartition("/")[2]
    postgres_server.sql(
        f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'",
        "template1",
    )
    store.add("Bob", vectors(1, 1))
    assert store.snapshot().gallery.people == ("Anna", "Bob")


def test_a_link_that_breaks_in_a_change_undoes_it(postgres_server, store, address, monkeypatch):
    from recognizer.store import write

    name = address.rpartition("/")[2]
    real = write.add_samples

    def broken(*given: object) -> None:
        real(*given)
        postgres_server.sql(
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'",
            "template1",
        )

    monkeypatch.setattr(write, "add_samples", broken)
    with pytest.raises(StoreUnreachable):
        store.add("Anna", vectors(1))
    assert store.people() == []
    assert store.version() == 0


def test_an_answer_to_a_commit_that_never_comes_is_in_doubt(store, monkeypatch):
    from recognizer.store.link import Connection

    real = Connection.run

    def lose_the_answer(self: Connection, sql: str, *given: object) -> object:
        done = real(self, sql, *given)
        if sql == "COMMIT":
            self._link._usock.close()
            self._link._sock.close()
            return real(self, sql)
        return done

    with monkeypatch.context() as patched:
        patched.setattr(Connection, "run", lose_the_answer)
        with pytest.raises(StoreUnreachable, match="wholly or not at all") as told:
            store.add("Anna", vectors(1))
    assert told.value.in_doubt
    assert [person.name for person in store.people()] == ["Anna"]


def test_a_writer_waits_for_another_and_says_when_it_is_too_long(store, address, monkeypatch):
    monkeypatch.setattr("recognizer.store.link.BUSY_SECONDS", 0.2)
    with (
        Store.open(address, "c", DIMENSION) as other,
        store.changing(),
        pytest.raises(UserError, match="another program has been writing"),
    ):
        other.add("Bob", vectors(1))
    with Store.open(address, "c", DIMENSION) as other:
        other.add("Bob", vectors(1))


def test_many_samples_go_and_come_whole(store, monkeypatch):
    monkeypatch.setattr("recognizer.store.read.PAGE", 7)
    monkeypatch.setattr("recognizer.store.link.ROWS_AT_A_TIME", 4)
    names = [f"P{i}" for i in (3, 1, 2)]
    for i, name in enumerate(names):
        store.add_samples({name: [NewSample(v, None, "?") for v in vectors(5 + i, i)]})
    gallery = store.snapshot().gallery
    assert gallery.names == ("P1",) * 6 + ("P2",) * 7 + ("P3",) * 5
    expected = np.concatenate([vectors(6, 1), vectors(7, 2), vectors(5, 0)])
    assert np.array_equal(gallery.embeddings, expected)
    assert [sample.source for sample in store.samples("P3")] == ["?"] * 5


# -- whose database it is


def test_another_programs_schema_and_a_newer_one_are_refused(postgres_server, address):
    name = address.rpartition("/")[2]
    postgres_server.sql("CREATE SCHEMA faces; CREATE TABLE faces.meta (id int)", name)
    for way in (lambda: Store.open(address, "c", DIMENSION), lambda: Store.open_existing(address)):
        with pytest.raises(UserError, match="another program"):
            way()
    postgres_server.sql("DROP SCHEMA faces CASCADE", name)
    assert not Store.exists(address)
    with pytest.raises(UserError, match=r"no people in .*faces enroll"):
        Store.open_existing(address)
    with Store.open(address, "c", DIMENSION) as store:
        assert Store.exists(address)
        postgres_server.sql("UPDATE faces.meta SET value = 99 WHERE key = 'schema'", name)
        with pytest.raises(UserError, match="newer version"):
            store.add("Anna", vectors(1))
    with pytest.raises(UserError, match=r"tables of version 99.*update faces"):
        Store.open(address, "c", DIMENSION)


def test_another_fingerprint_is_refused_with_advice(address):
    Store.open(address, "first", DIMENSION).close()
    with Store.open(address, "mini", DIMENSION, take_over=True) as store:  # nothing was kept there
        store.add("Anna", vectors(1))
    with pytest.raises(UserError, match=r"another embedder.*faces people reembed"):
        Store.open(address, "inception", DIMENSION)
    with Store.open_existing(address) as store:
        assert store.fingerprint == "mini"


def test_what_others_keep_in_the_database_is_no_concern(postgres_server, address):
    name = address.rpartition("/")[2]
    postgres_server.sql("CREATE TABLE public.person (id int); CREATE TABLE sample (a int)", name)
    with Store.open(address, "c", DIMENSION) as store:
        store.add("Anna", vectors(1))
    assert postgres_server.sql("SELECT count(*) FROM public.person", name) == [[0]]


def test_a_user_who_may_not_is_told_so(postgres_server, address):
    name = address.rpartition("/")[2]
    postgres_server.sql("CREATE ROLE guest LOGIN PASSWORD 'g'", name)
    guest = address.replace(f"{USER}:{postgres_server.password}", "guest:g")
    try:
        with pytest.raises(UserError, match=r"may not do this.*GRANT CREATE"):
            Store.open(guest, "c", DIMENSION)
        Store.open(address, "c", DIMENSION).close()
        with pytest.raises(UserError, match="may not do this"):
            Store.open(guest, "c", DIMENSION)
    finally:
        postgres_server.sql("DROP ROLE guest", name)


def test_a_database_that_is_not_there_and_one_of_another_encoding(postgres_server):
    with pytest.raises(UserError, match=r"no such database.*createdb"):
        Store.open(postgres_server.address("nowhere"), "c", DIMENSION)
    postgres_server.sql(
        "CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'",
        "template1",
    )
    with pytest.raises(UserError, match="encoding LATIN1"):
        Store.open(postgres_server.address("latin"), "c", DIMENSION)


# -- passwords


def test_a_password_comes_from_the_variable_or_the_file(
    postgres_server, address, monkeypatch, tmp_path, caplog
):
    plain = address.replace(f":{postgres_server.password}", "")
    with pytest.raises(UserError, match=r"refuses the user or the password.*PGPASSWORD"):
        Store.open(plain, "c", DIMENSION)
    with monkeypatch.context() as patched:
        patched.setenv("PGPASSWORD", postgres_server.password)
        Store.open(plain, "c", DIMENSION).close()
    file = tmp_path / "passwords"
    port, name = postgres_server.port, address.rpartition("/")[2]
    file.write_text(
        f"# a note\n127.0.0.1:{port}:other:{USER}:wrong\n"
        f"127.0.0.1:{port}:{name}:{USER}:{postgres_server.password}\n"
    )
    file.chmod(0o600)
    monkeypatch.setenv("PGPASSFILE", str(file))
    Store.open(plain, "c", DIMENSION).close()
    file.chmod(0o644)
    with pytest.raises(UserError, match="refuses"):
        Store.open(plain, "c", DIMENSION)
    assert "others may read it" in caplog.text


def test_a_password_is_in_no_message(postgres_server, address, caplog):
    secret = postgres_server.password
    wrong = address.replace(secret, "wr%40ng")
    with pytest.raises(UserError) as told:
        Store.open(wrong, "c", DIMENSION)
    with Store.open(address, "c", DIMENSION) as store:
        shown = [str(told.value), repr(told.value), str(store.path), repr(store.path), caplog.text]
        with pytest.raises(UserError) as nobody:
            store.remove("Bob")
        shown.append(str(nobody.value))
    assert not [text for text in shown if secret in text or "wr@ng" in text or "wr%40" in text]
    assert str(place(wrong)).startswith(f"postgresql://{USER}@127.0.0.1:")
