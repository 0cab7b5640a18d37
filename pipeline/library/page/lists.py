"""One list of everybody in a library: how it is told, and that it is worked out again in a thread
when something has changed.

There always is one to show: that of now, else the last complete one. While `faces index` writes
parts, the faces stay those of the last complete list.
"""

from __future__ import annotations

import logging
import secrets
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePosixPath
from typing import Any, get_args

import numpy as np

from faces.closing import Closing
from faces.errors import UserError
from pipeline.library.page import Kind
from pipeline.library.parts import no_writer
from pipeline.library.people import Library, Meant
from pipeline.library.search import Found, as_row
from pipeline.library.who.everybody import People, Person
from recognizer.snapshot import Snapshot

Key = tuple[str, int, str]
"""Of what a list is made: parts, decisions, names."""

PAGE = 48
"""People or photos told at once."""


@dataclass(frozen=True, eq=False)
class View:
    """One list."""

    number: int
    key: Key
    library: Library  # whose faces it has
    people: People

    @cached_property
    def kinds(self) -> dict[str, list[Person]]:
        """Those with a name, without one, met once only, ignored; most often met first."""
        found: dict[str, list[Person]] = {kind: [] for kind in get_args(Kind)}
        for one in self.people.everybody:
            kind = "ignored" if one.ignored else "named" if one.name else "unnamed"
            found["once" if kind == "unnamed" and one.moments < 2 else kind].append(one)
        return found

    @cached_property
    def row(self) -> dict[str, int]:
        """Faces by their names; of copies any."""
        return {face: row for row, face in enumerate(self.people.faces.face.tolist())}

    def person(self, face: str) -> Person:
        """Who has this face. Raises UserError for one that is not there, or is none any more."""
        group = int(self.people.group[self._row_of(face)])
        if group < 0:
            raise UserError("that is no face any more, as somebody decided")
        return self.people.everybody[group]

    def meant(self, face: str, whole: bool) -> Meant:
        """That face in all copies of its picture, or everybody who is with it."""
        if whole:
            person = self.person(face)
            return Meant(person.name, person.rows)
        self._row_of(face)
        return Meant(None, np.flatnonzero(self.people.faces.face == face))

    def _row_of(self, face: str) -> int:
        if face not in self.row:
            raise UserError("that face is not in the library any more")
        return self.row[face]


def told(view: View, person: Person) -> dict[str, Any]:
    """A person for JSON."""
    faces = view.people.faces
    return {
        "face": str(faces.face[person.picture]),
        "name": person.name,
        "decided": person.decided,
        "ignored": person.ignored,
        "moments": person.moments,
        "photos": len(np.unique(faces.photo[person.rows])),
    }


def page(view: View, found: Sequence[Found], offset: int) -> dict[str, Any]:
    """`PAGE` of the photos that were found, for JSON, from this one on."""
    rows = []
    for one in found[offset : offset + PAGE]:
        row = as_row(view.people, int(one.rows[0]))
        alike = None if one.similarity is None else round(one.similarity, 4)
        size = view.people.faces.size[one.photo].tolist()
        rows.append(
            {**row, "file": PurePosixPath(row["path"]).name, "size": size, "similarity": alike}
        )
    return {"view": view.number, "total": len(found), "rows": rows}


logger = logging.getLogger(__name__)

Known = Callable[[], tuple[Snapshot | None, str]]
"""Who has a name, and its identity: see `Library.people`."""

LISTS = ("page", "people")  # in cache/: the numbers of `faces library` are those of "people"

AGAIN = 2.0
"""Seconds after which it is looked again whether `faces index` has ended."""


class Lists(Closing):
    """Any thread may call any method.

    Args:
        library: closed with this.
        known: who has a name; asked again and again.

    Attributes:
        views: the newest list, and the one before it; empty until the first one is there.
        writing: whether `faces index` is at work, so that faces are missing.
        error: why there is no list of now.
    """

    def __init__(self, library: Library, known: Known) -> None:
        self.library, self._known = library, known
        self.views: tuple[View, ...] = ()
        self.writing = False
        self.error: str | None = None
        self._failed: Key | None = None  # for which there is no list
        self._changed = threading.Condition()
        self._wake = threading.Event()
        self._wake.set()
        self._closed = False
        self._thread = threading.Thread(target=self._work_forever, name="faces-lists", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread, and let go of the library."""
        self._closed = True
        self._wake.set()
        self._thread.join(5.0)
        self.library.close()

    def wait(self, seconds: float) -> bool:
        """Wait until the list is that of now; whether it is."""
        with self._changed:
            return self._changed.wait_for(lambda: not self.outdated(), seconds)

    def view(self) -> View:
        """The newest list. Raises UserError while there is none."""
        self.outdated()
        if not self.views:
            raise UserError(self.error or "the library is being read: a moment")
        return self.views[0]

    def _wanted(self) -> Key:
        return self.library.parts_key_now(), self.library.decisions.version, self._known()[1]

    def outdated(self) -> bool:
        """Whether there will be another list soon; wakes the thread for it."""
        wanted = self._wanted()
        if wanted == self._failed:
            return False
        if self.views:
            key = self.views[0].key
            if key == wanted or (self.writing and key[1:] == wanted[1:]):
                return False
        self._wake.set()
        return True

    def _work_forever(self) -> None:
        while not self._closed:
            self._wake.wait(AGAIN if self.writing else None)
            self._wake.clear()
            if self._closed:
                return
            wanted: Key | None = None
            try:
                wanted = self._wanted()
                self._work(wanted)
                self.error = self._failed = None
            except UserError as error:
                self.error, self._failed = str(error), wanted
            except Exception:
                if self._closed:
                    return
                logger.exception("the library cannot be shown")
                self.error, self._failed = "a bug; the program's log tells more", wanted
            with self._changed:
                self._changed.notify_all()

    def _work(self, wanted: Key) -> None:
        """One list, if it is not that of now."""
        view = next(iter(self.views), None)
        moved = view is None or view.key[0] != wanted[0]
        self.writing = moved and _is_written(self.library)
        known, identity = self._known()
        if view is None:
            self._open(wanted, known, identity)
            return
        library, parts = view.library, view.key[0]
        if moved and not self.writing:
            library = self.library.again()
            parts = library.parts_key
        key = parts, wanted[1], identity
        if key != view.key:
            self._list(library, key, known)

    def _open(self, wanted: Key, known: Snapshot | None, identity: str) -> None:
        """The first list: that of now where it is kept, else the last one, which is at hand."""
        library = self.library.again()
        key = library.parts_key, wanted[1], identity
        people = library.listed(known, identity, LISTS)
        if people is not None:
            self._put(library, people, key)
            return
        people = library.last(known, LISTS)
        if people.everybody:
            self._put(library.holding(people.faces), people, ("", wanted[1], identity))
            self._wake.set()
        else:
            self._list(library, key, known)

    def _list(self, library: Library, key: Key, known: Snapshot | None) -> None:
        try:
            people = library.people(known, key[2], LISTS)
        except UserError:
            if library.parts_key_now() != key[0]:  # a part went while all were read
                self._wake.set()
                return
            raise
        self._put(library, people, key)

    def _put(self, library: Library, people: People, key: Key) -> None:
        before = self.views[:1]
        # Nobody decides about faces that have been forgotten meanwhile.
        kept = tuple(view for view in before if view.key[0] == key[0])
        number = before[0].number + 1 if before else secrets.randbelow(2**31) + 1
        view = View(number, key, library, people)
        _ = view.kinds, view.row
        self.views = (view, *kept)


def _is_written(library: Library) -> bool:
    try:
        with no_writer(library.folder) as nobody:
            return not nobody
    except OSError:  # a folder that cannot be written to
        return False
