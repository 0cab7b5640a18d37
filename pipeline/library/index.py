"""`faces index`: every photo and film is looked at once, and what was found is kept."""

from __future__ import annotations

import logging
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from faces.errors import UserError
from faces.text import counted
from pipeline.library.executors import Executor, Task, share_out
from pipeline.library.look import KNOWN, Item, Row, file_row
from pipeline.library.parts import (
    part_id,
    read_manifest,
    read_part,
    table_of,
    write_manifest,
    write_part,
)
from pipeline.library.plan import Known, is_film_name, make_plan, moved, moved_from, shards
from pipeline.library.scan import Scan
from pipeline.library.schema import Manifest

log = logging.getLogger(__name__)

SHARD = 1000
"""Photos of a part: so many, and those of the part begun beside it, are lost by a kill -9."""

TASK = 16
"""Photos that a worker gets at once: seconds of work, so that all end at about the same time."""

TABLES = 4
"""Parts kept in memory while rows are copied out of them."""

TWINS = 100
"""Known contents of a size above which that size says nothing (BMP files of one camera)."""


@dataclass
class Tally:
    """What was done."""

    looked: int = 0  # files that were looked at, failed ones included
    faces: int = 0  # found in them
    failed: int = 0  # of them, could not be looked at, or not to their end
    # new or changed names of contents that were known: copies, moved and touched files
    known: int = 0
    unchanged: int = 0  # files that were left as they are
    gone: int = 0  # files of the library that are no longer there and were dropped
    left: int = 0  # changed and deleted files that a part of a job leaves to a whole run


@dataclass
class _Shard:
    """Files whose rows become one part."""

    files: NDArray[np.int64]  # their places in the scan
    rows: dict[str, list[Row]] = field(default_factory=dict)  # of each path that is done


def nothing_in(found: Scan) -> UserError:
    """The error for sources without a file to look at, where no library knows of former ones."""
    folders = ", ".join(found.roots)
    return UserError(f"nothing to look at: there is no photo and no film in {folders}")


class Indexing:
    """One run over everything that was found.

    Args:
        library: the folder, made when it is missing.
        manifest: of the networks that look.
        found: what there is.
        part: (i, n) for the i-th (from 1) of n jobs that share the work: it looks at the new files
            of every n-th shard, and leaves all others alone. None does everything.
        shard: see `SHARD`.
        drop_missing, retry_failed: see `plan.make_plan`.

    Raises UserError as `plan.make_plan`, for a library that is damaged or of other networks, and
    when there is nothing.
    """

    def __init__(
        self,
        library: Path,
        manifest: Manifest,
        found: Scan,
        part: tuple[int, int] | None = None,
        shard: int = SHARD,
        drop_missing: bool = False,
        retry_failed: bool = False,
    ) -> None:
        self.library, self.manifest, self.found, self.part = library, manifest, found, part
        check_manifest(library, manifest)
        self._known = Known.read(library)
        plan = self._plan = make_plan(self._known, found, drop_missing, retry_failed)
        if not len(found.table) and not (plan.gone | plan.unsure).any():
            raise nothing_in(found)
        self.tally = Tally(unchanged=int((~plan.pending).sum()))
        if part is None:
            files = np.flatnonzero(plan.pending)
            bounds = shards(found.table["path"].filter(pa.array(plan.pending)), shard)
            self._shards = [_Shard(files[start:stop]) for start, stop in bounds]
        else:  # of all files, so that every job finds the same, whatever the others have done
            new = plan.pending & (plan.old < 0)
            mine = shards(found.table["path"], shard)[part[0] - 1 :: part[1]]
            lots = [start + np.flatnonzero(new[start:stop]) for start, stop in mine]
            self._shards = [_Shard(lot) for lot in lots if len(lot)]
            changed = int((plan.pending & ~new).sum())
            self.tally.left = changed + int((plan.gone | plan.twice).sum())
        self.count = sum(len(shard.files) for shard in self._shards)
        """Files to look at."""
        self._again: deque[Task] = deque()
        self._copied: set[str] = set()  # contents that were known
        self._tables: OrderedDict[Path, pa.Table] = OrderedDict()
        self._find_twins()

    def run(
        self, executor: Executor, workers: int, done: Callable[[int], object] = lambda count: None
    ) -> Tally:
        """Look at everything; parts are written as they are complete.

        Args:
            executor: who looks; it is not closed.
            workers: how many at once.
            done: called with the number of files done since the last call.

        Raises UserError when the library cannot be written, and as `executors.share_out`.
        """
        try:
            write_manifest(self.library, self.manifest)
            if self.part is None:
                for left_over in (self.library / "parts").glob(".part-*"):  # of a killed run
                    left_over.unlink(missing_ok=True)
                self._drop(self._plan.twice)
            if self._shards:
                tasks = self._tasks()
                for task, rows in share_out(
                    executor,
                    workers,
                    lambda: self._again.popleft() if self._again else next(tasks, None),
                ):
                    done(self._take(task, rows))
            if self.part is None:
                if self._plan.unsure.any():
                    now = Known.read(self.library)
                    self._plan.gone |= moved(self._known, self._plan, now, self.found.missing)
                self._drop(self._plan.gone)
                self.tally.gone = int(self._plan.gone.sum())
                self._tell_moved()
        except OSError as error:
            reason = error.strerror or error
            raise UserError(f"the library {self.library} cannot be written: {reason}") from error
        return self.tally

    def _tell_moved(self) -> None:
        """Nobody has searched a folder that was moved: its files stay, under their old paths."""
        for folder, count in moved_from(self._known, self._plan, self._copied).items():
            log.warning(
                "%s is not there any more, and the library still has %s of it that were found "
                "elsewhere now. Was it moved? Then drop them: `faces index %s --library %s "
                "--drop-missing`", folder, counted(count, "file"), folder, self.library,
            )  # fmt: skip

    def _items(self, shard: _Shard) -> Iterator[Item]:
        rows = self.found.table.take(pa.array(shard.files))
        yield from map(Item, *(rows[name].to_pylist() for name in ("path", "size", "modified")))

    def _tasks(self) -> Iterator[Task]:
        """Made as they are asked for, so what has been looked at until then is known."""
        size = max(1, min(TASK, self.count // 64))
        for number, shard in enumerate(self._shards):
            batch: list[Item] = []
            for item in self._items(shard):
                twins = frozenset(self._twins.get(item.size, ()))
                item = item._replace(twins=twins) if len(twins) <= TWINS else item
                if is_film_name(item.path):
                    yield Task(number, (item,))
                    continue
                batch.append(item)
                if len(batch) == size:
                    yield Task(number, tuple(batch))
                    batch = []
            if batch:
                yield Task(number, tuple(batch))

    def _take(self, task: Task, found: list[list[Row]]) -> int:
        """Keep what was found; how many files of it are done."""
        shard, done = self._shards[task.shard], 0
        for item, rows in zip(task.items, found, strict=True):
            digest: str = rows[0].get("digest", "")
            if KNOWN in rows[0]:
                copied = self._rows_of(digest)
                if copied is None:  # dropped meanwhile with an older content of its path
                    self._again.append(Task(task.shard, (item._replace(twins=frozenset()),)))
                    continue
                rows = [row | file_row(item) for row in copied]
                self._copied.add(digest)
                self.tally.known += 1
            else:
                self._count(item, rows)
                if "error" not in rows[0] and item.size in self._repeated:
                    self._twins.setdefault(item.size, set()).add(digest)
                    self._where[digest] = shard
            shard.rows[item.path] = rows
            done += 1
        if len(shard.rows) == len(shard.files):
            self._write(shard)
        return done

    def _count(self, item: Item, rows: Sequence[Row]) -> None:
        self.tally.looked += 1
        self.tally.faces += sum("face" in row for row in rows)
        if "error" in rows[0]:
            self.tally.failed += 1
            log.warning("%s: %s", item.path, rows[0]["error"])

    def _write(self, shard: _Shard) -> None:
        """The part of a shard; older rows of its files go first, so that none is there twice."""
        order = [item.path for item in self._items(shard)]
        old = self._plan.old[shard.files]
        if self.part is None:
            for number in np.unique(old[old >= 0]):
                self._drop_from(self._known.files[number], pa.array(order))
        name = part_id(order)
        while (self.library / "parts" / f"{name}.parquet").exists():  # by now of other files
            name = part_id([name])
        rows = [row for path in order for row in shard.rows[path]]
        path = write_part(self.library, name, table_of(rows, self.manifest.dimension))
        for digest in {row["digest"] for row in rows if row.get("digest")} & self._where.keys():
            self._where[digest] = path
        shard.rows = {}

    def _drop(self, rows: NDArray[np.bool_]) -> None:
        for file, names in self._known.by_part(rows).items():
            self._drop_from(file, names)

    def _drop_from(self, file: Path, names: pa.Array) -> None:
        if file.exists():
            table = read_part(file)
            kept = table.filter(pc.invert(pc.is_in(table["path"], names.cast(pa.string()))))
            if len(kept) < len(table):
                self._tables.pop(file, None)
                write_part(self.library, file.stem, kept)

    # -- contents that need no look: copies, and known ones with another name or time

    def _find_twins(self) -> None:
        """Known contents by their size, where a file to look at has that size."""
        known = self._known
        every = [shard.files for shard in self._shards]
        sizes = self.found.table["size"].to_numpy()[np.concatenate([[], *every]).astype(np.int64)]
        values, counts = np.unique(sizes, return_counts=True)
        self._repeated = set(values[counts > 1].tolist())
        self._twins: dict[int, set[str]] = {}
        self._where: dict[str, Path | _Shard] = {}
        alike = np.isin(known.table["size"].to_numpy(), values)
        alike &= known.table["error"].is_null().to_numpy()  # those are worth another try
        rows = known.table.select(["size", "digest"]).filter(pa.array(alike))
        for size, digest, part in zip(
            rows["size"].to_pylist(), rows["digest"].to_pylist(), known.part[alike], strict=True
        ):
            self._twins.setdefault(size, set()).add(digest)
            self._where[digest] = known.files[part]

    def _rows_of(self, digest: str) -> list[Row] | None:
        """The rows of a file with this content; None when there is none any more."""
        where = self._where[digest]
        if isinstance(where, _Shard):
            same = (rows for rows in where.rows.values() if rows[0].get("digest") == digest)
            return next(same, None)
        if where not in self._tables:
            if not where.exists():
                return None
            self._tables[where] = read_part(where)
            while len(self._tables) > TABLES:
                self._tables.popitem(last=False)
        table = self._tables[where]
        rows = table.filter(pc.equal(table["digest"], digest)).to_pylist()
        first = [row for row in rows if row["path"] == rows[0]["path"]]
        return [{k: v for k, v in row.items() if v is not None} for row in first] or None


def check_manifest(library: Path, manifest: Manifest) -> None:
    """Raises UserError when a library was made by other networks or with other settings."""
    there = read_manifest(library)
    if there is None or there == manifest:
        return
    for what, old, new in (
        ("the detector", there.detector, manifest.detector),
        ("the embedder", there.embedder, manifest.embedder),
        *(
            (name, there.settings.get(name, False), manifest.settings.get(name, False))
            for name in {**there.settings, **manifest.settings}
        ),
    ):
        if old != new:
            raise UserError(
                f"{library} was made with {what} {old}, not {new}: give the same, or another folder"
            )
