"""One list of everybody in a library, and how it is told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePosixPath
from typing import Any, get_args

import numpy as np

from faces.errors import UserError
from pipeline.library.page import Kind
from pipeline.library.people import Library, Meant
from pipeline.library.search import Found, as_row
from pipeline.library.who.everybody import People, Person

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
