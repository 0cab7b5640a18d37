"""What `recognizer.store.people` writes. Each function runs inside a transaction."""

from __future__ import annotations

import difflib
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from faces.errors import UserError
from recognizer.gallery import Head
from recognizer.names import clean_name
from recognizer.store import journal
from recognizer.store.database import Connection
from recognizer.store.face_picture import FacePicture
from recognizer.store.journal import Doing
from recognizer.store.read import among, to_blob

logger = logging.getLogger(__name__)

Cosine = Callable[[], float]
"""A bar that is only asked for where it is needed: it may have to be looked up."""


@dataclass(frozen=True, eq=False)
class NewSample:
    """What `Store.add_samples` takes."""

    embedding: NDArray[np.float32]  # unit vector, float32 (D,)
    picture: FacePicture | None = None  # the picture, where the user chose to keep it
    source: str = ""  # where it comes from, such as "photo anna.jpg"
    created: str | None = None  # UTC, ISO 8601; None is now


@dataclass(frozen=True, eq=False)
class Change:
    """What `Store.apply` does, all or nothing, in this order."""

    remove: Sequence[int] = ()  # numbers of samples that go; who has none left is forgotten
    # a name and the numbers of the samples that are to be that person's
    move: tuple[str, Sequence[int]] | None = None
    # faces that are not these people, by their names; see `recognizer.rule.is_denied`
    deny: Mapping[str, Sequence[NewSample]] = field(default_factory=dict)
    # numbers of unknown faces that are unknown no more, see `recognizer.store.unknown`
    known: Sequence[int] = ()
    # new samples by name; they overrule what was denied of such faces before
    add: Mapping[str, Sequence[NewSample]] = field(default_factory=dict)
    new_head: bool = False  # whether ``head`` replaces the present one; None removes it
    # head, provenance: see `Store.save_head`
    head: Head | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)
    expected: int | None = None  # the version that it was made for; None is any
    # what a person does by it, so that it can be undone; None for what programs do by themselves
    doing: Doing | None = None

    @property
    def forgets(self) -> bool:
        """Whether it takes something away that shall not be found in the file's bytes."""
        return bool(self.remove or self.move)


def apply(db: Connection, change: Change, bar: Cosine) -> None:
    """See `recognizer.store.people.Store.apply`; names must be clean. ``bar``: see `lift`."""
    db.executemany("DELETE FROM sample WHERE id = ?", [(int(i),) for i in change.remove])
    db.executemany("DELETE FROM unknown WHERE id = ?", [(int(i),) for i in change.known])
    if change.move is not None:
        name, ids = change.move
        move_samples(db, ids, name, bar)
    for name, samples in change.deny.items():
        known = _known_or_new(db, [name], _now())[name] if name in change.add else None
        person = person_id(db, name) if known is None else known
        db.executemany(_INSERT, [_row(person, sample, _now(), 1) for sample in samples])
    add_samples(db, change.add, bar)
    if change.remove:
        forget_empty(db)
    if change.new_head:
        save_head(db, change.head, change.provenance)


_INSERT = (
    "INSERT INTO sample (person_id, embedding, source, created, crop, crop_box, denies) "
    "VALUES (?, ?, ?, ?, ?, ?, ?)"
)


def add_samples(
    db: Connection, people: Mapping[str, Sequence[NewSample]], bar: Cosine
) -> None:  # fmt: skip
    """Names must be clean. ``bar``: see `lift`."""
    now = _now()
    numbers = _known_or_new(db, list(people), now)
    denied = "SELECT DISTINCT person_id FROM sample WHERE denies = 1 AND person_id IN (?)"
    doubted = {number for (number,) in among(db, denied, list(numbers.values()))}
    for name, samples in people.items():
        if numbers[name] in doubted:
            lift(db, numbers[name], [sample.embedding for sample in samples], bar)
    rows = (_row(numbers[name], sample, now) for name in people for sample in people[name])
    db.executemany(_INSERT, rows)


def lift(
    db: Connection, person: int, faces: Sequence[NDArray[np.float32]], bar: Cosine
) -> None:  # fmt: skip
    """These faces are this person: whatever denies that of them is true no more.

    ``bar``: the cosine above which `recognizer.rule.is_denied` takes two faces for one.
    """
    denied = _vectors(db, person, denies=1)
    if not denied or not len(faces):
        return
    own = _vectors(db, person, denies=0)
    new = np.stack(faces)
    near = np.stack(list(denied.values())) @ new.T
    if own:
        least = (np.stack(list(own.values())) @ new.T).max(axis=0)
    else:
        least = np.full(len(new), -1.0, np.float32)
    wrong = ((near > bar()) & (near >= least)).any(axis=1)
    gone = [(number,) for number, is_wrong in zip(denied, wrong, strict=True) if is_wrong]
    db.executemany("DELETE FROM sample WHERE id = ?", gone)


def _vectors(db: Connection, person: int, denies: int) -> dict[int, NDArray[np.float32]]:
    rows = db.execute(
        "SELECT id, embedding FROM sample WHERE person_id = ? AND denies = ?", (person, denies)
    )
    return {number: np.frombuffer(blob, "<f4") for number, blob in rows}


def rename(db: Connection, old: str, new: str) -> None:
    """See `recognizer.store.people.Store.rename`; ``new`` is clean."""
    person = person_id(db, old)
    if find(db, new) not in (None, person):
        raise UserError(
            f"there is somebody called {new!r} already; if both are one person: "
            f"`faces people merge {old!r} {new!r}`"
        )
    db.execute("UPDATE person SET name = ? WHERE id = ?", (new, person))


def merge(db: Connection, source: str, into: str, bar: Cosine) -> None:
    """See `recognizer.store.people.Store.merge`. ``bar``: see `lift`."""
    loser, winner = person_id(db, source), person_id(db, into)
    if loser == winner:
        raise UserError(f"{source!r} cannot be merged into the same person")
    for one, other in ((winner, loser), (loser, winner)):
        lift(db, one, list(_vectors(db, other, denies=0).values()), bar)
    db.execute("UPDATE sample SET person_id = ? WHERE person_id = ?", (winner, loser))
    db.execute(
        "UPDATE head_class SET person_id = ? WHERE person_id = ? "
        "AND NOT EXISTS (SELECT 1 FROM head_class AS other WHERE other.person_id = ?)",
        (winner, loser, winner),
    )
    db.execute("DELETE FROM person WHERE id = ?", (loser,))


def remove(db: Connection, name: str, same: Cosine) -> None:
    """See `recognizer.store.people.Store.remove`.

    ``same``: the cosine above which an unknown face is this person's too.
    """
    person = person_id(db, name)
    journal.forget(db, person)
    own = np.stack(list(_vectors(db, person, denies=0).values()))
    for table, key in (("unknown", "id"), ("undo_unknown", "seq")):
        faces = db.execute(
            f"SELECT {key}, embedding, guess FROM {table} WHERE embedding IS NOT NULL"
        ).fetchall()
        theirs = [
            (number,)
            for number, blob, guess in faces
            if guess == person or float((own @ np.frombuffer(blob, "<f4")).max()) > same()
        ]
        db.executemany(f"DELETE FROM {table} WHERE {key} = ?", theirs)
    db.execute("DELETE FROM person WHERE id = ?", (person,))


def move_samples(db: Connection, ids: Sequence[int], name: str, bar: Cosine) -> None:
    """See `recognizer.store.people.Store.move_samples`; ``name`` is clean. ``bar``: see `lift`."""
    person = _known_or_new(db, [name], _now())[name]
    moving = "SELECT embedding FROM sample WHERE id = ? AND denies = 0"
    faces = [row[0] for number in ids for row in db.execute(moving, (int(number),))]
    lift(db, person, [np.frombuffer(face, "<f4") for face in faces], bar)
    for number in ids:
        moved = db.execute(
            "UPDATE sample SET person_id = ?, denies = 0 WHERE id = ?", (person, int(number))
        )
        if not moved.rowcount:
            raise UserError(f"there is no sample {number}")
    forget_empty(db)


def choose_picture(db: Connection, name: str, sample: int) -> None:
    person = person_id(db, name)
    mine = "SELECT 1 FROM sample WHERE id = ? AND person_id = ? AND crop IS NOT NULL"
    if db.execute(mine, (sample, person)).fetchone() is None:
        raise UserError(f"{name} has no sample {sample} with a picture")
    db.execute("UPDATE person SET picture = ? WHERE id = ?", (sample, person))


def save_head(db: Connection, head: Head | None, provenance: Mapping[str, Any]) -> None:
    db.execute("DELETE FROM head_class")
    db.execute("DELETE FROM meta WHERE key = 'head'")
    if head is None:
        return
    people = {name: None if name is None else find(db, name) for name in head.names}
    gone = sorted(n for n, person in people.items() if n is not None and person is None)
    if gone:
        logger.warning("not enrolled, so the head's classes of them are left out: %s", gone)
    rows = [
        (i, people[name], to_blob(head.weight[i]), float(head.bias[i]))
        for i, name in enumerate(head.names)
        if name not in gone
    ]
    if all(person is None for _, person, *_ in rows):
        raise UserError("none of the people whom the head was trained on is enrolled")
    db.executemany("INSERT INTO head_class VALUES (?, ?, ?, ?)", rows)
    set_meta(db, "head", json.dumps(dict(provenance)))


def rebind(
    db: Connection,
    fingerprint: str,
    dimension: int,
    vectors: Mapping[int, NDArray[np.float32]],
) -> None:
    here = [number for (number,) in db.execute("SELECT id FROM sample")]
    db.executemany("DELETE FROM sample WHERE id = ?", [(i,) for i in here if i not in vectors])
    db.executemany(
        "UPDATE sample SET embedding = ? WHERE id = ?",
        [(to_blob(vector), number) for number, vector in vectors.items()],
    )
    forget_empty(db)
    db.execute("DELETE FROM head_class")
    db.execute("DELETE FROM meta WHERE key IN ('head', 'thresholds')")
    db.execute("DELETE FROM act")  # no undo, and no review, across two embedders
    db.execute("DELETE FROM unknown")
    set_meta(db, "contract", fingerprint)
    set_meta(db, "dimension", dimension)


def find(db: Connection, name: str) -> int | None:
    """The number of a person; None when there is nobody of that name."""
    row = db.execute("SELECT id FROM person WHERE name = ?", (name,)).fetchone()
    return None if row is None else int(row[0])


def person_id(db: Connection, name: str) -> int:
    """As `find`. Raises UserError, with the nearest name, when there is nobody."""
    try:
        found = find(db, clean_name(name))
    except UserError:  # an older release may have taken it all the same
        found = dict(db.execute("SELECT name, id FROM person")).get(name)
        if found is None:
            raise
    if found is not None:
        return found
    names = [known for (known,) in db.execute("SELECT name FROM person ORDER BY name")]
    folded = {known.casefold(): known for known in names}
    close = difflib.get_close_matches(name.casefold(), folded, n=1)
    hint = f"; did you mean {folded[close[0]]!r}?" if close else "; see `faces people`"
    raise UserError(f"there is nobody called {name!r}{hint}")


def set_meta(db: Connection, key: str, value: object) -> None:
    """A row of the table ``meta``."""
    db.execute(
        "INSERT INTO meta VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        (key, value),
    )


def _row(person: int, sample: NewSample, now: str, denies: int = 0) -> tuple[object, ...]:
    created = sample.created or now
    stored = picture_columns(sample.picture)
    return person, to_blob(sample.embedding), sample.source, created, *stored, denies


def picture_columns(picture: FacePicture | None) -> tuple[bytes | None, bytes | None]:
    """The columns ``crop`` and ``crop_box``."""
    return (None, None) if picture is None else (picture.png, to_blob(picture.place))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _known_or_new(db: Connection, names: Sequence[str], now: str) -> dict[str, int]:
    """The numbers of people, who are made where they are new; names are clean."""
    which = "SELECT name, id FROM person WHERE name IN (?)"
    numbers = dict(among(db, which, names))
    new = [name for name in names if name not in numbers]
    if new:
        rows = [(name, now) for name in new]
        db.executemany("INSERT INTO person (name, created) VALUES (?, ?)", rows)
        numbers.update(among(db, which, new))
    return numbers


def forget_empty(db: Connection) -> None:
    """Nobody is known of whom there is no sample."""
    # Not NOT IN: PostgreSQL would compare everybody with every sample, were they many.
    db.execute(
        "DELETE FROM person WHERE NOT EXISTS "
        "(SELECT 1 FROM sample WHERE person_id = person.id AND denies = 0)"
    )
