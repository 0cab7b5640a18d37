"""Who is in a library: its faces grouped, and named by what was decided and by a gallery.

    with Library(Path("lib")) as library:
        for person in library.people().everybody:
            print(person.number, person.name, person.moments)

Groups and names are worked out again when the faces, the decisions or the gallery have changed, and
kept in ``cache/``, which may be deleted at any time.
"""

from __future__ import annotations

import copy
import hashlib
import json
import logging
import re
import zipfile
from collections.abc import Callable, Sequence
from contextlib import suppress
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
from pipeline.library.who.everybody import Kept, People, people_of
from pipeline.library.who.grouping import RULE
from pipeline.library.who.naming import known_of, means, name_groups
from pipeline.library.who.neighbors import neighbors
from recognizer.blank import find_blank
from recognizer.names import clean_name
from recognizer.rule import default_thresholds
from recognizer.snapshot import Snapshot

logger = logging.getLogger(__name__)

POOR = 0.15
"""Faces of a lower ``quality`` join groups, but found none: tiny and blurred faces are alike. So do
those that are blank, see `recognizer.blank`."""

FACE = re.compile(r"[0-9a-f]{16}-\d+")
"""The name of a face."""

_FORMAT = 3  # of what is kept in cache/; grows when grouping or naming changes its answers


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

    def again(self) -> Library:
        """The same library with the faces of now. It shares the decisions: close one of the two."""
        other = copy.copy(self)
        for old in ("faces", "parts_key"):
            other.__dict__.pop(old, None)
        other.manifest = require_library(self.folder)
        return other

    def holding(self, faces: LibraryFaces) -> Library:
        """The same library as if it had these of its faces only. It shares the decisions, too."""
        other = copy.copy(self)
        names = "\n".join(faces.face.tolist())
        key = hashlib.sha256(f"{self.parts_key}\n{names}".encode()).hexdigest()
        other.__dict__.update(faces=faces, parts_key=key)
        return other

    def people(
        self, known: Snapshot | None = None, identity: str = "", lists: Sequence[str] = ("people",)
    ) -> People:
        """Group and name everybody.

        Args:
            known: who has a name, by the one rule; None are only those whom a person named here.
            identity: of ``known``, in words that change when its answers would.
            lists: where in ``cache/`` it may be kept already; the first is where it is kept. The
                numbers of `find` are those of "people".

        Raises UserError when ``known`` is of another embedder than the library.
        """
        key, threshold = self._key(known, identity)
        kept = self._kept(lists, key, lambda: self._work_out(known, threshold))
        return people_of(self.faces, kept, threshold)

    def listed(self, known: Snapshot | None, identity: str, lists: Sequence[str]) -> People | None:
        """As `people`, where that is kept; None where it would have to be worked out."""
        key, threshold = self._key(known, identity)
        kept = self._fresh(lists, key)
        return None if kept is None else people_of(self.faces, kept, threshold)

    def last(self, known: Snapshot | None, lists: Sequence[str]) -> People:
        """Everybody as the first of these lists that there is had them; nothing is worked out.

        Only the faces that it had and that are still there; nobody where there is no list.
        """
        _, threshold = self._key(known, "")
        kept = next((one for name in lists if (one := self._read(name)) is not None), None)
        if kept is None or not len(kept["face"]):
            nobody = self.faces.only(np.zeros(len(self.faces), bool))
            return People(nobody, np.empty(0, np.int64), (), threshold)
        names, first = np.unique(kept["face"], return_index=True)
        own = self.faces.face.astype(np.str_)
        place = np.minimum(np.searchsorted(names, own), len(names) - 1)
        there = names[place] == own
        at = first[place[there]]
        kept |= {name: kept[name][at] for name in ("face", "group", "likeness")}
        return people_of(self.faces.only(there), kept, threshold)

    def _key(self, known: Snapshot | None, identity: str) -> tuple[str, float]:
        """Under which a list is kept, and the threshold of its names."""
        if known is not None and known.fingerprint != self.manifest.embedder:
            raise UserError(
                f"the gallery holds vectors of {known.fingerprint}, the library those of "
                f"{self.manifest.embedder}: index the photos with the gallery's embedder, or "
                "rebuild the gallery with `faces people reembed`"
            )
        threshold = known.same if known else default_thresholds(self.manifest.embedder).gallery
        return f"{self.parts_key}; {self.decisions.version}; {identity}; {threshold}", threshold

    def find(self, target: str, now: People | None = None) -> Meant:
        """What somebody means who has seen a list: a number, a name, or the name of a face.

        Numbers and names are those of the last list that was worked out, whatever has been decided
        since; a name that is new since then means the faces that were given it.

        Args:
            now: everybody as they are now; names are then theirs, and a number of somebody whose
                name still holds means that name, with what has come meanwhile. Any other number
                means those faces alone.

        Raises UserError for what is not there, and for digits that are the number of one person and
        the name of another.
        """
        if FACE.fullmatch(target):
            rows = np.flatnonzero(self.faces.face == target)
            if not len(rows):
                raise UserError(f"there is no face {target} in {self.folder}")
            return Meant(None, rows)
        if now is None and self._read("people") is None:
            raise UserError(
                f"{target!r}: nobody has been listed yet: see `faces library people {self.folder}`"
            )
        named = self.called(target) if now is None else _called(now, clean_name(target))
        numbered = self._numbered(target)
        if now is not None and numbered is not None:
            theirs = _called(now, numbered.name) if numbered.name else None
            held = theirs is not None and set(numbered.rows) <= set(theirs.rows)
            numbered = theirs if held else Meant(None, numbered.rows)
        found = named or numbered
        if found is None:
            names = self._names() if now is None else [p.name for p in now.everybody if p.name]
            near = get_close_matches(target, names, n=1)
            see = f"see `faces library people {self.folder}`"
            hint = f"did you mean {near[0]!r}?" if near else see
            raise UserError(f"there is nobody {target!r} in the last list: {hint}")
        if numbered is not None and not set(numbered.rows) <= set(found.rows):
            raise UserError(
                f"{target} is the number of {numbered.name or 'somebody without a name'} in the "
                "last list, and the name of somebody else: give the number or name of the one, or "
                f"a face of theirs, as `faces library people {self.folder} --json` has them"
            )
        return found

    def called(self, name: str) -> Meant | None:
        """Who has this name in the last list, or was given it since; None when nobody has."""
        name = clean_name(name)
        kept = self._read("people")
        rows = np.empty(0, np.int64)
        if kept is not None:
            rows = self._rows(kept, kept["names"][kept["group"]] == name)
        if not len(rows):
            rows = self._decided(name)
        return Meant(name, rows) if len(rows) else None

    def _numbered(self, target: str) -> Meant | None:
        """Who has this number in the last list."""
        kept = self._read("people")
        if kept is None or not target.isdecimal():
            return None
        no_face = kept["flags"][2].astype(bool)
        chosen = np.cumsum(~no_face)[kept["group"]] == int(target)
        chosen &= ~no_face[kept["group"]]
        rows = self._rows(kept, chosen)
        name = str(kept["names"][kept["group"][chosen][0]]) if len(rows) else ""
        return Meant(name or None, rows) if len(rows) else None

    def _rows(self, kept: Kept, chosen: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Rows of these of the faces (K,) of a list that are still there."""
        return np.flatnonzero(np.isin(self.faces.face, kept["face"][chosen].astype(object)))

    def _names(self) -> list[str]:
        """Those of the last list."""
        kept = self._read("people")
        return [] if kept is None else sorted(set(kept["names"].tolist()) - {""})

    def _poor(self, embeddings: NDArray[np.float32], rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which faces, rows (N,) with these vectors (N, D), are hard to see."""
        fingerprint = self.manifest.embedder
        blank = find_blank(fingerprint, default_thresholds(fingerprint).gallery)
        poor: NDArray[np.bool_] = self.faces.quality[rows] < POOR
        return poor if blank is None else poor | blank(embeddings)

    def _decided(self, name: str) -> NDArray[np.int64]:
        """Rows of the faces of which it was decided that they are this person."""
        facts = self.decisions.facts()
        if not any(fact.name == name for fact in facts):
            return np.empty(0, np.int64)
        known = known_of(facts, [face_key(self.faces, row) for row in range(len(self.faces))])
        return np.flatnonzero(known.person == known.who.index(name))

    def keys(self, rows: NDArray[np.int64]) -> list[FaceKey]:
        """How decisions know these faces, each once."""
        return list(dict.fromkeys(face_key(self.faces, row) for row in rows.tolist()))

    @cached_property
    def parts_key(self) -> str:
        """Changes when the faces do; as it was when it was first asked for."""
        return self.parts_key_now()

    def parts_key_now(self) -> str:
        """As it is now, whatever this has read already."""
        files = []
        for part in part_files(self.folder):
            with suppress(FileNotFoundError):  # `faces index` has just dropped it
                status = part.stat()
                files.append((part.name, status.st_size, status.st_mtime_ns))
        text = json.dumps([_FORMAT, self.manifest.embedder, files])
        return hashlib.sha256(text.encode()).hexdigest()

    def _work_out(self, known: Snapshot | None, threshold: float) -> Kept:
        faces = self.faces
        # Copies of a picture have the same faces.
        _, unique, copy = np.unique(faces.face, return_index=True, return_inverse=True)
        embeddings = np.ascontiguousarray(faces.embedding[unique])
        photo, time = _photos_and_times(faces, unique)
        floor = RULE.floor(threshold)
        pairs = self._kept(
            ("neighbors",), f"{self.parts_key}; {floor}",
            lambda: dict(zip("abc", neighbors(embeddings, floor), strict=True)),
        )  # fmt: skip
        made = name_groups(
            embeddings,
            photo,
            threshold,
            known_of(self.decisions.facts(), [face_key(faces, row) for row in unique.tolist()]),
            known,
            time=time,
            poor=self._poor(embeddings, unique),
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

    def _fresh(self, names: Sequence[str], key: str) -> Kept | None:
        """What is in one of these files of the cache under this key."""
        for name in names:
            kept = self._read(name)
            if kept is not None and str(kept.pop("key")) == key:
                return kept
        return None

    def _kept(self, names: Sequence[str], key: str, make: Callable[[], Kept]) -> Kept:
        """What is in the cache under this key, or else is made and put into the first file."""
        if (kept := self._fresh(names, key)) is not None:
            return kept
        made, path = make(), self._cached(names[0])
        try:
            with atomic_write(path, private=True) as file:
                np.savez(file, key=np.array(key), **made)  # type: ignore[arg-type]
        except OSError as error:  # a library may be read by those who cannot write to it
            logger.warning("%s cannot be kept: %s", path, error.strerror)
        return made

    def _read(self, name: str) -> Kept | None:
        path = self._cached(name)
        try:
            with np.load(path, allow_pickle=False) as file:
                return {field: file[field] for field in ("key", *file.files)}
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            logger.warning("%s cannot be used and is made again: %s", path, error)
            return None

    def _cached(self, name: str) -> Path:
        return self.folder / "cache" / f"{name}.npz"


def identity_of(gallery: object, known: Snapshot) -> str:
    """What `Library.people` takes: a gallery's path or address, and what it holds.

    The version alone would not do: a gallery that is made anew begins with the same ones.
    """
    held = hashlib.sha256("\n".join(known.gallery.people).encode())
    held.update(known.gallery.prototypes.tobytes())
    return f"{gallery} {known.version} {held.hexdigest()}"


def _called(people: People, name: str) -> Meant | None:
    """Who has this name there."""
    theirs = (person.rows for person in people.everybody if person.name == name)
    rows = next(theirs, None)
    return None if rows is None else Meant(name, rows)


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
