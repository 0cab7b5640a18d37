"""Where somebody is: by the vector of a face, or by name, company and date."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from faces.errors import UserError
from pipeline.library.schema import LibraryFaces, Manifest
from pipeline.library.who.everybody import People
from recognizer.types import cosines_of

if TYPE_CHECKING:
    from pipeline.analyzer import FaceAnalyzer
    from pipeline.library.people import Meant


@dataclass(frozen=True, eq=False)
class Found:
    """One photo or film that was searched for."""

    photo: int  # its position in `LibraryFaces.path`
    rows: NDArray[np.int64]  # of the faces that were meant, int64 (K,), the best first
    # cosine of the best of them with what was asked for; None when a name was
    similarity: float | None = None


def largest_face(
    photo: Any, analyzer: FaceAnalyzer, manifest: Manifest, called: str
) -> tuple[NDArray[np.float32], int]:
    """Whom a photo is searched by: the vector of its largest face, and how many faces it has.

    Args:
        photo: a path, or as `FaceAnalyzer.analyze` takes it.
        analyzer: of the library's embedder.
        manifest: of the library.
        called: the photo, in an error.

    Raises UserError for a photo without a face, and for another embedder.
    """
    if analyzer.embedder.fingerprint != manifest.embedder:
        raise UserError(
            f"the library was made with the embedder {manifest.embedder}, this one is "
            f"{analyzer.embedder.fingerprint}: choose that one with --embedder"
        )
    found = analyzer.analyze(photo)
    if not found:
        raise UserError(f"{called}: no face was found")
    largest = max(found, key=lambda f: (f.box[2] - f.box[0]) * (f.box[3] - f.box[1]))
    assert largest.embedding is not None
    return largest.embedding, len(found)


def search_face(
    faces: LibraryFaces, vector: NDArray[np.float32], threshold: float, no_face: NDArray[np.bool_]
) -> list[Found]:
    """The photos and films with a face that is more alike than ``threshold``, best first.

    Args:
        vector: of the face, unit length, float32 (D,).
        no_face: rows that are none, as somebody decided, bool (N,).
    """
    cosines = cosines_of(faces.embedding, vector)
    cosines[no_face] = -1
    rows = np.flatnonzero(cosines > threshold)
    rows = rows[np.argsort(-cosines[rows], kind="stable")]
    first = np.unique(faces.photo[rows], return_index=True)[1]
    return [
        Found(int(faces.photo[rows[i]]), rows[i : i + 1], float(cosines[rows[i]]))
        for i in np.sort(first).tolist()
    ]


def search_names(
    people: People,
    names: Sequence[str | Meant],
    begin: np.datetime64 | None = None,
    end: np.datetime64 | None = None,
) -> list[Found]:
    """The photos and films with all of these people, in the order of time, then of their paths.

    Args:
        names: who must be there, by name or as `Library.find` gave them; nobody is everybody.
        begin, end: when they were taken: not before, and before. With one of them, photos that do
            not say when they were taken are left out.

    Raises UserError for a name that nobody in the library has.
    """
    faces = people.faces
    wanted = np.ones(len(faces.path), bool)
    with np.errstate(invalid="ignore"):  # comparisons with NaT are false
        if begin is not None:
            wanted &= faces.taken >= begin
        if end is not None:
            wanted &= faces.taken < end
    meant = np.zeros(len(faces), bool)
    for name in names:
        rows = people.named(name).rows if isinstance(name, str) else name.rows
        there = np.zeros(len(faces.path), bool)
        there[faces.photo[rows]] = True
        wanted &= there
        meant[rows] = True
    if not names:
        meant = people.group >= 0
    return by_photo(faces, np.flatnonzero(meant & wanted[faces.photo]))


def by_photo(faces: LibraryFaces, rows: NDArray[np.int64]) -> list[Found]:
    """The photos and films of these faces (K,), in the order of time, then of their paths."""
    rows = rows[np.argsort(faces.photo[rows], kind="stable")]
    starts = np.flatnonzero(np.diff(faces.photo[rows], prepend=-1))
    found = [
        Found(int(faces.photo[part[0]]), part) for part in np.split(rows, starts[1:]) if len(part)
    ]
    far = np.datetime64("9999-01-01")
    when = np.where(np.isnat(faces.taken), far, faces.taken)
    return sorted(found, key=lambda one: (when[one.photo], str(faces.path[one.photo])))


def date_of(text: str, end: bool = False) -> np.datetime64:
    """``2024``, ``2024-03`` or ``2024-03-31`` -> where it begins, or where it is over (``end``).

    Raises UserError for what is no date.
    """
    try:
        if not re.fullmatch(r"\d{4}(-\d\d){0,2}", text):
            raise ValueError
        date = np.datetime64(text)  # of the unit that the text has
        return (date + end).astype("datetime64[s]")
    except ValueError as error:
        raise UserError(
            f"{text!r} is no date: give a year, a month or a day, such as 2024, 2024-03, 2024-03-31"
        ) from error


def as_row(people: People, row: int) -> dict[str, Any]:
    """A face for JSON."""
    faces = people.faces
    photo = int(faces.photo[row])
    group = int(people.group[row])
    person = people.everybody[group] if group >= 0 else None
    taken, seconds = faces.taken[photo], float(faces.seconds[row])
    return {
        "path": str(faces.path[photo]),
        "face": str(faces.face[row]),
        "box": [round(side, 1) for side in faces.xyxy[row].tolist()],
        "seconds": None if seconds != seconds else round(seconds, 3),
        "taken": None if np.isnat(taken) else str(taken),
        "person": person.number if person else None,
        "name": person.name if person else None,
    }
