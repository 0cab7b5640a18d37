"""Which photos and films there are: folders, patterns, lists and addresses, as one table."""

from __future__ import annotations

import glob
import logging
import os
import stat
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa

from faces.errors import UserError
from faces.files import decoded
from faces.images.find import IMAGE_SUFFIXES
from faces.inputs import expand
from faces.video.kinds import VIDEO_SUFFIXES
from pipeline.library.schema import MARK, MISSING, path_on_disk, stored_path
from pipeline.sources.addresses import Unanswered, is_address, list_address

log = logging.getLogger(__name__)


@dataclass
class Scan:
    """What there is, sorted by path; no path twice."""

    table: pa.Table  # columns path (as `schema.stored_path` has it), size and modified
    # folders that were searched, and how many files each has; ``/`` at their ends
    roots: dict[str, int] = field(default_factory=dict)
    missing: set[str] = field(default_factory=set)  # of them, are not there any more
    # folders below them that `faces library export` made, which are left out; ``/`` at their ends
    exports: set[str] = field(default_factory=set)
    closed: list[str] = field(default_factory=list)  # folders that cannot be read


def scan(
    arguments: Sequence[str],
    lists: Sequence[str] = (),
    leave_out: Path | None = None,
    drop_missing: bool = False,
) -> Scan:
    """Everything that arguments name.

    Args:
        arguments: files, folders (searched recursively), patterns, addresses (``s3://bucket/2024``),
            or ``@list.txt``.
        lists: text files in UTF-8 (or UTF-16 with its mark) with a file, folder or address on each
            line; ``-`` is the standard input.
        leave_out: a folder of our own, which may lie among the photos.
        drop_missing: an argument may name a folder that is not there any more.

    Raises UserError for an argument that names nothing, and when there is nothing to look at. A
    *line* of a list may name a file that is not there: its size is `MISSING`.
    """
    found: dict[str, tuple[int, float]] = {}
    result = Scan(pa.table({}))
    listed = list(lists)
    for argument in arguments:
        if argument.startswith("@") and not os.path.lexists(argument):
            listed.append(argument[1:])
        else:
            _add(result, found, argument, named=False, drop_missing=drop_missing)
    for name in listed:
        for line in _lines(name):
            _add(result, found, line, named=True)
    if not found and not result.roots:
        raise UserError(
            f"nothing to look at ({', '.join([*arguments, *lists]) or 'no path was given'}): give "
            "photos, films, folders, patterns, addresses or a list of them"
        )
    own = "" if leave_out is None else stored_path(os.path.abspath(leave_out).replace(os.sep, "/"))  # noqa: PTH100
    paths = sorted(path for path in found if leave_out is None or not path.startswith(f"{own}/"))
    sizes = np.array([found[path][0] for path in paths], np.int64)
    times = np.array([found[path][1] for path in paths], np.float64)
    columns = {"path": pa.array(paths, pa.large_string()), "size": sizes, "modified": times}
    result.table = pa.table(columns)
    return result


def _add(
    result: Scan,
    found: dict[str, tuple[int, float]],
    argument: str,
    named: bool,
    drop_missing: bool = False,
) -> None:
    """What one argument, or line of a list (``named``), names."""
    if is_address(argument):
        try:
            files, searched = list_address(argument, _wanted)
        except Unanswered:  # one line of many: said when it is looked at
            if not named:
                raise
            files, searched = [(argument, -1, -1.0)], False
        names = [name for name, _, _ in files]
        facts: Iterable[tuple[int, float]] = ((size, modified) for _, size, modified in files)
        # What a pattern leaves out of a folder is there all the same, and nobody asks each file.
        base, searched = argument, searched and "*" not in argument
    else:
        path = Path(argument).expanduser()
        if named and not os.path.isdir(path):  # noqa: PTH112 (no pattern, and it may be gone)
            base, searched, names = "", False, [os.path.abspath(path)]  # noqa: PTH100
        elif drop_missing and not glob.has_magic(argument) and is_gone(stored_path(str(path))):
            base, searched, names = os.path.abspath(path), True, []  # noqa: PTH100
            result.missing.add(stored_path(base.replace(os.sep, "/") + "/"))
        else:
            folder, files_found, searched = expand(argument, result.closed)
            base = os.path.abspath(folder)  # noqa: PTH100 (resolve follows links)
            names = [os.path.abspath(name) for name in files_found]  # noqa: PTH100
            if searched and (exports := _exports(base, names)):
                names = [name for name in names if not name.startswith(exports)]
                result.exports |= {stored_path(one.replace(os.sep, "/")) for one in exports}
        facts = map(_facts, names)
        if os.sep != "/":
            names = [name.replace(os.sep, "/") for name in names]
            base = base.replace(os.sep, "/")
    if searched:
        result.roots[stored_path(base.rstrip("/") + "/")] = len(names)
    stored = list(map(stored_path, names))
    found.update(zip(stored, facts, strict=True))


def _exports(base: str, names: Sequence[str]) -> tuple[str, ...]:
    """Folders below ``base`` with some of these files that `faces library export` made."""
    seen: set[str] = set()
    for name in names:
        folder = os.path.dirname(name)  # noqa: PTH120
        while len(folder) > len(base) and folder not in seen:
            seen.add(folder)
            folder = os.path.dirname(folder)  # noqa: PTH120
    return tuple(f"{one}{os.sep}" for one in seen if os.path.exists(f"{one}{os.sep}{MARK}"))  # noqa: PTH110


def _facts(path: str) -> tuple[int, float]:
    """Bytes and time of change of a file."""
    try:
        status = os.stat(path)  # noqa: PTH116 (a Path for each of millions)
    except OSError:
        return MISSING, 0.0
    if not stat.S_ISREG(status.st_mode):
        return MISSING, 0.0  # a pipe or a device: said when it is looked at
    return status.st_size, status.st_mtime


def _lines(name: str) -> Iterator[str]:
    """The lines of a list that are not empty."""
    try:
        data = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    except OSError as error:
        raise UserError(f"the list {name} cannot be read: {error.strerror}") from error
    try:
        text = decoded(data)
    except UnicodeDecodeError:  # as file names are read: other bytes than UTF-8 stay what they are
        text = data.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape")
    if "\0" in text:
        raise UserError(f"the list {name} has null bytes: give a text with a path on each line")
    lines = [line.rstrip("\r") for line in text.split("\n")]
    if not any(lines):
        raise UserError(f"the list {name} is empty")
    return (line for line in lines if line)


def _wanted(name: str) -> bool:
    suffix = os.path.splitext(name)[1].lower()  # noqa: PTH122
    return suffix in IMAGE_SUFFIXES or suffix in VIDEO_SUFFIXES


def missing_folder(stored: str) -> str | None:
    """The uppermost folder of a path on this machine's disks that is certainly not there any more.

    None where the folder of the file is there, and for an address.
    """
    folder = os.path.dirname(stored)  # noqa: PTH120
    if is_address(stored) or not is_gone(folder):
        return None
    while (above := os.path.dirname(folder)) != folder and is_gone(above):  # noqa: PTH120
        folder = above
    return folder


def is_gone(stored: str) -> bool:
    """Whether a path on this machine's disks has certainly no file any more."""
    try:
        os.stat(path_on_disk(stored))  # noqa: PTH116
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:  # a folder that may not be entered, a server that does not answer
        return False
    return False
