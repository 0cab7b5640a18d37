"""Faces that nobody has named, kept for some days so that somebody can: only where it is asked for.

They are in the file of people, so that naming one is a single transaction. Writing them is not a
change of who is known: ``version`` stays, nothing is loaded again. What is to be ignored for ever
keeps its vector, and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from recognizer.store import journal
from recognizer.store.face_picture import FacePicture
from recognizer.store.journal import Doing
from recognizer.store.people import Store
from recognizer.store.read import to_blob, vector_and_picture
from recognizer.store.write import picture_columns

MOST = 5_000
"""Faces that are kept at most; the oldest go first."""

Verdict = Literal["ignored", "not a face"]


@dataclass(frozen=True, eq=False)
class UnknownFace:
    """One look at somebody unknown, or of whom it is unsure who it is."""

    look: str  # the same for what is certainly one person: a track of one run
    embedding: NDArray[np.float32]  # unit vector, float32 (D,)
    picture: FacePicture | None  # the face
    quality: float  # how good it is to see, 0..1
    source: str  # of the frames
    seen: str  # UTC, ISO 8601
    guess: str | None = None  # who it may be
    id: int = 0  # number; 0 before it is kept


def keep(store: Store, faces: Sequence[UnknownFace], kept: timedelta) -> None:
    """Keep these for so long."""
    until = (datetime.now(UTC) + kept).isoformat(timespec="seconds")
    with store.noting() as db:
        for face in faces:
            db.execute(
                "INSERT INTO unknown (look, embedding, crop, crop_box, quality, source, seen, "
                "until, guess) VALUES (?, ?, ?, ?, ?, ?, ?, ?, "
                "(SELECT id FROM person WHERE name = ?))",
                (
                    face.look, to_blob(face.embedding), *picture_columns(face.picture),
                    face.quality, face.source, face.seen, until, face.guess,
                ),
            )  # fmt: skip
        most = "SELECT id FROM unknown WHERE until IS NOT NULL ORDER BY id DESC LIMIT ?"
        db.execute(f"DELETE FROM unknown WHERE until IS NOT NULL AND id NOT IN ({most})", (MOST,))
        journal.expire(db, journal.ACTS)


def unknown_faces(store: Store) -> list[UnknownFace]:
    """Those that wait for somebody to say who they are, oldest first."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    with store.reading() as db:
        rows = db.execute(
            "SELECT unknown.id, look, embedding, crop, crop_box, quality, source, unknown.seen, "
            "name FROM unknown LEFT JOIN person ON person.id = guess "
            "WHERE verdict = '' AND until >= ? ORDER BY unknown.id",
            (now,),
        ).fetchall()
    return [
        UnknownFace(
            look,
            *vector_and_picture(blob, png, box, store.dimension, store.path, f"face {number}"),
            quality, source, seen, guess, number,
        )
        for number, look, blob, png, box, quality, source, seen, guess in rows
    ]  # fmt: skip


def waiting(store: Store) -> NDArray[np.float32]:
    """The vectors (N, D) of those that wait for a name, without their pictures."""
    with store.reading() as db:
        rows = db.execute("SELECT embedding FROM unknown WHERE verdict = ''")
        blobs = b"".join(blob for (blob,) in rows)
    return np.frombuffer(blobs, "<f4").reshape(-1, store.dimension)


def judged(store: Store) -> dict[Verdict, NDArray[np.float32]]:
    """The vectors (N, D) of what need not be shown again."""
    found: dict[Verdict, NDArray[np.float32]] = {}
    with store.reading() as db:
        for verdict in ("ignored", "not a face"):
            rows = db.execute("SELECT embedding FROM unknown WHERE verdict = ?", (verdict,))
            blobs = b"".join(blob for (blob,) in rows)
            found[verdict] = np.frombuffer(blobs, "<f4").reshape(-1, store.dimension)
    return found


def judge(store: Store, ids: Sequence[int], verdict: Verdict, what: str) -> None:
    """Ignore these for ever, or note that they are no faces; only the vectors stay."""
    with store.changing(Doing(what)) as db:
        db.executemany(
            "INSERT INTO unknown (look, embedding, quality, source, seen, verdict) "
            "SELECT look, embedding, quality, '', seen, ? FROM unknown WHERE id = ?",
            [(verdict, int(number)) for number in ids],
        )
        db.executemany("DELETE FROM unknown WHERE id = ?", [(int(number),) for number in ids])


def count(store: Store) -> int:
    """How many wait for somebody to say who they are."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    with store.reading() as db:
        waiting = "SELECT count(*) FROM unknown WHERE verdict = '' AND until >= ?"
        return int(db.execute(waiting, (now,)).fetchone()[0])


def clear(store: Store) -> int:
    """Delete all that are kept, whatever their time, so that no undo brings them back; how many
    those were."""
    with store.noting() as db:
        count = db.execute("DELETE FROM unknown WHERE until IS NOT NULL").rowcount
        db.execute("DELETE FROM undo_unknown WHERE until IS NOT NULL")
        db.execute("UPDATE meta SET value = 1 WHERE key = 'unscrubbed'")
        return int(count)
