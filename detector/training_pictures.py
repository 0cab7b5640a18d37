"""Which pictures a detector was trained on: figures on them say little about new pictures.

Every checkpoint and exported file carries a record of them: six bytes of a digest of each file, so
that a copy or a link in another place is known again, and of the name of each picture of WIDER
FACE, whose names mean the same picture wherever and however it was stored. Other sets number their
pictures from one, so that names mean nothing there. 12,880 pictures take 100 kB, twice that with
names.

The weights that came with the project until 0.1.0 are older than the record; the names of their
pictures lie beside those of today, for what was exported from them.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from detector.shipped import FOLDER
from faces.errors import UserError
from faces.filenames import folded, last_part
from faces.networks.shipped import shipped_file

LIST = "training_pictures.txt.gz"
"""Beside the shipped weights: a line with the date of the weights, then a name a line."""

_BYTES = 6  # a digest matches by chance once in 10,000 evaluations of all of WIDER FACE
_PART = 16_384
_WIDER = re.compile(r"\d+_[A-Za-z].*_\d+")


@dataclass(frozen=True)
class TrainingPictures:
    """The pictures that a network and its predecessors (`--init`) have learned from."""

    # of each file six bytes, see `of`; empty where only names are known
    files: frozenset[bytes] = frozenset()
    names: frozenset[bytes] = frozenset()  # of each name of WIDER FACE's form six bytes
    # whether the list is complete; False after an --init from weights without a record
    whole: bool = True

    @classmethod
    def of(cls, paths: Sequence[Path]) -> TrainingPictures:
        """Of picture files. Raises UserError for one that cannot be read."""
        with ThreadPoolExecutor(8) as pool:
            files = frozenset(pool.map(file_key, paths))
        return cls(files, _name_keys(path.name for path in paths))

    def __len__(self) -> int:
        return max(len(self.files), len(self.names))

    def __or__(self, other: TrainingPictures | None) -> TrainingPictures:
        """Both together; None are those of a network without a record."""
        if other is None:
            return TrainingPictures(self.files, self.names, whole=False)
        return TrainingPictures(
            self.files | other.files, self.names | other.names, self.whole and other.whole
        )

    def has(self, path: Path) -> bool:
        """Whether a picture is one of them. Raises UserError for one that cannot be read."""
        return _name_key(path.name) in self.names or (
            bool(self.files) and file_key(path) in self.files
        )

    def to_text(self) -> str:
        """The record as text."""
        packed = {
            kind: base64.b85encode(b"".join(sorted(keys))).decode("ascii")
            for kind, keys in (("files", self.files), ("names", self.names))
        }
        return json.dumps({**packed, "whole": self.whole})

    @classmethod
    def from_text(cls, text: str) -> TrainingPictures:
        """The inverse of `to_text`. Raises ValueError for another text."""
        try:
            record = json.loads(text)
            files, names = (base64.b85decode(record[kind]) for kind in ("files", "names"))
            return cls(_unpacked(files), _unpacked(names), bool(record["whole"]))
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"no record of training pictures ({error!r})") from error


def pictures_of(record: str, provenance: Mapping[str, Any]) -> TrainingPictures | None:
    """The training pictures of a network; None if unknown.

    Args:
        record: from its file, "" when it has none.
        provenance: from its file; it tells the shipped network and what was exported from it.

    Raises UserError when the record is damaged.
    """
    try:
        if record:
            return TrainingPictures.from_text(record)
    except ValueError as error:
        raise UserError(f"the list of training pictures in the file is damaged: {error}") from error
    if not (FOLDER / LIST).is_file():
        return None
    written, *names = gzip.decompress(shipped_file(FOLDER, LIST).read_bytes()).decode().splitlines()
    if provenance.get("written") != written:
        return None
    return TrainingPictures(names=_name_keys(names))


def report_seen(
    pictures: TrainingPictures | None, images: Mapping[str, Path], evaluated: Sequence[str]
) -> dict[str, Any]:
    """How many of the images to be evaluated a network was trained on, for a report.

    Args:
        pictures: of the network; None if unknown.
        images: files by name.
        evaluated: the names of the images to be evaluated.
    """
    if pictures is None:
        return {"known": False, "training_pictures": None, "seen": None, "images": len(evaluated)}
    seen = [name for name in evaluated if pictures.has(images[name])]
    return {
        "known": pictures.whole,
        "training_pictures": len(pictures),
        "seen": len(seen),
        "images": len(evaluated),
        "first": seen[:5],
    }


def seen_sentence(section: Mapping[str, Any]) -> str:
    """What `report_seen` found, in words; "" when there is nothing to say."""
    if section["seen"]:
        return (
            f"{section['seen']:,} of these {section['images']:,} images were trained on, the first "
            f"is {section['first'][0]}: the figures are better than on new images"
        )
    if not section["known"]:
        return (
            "it is not known which images it was trained on, so whether it has seen these (its "
            "file, or the one that it began from, is older than that record)"
        )
    return ""


def _stem(name: str) -> str:
    name = last_part(name)
    stem, point, suffix = name.rpartition(".")
    return stem if point and suffix.isalnum() and len(suffix) <= 5 else name


def _name_key(name: str) -> bytes:
    return hashlib.sha256(folded(_stem(name)).encode("utf-8", "replace")).digest()[:_BYTES]


def _name_keys(names: Iterable[str]) -> frozenset[bytes]:
    return frozenset(_name_key(name) for name in names if _WIDER.fullmatch(_stem(name)))


def file_key(path: Path) -> bytes:
    """A digest of a file's length, beginning, middle and end (of all of a small file)."""
    try:
        with path.open("rb") as file:
            size = path.stat().st_size
            digest = hashlib.sha256(f"{size} ".encode())
            if size <= 4 * _PART:
                digest.update(file.read())
            else:
                for start in (0, (size - _PART) // 2, size - _PART):
                    file.seek(start)
                    digest.update(file.read(_PART))
    except OSError as error:
        raise UserError(f"{path}: cannot read the image: {error.strerror}") from error
    return digest.digest()[:_BYTES]


def _unpacked(data: bytes) -> frozenset[bytes]:
    return frozenset(data[i : i + _BYTES] for i in range(0, len(data), _BYTES))
