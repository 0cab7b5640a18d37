"""Everybody in a library, as persons with their faces and a picture."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches

import numpy as np
from numpy.typing import NDArray

from faces.errors import UserError
from pipeline.library.schema import LibraryFaces
from recognizer.names import clean_name

Kept = dict[str, NDArray]
"""What is kept in ``cache/`` of a list: see `pipeline.library.people.Library`."""


@dataclass(frozen=True, eq=False)
class Person:
    """Somebody in a library."""

    number: int  # place in the list: whoever was met most often is 1
    name: str | None  # None where nobody knows it
    decided: bool  # whether a person said so; else the name is the gallery's
    ignored: bool  # whether a person wants not to see them
    rows: NDArray[np.int64]  # of the faces in `LibraryFaces`, int64 (K,), copies too
    moments: int  # how often they were met: bursts and copies count once
    picture: int  # the row of the best picture

    def __str__(self) -> str:
        return self.name or f"person {self.number}"


@dataclass(frozen=True, eq=False)
class People:
    """Everybody in a library."""

    faces: LibraryFaces  # all its faces
    # the position in ``everybody`` of each face, int64 (N,); -1 is no face
    group: NDArray[np.int64]
    everybody: tuple[Person, ...]  # who was met most often first
    threshold: float  # the cosine above which two faces are one person, as it was calibrated

    def named(self, name: str) -> Person:
        """The person of that name. Raises UserError when there is nobody, with who is meant."""
        known = {person.name: person for person in self.everybody if person.name}
        if clean_name(name) in known:
            return known[clean_name(name)]
        close = get_close_matches(name, known, n=1)
        hint = f"did you mean {close[0]!r}?" if close else "see `faces library people`"
        raise UserError(f"nobody in the library is called {name!r}: {hint}")


def people_of(faces: LibraryFaces, kept: Kept, threshold: float) -> People:
    """From what is kept to persons; what is no face belongs to nobody."""
    group, decided, ignored, no_face = kept["group"], *kept["flags"]
    count = len(kept["moments"])
    sides = (faces.xyxy[:, 2:] - faces.xyxy[:, :2]).min(axis=1)
    good = np.nan_to_num(faces.quality, nan=0.5) * np.minimum(sides / 112, 1) + kept["likeness"]
    order = np.lexsort((-good, group))  # the best picture of each first
    members = np.split(order, np.cumsum(np.bincount(group, minlength=count))[:-1])
    everybody: list[Person] = []
    place = np.full(count, -1)
    for g in np.flatnonzero(~no_face & (np.bincount(group, minlength=count) > 0)).tolist():
        place[g] = len(everybody)
        everybody.append(
            Person(
                number=len(everybody) + 1,
                name=str(kept["names"][g]) or None,
                decided=bool(decided[g]),
                ignored=bool(ignored[g]),
                rows=np.sort(members[g]),
                moments=int(kept["moments"][g]),
                picture=int(members[g][0]),
            )
        )
    return People(faces, place[group], tuple(everybody), threshold)
