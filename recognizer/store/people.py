"""The people on disk: one SQLite file that many programs may read while one writes, or a PostgreSQL
database for several machines.

    with Store.open(Path("people.db"), embedder.fingerprint, embedder.dimension) as store:
        store.add("Anna", embedder.embed(faces))
        snapshot = store.snapshot()

Every change is one transaction, so a program that is killed leaves the file as it was before or
after it, and ``version`` grows with it. The write-ahead log lets readers go on meanwhile. Like all
SQLite files in this mode it belongs on a local disk, not on a network share.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from faces.errors import UserError
from faces.text import counted
from recognizer.gallery import Head
from recognizer.names import clean_name
from recognizer.rule import SAME_SHARE, Thresholds, default_thresholds
from recognizer.snapshot import Snapshot
from recognizer.store import journal
from recognizer.store import read as store_read
from recognizer.store import write as store_write
from recognizer.store.address import Place, place
from recognizer.store.database import Connection
from recognizer.store.face_picture import FacePicture
from recognizer.store.journal import Act, Doing
from recognizer.store.read import PersonInfo, Sample
from recognizer.store.transactions import Transactions, database_at
from recognizer.store.write import Change, NewSample, set_meta


class StoreChanged(UserError):
    """Somebody else has changed the file meanwhile."""


class Store(Transactions):
    """People, their vectors, the classifier head and the thresholds, bound to one fingerprint.

    Threads may share a store: reading and writing have a connection and a lock each, so a thread
    that reads is not held up by one that writes. Processes open the file each for themselves (a
    store does not survive a fork). Raises UserError for what can happen to a file: busy for more
    than 10 s, damaged, full disk.
    """

    def __init__(self, path: Place, thresholds: Thresholds | None) -> None:
        """Use `open` or `open_existing`."""
        super().__init__(path)
        self._defaults = thresholds
        self._calibrated: tuple[str, Thresholds] | None = None
        self._cached: Snapshot | None = None
        self._bind(self._fingerprint, self._dimension)

    @classmethod
    def open(
        cls,
        path: str | Place,
        fingerprint: str,
        dimension: int,
        thresholds: Thresholds | None = None,
        *,
        take_over: bool = False,
    ) -> Store:
        """Open the file, making it when it is missing and upgrading one of an older version.

        Args:
            path: the file, or the address of a database, see `recognizer.store.address.place`.
            fingerprint, dimension: of the embedder in use, see `recognizer.types.Embedder`.
            thresholds: hold until others are saved; those that were measured for the embedder
                unless given, see `recognizer.rule.default_thresholds`.
            take_over: bind a file in which nothing is kept, as after an enrollment that failed, to
                this embedder. For those who write people: a program that has it open must start
                again.

        Raises UserError for a file that is foreign, newer, or of another fingerprint.
        """
        path = place(path)
        database_at(path).prepare({"contract": fingerprint, "dimension": dimension})
        store = cls._opened(path, thresholds)
        if (store.fingerprint, store.dimension) != (fingerprint, dimension):
            other, people, seen = store.fingerprint, store.people(), store.version()
            try:
                empty = store._keeps_nothing()
                if empty and take_over:
                    store.rebind(fingerprint, dimension, {}, seen)
                    return store
            except UserError:
                store.close()
                raise
            store.close()
            anew = "enroll somebody with this one: nobody is in it yet"
            way = anew if empty else store_read.way_over(people)
            raise UserError(
                f"{path} holds vectors of another embedder ({other}; this one is {fingerprint}): "
                f"choose that embedder, or name another file, or {way}"
            )
        return store

    @classmethod
    def open_existing(cls, path: str | Place) -> Store:
        """Open a file that must be there, whatever its fingerprint; see `open`."""
        path = place(path)
        database_at(path).prepare(None)
        return cls._opened(path)

    @classmethod
    def _opened(cls, path: Place, thresholds: Thresholds | None = None) -> Store:
        with database_at(path).explained():
            return cls(path, thresholds)

    @staticmethod
    def exists(path: str | Place) -> bool:
        """Whether there is something to open. Raises UserError for a server that is not there."""
        return database_at(place(path)).exists()

    # -- reading

    def version(self) -> int:
        """Grows with every change; so quick (tens of microseconds) that it can be asked often."""
        with self._read_lock, self._database.explained():
            return store_read.version(self._current())

    def snapshot(self) -> Snapshot:
        """Everything at one moment; the same object again as long as nothing has changed.

        Raises UserError when another program has rebuilt the file for another embedder.
        """
        with self.reading() as db:
            version = store_read.version(db)
            if self._cached is None or self._cached.version != version:
                gallery, denied, head = self._galleries.read(db)
                self._cached = Snapshot(gallery, head, self._thresholds(db), version, denied)
            return self._cached

    def _thresholds(self, db: Connection) -> Thresholds:
        saved = json.loads(store_read.meta(db).get("thresholds", "{}"))
        known = {f.name for f in fields(Thresholds)}
        given = {k: v for k, v in saved.items() if k in known}
        if given.keys() != known:
            given = {**asdict(self._default_thresholds()), **given}
        return Thresholds(**given)

    def _keeps_nothing(self) -> bool:
        """Whether nothing here is of the embedder that it is bound to."""
        with self.reading() as db:
            faces = "SELECT 1 FROM person UNION ALL SELECT 1 FROM unknown LIMIT 1"
            return not db.execute(faces).fetchall() and "thresholds" not in store_read.meta(db)

    def _bar(self, db: Connection) -> float:
        return SAME_SHARE * self._thresholds(db).gallery

    def _default_thresholds(self) -> Thresholds:
        """Those given, or those of the embedder whose vectors are held now."""
        if self._defaults is not None:
            return self._defaults
        if self._calibrated is None or self._calibrated[0] != self._fingerprint:
            self._calibrated = (self._fingerprint, default_thresholds(self._fingerprint))
        return self._calibrated[1]

    def people(self) -> list[PersonInfo]:
        """Everyone, sorted by name."""
        with self.reading() as db:
            return store_read.people(db)

    def samples(self, name: str, *, denied: bool = False) -> list[Sample]:
        """A person's samples, oldest first, with pictures where kept. Raises UserError: nobody.

        With ``denied`` the faces of which somebody has said that they are not this person.
        """
        with self.reading() as db:
            return store_read.samples(
                db, store_write.person_id(db, name), self._dimension, self.path, denied=denied
            )

    def thumbnail(self, name: str) -> bytes | None:
        """The PNG that was chosen for a person, else the first; None when none was kept.

        Raises UserError: nobody.
        """
        with self.reading() as db:
            return store_read.thumbnail(db, store_write.person_id(db, name))

    def picture(self, table: Literal["sample", "unknown"], number: int) -> bytes | None:
        """The PNG of a sample, or of an unknown face; None where there is none."""
        with self.reading() as db:
            row = db.execute(f"SELECT crop FROM {table} WHERE id = ?", (number,)).fetchone()
        return None if row is None or row[0] is None else bytes(row[0])

    def acts(self) -> list[Act]:
        """What `undo` can take back, newest first."""
        with self.reading() as db:
            return journal.acts(db)

    def touched(self, act: int) -> list[str]:
        """The names of the people whom this act has changed, see `acts`."""
        with self.reading() as db:
            return journal.touched(db, act)

    def head_provenance(self) -> dict[str, Any] | None:
        """What was given to `save_head`; None without a head."""
        with self.reading() as db:
            text = store_read.meta(db).get("head")
            return None if text is None else json.loads(text)

    # -- changing

    def add(
        self,
        name: str,
        embeddings: NDArray[np.float32],
        crops: Sequence[FacePicture] | None = None,
        source: str = "",
    ) -> None:
        """Add samples to a new or known person, all or none.

        Args:
            name: see `recognizer.names.clean_name`.
            embeddings: unit vectors, float32 (N, D), N >= 1.
            crops: a picture for each, where the user chose to keep them.
            source: where they come from.
        """
        pictures = [None] * len(embeddings) if crops is None else crops
        new = [
            NewSample(vector, picture, source)
            for vector, picture in zip(embeddings, pictures, strict=True)
        ]
        self.add_samples({name: new})

    def add_samples(self, people: Mapping[str, Sequence[NewSample]]) -> None:
        """Add samples of several people, all or none.

        Raises UserError for a name that cannot be, ValueError for vectors of another length.
        """
        checked: dict[str, list[NewSample]] = {}
        for name, samples in people.items():
            if not samples:
                raise ValueError(f"no samples for {name}")
            checked.setdefault(clean_name(name), []).extend(samples)
            self._check(np.stack([sample.embedding for sample in samples]))
        count = sum(map(len, checked.values()))
        who = ", ".join(list(checked)[:3]) + (", ..." if len(checked) > 3 else "")
        with self.changing(Doing(f"{counted(count, 'sample')} added: {who}")) as db:
            store_write.add_samples(db, checked, partial(self._bar, db))

    def deny(self, name: str, faces: Sequence[NewSample]) -> None:
        """Note that these faces are not this person, see `recognizer.rule.is_denied`.

        Raises UserError when there is nobody of that name.
        """
        self.apply(Change(deny={name: faces}, doing=Doing(f"this is not {name}")))

    def rename(self, old: str, new: str) -> None:
        """Raises UserError when there is nobody ``old``, or already somebody ``new``."""
        new = clean_name(new)
        with self.changing(Doing(f"{old} was renamed {new}")) as db:
            store_write.rename(db, old, new)

    def merge(self, source: str, into: str) -> None:
        """Give all samples of one person to another, who stays; both were the same all along.

        If the classifier head knows both, it keeps the class of ``into``; if only ``source``, that
        class is renamed. Raises UserError when there is nobody of that name.
        """
        with self.changing(Doing(f"{source} was merged into {into}", head=True)) as db:
            store_write.merge(db, source, into, partial(self._bar, db))

    def remove(self, name: str) -> None:
        """Forget somebody: name, vectors, pictures and the head's class leave the file and its log.

        So do unknown faces that were taken for them, and what could be undone of them. This cannot
        be undone.

        Should another program read at that very moment for more than 10 s, or the disk be full,
        the bytes are overwritten when the file is opened next (a warning says so). A PostgreSQL
        server overwrites them when it uses the room again, and its log and backups are kept as its
        keeper decides. Raises UserError when there is nobody of that name.
        """
        with self.forgetting() as db:
            store_write.remove(db, name, lambda: self._thresholds(db).gallery)

    def move_samples(self, ids: Sequence[int], name: str) -> None:
        """Give single samples to a (new or known) person; who has none left is forgotten.

        Raises UserError for a sample that is not there.
        """
        name = clean_name(name)
        what = f"{counted(len(ids), 'sample')} moved to {name}"
        with self.changing(Doing(what, head=True)) as db:
            store_write.move_samples(db, ids, name, partial(self._bar, db))

    def save_head(self, head: Head | None, provenance: Mapping[str, Any] | None = None) -> None:
        """Replace the classifier head; None removes it.

        Args:
            head: its classes belong to people: renaming or removing one does the same to the class.
                Classes of people who were removed while it was trained are left out.
            provenance: how it was made, for JSON. No names: it outlives the people.

        Raises ValueError for a head of another fingerprint, UserError when none of its people is
        left.
        """
        if head is not None and head.fingerprint != self._fingerprint:
            raise ValueError(
                f"a head for {head.fingerprint}, the people are of {self._fingerprint}"
            )
        with self.changing(Doing("the classifier head was replaced", head=True)) as db:
            store_write.save_head(db, head, provenance or {})

    def apply(self, change: Change) -> None:
        """Make several changes at once, all or none.

        Raises StoreChanged when the file is not of ``change.expected`` any more, and what the
        single changes raise.
        """
        for samples in (*change.add.values(), *change.deny.values()):
            self._check(np.stack([sample.embedding for sample in samples]))
        if change.head is not None and change.head.fingerprint != self._fingerprint:
            raise ValueError(f"a head for {change.head.fingerprint}, not {self._fingerprint}")
        scrubs = change.forgets and change.doing is None
        with self.forgetting() if scrubs else self.changing(change.doing) as db:
            if change.expected not in (None, store_read.version(db)):
                raise StoreChanged(f"{self.path} was changed meanwhile: try again")
            store_write.apply(db, change, partial(self._bar, db))

    def save_thresholds(self, thresholds: Thresholds) -> None:
        """Keep those that `faces calibrate` found."""
        with self.changing(Doing("the thresholds were calibrated", head=True)) as db:
            set_meta(db, "thresholds", json.dumps(asdict(thresholds)))

    def choose_picture(self, name: str, sample: int) -> None:
        """Have this sample's picture stand for a person. Raises UserError where there is none."""
        with self.changing(Doing(f"another picture for {name}")) as db:
            store_write.choose_picture(db, name, sample)

    def note_seen(self, seen: Mapping[str, str]) -> None:
        """Note when people were last seen (UTC, ISO 8601); no change of who is known."""
        with self.noting() as db:
            db.executemany(
                "UPDATE person SET seen = ? WHERE name = ?",
                [(when, name) for name, when in seen.items()],
            )

    def undo(self, act: int | None = None) -> Act:
        """Take back what somebody has done last (see `acts`); forgetting is for ever.

        Args:
            act: its number, as it was seen; None takes the newest, whatever it is.

        What it takes away is gone from the file's bytes, as with `remove`. Raises UserError when
        there is nothing, or something else was done since.
        """
        try:
            with self.forgetting() as db:
                undone = journal.undo(db, act)
                store_write.forget_empty(db)
        except Exception as error:
            if not self._database.is_misfit(error):
                raise
            raise UserError(
                f"{self.path}: this does not go with what other programs have changed since; "
                "`faces people undo --clear` gives up what can be undone"
            ) from error
        return undone

    def forget_acts(self) -> None:
        """Give up what could be undone: former names and samples leave the file and its log."""
        with self.forgetting() as db:
            journal.expire(db, keep=0)

    def rebind(
        self,
        fingerprint: str,
        dimension: int,
        vectors: Mapping[int, NDArray[np.float32]],
        seen: int,
    ) -> None:
        """Replace the embedder: see `recognizer.store.reembed.reembed`.

        Args:
            fingerprint, dimension: of the new embedder.
            vectors: the new unit vector of each sample that stays, by its number.
            seen: the version they were made from.

        Head and thresholds belong to the old embedder and go. Raises UserError when the file has
        changed since ``seen``.
        """
        with self.forgetting() as db:
            if store_read.version(db) != seen:
                raise UserError(f"{self.path} was changed by another program meanwhile: try again")
            store_write.rebind(db, fingerprint, dimension, vectors)
        self._bind(fingerprint, dimension)

    # -- inside

    def _bind(self, fingerprint: str, dimension: int) -> None:
        self._fingerprint, self._dimension = fingerprint, dimension
        self._galleries = store_read.Galleries(fingerprint, dimension, self.path)

    def _check(self, embeddings: NDArray[np.float32]) -> None:
        if embeddings.ndim != 2 or embeddings.shape[1] != self._dimension:
            raise ValueError(f"expected vectors (N, {self._dimension}), got {embeddings.shape}")
        length = np.linalg.norm(embeddings, axis=1)
        if not np.allclose(length, 1, atol=1e-3):  # also refuses what is not finite
            raise ValueError(f"vectors must have length 1, got {length}")
