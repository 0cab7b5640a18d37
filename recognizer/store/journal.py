"""Undo: what an act of a person replaces is kept beside it, written in the same transaction.

Triggers that last as long as the act note every row that is made, changed or taken away, so nothing
that changes people can be left out, and after a kill there is either the act with its undo or
neither. Only the newest act can be undone: what it found is then what is there. `ACTS` of them are
kept for `KEPT`; forgetting a person takes all acts along that touched them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from faces.errors import UserError
from recognizer.store.database import Connection
from recognizer.store.tables import CHANGES, WHOLE

ACTS = 50
KEPT = timedelta(days=1)


@dataclass(frozen=True)
class Act:
    """Something that a person has done."""

    id: int  # number; grows
    what: str  # a sentence, such as "Bob was merged into Ann"
    created: str  # UTC, ISO 8601


@dataclass(frozen=True)
class Doing:
    """An act that is about to be done."""

    what: str  # see `Act`
    head: bool = False  # it may change the classifier head or the thresholds, which are kept too
    more: str = ""  # source of samples that belong to the act and are added later; they go with it


Noted = Callable[[Any, int], AbstractContextManager[None]]
"""Of a `recognizer.store.database.Database`: notes every row changed inside under an act."""


@contextmanager
def recorded(db: Connection, doing: Doing, noted: Noted) -> Iterator[None]:
    """Keep what is changed inside, so that it can be undone; runs inside a transaction."""
    expire(db)
    kept = None
    if doing.head:
        kept = json.dumps(dict(db.execute(_HEAD_META)))
    what = doing.what.encode("utf-8", "replace").decode()  # a wrong name is refused later
    [[act]] = db.execute(
        "INSERT INTO act (what, created, more, head) VALUES (?, ?, ?, ?) RETURNING id",
        (what, _now(), doing.more, kept),
    ).fetchall()
    if doing.head:
        db.execute("INSERT INTO undo_head SELECT CAST(? AS BIGINT), head_class.* FROM head_class",
                   (act,))  # fmt: skip
    with noted(db, act):
        yield


_HEAD_META = "SELECT key, value FROM meta WHERE key IN ('head', 'thresholds')"


def acts(db: Connection) -> list[Act]:
    """What can be undone, newest first."""
    rows = db.execute(
        "SELECT id, what, created FROM act WHERE created >= ? ORDER BY id DESC", (_oldest(),)
    )
    return [Act(*row) for row in rows]


def touched(db: Connection, act: int) -> list[str]:
    """The names of the people whom an act has changed: present ones, and those it took away."""
    people = (
        "SELECT id FROM undo_person WHERE act = ? "
        "UNION SELECT person_id FROM undo_sample WHERE act = ? "
        "UNION SELECT person_id FROM sample "
        "WHERE id IN (SELECT id FROM undo_sample WHERE act = ?) "
        "OR source IN (SELECT more FROM act WHERE id = ? AND more != '')"
    )
    rows = db.execute(
        "SELECT name FROM undo_person WHERE act = ? AND name IS NOT NULL "
        f"UNION SELECT name FROM person WHERE id IN ({people})",
        (act,) * 5,
    )
    return sorted(name for (name,) in rows)


def undo(db: Connection, number: int | None) -> Act:
    """Take back the newest act. Raises UserError when there is none, or it is not ``number``."""
    left = acts(db)
    if not left:
        raise UserError("there is nothing to undo")
    act = left[0]
    if number not in (None, act.id):
        raise UserError(f"something else was done since: {act.what}; undo that first")
    more, head = db.execute("SELECT more, head FROM act WHERE id = ?", (act.id,)).fetchone()
    # People come back before their samples and go after them, as those would go with them.
    _take_back(db, act.id, "person", "DU")
    _take_back(db, act.id, "sample", "DUI")
    _take_back(db, act.id, "unknown", "DUI")
    if more:
        db.execute("DELETE FROM sample WHERE source = ?", (more,))
    _take_back(db, act.id, "person", "I")
    if head is not None:
        db.execute("DELETE FROM head_class")
        db.execute("DELETE FROM meta WHERE key IN ('head', 'thresholds')")
        db.executemany("INSERT INTO meta VALUES (?, ?)", json.loads(head).items())
        db.execute(
            "INSERT INTO head_class SELECT position, person_id, weight, bias FROM undo_head "
            "WHERE act = ? AND (person_id IS NULL OR person_id IN (SELECT id FROM person))",
            (act.id,),
        )
    db.execute("DELETE FROM act WHERE id = ?", (act.id,))
    return act


def _take_back(db: Connection, act: int, table: str, ops: str) -> None:
    columns = WHOLE[table]
    changed = CHANGES[table]
    noted = f"FROM undo_{table} WHERE act = ?"
    if db.execute(f"SELECT count(*) {noted} AND op != 'I'", (act,)).fetchone()[0] == 0:
        if "I" in ops:  # an import: all at once
            db.execute(f"DELETE FROM {table} WHERE id IN (SELECT id {noted})", (act,))
        return
    rows = db.execute(
        f"SELECT op, {', '.join(columns)} {noted} ORDER BY seq DESC", (act,)
    ).fetchall()
    for op, *values in rows:
        row = dict(zip(columns, values, strict=True))
        if op not in ops:
            continue
        if op == "I":
            db.execute(f"DELETE FROM {table} WHERE id = ?", (row["id"],))
            continue
        if row.get("guess") is not None:  # whoever it was may be gone
            there = db.execute("SELECT 1 FROM person WHERE id = ?", (row["guess"],))
            row["guess"] = row["guess"] if there.fetchone() else None
        if op == "D":
            marks = ", ".join("?" * len(columns))
            db.execute(
                f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})", list(row.values())
            )
        else:
            what = ", ".join(f"{column} = ?" for column in changed)
            new = [row[column] for column in changed]
            db.execute(f"UPDATE {table} SET {what} WHERE id = ?", (*new, row["id"]))


def forget(db: Connection, person: int) -> None:
    """Drop every act that touched somebody, and those who were merged into them; before they go."""
    people, seen = {person}, set[int]()
    while people - seen:
        one = (people - seen).pop()
        seen.add(one)
        touching = (
            "SELECT act FROM undo_person WHERE id = ? UNION "
            "SELECT act FROM undo_sample WHERE person_id = ? "
            "OR id IN (SELECT id FROM sample WHERE person_id = ?)"
        )
        gone = f"SELECT id FROM undo_person WHERE op = 'D' AND act IN ({touching})"
        people |= {number for (number,) in db.execute(gone, (one,) * 3)}
        db.execute(f"DELETE FROM act WHERE id IN ({touching})", (one,) * 3)
        db.execute("DELETE FROM undo_head WHERE person_id = ?", (one,))
        db.execute("DELETE FROM undo_unknown WHERE guess = ?", (one,))


def expire(db: Connection, keep: int = ACTS - 1) -> None:
    """Drop acts that are too old or too many, and faces of unknown people whose time is over.

    What they held shall not be found in the file's bytes: that is noted for the next opening.
    """
    old = "created < ? OR id NOT IN (SELECT id FROM act ORDER BY id DESC LIMIT ?)"
    held = " UNION ALL ".join(
        f"SELECT 1 FROM undo_{table} WHERE op != 'I' AND act IN (SELECT id FROM act WHERE {old})"
        for table in WHOLE
    )
    when = (_oldest(), keep)
    hides = db.execute(f"SELECT EXISTS ({held})", when * len(WHOLE)).fetchone()[0]
    db.execute(f"DELETE FROM act WHERE {old}", when)
    for table in ("unknown", "undo_unknown"):
        hides |= db.execute(f"DELETE FROM {table} WHERE until < ?", (_now(),)).rowcount > 0
    if hides:
        db.execute("UPDATE meta SET value = 1 WHERE key = 'unscrubbed'")


def _oldest() -> str:
    return (datetime.now(UTC) - KEPT).isoformat(timespec="seconds")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
