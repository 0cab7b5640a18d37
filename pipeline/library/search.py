"""Where somebody is: by the vector of a face, or by name, company and date."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from faces.errors import UserError
from faces.images.read import read_image
from pipeline.library.people import People
from pipeline.library.schema import LibraryFaces, path_on_disk
from pipeline.sources.addresses import is_address, local_copy


@dataclass(frozen=True, eq=False)
class Found:
    """One photo or film that was searched for."""

    photo: int  # its position in `LibraryFaces.path`
    rows: NDArray[np.int64]  # of the faces that were meant, int64 (K,), the best first
    # cosine of the best of them with what was asked for; None when a name was
    similarity: float | None = None


def search_face(
    faces: LibraryFaces, vector: NDArray[np.float32], threshold: float, no_face: NDArray[np.bool_]
) -> list[Found]:
    """The photos and films with a face that is more alike than ``threshold``, best first.

    Args:
        vector: of the face, unit length, float32 (D,).
        no_face: rows that are none, as somebody decided, bool (N,).
    """
    cosines = faces.embedding @ vector
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
    names: Sequence[str],
    begin: np.datetime64 | None = None,
    end: np.datetime64 | None = None,
) -> list[Found]:
    """The photos and films with all of these people, in the order of time, then of their paths.

    Args:
        names: who must be there; nobody is everybody.
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
        rows = people.named(name).rows
        there = np.zeros(len(faces.path), bool)
        there[faces.photo[rows]] = True
        wanted &= there
        meant[rows] = True
    if not names:
        meant = people.group >= 0
    rows = np.flatnonzero(meant & wanted[faces.photo])
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


def picture_of(faces: LibraryFaces, row: int) -> NDArray[np.uint8]:
    """The face with what is around it, cut out of its photo or film: RGB uint8 (h, w, 3).

    Raises UserError when the file cannot be read (any more).
    """
    stored = str(faces.path[faces.photo[row]])
    seconds = float(faces.seconds[row])
    with local_file(stored) as path:
        image = read_image(path) if seconds != seconds else _frame(path, seconds)
    x1, y1, x2, y2 = faces.xyxy[row].tolist()
    rim = 0.4 * max(x2 - x1, y2 - y1)
    height, width = image.shape[:2]
    left, top = max(0, int(x1 - rim)), max(0, int(y1 - rim))
    part = image[top : min(height, int(y2 + rim) + 1), left : min(width, int(x2 + rim) + 1)]
    if not part.size:
        raise UserError(f"{stored}: it has changed since it was indexed: run `faces index` again")
    return part


@contextmanager
def local_file(stored: str) -> Iterator[Path]:
    """The photo or film of a row, as a file that is there within the block.

    Raises UserError when an address cannot be read.
    """
    if is_address(stored):
        with local_copy(stored) as path:
            yield path
    else:
        yield Path(path_on_disk(stored))


def _frame(path: Path, seconds: float) -> NDArray[np.uint8]:
    from faces.video.film import VideoReader

    with VideoReader(path) as film:
        shown = None
        while (frame := film.read()) is not None and frame.time <= seconds + 1e-3:
            shown = frame
    if shown is None:
        raise UserError(f"{path}: there is no picture at {seconds:.1f} s: run `faces index` again")
    return shown.image
