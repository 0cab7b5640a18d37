"""What a person can decide about the faces of a library; each becomes a fact that can be undone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from faces.errors import UserError
from pipeline.library.people import Library, Meant
from pipeline.library.who.decisions import FaceKey, match
from pipeline.library.who.naming import known_of
from recognizer.names import clean_name


def name(library: Library, meant: Sequence[Meant], who: str) -> int:
    """These faces are all ``who``; the number of the decision."""
    who, keys = clean_name(who), library.keys(_rows(meant))
    return library.decisions.decide({"not": _denied(library, meant, keys, who), "is": keys}, who)


def same(library: Library, meant: Sequence[Meant]) -> int:
    """These are one person, with the name that one of them has.

    Raises UserError when they have two names.
    """
    names = sorted({name for one in meant if (name := _name(library, one))})
    if len(names) > 1:
        raise UserError(
            f"{' and '.join(map(repr, names))} are two names: say which one it is with "
            "`faces library name`"
        )
    return library.decisions.decide({"is": library.keys(_rows(meant))}, names[0] if names else None)


def tell_apart(library: Library, meant: Sequence[Meant], who: Meant | str) -> int:
    """These faces are not ``who``, whose others stay together where there is no name.

    Raises UserError when nobody is left.
    """
    rows = _rows(meant)
    named = who if isinstance(who, str) else _name(library, who)
    if named:
        return library.decisions.decide({"not": library.keys(rows)}, named)
    assert isinstance(who, Meant)
    rest = np.setdiff1d(who.rows, rows)
    if not len(rest):
        raise UserError("nobody can be told apart from themselves: name the faces that are not")
    return library.decisions.decide({"is": library.keys(rest), "not": library.keys(rows)})


def ignore(library: Library, meant: Sequence[Meant]) -> list[int]:
    """Nobody wants to see these people, each a person of their own."""
    return [library.decisions.decide({"ignore": library.keys(one.rows)}) for one in meant]


def not_faces(library: Library, meant: Sequence[Meant]) -> int:
    """These are no faces."""
    return library.decisions.decide({"not_a_face": library.keys(_rows(meant))})


def _denied(
    library: Library, meant: Sequence[Meant], keys: Sequence[FaceKey], who: str
) -> list[FaceKey]:
    """Faces of which it was said that they are not these people, who get a new name.

    None where there is somebody called ``who`` already, of whom it was not said.
    """
    if library.called(who) is not None:
        return []
    facts = library.decisions.facts()
    faces = list(dict.fromkeys(fact.face for fact in facts))
    known, theirs = known_of(facts, faces), match(faces, keys) >= 0
    names = {one.name for one in meant}
    old = set()
    for number, name in enumerate(known.who):
        rows = known.person == number
        if name in names or (rows.any() and theirs[rows].all()):
            old.add(number)
    return [faces[row] for row, number in known.denied.tolist() if number in old]


def _name(library: Library, one: Meant) -> str | None:
    """Who they are: as was decided of them all since the list was made, or else as it says."""
    known = known_of(library.decisions.facts(), library.keys(one.rows))
    said = set(known.person.tolist())
    if len(said) == 1 and 0 <= (person := said.pop()) < known.named:
        return known.who[person]
    return one.name


def _rows(meant: Sequence[Meant]) -> np.ndarray:
    return np.unique(np.concatenate([one.rows for one in meant]))
