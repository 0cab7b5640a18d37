"""What of all that is there needs a look: what a library knows is compared with what was found."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from faces.errors import UserError
from faces.images.find import in_system_folder
from faces.text import counted
from faces.video.kinds import VIDEO_SUFFIXES
from pipeline.library.parts import part_files, read_part
from pipeline.library.scan import Scan, is_gone, missing_folder
from pipeline.sources.addresses import is_address

log = logging.getLogger(__name__)

FILM = 50
"""Photos that a film counts as, as it takes so much longer."""


@dataclass
class Known:
    """A row for each file that a library has, as parallel arrays."""

    table: pa.Table  # columns path, size, modified, digest and error
    part: NDArray[np.int32]  # which of ``files`` each is in, int32 (K,)
    files: list[Path]  # the parts

    @classmethod
    def read(cls, library: Path) -> Known:
        """Raises UserError as `parts.read_part`."""
        text = pa.large_string()
        kinds = {
            **{"path": text, "size": pa.int64(), "modified": pa.float64()},
            **{"digest": text, "error": text},
        }
        files, tables, part = part_files(library), [pa.schema(kinds).empty_table()], []
        for number, path in enumerate(files):
            rows = read_part(path, list(kinds))
            names = rows["path"].to_numpy()
            first = np.concatenate([[True], names[1:] != names[:-1]])
            tables.append(rows.filter(pa.array(first)).cast(pa.schema(kinds)))
            part.append(np.full(int(first.sum()), number, np.int32))
        return cls(pa.concat_tables(tables), np.concatenate([np.zeros(0, np.int32), *part]), files)

    def by_part(self, chosen: NDArray[np.bool_]) -> Mapping[Path, pa.Array]:
        """The paths of chosen rows (K,) by the part that they are in."""
        names = self.table["path"].combine_chunks()
        return {
            self.files[number]: names.filter(pa.array(chosen & (self.part == number)))
            for number in np.unique(self.part[chosen])
        }


@dataclass
class Plan:
    """What there is to do."""

    pending: NDArray[np.bool_]  # files of the scan that need a look, bool (N,)
    # in which of the known parts each file of the scan has rows, int32 (N,); -1: in none
    old: NDArray[np.int32]
    gone: NDArray[np.bool_]  # known files that are no longer there, bool (K,)
    # known files of folders that are not there themselves, bool (K,); see `moved`
    unsure: NDArray[np.bool_]
    # known rows whose path another row has, too, bool (K,): jobs whose lists differed
    twice: NDArray[np.bool_]


def make_plan(
    known: Known, found: Scan, drop_missing: bool = False, retry_failed: bool = False
) -> Plan:
    """Compare what is known with what there is, by path, size and time of change.

    Args:
        known, found: both.
        drop_missing: a folder that holds no photo at all any more has lost them; else it is taken
            for a disk that is not there. Of a folder that is not there itself see `moved`.
        retry_failed: files that could not be looked at are looked at again.

    Raises UserError for a folder that is not there, and of which nothing is known either.
    """
    table, names = found.table, known.table["path"].combine_chunks()
    place = pc.index_in(table["path"], value_set=names)
    new = place.is_null().to_numpy()
    at = place.fill_null(0).to_numpy().astype(np.int64)
    same = ~new & (table["modified"].to_numpy() >= 0)
    old = np.full(len(table), -1, np.int32)
    if len(names):
        for column in ("size", "modified"):
            same &= known.table[column].to_numpy()[at] == table[column].to_numpy()
        usable = known.table["digest"].is_valid().to_numpy()  # the others could not be read at all
        if retry_failed:
            usable = usable & known.table["error"].is_null().to_numpy()
        same &= usable[at]
        old[~new] = known.part[at[~new]]
    codes = names.dictionary_encode().indices.to_numpy()
    twice = np.ones(len(names), bool)
    twice[np.unique(codes, return_index=True)[1]] = False
    return Plan(~same, old, *_gone(known, found, drop_missing), twice)


def _gone(
    known: Known, found: Scan, drop_missing: bool
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Known files below the folders that were searched: no longer there; of missing folders."""
    names = known.table["path"]
    gone, unsure = np.zeros((2, len(names)), bool)
    absent = ~pc.is_in(names, value_set=found.table["path"].combine_chunks()).to_numpy()
    exports = tuple(found.exports)
    for root, count in found.roots.items():
        lost = np.flatnonzero(pc.starts_with(names, root).to_numpy() & absent)
        if root in found.missing and not len(lost):
            raise UserError(
                f"{root}: there is no such file or folder, and the library has nothing of it either"
            )
        if root in found.missing:
            unsure[lost] = True
            continue
        if not count and len(lost) and not drop_missing:
            log.warning(
                "%s holds no photo any more, and the library has %s of it, which stay: is a disk "
                "missing? Else drop them with --drop-missing",
                root, counted(len(lost), "file"),
            )  # fmt: skip
            continue
        for row in lost.tolist():
            path = names[row].as_py()
            left_out = path.startswith(exports) or in_system_folder(path.removeprefix(root))
            gone[row] = is_address(path) or left_out or is_gone(path)
    return gone, unsure & ~gone


def moved(known: Known, plan: Plan, now: Known, missing: Iterable[str]) -> NDArray[np.bool_]:
    """Known files of missing folders whose content is elsewhere, bool (K,); warns of the others.

    Args:
        known, plan: what was known, and what becomes of it.
        now: what is known at the end of the run; nothing has been dropped yet.
        missing: the folders, ``/`` at their ends.
    """
    names, digests = known.table["path"], known.table["digest"]
    away = pa.array(plan.gone | plan.unsure)
    wanted = digests.filter(pa.array(plan.unsure)).drop_null().combine_chunks()
    elsewhere = pc.is_in(now.table["digest"], value_set=wanted).to_numpy()
    elsewhere &= ~pc.is_in(
        now.table["path"], value_set=names.filter(away).combine_chunks()
    ).to_numpy()
    copies = now.table.select(["path", "digest"]).filter(pa.array(elsewhere)).to_pylist()
    there = {x["digest"] for x in copies if is_address(x["path"]) or not is_gone(x["path"])}
    found = plan.unsure & pc.is_in(digests, value_set=pa.array(there, pa.large_string())).to_numpy()
    for root in sorted(missing):
        left = plan.unsure & ~found & pc.starts_with(names, root).to_numpy()
        if left.any():
            log.warning(
                "%s is not there, and the library has %s of it that were found nowhere else, which "
                "stay: is a disk missing? Else make the folder again, empty, and they are dropped",
                root, counted(int(left.sum()), "file"),
            )  # fmt: skip
    return found


def moved_from(known: Known, plan: Plan, digests: set[str]) -> dict[str, int]:
    """Folders that are not there any more, and how many known files each had that stay.

    Args:
        known, plan: what is known, and what becomes of it.
        digests: contents that were found elsewhere now; only files with one of them count.
    """
    wanted = pa.array(sorted(digests), pa.large_string())
    there = pc.is_in(known.table["digest"], value_set=wanted).to_numpy() & ~plan.gone
    paths = known.table["path"].filter(pa.array(there)).to_pylist()
    count: Counter[str] = Counter()
    for _, files in groupby(sorted(paths), key=lambda path: path.rpartition("/")[0]):
        first, *more = files
        folder = missing_folder(first)
        if folder is not None:
            count[folder] += 1 + len(more)
    return dict(count)


_FILM = re.compile(rf"\.({'|'.join(s[1:] for s in sorted(VIDEO_SUFFIXES))})$", re.IGNORECASE)


def is_film_name(path: str) -> bool:
    """By its name alone, which is the same for everybody and needs no look at the file."""
    return _FILM.search(path) is not None


def shards(paths: Any, size: int) -> list[tuple[int, int]]:
    """Begin and end of lots of about ``size`` photos, of paths (N,) in their order."""
    films = pc.match_substring_regex(paths, f"(?i){_FILM.pattern}").to_numpy(zero_copy_only=False)
    total = np.cumsum(np.where(films, FILM, 1))
    bounds, start = [], 0
    while start < len(total):
        before = total[start - 1] if start else 0
        stop = min(int(np.searchsorted(total, before + size)) + 1, len(total))
        bounds.append((start, stop))
        start = stop
    return bounds
