"""Files that appear whole or not at all, and files of users read within limits."""

from __future__ import annotations

import codecs
import csv
import errno
import hashlib
import io
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import BinaryIO

from faces.errors import CannotWrite, UserError


@contextmanager
def atomic_write(path: str | Path, *, private: bool = False) -> Iterator[BinaryIO]:
    """Open a binary file that takes the name ``path`` only when the block ends without error.

    The bytes go to a hidden temporary file beside ``path``, are flushed to the disk, and the file
    is renamed over ``path`` in one step, so a reader (or a killed process) sees the old file or the
    new one, never a part. Where ``path`` is a symbolic link, the file that it leads to is replaced
    and the link stays. The parent folder is created, but not that of a link's file. A ``private``
    file can at no moment be read by anybody but its owner. Raises OSError as ``open`` does, and
    `CannotWrite`, which is a UserError too, when the disk is full or takes no changes, or the
    link's folder is missing.
    """
    path = Path(path)
    real = Path(os.path.realpath(path))
    temporary = temporary_name(real)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not real.parent.is_dir():  # its disk may be missing, so it is not made
            reason = f"it is a link to {real}, and there is no such folder"
            raise CannotWrite(errno.ENOENT, reason, str(path))
        # Not tempfile.mkstemp, whose files are private: to make them ordinary ones afterwards one
        # must know the umask, and that can only be read by changing it for all threads.
        rights = partial(os.open, mode=0o600) if private else None
        with open(temporary, "xb", opener=rights) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(real)
    except BaseException as error:
        with suppress(OSError):  # a disk that takes no changes takes not even this one
            temporary.unlink()
        if isinstance(error, OSError) and error.errno in CannotWrite.ERRNOS:
            raise CannotWrite(error.errno, error.strerror, str(path)) from error
        raise


def atomic_write_text(path: str | Path, text: str, *, private: bool = False) -> None:
    """Write ``text`` as UTF-8 with ``\\n`` line ends; see `atomic_write`.

    File names on Linux may hold bytes that are no UTF-8, which Python keeps as lone surrogates.
    They are written as ``\\udce9``, which JSON reads back as the same name.
    """
    with atomic_write(path, private=private) as file:
        file.write(text.encode("utf-8", "backslashreplace"))


def file_digest(path: Path) -> str:
    """SHA-256 of a file in hex. Raises UserError for a pipe and for what cannot be read."""
    refuse_pipe(path)
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error


def temporary_name(path: Path) -> Path:
    """A new hidden name beside ``path``, for a file that is to be renamed to it.

    It begins with ``.part-`` and is short whatever ``path`` is: a name that just fits into the 255
    bytes that file systems allow leaves no room for anything more.
    """
    return path.with_name(f".part-{os.urandom(8).hex()}")


def check_writable(folder: Path, flag: str = "--out") -> None:
    """Make sure that results can be put into ``folder``, before the work that they come from.

    Nothing is made yet. Raises UserError, with ``flag`` as the way to name another folder, when the
    folder, or the nearest one above it that exists, is a file or takes no new files.
    """
    nearest = folder
    try:
        # exists() raises where a folder above may not be entered. The default is for a drive that
        # Windows does not have.
        above = (path for path in (folder, *folder.absolute().parents) if path.exists())
        nearest = next(above, Path(folder.absolute().anchor))
        with tempfile.TemporaryFile(dir=nearest):
            pass
    except OSError as error:
        raise UserError(
            f"results cannot be written to {folder}: {nearest}: {error.strerror}; name another "
            f"folder with {flag}"
        ) from error


def refuse_pipe(path: Path) -> None:
    """Raise UserError for a pipe or device, which may give nothing for ever and can be read once
    only. A file that is missing, or a folder, is let through."""
    if path.exists() and not path.is_file() and not path.is_dir():
        raise UserError(f"{path} is a pipe or a device: save its contents as a file")


def read_limited(path: Path, most: int) -> bytes:
    """The bytes of a file; UserError when it cannot be read or has more than ``most``."""
    refuse_pipe(path)
    try:
        with path.open("rb") as file:
            data = file.read(most + 1)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    if len(data) > most:
        raise UserError(f"{path}: larger than {most:,} bytes; split it into several files")
    return data


def decoded(data: bytes) -> str:
    """UTF-8, or UTF-16 with its mark, as Windows's shell writes it. Raises UnicodeDecodeError."""
    wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return data.decode("utf-16" if wide else "utf-8-sig")


def read_lines(path: Path, most: int = 100_000_000) -> list[str]:
    """The lines of a text file; UserError as `read_limited`, and for what is no such text."""
    try:
        return decoded(read_limited(path, most)).splitlines()
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not a text in UTF-8 ({error.reason}); save it as such") from error


MAX_GROUPS = 50


def read_table(path: Path) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """The columns' names of a CSV file, and for each row its line and cells by column.

    Raises UserError, naming file and line, for what is no such table.
    """
    rows = csv.reader(io.StringIO("\n".join(read_lines(path)), newline=""), strict=True)
    try:
        header = [name.strip() for name in next(rows, [])]
        lines = [(rows.line_num, [cell.strip() for cell in row]) for row in rows if any(row)]
    except csv.Error as error:
        raise UserError(f"{path}, line {rows.line_num}: not valid CSV: {error}") from error
    if len(set(header)) < len(header) or "" in header:
        raise UserError(f"{path}, line 1: every column needs a name of its own")
    for number, row in lines:
        if len(row) != len(header):
            raise UserError(
                f"{path}, line {number}: {len(row)} cells, but the header has {len(header)} columns"
            )
    return header, [(number, dict(zip(header, row, strict=True))) for number, row in lines]


def refuse_many_groups(path: Path, column: str, values: list[str]) -> None:
    """Raise UserError where a column of labels has more than `MAX_GROUPS` values."""
    groups = len(set(values) - {""})
    if groups > MAX_GROUPS:
        raise UserError(
            f"{path}: the column {column!r} has {groups} values, more than {MAX_GROUPS}; put them "
            "into ranges first, or name other columns"
        )
