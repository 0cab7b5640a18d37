"""What `recognizer.store.people` reads from its tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from faces.errors import UserError
from faces.text import counted
from recognizer.gallery import Altered, Gallery, Head
from recognizer.store.address import Place
from recognizer.store.database import Connection
from recognizer.store.face_picture import FacePicture

PAGE = 20_000
"""Vectors that are read at a time."""

AMONG = 500
"""Values that are asked for at a time."""

FEW = 10_000
"""People who may have changed since everything was read; with more, it is read again."""


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


def outside_head(people: Sequence[PersonInfo]) -> str:
    """Names (five at most) of those whom the classifier head does not know; "" without a head, and
    when it knows everybody."""
    outside = [p.name for p in people if p.samples and not p.in_head]
    if not any(p.in_head for p in people):
        return ""
    return ", ".join(outside[:5]) + (", ..." if len(outside) > 5 else "")


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


class Galleries:
    """Who is known, kept in memory: of what has changed since, only that is read again.

    Args:
        fingerprint, dimension: of the embedder.
        path: whose people they are, for what is said of damage.
    """

    def __init__(self, fingerprint: str, dimension: int, path: Place) -> None:
        self._fingerprint, self._dimension, self._path = fingerprint, dimension, path
        self._version = -1
        self._own = self._denied = Gallery.empty(fingerprint, dimension)
        self._head: Head | None = None
        self._read_all: tuple[Gallery, Gallery, NDArray[np.int64]] | None = None
        # Since everything was read: what people of these numbers are called now, and the vectors of
        # everybody who has, or had, one of these names: theirs, and those that they are not.
        self._called: dict[int, str | None] = {}
        self._changed: tuple[dict[str, NDArray[np.float32]], dict[str, NDArray[np.float32]]]

    def read(self, db: Connection) -> tuple[Gallery, Gallery, Head | None]:
        """Everybody's vectors, sorted by name, those of faces that they are not, and the head.

        Raises UserError for what is damaged.
        """
        now = version(db)
        if now != self._version:
            seen, self._version = self._version, -1  # should it fail, everything is read again
            numbers: list[int] = []
            if now > seen >= 0:
                rows = db.execute("SELECT person FROM touched WHERE version > ?", (seen,))
                numbers = [number for (number,) in rows]
            if now < seen or seen < 0 or len(self._called) + len(numbers) > FEW:
                self._read_everything(db)
            else:
                self._read_some(db, numbers)
            self._version = now
        return self._own, self._denied, self._head

    def _read_everything(self, db: Connection) -> None:
        self._called, self._changed = {}, ({}, {})
        self._own, numbers = self._gallery(db, 0)
        self._denied, _ = self._gallery(db, 1)
        self._read_all = self._own, self._denied, numbers
        self._head = head(db, self._fingerprint, self._dimension, self._path)

    def _gallery(self, db: Connection, denies: int) -> tuple[Gallery, NDArray[np.int64]]:
        """With the number of the person of each vector."""
        names: list[str] = []
        people: list[int] = []
        blobs = bytearray()
        number = -1
        while True:
            rows = db.execute(
                "SELECT name, person_id, embedding, sample.id FROM sample "
                "JOIN person ON person.id = person_id "
                "WHERE denies = ? AND sample.id > ? ORDER BY sample.id LIMIT ?",
                (denies, number, PAGE),
            ).fetchall()
            for name, person, blob, number in rows:
                names.append(name)
                people.append(person)
                blobs += self._whole(blob, number)
            if len(rows) < PAGE:
                break
        order = sorted(range(len(names)), key=names.__getitem__)  # keeps the numbers ascending
        vectors = np.frombuffer(blobs, "<f4").reshape(-1, self._dimension)[order]
        with self._sound():
            gallery = Gallery(self._fingerprint, tuple(names[i] for i in order), vectors)
        return gallery, np.array(people, np.int64)[order]

    def _read_some(self, db: Connection, numbers: Sequence[int]) -> None:
        """The people of these numbers, 0 for the head."""
        assert self._read_all is not None
        own, denied, all_numbers = self._read_all
        people = [number for number in numbers if number]
        names = {name for number in people if (name := self._called.get(number)) is not None}
        for row in np.flatnonzero(np.isin(all_numbers, people)).tolist():
            if int(all_numbers[row]) not in self._called:
                names.add(own.names[row])
        self._called.update(dict.fromkeys(people))
        found: tuple[dict[str, list[bytes]], dict[str, list[bytes]]] = ({}, {})
        for number, name, denies, blob, sample in among(
            db,
            "SELECT person_id, name, denies, embedding, sample.id FROM sample "
            "JOIN person ON person.id = person_id WHERE person_id IN (?) ORDER BY sample.id",
            people,
        ):
            self._called[number] = name
            found[denies].setdefault(name, []).append(self._whole(blob, sample))
            names.add(name)
        for changed, blobs in zip(self._changed, found, strict=True):
            for name in names:
                vectors = np.frombuffer(b"".join(blobs.get(name, ())), "<f4")
                changed[name] = vectors.reshape(-1, self._dimension)
        with self._sound():
            self._own, self._denied = map(Altered, (own, denied), self._changed)
        in_head = () if self._head is None else self._head.names
        if 0 in numbers or not names.isdisjoint(in_head):
            self._head = head(db, self._fingerprint, self._dimension, self._path)

    def _whole(self, blob: bytes, sample: int) -> bytes:
        if len(blob) != 4 * self._dimension:
            raise UserError(_damaged(self._path, f"the vector of sample {sample}"))
        return blob

    @contextmanager
    def _sound(self) -> Iterator[None]:
        try:
            yield
        except ValueError as error:
            raise UserError(_damaged(self._path, str(error))) from error


def among(db: Connection, sql: str, values: Sequence[Any]) -> Iterator[Any]:
    """The rows of a statement in which ``(?)`` stands for any number of values."""
    for start in range(0, len(values), AMONG):
        part = values[start : start + AMONG]
        yield from db.execute(sql.replace("(?)", f"({', '.join('?' * len(part))})"), part)


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
        return vector, FacePicture.placed(png, np.frombuffer(box, "<f4"))
    except (ValueError, UserError) as error:
        raise UserError(_damaged(path, f"{what}: {error}")) from error


def _damaged(path: Place, what: str) -> str:
    return f"{path} is damaged: {what}; take a backup, or an export of `faces people export`"
