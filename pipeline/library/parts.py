"""The files of a library: the manifest, and parts that appear whole or not at all."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from faces.errors import UserError
from faces.files import atomic_write, atomic_write_text
from pipeline.library.schema import VERSION, LibraryFaces, Manifest, arrow_schema
from pipeline.service.runtime.file_locks import hold

MANIFEST = "library.json"


def read_manifest(library: Path) -> Manifest | None:
    """What made a library; None when there is none yet.

    Raises UserError for a damaged one, and one of a later version of this program.
    """
    path = library / MANIFEST
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        version = values["schema"]
        if version == VERSION:
            return Manifest(**values)
    except FileNotFoundError:
        if any(library.glob("parts/*.parquet")):
            raise UserError(f"{path} is missing, and its faces are of no use without it") from None
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is damaged: {error}") from error
    raise UserError(f"{path} has version {version}, this program reads version {VERSION}")


def write_manifest(library: Path, manifest: Manifest) -> None:
    """Write it whole. Raises OSError as ``open`` does."""
    values = asdict(manifest)
    text = json.dumps({"schema": values.pop("schema"), **values}, indent=2, ensure_ascii=False)
    atomic_write_text(library / MANIFEST, text + "\n")


def require_library(library: Path) -> Manifest:
    """The manifest of a library that must be there. Raises UserError also as `read_manifest`."""
    manifest = read_manifest(library)
    if manifest is None:
        raise UserError(
            f"{library} is no library of faces: make one with "
            f"`faces index PHOTOS --library {library}`"
        )
    return manifest


def part_files(library: Path) -> list[Path]:
    """The parts that are there, sorted by name."""
    return sorted((library / "parts").glob("*.parquet"))


@contextmanager
def no_writer(library: Path, seconds: float = 0.0) -> Iterator[bool]:
    """Whether nobody writes parts, after waiting so long; then nobody does within the block."""
    with ExitStack() as locks:

        def free(path: Path) -> bool:
            lock = hold(path, seconds)
            return lock is not None and not locks.enter_context(lock).closed

        # Those of jobs last: whoever has one asks for the first, too, before it begins.
        yield free(library / ".lock") and all(map(free, sorted(library.glob(".lock-*"))))


@contextmanager
def job_alone(library: Path, part: tuple[int, int], seconds: float = 0.0) -> Iterator[bool]:
    """Whether no whole run, no other job of this part, and none of another division writes parts,
    after waiting so long; then none of them begins within the block.

    Args:
        part: (i, n), see `pipeline.library.index.Indexing`.
    """
    with ExitStack() as locks:
        own = hold(library / ".lock-{}-of-{}".format(*part), seconds)
        if own is None:
            yield False
            return
        locks.enter_context(own)
        others = [library / ".lock", *library.glob(".lock-*")]
        for path in others:
            if path.name.endswith(f"-of-{part[1]}"):
                continue
            lock = hold(path, seconds)
            if lock is None:
                yield False
                return
            lock.close()
        yield True


def part_id(paths: Iterable[str]) -> str:
    """The name of the part with these photos: whoever looks at them writes the same file."""
    joined = "\0".join(paths).encode("utf-8", "backslashreplace")
    return hashlib.sha256(joined).hexdigest()[:20]


def table_of(rows: Sequence[Mapping[str, Any]], dimension: int) -> pa.Table:
    """Rows by the names of `schema.COLUMNS`, missing ones null, as a table."""
    return pa.Table.from_pylist(list(rows), schema=arrow_schema(dimension))


def write_part(library: Path, name: str, table: pa.Table) -> Path:
    """Write a part whole, or again; one without rows is removed. Returns its file.

    Args:
        library: the folder.
        name: see `part_id`; for a part that is written again the stem of its file.
        table: as `table_of` makes it, or as `read_part` gave it with other rows.

    Raises OSError as ``open`` does.
    """
    path = library / "parts" / f"{name}.parquet"
    if not len(table):
        path.unlink(missing_ok=True)
        return path
    dimension = table.schema.field("embedding").type.list_size
    with atomic_write(path) as file:
        pq.write_table(
            table.cast(arrow_schema(dimension)), file,
            compression="zstd", use_dictionary=["path", "digest", "error"],
        )  # fmt: skip
    return path


def read_part(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """One part, or these columns of it.

    Raises UserError for a file that is damaged, or of another version.
    """
    try:
        with pq.ParquetFile(path) as file:
            version = (file.schema_arrow.metadata or {}).get(b"faces.schema", b"none").decode()
            if version != str(VERSION):
                raise UserError(f"{path} has version {version}, this program reads {VERSION}")
            return file.read(columns)
    except (OSError, pa.ArrowException) as error:
        raise UserError(
            f"{path} cannot be read ({str(error).splitlines()[0]}): delete it and run `faces "
            "index` again, which looks at its photos again"
        ) from error


def read_rows(library: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """The rows of all parts that are there, faces and others. Raises UserError as `read_part`."""
    dimension = require_library(library).dimension
    schema = arrow_schema(dimension)
    tables = [schema.empty_table().select(columns or schema.names)]
    for path in part_files(library):
        try:
            tables.append(read_part(path, columns))
        except UserError:
            if path.exists():
                raise  # else `faces index` has just dropped it
    return pa.concat_tables(tables)


def read_faces(library: Path) -> LibraryFaces:
    """Every face of a library as arrays.

    Raises UserError when there is no library, and as `read_part`.
    """
    rows = read_rows(library)
    rows = rows.filter(pc.is_valid(rows["face"]))
    paths = rows["path"].to_numpy()
    first = np.ones(len(rows), bool)
    first[1:] = paths[1:] != paths[:-1]
    photos = rows.filter(pa.array(first))

    def numbers(*names: str) -> Any:
        return np.stack([rows[name].to_numpy() for name in names], axis=1)

    def lists(name: str) -> Any:
        width = rows.schema.field(name).type.list_size
        values = np.full((len(rows), width), np.nan, np.float32)
        known = rows[name].is_valid().to_numpy()
        # flatten() leaves out lists that are null.
        values[known] = rows[name].combine_chunks().flatten().to_numpy().reshape(-1, width)
        return values

    return LibraryFaces(
        path=photos["path"].to_numpy(),
        digest=photos["digest"].to_numpy(),
        taken=photos["taken"].to_numpy().astype("datetime64[s]"),
        size=np.stack([photos[name].to_numpy() for name in ("width", "height")], axis=1),
        photo=np.cumsum(first) - 1,
        face=rows["face"].to_numpy(),
        xyxy=numbers("x1", "y1", "x2", "y2"),
        score=rows["score"].to_numpy(),
        points=lists("points").reshape(-1, 5, 2),
        quality=rows["quality"].to_numpy(),
        seconds=rows["seconds"].to_numpy(),
        embedding=lists("embedding"),
    )
