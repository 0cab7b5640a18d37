"""What `recognizer.store.people` reads from its tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from faces.errors import UserError
from faces.text import counted
from recognizer.gallery import Gallery, Head
from recognizer.store.address import Place
from recognizer.store.database import Connection
from recognizer.store.face_picture import FacePicture

PAGE = 20_000
"""Vectors that are read at a time."""


@dataclass(frozen=True)
class PersonInfo:
    """A line of `faces people`."""

    name: str  # the person
    samples: int  # number of vectors
    crops: int  # how many of them have their picture kept
    created: str  # when first enrolled; UTC, ISO 8601
    in_head: bool  # whether the classifier head has a class for this person
    seen: str | None = None  # when last seen by a camera; UTC, ISO 8601
    denied: int = 0  # faces of which somebody has said that they are not this person


def way_over(people: Sequence[PersonInfo]) -> str:
    """What remains of these people for another embedder, as the end of a sentence of advice."""
    samples, kept = sum(p.samples for p in people), sum(p.crops for p in people)
    asked = [p.name for p in people if not p.crops]
    if not kept:
        return (
            f"enroll its {counted(len(people), 'person')} again from photos into another file "
            "(`faces people reembed` has no pictures to work from: `faces enroll --keep-crops` "
            "keeps them)"
        )
    advice = f"rebuild it with `faces people reembed` from the pictures of {kept} of its "
    advice += counted(samples, "sample")
    if kept < samples:
        advice += " (--drop-missing gives up the others)"
    if asked:
        names = ", ".join(asked[:5]) + (", ..." if len(asked) > 5 else "")
        advice += f"; ask {counted(len(asked), 'person')} for a photo again: {names}"
    return advice


@dataclass(frozen=True, eq=False)
class Sample:
    """One vector of a person."""

    id: int  # number in the file; never used again for another one
    embedding: NDArray[np.float32]  # unit vector, float32 (D,), read-only
    picture: FacePicture | None  # the picture, where it was kept
    source: str  # where it comes from
    created: str  # UTC, ISO 8601


def to_blob(array: NDArray[np.float32]) -> bytes:
    """Little-endian float32, whatever the machine."""
    return np.ascontiguousarray(array, "<f4").tobytes()


def meta(db: Connection) -> dict[str, Any]:
    """The table ``meta``."""
    return dict(db.execute("SELECT key, value FROM meta"))


def version(db: Connection) -> int:
    """The number of changes so far."""
    return int(db.execute("SELECT value FROM meta WHERE key = 'version'").fetchone()[0])


def gallery(
    db: Connection, fingerprint: str, dimension: int, path: Place, *, denied: bool = False
) -> Gallery:
    """Everybody's vectors, sorted by name; with ``denied`` those of faces that they are not."""
    names: list[str] = []
    blobs = bytearray()
    number = -1
    while True:
        rows = db.execute(
            "SELECT name, embedding, sample.id FROM sample JOIN person ON person.id = person_id "
            "WHERE denies = ? AND sample.id > ? ORDER BY sample.id LIMIT ?",
            (int(denied), number, PAGE),
        ).fetchall()
        for name, blob, number in rows:
            if len(blob) != 4 * dimension:
                raise UserError(_damaged(path, f"the vector of sample {number}"))
            names.append(name)
            blobs += blob
        if len(rows) < PAGE:
            break
    order = sorted(range(len(names)), key=names.__getitem__)  # keeps the numbers ascending
    vectors = np.frombuffer(blobs, "<f4").reshape(-1, dimension)[order]
    names = [names[i] for i in order]
    try:
        return Gallery(fingerprint, tuple(names), vectors)
    except ValueError as error:
        raise UserError(_damaged(path, str(error))) from error


def head(db: Connection, fingerprint: str, dimension: int, path: Place) -> Head | None:
    """The classifier head of the people who are still there; None when it knows nobody."""
    rows = db.execute(
        "SELECT name, weight, bias FROM head_class LEFT JOIN person ON person.id = person_id "
        "ORDER BY position"
    ).fetchall()
    if all(name is None for name, _, _ in rows):
        return None
    if any(len(weight) != 4 * dimension for _, weight, _ in rows):
        raise UserError(_damaged(path, "the classifier head"))
    return Head(
        fingerprint,
        tuple(name for name, _, _ in rows),
        np.stack([np.frombuffer(weight, "<f4") for _, weight, _ in rows]),
        np.array([bias for _, _, bias in rows], np.float32),
    )


def people(db: Connection) -> list[PersonInfo]:
    """Everyone, sorted by name."""
    rows = db.execute(
        "SELECT name, count(CASE WHEN denies = 0 THEN 1 END), "
        "count(CASE WHEN denies = 0 AND crop IS NOT NULL THEN 1 END), person.created, "
        "person.id IN (SELECT person_id FROM head_class), person.seen, "
        "count(CASE WHEN denies = 1 THEN 1 END) "
        "FROM person JOIN sample ON person_id = person.id GROUP BY person.id ORDER BY name"
    )
    return [
        PersonInfo(name, samples, crops, created, bool(known), seen, denied)
        for name, samples, crops, created, known, seen, denied in rows
    ]


def samples(
    db: Connection, person: int, dimension: int, path: Place, *, denied: bool = False
) -> list[Sample]:
    """A person's samples by ascending number; with ``denied`` the faces that they are not."""
    rows = db.execute(
        "SELECT id, embedding, crop, crop_box, source, created FROM sample WHERE person_id = ? "
        "AND denies = ? ORDER BY id",
        (person, int(denied)),
    )
    return [
        Sample(number, *vector_and_picture(blob, png, box, dimension, path, f"sample {number}"),
               source, created)
        for number, blob, png, box, source, created in rows
    ]  # fmt: skip


def thumbnail(db: Connection, person: int) -> bytes | None:
    """The PNG that stands for a person."""
    row = db.execute(
        "SELECT crop FROM sample JOIN person ON person.id = person_id WHERE person_id = ? "
        "AND crop IS NOT NULL AND denies = 0 ORDER BY sample.id = picture DESC, sample.id LIMIT 1",
        (person,),
    ).fetchone()
    return None if row is None else bytes(row[0])


def vector_and_picture(
    blob: bytes, png: bytes | None, box: bytes | None, dimension: int, path: Place, what: str
) -> tuple[NDArray[np.float32], FacePicture | None]:
    """What the columns of a face hold. Raises UserError, naming ``what``, when it is damaged."""
    try:
        vector = np.frombuffer(blob, "<f4").reshape(dimension)
        if png is None or box is None:
            return vector, None
        return vector, FacePicture(png, np.frombuffer(box, "<f4").reshape(4))
    except (ValueError, UserError) as error:
        raise UserError(_damaged(path, f"{what}: {error}")) from error


def _damaged(path: Place, what: str) -> str:
    return f"{path} is damaged: {what}; take a backup, or an export of `faces people export`"
