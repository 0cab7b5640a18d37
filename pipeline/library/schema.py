"""What a library of faces holds: the columns of its parts, and the faces as arrays.

docs/library.md describes the folder. One flat table has a row for each face, and one row whose
face columns are null for a photo without a face or one that could not be read: any data tool can
read it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.sources.addresses import is_address, local_copy

if TYPE_CHECKING:
    import pyarrow as pa

VERSION = 1
"""Grows when a column changes its meaning; a column that is added leaves it."""

COLUMNS = {
    "path": "where the photo or film is: an absolute path, with / on every system, or an address",
    "size": "bytes of the file",
    "modified": "when it was last changed, seconds since 1970 (UTC)",
    "digest": "SHA-256 of its content in hex; null when it could not be read at all",
    "width": "pixels of the picture as shown, after its EXIF orientation",
    "height": "pixels of the picture as shown, after its EXIF orientation",
    "taken": "when the photo was taken, by its EXIF DateTimeOriginal: local time",
    "error": "why the file could not be looked at, or a film not to its end; the row has no face",
    "seconds": "films: where in the film the face was seen best",
    "face": "first 16 characters of the digest, -, number from 0 of the face (films: of the track)",
    "x1": "left side of the face's box, pixels of the picture as shown",
    "y1": "upper side",
    "x2": "right side, exclusive",
    "y2": "lower side, exclusive",
    "score": "how sure the detector is, 0 to 1",
    "points": "x, y of eye, eye, nose, corner and corner of the mouth, left in the picture first; "
    "null where they cannot be trusted",
    "quality": "how good the face is to see, 0 to 1: its size, sharpness and score",
    "embedding": "the face's vector, unit length",
}
"""Every column, in order, and what it means; each part says it, too."""


@dataclass(frozen=True)
class Manifest:
    """What made the faces of a library: others do not mix with them."""

    detector: str  # what found them, in words that change when its answers would
    embedder: str  # fingerprint of the network that made the vectors
    dimension: int  # length of the vectors
    settings: Mapping[str, Any]  # what else the rows depend on, such as the smallest face
    schema: int = VERSION  # version of the columns


def arrow_schema(dimension: int) -> pa.Schema:
    """The columns of a part whose embeddings have ``dimension`` numbers."""
    import pyarrow as pa

    element = pa.field(
        "element", pa.float32()
    )  # as Parquet calls it, so that parts read back equal
    kinds = {
        **dict.fromkeys(("path", "digest", "error", "face"), pa.string()),
        "size": pa.int64(),
        "modified": pa.float64(),
        **dict.fromkeys(("width", "height"), pa.int32()),
        "taken": pa.timestamp("ms"),  # Parquet has no seconds
        "points": pa.list_(element, 10),
        "embedding": pa.list_(element, dimension),
    }
    return pa.schema(
        [
            pa.field(name, kinds.get(name, pa.float32()), metadata={"meaning": meaning})
            for name, meaning in COLUMNS.items()
        ],
        metadata={"faces.schema": str(VERSION)},
    )


MARK = ".faces-library-export"
"""In a folder of photos that `faces library export` made, and that it may therefore make again."""

MISSING = -2
"""The size of a file that a list names and that is not there."""


def stored_path(path: str) -> str:
    """A path as the column ``path`` has it.

    File names on Linux may hold bytes that are no UTF-8, which Python keeps as lone surrogates and
    which no table can hold: they become ``\\udce9`` and the like.
    """
    return path.encode("utf-8", "backslashreplace").decode("utf-8")


def path_on_disk(stored: str) -> str:
    """What `stored_path` was given."""
    return re.sub(r"\\(udc[89a-f][0-9a-f])", lambda found: chr(int(found[1][1:], 16)), stored)


def on_disk(stored: str) -> AbstractContextManager[Path]:
    """The photo or film of a row, as a file that is there within the block.

    Raises UserError when an address cannot be read.
    """
    return local_copy(stored) if is_address(stored) else nullcontext(Path(path_on_disk(stored)))


@dataclass(frozen=True, eq=False)
class LibraryFaces:
    """All faces of a library, in the order of its parts; read-only arrays.

    P is the number of photos and films that have a face, N that of faces. Copies of one file are
    several photos whose faces have the same names.
    """

    path: NDArray[np.object_]  # of each photo, texts (P,)
    digest: NDArray[np.object_]  # of each photo, texts (P,)
    # when each was taken, datetime64[s] (P,), NaT where it is not known
    taken: NDArray[np.datetime64]
    size: NDArray[np.int32]  # of each picture, width and height, int32 (P, 2)
    # which photo a face is in, int64 (N,); the faces of a photo follow each other
    photo: NDArray[np.int64]
    face: NDArray[np.object_]  # its name, texts (N,)
    xyxy: NDArray[np.float32]  # its box, float32 (N, 4)
    score: NDArray[np.float32]  # float32 (N,), 0..1
    # five points x, y each, float32 (N, 5, 2), NaN where they are not known
    points: NDArray[np.float32]
    quality: NDArray[np.float32]  # float32 (N,), 0..1, NaN where it is not known
    # films: where in the film, float32 (N,); NaN for a photo. Two faces of one *photo* are two
    # people; those of a film are tracks and may be one person.
    seconds: NDArray[np.float32]
    embedding: NDArray[np.float32]  # unit vectors, float32 (N, D)

    def __post_init__(self) -> None:
        for field in fields(self):
            getattr(self, field.name).flags.writeable = False

    def __len__(self) -> int:
        return len(self.face)

    def only(self, chosen: NDArray[np.bool_]) -> LibraryFaces:
        """Only these of the faces, bool (N,); photos stay, also those that have none then."""
        names = ("photo", "face", "xyxy", "score", "points", "quality", "seconds", "embedding")
        return replace(self, **{name: getattr(self, name)[chosen] for name in names})
