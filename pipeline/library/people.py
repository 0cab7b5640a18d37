"""Who is in a library: its faces grouped, and named by what was decided and by a gallery.

    with Library(Path("lib")) as library:
        for person in library.people().everybody:
            print(person.number, person.name, person.moments)

Groups and names are worked out anew when the faces, the decisions or the gallery have changed, and
kept in ``cache/``, which may be deleted at any time.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from faces.closing import Closing
from faces.errors import UserError
from faces.files import atomic_write
from pipeline.library.parts import part_files, read_faces, require_library
from pipeline.library.schema import LibraryFaces
from pipeline.library.who.decisions import Decisions, FaceKey
from pipeline.library.who.grouping import RULE
from pipeline.library.who.naming import known_of, means, name_groups
from pipeline.library.who.neighbors import neighbors
from recognizer.names import clean_name
from recognizer.rule import default_thresholds
from recognizer.snapshot import Snapshot

logger = logging.getLogger(__name__)

POOR = 0.15
"""Faces of a lower ``quality`` join groups, but found none: tiny and blurred faces are alike."""

_Kept = dict[str, NDArray]

_FORMAT = 1  # of what is kept in cache/; grows when grouping or naming changes its answers


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


@dataclass(frozen=True, eq=False)
class Meant:
    """What `Library.find` found: the name that it has in the list, and rows of faces (K,)."""

    name: str | None
    rows: NDArray[np.int64]


class Library(Closing):
    """A library that `faces index` made, with the decisions about it.

    Raises UserError when there is none, or it is damaged.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.manifest = require_library(folder)
        self.decisions = Decisions(folder / "decisions.db")

    def close(self) -> None:
        """Let go of the decisions."""
        self.decisions.close()

    @cached_property
    def faces(self) -> LibraryFaces:
        """Every face."""
        return read_faces(self.folder)

    def people(self, known: Snapshot | None = None, identity: str = "") -> People:
        """Group and name everybody.

        Args:
            known: who has a name, by the one rule; None are only those whom a person named here.
            identity: of ``known``, in words that change when its answers would.

        Raises UserError when ``known`` is of another embedder than the library.
        """
        if known is not None and known.fingerprint != self.manifest.embedder:
            raise UserError(
                f"the gallery holds vectors of {known.fingerprint}, the library those of "
                f"{self.manifest.embedder}: index the photos with the gallery's embedder, or "
                "rebuild the gallery with `faces people reembed`"
            )
        threshold = known.same if known else default_thresholds(self.manifest.embedder).gallery
        key = f"{self._parts_key}; {self.decisions.version}; {identity}; {threshold}"
        kept = self._kept("people", key, lambda: self._work_out(known, threshold))
        return _people(self.faces, kept, threshold)

    def find(self, target: str) -> Meant:
        """What somebody means who has seen a list: a number, a name, or the name of a face.

        Numbers and names are those of the last list that was worked out, whatever has been decided
        since. Raises UserError for what is not there.
        """
        if re.fullmatch(r"[0-9a-f]{16}-\d+", target):
            rows = np.flatnonzero(self.faces.face == target)
            if not len(rows):
                raise UserError(f"there is no face {target} in {self.folder}")
            return Meant(None, rows)
        kept = self._read("people")
        if kept is None:
            raise UserError(
                f"{target!r}: nobody has been listed yet: see `faces library people {self.folder}`"
            )
        no_face, names = kept["flags"][2].astype(bool), kept["names"]
        if target.isdecimal():
            chosen = np.cumsum(~no_face)[kept["group"]] == int(target)
            chosen &= ~no_face[kept["group"]]
        else:
            chosen = names[kept["group"]] == clean_name(target)
        rows = np.flatnonzero(np.isin(self.faces.face, kept["face"][chosen].astype(object)))
        if not len(rows):
            near = get_close_matches(target, set(names.tolist()) - {""}, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"`faces library people {self.folder}`"
            raise UserError(f"there is nobody {target!r} in the last list: see {hint}")
        return Meant(str(names[kept["group"][chosen][0]]) or None, rows)

    def keys(self, rows: NDArray[np.int64]) -> list[FaceKey]:
        """How decisions know these faces, each once."""
        return list(dict.fromkeys(face_key(self.faces, row) for row in rows.tolist()))

    @cached_property
    def _parts_key(self) -> str:
        """Changes when the faces do."""
        files = [(p.name, p.stat().st_size, p.stat().st_mtime_ns) for p in part_files(self.folder)]
        text = json.dumps([_FORMAT, self.manifest.embedder, files])
        return hashlib.sha256(text.encode()).hexdigest()

    def _work_out(self, known: Snapshot | None, threshold: float) -> _Kept:
        faces = self.faces
        # Copies of a picture have the same faces.
        _, unique, copy = np.unique(faces.face, return_index=True, return_inverse=True)
        embeddings = np.ascontiguousarray(faces.embedding[unique])
        photo, time = _photos_and_times(faces, unique)
        floor = RULE.floor(threshold)
        pairs = self._kept(
            "neighbors", f"{self._parts_key}; {floor}",
            lambda: dict(zip("abc", neighbors(embeddings, floor), strict=True)),
        )  # fmt: skip
        made = name_groups(
            embeddings,
            photo,
            threshold,
            known_of(self.decisions.facts(), [face_key(faces, row) for row in unique.tolist()]),
            known,
            time=time,
            poor=faces.quality[unique] < POOR,
            graph=(pairs["a"], pairs["b"], pairs["c"]),
        )
        return {
            "face": faces.face.astype(np.str_),
            "group": made.groups.group[copy],
            "moments": made.groups.moments,
            "names": np.array([name or "" for name in made.names], np.str_),
            "flags": np.stack([made.decided, made.ignored, made.no_face]),
            "likeness": np.einsum(
                "nd,nd->n", embeddings, means(made.groups, embeddings)[made.groups.group]
            )[copy],
        }

    def _kept(self, name: str, key: str, make: Callable[[], _Kept]) -> _Kept:
        """What is in the cache under this key, or else is made and put there."""
        kept = self._read(name)
        if kept is not None and str(kept.pop("key")) == key:
            return kept
        made, path = make(), self._cached(name)
        try:
            with atomic_write(path, private=True) as file:
                np.savez(file, key=np.array(key), **made)  # type: ignore[arg-type]
        except OSError as error:  # a library may be read by those who cannot write to it
            logger.warning("%s cannot be kept: %s", path, error.strerror)
        return made

    def _read(self, name: str) -> _Kept | None:
        path = self._cached(name)
        try:
            with np.load(path, allow_pickle=False) as file:
                return {field: file[field] for field in ("key", *file.files)}
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            logger.warning("%s cannot be used and is made anew: %s", path, error)
            return None

    def _cached(self, name: str) -> Path:
        return self.folder / "cache" / f"{name}.npz"


def face_key(faces: LibraryFaces, row: int) -> FaceKey:
    """How decisions know a face."""
    x1, y1, x2, y2 = faces.xyxy[row].tolist()
    seconds = float(faces.seconds[row])
    return FaceKey(
        str(faces.digest[faces.photo[row]]),
        (x1, y1, x2, y2),
        None if seconds != seconds else seconds,
    )


def _photos_and_times(
    faces: LibraryFaces, rows: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """For grouping: the number of the picture and the time of each face.

    A film shows somebody again and again: only what was seen at the same second is one picture.
    """
    _, photo = np.unique(faces.digest[faces.photo[rows]], return_inverse=True)
    seconds = faces.seconds[rows]
    film = ~np.isnan(seconds)
    looks = np.stack([photo, np.where(film, seconds, -1)], axis=1)
    _, picture = np.unique(looks, axis=0, return_inverse=True)
    taken = faces.taken[faces.photo[rows]]
    time = np.where(np.isnat(taken), np.nan, taken.astype(np.int64).astype(np.float64))
    # Films that do not say when they were taken still have an order inside.
    time = np.where(film & np.isnan(time), -1e7 * (1.0 + photo), time)
    return picture, time + np.where(film, seconds, 0)


def _people(faces: LibraryFaces, kept: _Kept, threshold: float) -> People:
    """From what is kept to persons; what is no face belongs to nobody."""
    group, decided, ignored, no_face = kept["group"], *kept["flags"]
    count = len(kept["moments"])
    sides = (faces.xyxy[:, 2:] - faces.xyxy[:, :2]).min(axis=1)
    good = np.nan_to_num(faces.quality, nan=0.5) * np.minimum(sides / 112, 1) + kept["likeness"]
    order = np.lexsort((-good, group))  # the best picture of each first
    members = np.split(order, np.cumsum(np.bincount(group, minlength=count))[:-1])
    everybody: list[Person] = []
    place = np.full(count, -1)
    for g in np.flatnonzero(~no_face).tolist():
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
