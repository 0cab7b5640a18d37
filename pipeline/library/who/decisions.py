"""What a person decided about faces of a library, kept as facts in ``decisions.db``.

A fact is about a box in a picture of certain content, not about a row of a part: so it holds for
every copy, wherever the file is moved to, and when another detector or embedder has looked at the
picture again. Groups, names and pictures are worked out from the faces and these facts each time.

Later decisions come before earlier ones, and each can be undone as a whole. A decision without a
name is about somebody who has none yet.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from faces.boxes import iou
from faces.closing import Closing
from faces.errors import UserError
from recognizer.names import clean_name
from recognizer.store.schema import connect, explained, scrub, transaction

Says = Literal["is", "not", "ignore", "not_a_face"]
"""The faces are one person; are not that person; are one person whom nobody wants to see; are no
faces at all."""

APPLICATION_ID = 0x46414344  # "FACD"
SCHEMA = 1
TABLES = """
    CREATE TABLE meta (key TEXT PRIMARY KEY, value NOT NULL) WITHOUT ROWID;
    CREATE TABLE decision (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        name TEXT,  -- NULL: somebody without a name
        created TEXT NOT NULL
    );
    CREATE TABLE fact (
        decision INTEGER NOT NULL REFERENCES decision (id) ON DELETE CASCADE,
        says TEXT NOT NULL,
        digest TEXT NOT NULL,  -- of the picture's content
        x1 REAL NOT NULL, y1 REAL NOT NULL, x2 REAL NOT NULL, y2 REAL NOT NULL,
        seconds REAL  -- films: where in the film
    );
    CREATE INDEX fact_decision ON fact (decision);
    CREATE INDEX fact_digest ON fact (digest)
"""

SAME_BOX = 0.5
"""Overlap (IoU) of two boxes that are one face to two detectors."""

SAME_LOOK = 1.0
"""Seconds between two looks at one face of a film."""


@dataclass(frozen=True, order=True)
class FaceKey:
    """Which face is meant.

    Args:
        digest: SHA-256 of the picture's file, in hex.
        box: x1, y1, x2, y2 in pixels of the picture as shown.
        seconds: films: where in the film.
    """

    digest: str
    box: tuple[float, float, float, float]
    seconds: float | None = None


@dataclass(frozen=True)
class Fact:
    """One face in a decision.

    Args:
        decision: its number.
        name: whom it is about; None is somebody without a name, the same one in all facts of this
            decision.
        says: see `Says`.
        face: which face.
    """

    decision: int
    name: str | None
    says: Says
    face: FaceKey

    @property
    def who(self) -> str:
        """Whom it is about, also where there is no name."""
        return f"\0{self.decision}" if self.name is None else self.name


@dataclass(frozen=True)
class Decision:
    """What was decided at once.

    Args:
        number: to undo it by.
        name: whom it is about.
        created: UTC, ISO 8601.
        faces: how many faces, by what is said of them.
    """

    number: int
    name: str | None
    created: str
    faces: Mapping[str, int]

    @property
    def what(self) -> str:
        """What was said of how many faces."""
        words = {"is": "is", "not": "is not", "ignore": "ignored", "not_a_face": "not a face"}
        who = self.name or "one person"
        told = [
            f"{count:,} {words[says]}" + (f" {who}" if says in ("is", "not") else "")
            for says, count in self.faces.items()
        ]
        return ", ".join(told)

    def __str__(self) -> str:
        return f"{self.number}  {self.created[:16].replace('T', ' ')}  {self.what}"


class Decisions(Closing):
    """The file of decisions, made when it is missing. Threads may share one.

    Raises UserError for a file that is foreign, damaged, newer, or busy for more than 10 s.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        with explained(path):
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))  # faces: the owner's alone
            except OSError as error:
                raise UserError(f"{path} cannot be made: {error.strerror}") from error
            self._db = connect(path)
            try:
                self._prepare()
            except BaseException:
                self._db.close()
                raise

    def _prepare(self) -> None:
        with transaction(self._db, "IMMEDIATE"):
            application = self._db.execute("PRAGMA application_id").fetchone()[0]
            version = self._db.execute("PRAGMA user_version").fetchone()[0]
            tables = self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
            if not application and not version and not tables:
                for statement in TABLES.split(";"):
                    self._db.execute(statement)
                self._db.execute("INSERT INTO meta VALUES ('version', 0), ('unscrubbed', 0)")
                self._db.execute(f"PRAGMA application_id={APPLICATION_ID}")
                self._db.execute(f"PRAGMA user_version={SCHEMA}")
            elif application != APPLICATION_ID:
                raise UserError(f"{self.path} is a database of another program")
            elif version > SCHEMA:
                raise UserError(
                    f"{self.path} was written by a newer version of faces: update faces"
                )
        if self.setting("unscrubbed"):
            scrub(self._db)

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()

    @property
    def version(self) -> int:
        """Grows with every change."""
        return int(self.setting("version"))

    def setting(self, key: str) -> Any:
        """A value that `remember` kept; None without one."""
        with self._lock, explained(self.path):
            row = self._db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return row[0] if row else None

    def remember(self, key: str, value: Any) -> None:
        """Keep a value beside the decisions; None takes it away. That is no decision."""
        with self._lock, explained(self.path), transaction(self._db, "IMMEDIATE"):
            self._db.execute("DELETE FROM meta WHERE key = ?", (key,))
            if value is not None:
                self._db.execute("INSERT INTO meta VALUES (?, ?)", (key, value))

    def decide(self, facts: Mapping[Says, Sequence[FaceKey]], name: str | None = None) -> int:
        """Keep a decision; returns its number.

        Args:
            facts: what is said of which faces.
            name: whom ``is`` and ``not`` are about; None is somebody without a name.

        Raises UserError for a name that cannot be, ValueError for no faces.
        """
        rows = [
            (says, face.digest, *map(float, face.box), face.seconds)
            for says, faces in facts.items()
            for face in faces
        ]
        if not rows or not set(facts) <= set(get_args(Says)):
            raise ValueError(f"a decision needs faces, and one of {get_args(Says)}")
        name = None if name is None else clean_name(name)
        now = datetime.now(UTC).isoformat(timespec="seconds")
        with self._changing() as db:
            cursor = db.execute("INSERT INTO decision (name, created) VALUES (?, ?)", (name, now))
            number = int(cursor.lastrowid or 0)
            db.executemany(
                "INSERT INTO fact VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                [(number, *row) for row in rows],
            )
        return number

    def undo(self, number: int | None = None) -> Decision:
        """Take back a decision, the last one unless told otherwise; what it was.

        Raises UserError when there is none (of that number).
        """
        made = self.all()
        found = [one for one in made if number in (None, one.number)]
        if not found:
            what = "no decision" if number is None else f"no decision {number}"
            raise UserError(f"there is {what} to undo: see `faces library decisions`")
        with self._changing(forget=True) as db:
            db.execute("DELETE FROM decision WHERE id = ?", (found[-1].number,))
        return found[-1]

    def all(self) -> list[Decision]:
        """Every decision, oldest first."""
        with self._lock, explained(self.path):
            rows = self._db.execute(
                "SELECT id, name, created, says, count(*) FROM decision JOIN fact ON decision = id "
                "GROUP BY id, says ORDER BY id, says"
            ).fetchall()
        made: dict[int, Decision] = {}
        for number, name, created, says, count in rows:
            one = made.setdefault(number, Decision(number, name, created, {}))
            one.faces[says] = count  # type: ignore[index]
        return list(made.values())

    def facts(self) -> list[Fact]:
        """Every fact, oldest decision first."""
        with self._lock, explained(self.path):
            rows = self._db.execute(
                "SELECT decision, name, says, digest, x1, y1, x2, y2, seconds "
                "FROM fact JOIN decision ON decision = id ORDER BY decision, fact.rowid"
            ).fetchall()
        return [
            Fact(number, name, says, FaceKey(digest, (x1, y1, x2, y2), seconds))
            for number, name, says, digest, x1, y1, x2, y2, seconds in rows
        ]

    def forget(self, name: str | None, faces: Sequence[FaceKey]) -> None:
        """Leave nothing of a person in the file: decisions with the name, facts about the faces."""
        with self._changing(forget=True) as db:
            if name is not None:
                db.execute("DELETE FROM decision WHERE name = ?", (name,))
            rows = [
                row
                for digest in sorted({face.digest for face in faces})
                for row in db.execute(
                    "SELECT rowid, digest, x1, y1, x2, y2, seconds FROM fact WHERE digest = ?",
                    (digest,),
                )
            ]
            theirs = match([FaceKey(row[1], row[2:6], row[6]) for row in rows], faces) >= 0
            db.executemany(
                "DELETE FROM fact WHERE rowid = ?", [(rows[i][0],) for i in np.flatnonzero(theirs)]
            )
            db.execute("DELETE FROM decision WHERE id NOT IN (SELECT decision FROM fact)")

    @contextmanager
    def _changing(self, forget: bool = False) -> Iterator[sqlite3.Connection]:
        with self._lock, explained(self.path):
            with transaction(self._db, "IMMEDIATE"):
                yield self._db
                self._db.execute("UPDATE meta SET value = value + 1 WHERE key = 'version'")
                if forget:
                    self._db.execute("UPDATE meta SET value = 1 WHERE key = 'unscrubbed'")
            if forget:
                scrub(self._db)


def match(keys: Sequence[FaceKey], faces: Sequence[FaceKey]) -> NDArray[np.int64]:
    """For each key the face that it means, int64 (len(keys),); -1 where it is not there any more.

    The same picture, and the box that overlaps most, at least by `SAME_BOX`.
    """
    by_digest: dict[str, list[int]] = {}
    wanted = {key.digest for key in keys}
    for i, face in enumerate(faces):
        if face.digest in wanted:
            by_digest.setdefault(face.digest, []).append(i)
    exact = {faces[i]: i for rows in by_digest.values() for i in reversed(rows)}
    found = np.array([exact.get(key, -1) for key in keys], np.int64)
    for i in np.flatnonzero(found < 0).tolist():
        key = keys[i]
        rows = [
            row
            for row in by_digest.get(key.digest, ())
            if (key.seconds is None) == (faces[row].seconds is None)
            and abs((key.seconds or 0) - (faces[row].seconds or 0)) <= SAME_LOOK
        ]
        if rows:
            overlap = iou([key.box], [faces[row].box for row in rows])[0]
            best = int(overlap.argmax())
            if overlap[best] >= SAME_BOX:
                found[i] = rows[best]
    return found
