"""People in a portable file: a zip of JSON, one NumPy array and PNG pictures, and no pickle.

    people.json       format, version, fingerprint, dimension, people and their samples
    embeddings.npy    float32 (N, D), in the order of the samples in people.json
    crops/000000.png  the pictures that were kept, numbered like the samples
    denied.npy, denied/000000.png  the same for faces that somebody has said are not these people

The classifier head is not in it: it tells people apart who are together in one file. Programs that
do not know of the denied faces read the rest.
"""

from __future__ import annotations

import io
import json
import logging
import re
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from faces.errors import UserError
from faces.files import atomic_write
from faces.text import counted
from recognizer.gallery import Gallery
from recognizer.names import clean_name
from recognizer.sample_rule import decide
from recognizer.snapshot import Snapshot
from recognizer.store.face_picture import MAX_SIDE, FacePicture
from recognizer.store.journal import Doing
from recognizer.store.people import Store
from recognizer.store.write import Change, NewSample

log = logging.getLogger(__name__)

FORMAT, VERSION = "faces-people", 1

# A file from a stranger must not fill the memory. The pictures are the large part: at most about
# 0.8 MB each.
MAX_SAMPLES = 1_000_000
MAX_BYTES = 8 << 30
MAX_PNG = MAX_SIDE**2 * 3 + 100_000
MAX_JSON = 512 << 20
MAX_TEXT = 1_000  # characters of a sample's source

_KINDS = {
    "samples": ("embeddings.npy", "crops", "sample"),
    "denied": ("denied.npy", "denied", "denied face"),
}
"""What is said of people: the entry with the vectors, the folder of pictures, and a word."""

_SQLITE = b"SQLite format 3\0"  # how its files begin

_SURROGATE = re.compile("[\ud800-\udfff]")  # JSON can hold them alone, no UTF-8 can

MAX_PLACE = 1e6  # of a box; whether it lies in its picture is looked at later

_BROKEN = (
    zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error, EOFError, NotImplementedError,
    RuntimeError,
)  # fmt: skip


@dataclass(frozen=True)
class Moved:
    """What went into a file or came out of it."""

    # people, samples, crops: how many
    people: int
    samples: int
    crops: int
    skipped: int = 0  # samples that were there already
    refused: int = 0  # samples that do not look like the person of that name
    denied: int = 0  # faces that are known not to be these people


def export_people(store: Store, path: Path, names: Sequence[str] = ()) -> Moved:
    """Write people (all, unless ``names`` are given) to a file, which appears whole or not at all.

    Raises UserError when there is nobody (of that name), or the file cannot be written or is a
    gallery.
    """
    refuse_gallery(path)
    seen = store.version()
    known = [person.name for person in store.people()]
    spelled = [name if name in known else clean_name(name) for name in names]
    chosen = list(dict.fromkeys(spelled)) or known
    if not chosen:
        raise UserError(f"{store.path} knows nobody: there is nothing to export")
    people: list[dict[str, Any]] = []
    vectors: dict[str, list[NDArray[np.float32]]] = {kind: [] for kind in _KINDS}
    crops = 0
    try:
        # Private as the store is: it holds faces.
        with atomic_write(path, private=True) as file, zipfile.ZipFile(file, "w") as archive:
            for name in chosen:
                person: dict[str, Any] = {"name": name}
                for kind, there in vectors.items():
                    rows = []
                    for sample in store.samples(name, denied=kind == "denied"):
                        row: dict[str, Any] = {"source": sample.source, "created": sample.created}
                        if sample.picture is not None:
                            row["box"] = sample.picture.box.tolist()
                            if sample.picture.landmarks is not None:
                                row["landmarks"] = sample.picture.landmarks.ravel().tolist()
                            archive.writestr(_crop_name(len(there), kind), sample.picture.png)
                            crops += kind == "samples"
                        rows.append(row)
                        there.append(sample.embedding)
                    if rows:
                        person[kind] = rows
                people.append(person)
            header = {
                "format": FORMAT,
                "version": VERSION,
                "contract": store.fingerprint,
                "dimension": store.dimension,
                "people": people,
            }
            text = json.dumps(header, ensure_ascii=False, indent=1)
            archive.writestr("people.json", text, zipfile.ZIP_DEFLATED)
            for kind, there in vectors.items():
                if there:
                    archive.writestr(_KINDS[kind][0], _to_npy(np.stack(there)))
            if store.version() != seen:
                raise UserError(f"{store.path} was changed by another program meanwhile: try again")
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}") from error
    return Moved(len(people), len(vectors["samples"]), crops, denied=len(vectors["denied"]))


def refuse_gallery(path: Path) -> None:
    """Raises UserError for a file that holds people, whom an export must not replace."""
    try:
        with path.open("rb") as file:
            there = file.read(len(_SQLITE))
    except OSError:  # it is missing, or whoever writes it says what is wrong
        return
    if there == _SQLITE:
        raise UserError(f"{path} is a gallery or another database: export to a new name")


def import_people(store: Store, path: Path, force: bool = False) -> Moved:
    """Add the people of a file, all or none; to those who are known by name samples are added.

    Samples that are there already (to the bit) are skipped, so a file can be read twice; with a
    warning where they are somebody's of another name, as after a rename. Those that do not look
    like the person of the same name here are left out with a warning, as two people may have one
    name. ``force`` takes both. Newcomers are taken as they are.

    Raises UserError for a file that is missing, damaged, too large or foreign, and for one of
    another fingerprint than the store's.
    """
    with _opened(path) as archive:
        people, denied = _read(archive, path, store.fingerprint, store.dimension)
    snapshot = store.snapshot()
    denied_before = snapshot.denied or Gallery.empty(store.fingerprint, store.dimension)
    known: dict[str, set[bytes]] = {}
    whose: dict[bytes, str] = {}
    for name, vector in zip(snapshot.gallery.names, snapshot.gallery.embeddings, strict=True):
        known.setdefault(name, set()).add(vector.tobytes())
        whose[vector.tobytes()] = name
    new: dict[str, list[NewSample]] = {}
    denies: dict[str, list[NewSample]] = {}
    skipped = refused = 0
    for name, samples in people.items():
        there = known.get(name, set())
        fresh = [sample for sample in samples if sample.embedding.tobytes() not in there]
        if not force:
            fresh = _of_nobody_else(whose, name, fresh, path)
        skipped += len(samples) - len(fresh)
        if not there and not fresh:
            continue  # it is somebody of another name here, with what is denied of them
        if there and fresh:
            fine = _like_the_others(snapshot, name, fresh, path, force)
            refused += len(fresh) - len(fine)
            if not fine and len(fresh) == len(samples):
                continue  # somebody else of that name: what is denied of them says nothing here
            fresh = fine
        if fresh:
            new[name] = fresh
        said = {vector.tobytes() for vector in denied_before.of(name)}
        wrong = [s for s in denied.get(name, ()) if s.embedding.tobytes() not in said]
        if wrong:
            denies[name] = wrong
    if new or denies:
        who = counted(len({*new, *denies}), "person")
        store.apply(Change(add=new, deny=denies, doing=Doing(f"{who} imported")))
    added = [sample for samples in new.values() for sample in samples]
    crops = sum(sample.picture is not None for sample in added)
    return Moved(len(new), len(added), crops, skipped, refused, sum(map(len, denies.values())))


def fingerprint_of(path: Path) -> str:
    """Of the embedder whose vectors a file holds. Raises UserError as `import_people`."""
    with _opened(path) as archive:
        return str(_header(_entry(archive, path, "people.json", MAX_JSON), path)["contract"])


@contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except FileNotFoundError as error:
        raise UserError(f"there is no file {path}") from error
    except _BROKEN as error:
        raise UserError(f"{path} is no file of `faces people export`: {error}") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from error


def _of_nobody_else(
    whose: dict[bytes, str], name: str, samples: Sequence[NewSample], path: Path
) -> list[NewSample]:
    """Those that are not stored here under another name."""
    others = [whose.get(sample.embedding.tobytes()) for sample in samples]
    here = sorted({other for other in others if other is not None})
    if here:
        log.warning(
            "%s: %d of %d samples of %s are here already as %s, and left out; force=True takes "
            "them all the same",
            path, sum(other is not None for other in others), len(samples), name, ", ".join(here),
        )  # fmt: skip
    return [sample for sample, other in zip(samples, others, strict=True) if other is None]


def _like_the_others(
    snapshot: Snapshot, name: str, samples: Sequence[NewSample], path: Path, force: bool
) -> list[NewSample]:
    """Those that the one rule takes for this person."""
    vectors = np.stack([sample.embedding for sample in samples])
    decisions = decide(snapshot, name, vectors, None, force=force)
    reasons = [decision.reason for decision in decisions if decision.why is not None]
    if reasons:
        log.warning(
            "%s: %d of %d samples of %s left out, the first %s; if they are two people, rename one "
            "(`faces people rename`) and import again; force=True takes them all the same",
            path, len(reasons), len(samples), name, reasons[0],
        )  # fmt: skip
    return [s for s, decision in zip(samples, decisions, strict=True) if decision.why is None]


def _read(
    archive: zipfile.ZipFile, path: Path, fingerprint: str, dimension: int
) -> tuple[dict[str, list[NewSample]], dict[str, list[NewSample]]]:
    """Everybody's samples, and the faces that are not these people."""
    entries = archive.infolist()
    if len(entries) > MAX_SAMPLES + 3 or sum(entry.file_size for entry in entries) > MAX_BYTES:
        raise UserError(
            f"{path} is too large: at most {MAX_SAMPLES:,} samples and {MAX_BYTES >> 30} GB"
        )
    header = _header(_entry(archive, path, "people.json", MAX_JSON), path)
    if (header["contract"], header["dimension"]) != (fingerprint, dimension):
        raise UserError(
            f"{path} holds vectors of another embedder ({header['contract']}; the people here are "
            f"of {fingerprint}): export it again from there after `faces people reembed`"
        )
    samples, denied = (
        _samples(archive, path, _people(header, path, kind), dimension, kind) for kind in _KINDS
    )
    return samples, denied


def _samples(
    archive: zipfile.ZipFile,
    path: Path,
    people: dict[str, list[dict[str, Any]]],
    dimension: int,
    kind: str,
) -> dict[str, list[NewSample]]:
    result: dict[str, list[NewSample]] = {}
    count = sum(len(rows) for rows in people.values())
    if not count:
        return result
    vectors = _from_npy(archive, path, (count, dimension), _KINDS[kind][0])
    position = 0
    for name, rows in people.items():
        samples = result.setdefault(clean_name(name, kept=True), [])
        for row in rows:
            picture = None
            if row["box"] is not None:
                crop = _crop_name(position, kind)
                png = _entry(archive, path, crop, MAX_PNG)
                place = np.array(row["box"] + (row["landmarks"] or []), np.float32)
                picture = FacePicture.placed(png, place)
                try:
                    picture.image  # noqa: B018 (it is decoded to see whether it can be)
                except UserError as error:
                    raise UserError(f"{path}: {crop}: {error}") from error
            samples.append(NewSample(vectors[position], picture, row["source"], row["created"]))
            position += 1
    return result


def _header(content: bytes, path: Path) -> dict[str, Any]:
    try:
        header = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: people.json cannot be read: {error}") from error
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise UserError(f"{path} is no file of `faces people export`")
    if header.get("version") != VERSION:
        raise UserError(
            f"{path} has the version {header.get('version')!r}, this program reads {VERSION}: "
            "update faces"
        )
    return {"contract": None, "dimension": None, "people": None, **header}


def _people(header: dict[str, Any], path: Path, kind: str) -> dict[str, list[dict[str, Any]]]:
    """Every name's samples of this kind as {"source", "created", "box", "landmarks"}, checked."""
    people: dict[str, list[dict[str, Any]]] = {}
    listed = header["people"]
    for i, person in enumerate(listed if isinstance(listed, list) else [None]):
        name = person.get("name") if isinstance(person, dict) else None
        rows = person.get("samples") if isinstance(person, dict) else None
        if not isinstance(name, str) or not isinstance(rows, list) or not rows or name in people:
            raise UserError(f"{path}: person {i} has no name of its own or no samples")
        rows = person.get(kind, [])
        if not isinstance(rows, list):
            raise UserError(f"{path}: {kind} of {name!r} must be a list")
        people[name] = [
            _sample(row, f"{path}: {_KINDS[kind][2]} {j} of {name!r}") for j, row in enumerate(rows)
        ]
    return people


def _sample(row: Any, where: str) -> dict[str, Any]:
    row = row if isinstance(row, dict) else {"source": None}
    source, created, box = row.get("source", ""), row.get("created"), row.get("box")
    for key, text in (("source", source), ("created", created or "")):
        if not isinstance(text, str) or len(text) > MAX_TEXT or _SURROGATE.search(text):
            raise UserError(f"{where}: {key} must be a text of at most {MAX_TEXT} characters")
    points = row.get("landmarks")
    if box is not None and not _numbers(box, 4):
        raise UserError(f"{where}: box must be four numbers, x1 y1 x2 y2")
    if points is not None and not _numbers(points, 10):
        raise UserError(f"{where}: landmarks must be ten numbers, x y of five points")
    return {"source": source, "created": created, "box": box, "landmarks": points}


def _numbers(values: Any, count: int) -> bool:
    return (
        isinstance(values, list)
        and len(values) == count
        and all(isinstance(v, int | float) and abs(v) <= MAX_PLACE for v in values)
    )


def _entry(archive: zipfile.ZipFile, path: Path, name: str, limit: int) -> bytes:
    """The bytes of one entry; zipfile never gives more than the size that was checked."""
    try:
        entry = archive.getinfo(name)
    except KeyError as error:
        raise UserError(f"{path} is not whole: {name} is missing") from error
    if entry.file_size > limit:
        raise UserError(f"{path}: {name} has {entry.file_size:,} bytes, at most {limit:,} are read")
    return archive.read(entry)


def _to_npy(vectors: NDArray[np.float32]) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array(file, vectors.astype("<f4"), allow_pickle=False)
    return file.getvalue()


def _from_npy(
    archive: zipfile.ZipFile, path: Path, shape: tuple[int, int], entry: str
) -> NDArray[np.float32]:
    """The vectors; the header is checked before memory is taken for what it promises."""
    expected = 4 * shape[0] * shape[1]
    file = io.BytesIO(_entry(archive, path, entry, expected + 4096))
    try:
        if np.lib.format.read_magic(file) != (1, 0):
            raise ValueError("another version of the format")
        found, fortran, dtype = np.lib.format.read_array_header_1_0(file)
        if found != shape or fortran or dtype != np.dtype("<f4"):
            raise ValueError(f"{dtype} {found} in place of float32 {shape}")
        vectors = np.frombuffer(file.read(), "<f4").reshape(shape)
    except ValueError as error:
        raise UserError(f"{path}: {entry}: {error}") from error
    if not np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-3):
        raise UserError(f"{path}: {entry} holds vectors that have not the length 1")
    return vectors


def _crop_name(position: int, kind: str) -> str:
    return f"{_KINDS[kind][1]}/{position:06d}.png"
