"""Several processes at the file at once, and processes that are killed at any moment."""

from __future__ import annotations

import os
import random
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from recognizer.store import unknown
from recognizer.store.people import Store
from recognizer.types import unit

pytestmark = pytest.mark.slow(5)

ROOT = Path(__file__).resolve().parents[3]
DIMENSION = 32
SAMPLES = 3  # of every enrollment

# Enrolls, renames, removes for ever. Every enrollment is of 3 samples with pictures.
WRITER = """
import sys
from pathlib import Path
import numpy as np
from recognizer.store.face_picture import FacePicture
from recognizer.store.people import Store
from recognizer.types import unit

path, start = Path(sys.argv[1]), int(sys.argv[2])
random = np.random.default_rng(start)
picture = FacePicture.of(random.integers(0, 256, (64, 64, 3), np.uint8), np.float32([9, 9, 50, 50]))
print("ready", flush=True)
with Store.open(path, "c", 32) as store:
    for i in range(start, start + int(sys.argv[3])):
        store.add(f"P{i}", unit(random.normal(size=(3, 32))), [picture] * 3)
        print(i, flush=True)
        if i % 7 == 3:
            store.rename(f"P{i}", f"Q{i}")
        if i % 5 == 4:
            store.remove(f"P{i - 1}") if i % 7 != 4 else store.remove(f"Q{i - 1}")
"""

# Reads until the last person is there; every state it sees must be whole.
READER = """
import sys, time
from pathlib import Path
from recognizer.store.people import Store

path, people = Path(sys.argv[1]), int(sys.argv[2])
last, states = -1, 0
with Store.open(path, "c", 32) as store:
    print("ready", flush=True)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        snapshot = store.snapshot()
        assert snapshot.version >= last, (snapshot.version, last)
        assert len(snapshot.gallery) == 3 * len(snapshot.gallery.people), snapshot.gallery.names
        states += snapshot.version != last
        last = snapshot.version
        if f"P{people - 1}" in snapshot.gallery.people:
            print(states)
            break
    else:
        sys.exit("never saw the last one")
"""


def start(code: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def check(path: Path) -> set[str]:
    """The file opens, SQLite finds no fault, and only whole enrollments are in it."""
    with Store.open(path, "c", DIMENSION) as store:
        for person in store.people():
            assert (person.samples, person.crops) == (SAMPLES, SAMPLES), person
            for sample in store.samples(person.name):
                assert sample.picture.image.shape == (64, 64, 3)
        gallery = store.snapshot().gallery
        assert len(gallery) == SAMPLES * len(gallery.people)
        store.add("After", unit(np.ones((SAMPLES, DIMENSION))))  # it can still be written to
        store.remove("After")
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert db.execute("PRAGMA foreign_key_check").fetchall() == []
    return set(gallery.people)


def killed_after(path: Path, seconds: float, first: int, count: int = 0) -> list[int]:
    """Kill a writer so many seconds after it began, or has reported ``count`` enrollments; gives
    those that it reported."""
    with start(WRITER, path, first, 10_000) as process:
        assert process.stdout.readline() == "ready\n"
        seen = [int(process.stdout.readline()) for _ in range(count)]
        time.sleep(seconds)
        process.kill()  # SIGKILL: nothing of its own runs any more
        out, err = process.communicate(timeout=60)
    assert err == "", err
    assert process.returncode != 0
    return seen + [int(line) for line in out.split()]


def was_forgotten(i: int) -> bool:
    """Whether the writer removes this person when it comes to the next one."""
    return (i + 1) % 5 == 4


def check_reported(people: set[str], reported: list[int]) -> None:
    for i in reported:
        if not was_forgotten(i):
            assert {f"P{i}", f"Q{i}"} & people, f"{i} was reported as stored and is not there"


@pytest.mark.skipif(os.name == "nt", reason="imports take too long there for these moments")
def test_a_killed_writer_leaves_only_whole_enrolments(tmp_path):
    """From the making of the file on; the same file is killed at again and again."""
    random_moment = random.Random(0)
    path = tmp_path / "people.db"
    for i in range(6):
        reported = killed_after(path, random_moment.uniform(0, 0.25), 1000 * i)
        check_reported(check(path), reported)


def test_a_killed_writer_leaves_only_whole_enrolments_at_many_moments(tmp_path):
    random_moment = random.Random(1)
    for i in range(12):
        path = tmp_path / f"people{i // 3}.db"
        seconds, count = random_moment.uniform(0, 0.03), random_moment.randrange(15)
        reported = killed_after(path, seconds, 1000 * i, count)
        check_reported(check(path), reported)


def test_several_processes_read_while_one_writes(tmp_path):
    path = tmp_path / "people.db"
    Store.open(path, "c", DIMENSION).close()
    count = 61  # the last one stays and keeps its name
    readers = [start(READER, path, count) for _ in range(3)]
    for reader in readers:
        assert reader.stdout.readline() == "ready\n", reader.stderr.read()
    with start(WRITER, path, 0, count) as writer:
        out, err = writer.communicate(timeout=60)
    assert writer.returncode == 0, err
    states = []
    for reader in readers:
        out, err = reader.communicate(timeout=60)
        assert reader.returncode == 0, err
        states.append(int(out))
    assert max(states) > 10, f"the readers must have seen it grow, not only its end: {states}"
    check(path)


def test_two_processes_that_write_wait_for_each_other(tmp_path):
    """From the making of the file on."""
    path = tmp_path / "people.db"
    writers = [start(WRITER, path, first, 15) for first in (0, 1000, 2000)]
    for writer in writers:
        out, err = writer.communicate(timeout=60)
        assert writer.returncode == 0, err
        assert len(out.split()) == 16
    people = check(path)
    assert {i // 1000 for i in (int(name[1:]) for name in people)} == {0, 1, 2}


# Says of one face after another that it is not Ann, ignores unknown ones, and undoes some of it.
DECIDER = """
import sys
from datetime import timedelta
from pathlib import Path
import numpy as np
from recognizer.store import unknown
from recognizer.store.people import Store
from recognizer.store.write import NewSample
from recognizer.types import unit

path = Path(sys.argv[1])
random = np.random.default_rng(int(sys.argv[2]))
print("ready", flush=True)
with Store.open(path, "c", 32) as store:
    if not store.people():
        store.add("Ann", unit(random.normal(size=(1, 32))))
    for i in range(10_000):
        v = unit(random.normal(size=32))
        store.deny("Ann", [NewSample(v, None, f"decision {i}")])
        print("deny", v.tobytes().hex(), flush=True)
        face = unknown.UnknownFace("1", -v, None, 1.0, "door", "2026-01-01T00:00:00+00:00")
        unknown.keep(store, [face], timedelta(days=7))
        waiting = [face.id for face in unknown.unknown_faces(store)]
        unknown.judge(store, waiting, "ignored", "ignored for ever")
        print("ignore", (-v).tobytes().hex(), flush=True)
        if i % 3 == 2:
            store.undo()
            store.undo()
            print("undo", v.tobytes().hex(), flush=True)
"""


@pytest.mark.skipif(os.name == "nt", reason="imports take too long there for these moments")
def test_a_kill_loses_no_decision_that_was_reported(tmp_path):
    random_moment = random.Random(2)
    path = tmp_path / "people.db"
    denied: set[str] = set()
    ignored: set[str] = set()
    for i in range(5):
        with start(DECIDER, path, i) as process:
            assert process.stdout.readline() == "ready\n"
            time.sleep(random_moment.uniform(0.05, 0.4))
            process.kill()
            out, _ = process.communicate(timeout=60)
        lines = [line.split() for line in out.splitlines() if len(line) > 200]
        for what, vector in lines:
            minus = (-np.frombuffer(bytes.fromhex(vector), np.float32)).tobytes().hex()
            if what == "deny":
                denied.add(vector)
            elif what == "ignore":
                ignored.add(vector)
            else:
                denied.discard(vector)
                ignored.discard(minus)
        with Store.open(path, "c", DIMENSION) as store:
            if not store.people():
                continue
            here = {v.tobytes().hex() for v in store.snapshot().denied.embeddings}
            put_away = {v.tobytes().hex() for v in unknown.judged(store)["ignored"]}
        # An undo that was done, but not yet reported, may take back the last two.
        assert len(denied - here) <= 1
        assert len(ignored - put_away) <= 1
        denied, ignored = denied & here, ignored & put_away
        with closing(sqlite3.connect(path)) as db:
            assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            assert db.execute("PRAGMA foreign_key_check").fetchall() == []
    assert denied
    assert ignored
