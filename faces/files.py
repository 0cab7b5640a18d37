"""Files that appear whole or not at all."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from faces.errors import UserError


@contextmanager
def atomic_write(path: str | Path, *, private: bool = False) -> Iterator[BinaryIO]:
    """Open a binary file that takes the name ``path`` only when the block ends without error.

    The bytes go to a hidden temporary file beside ``path``, are flushed to the disk, and the file
    is renamed over ``path`` in one step, so a reader (or a killed process) sees the old file or the
    new one, never a part. The parent folder is created. A ``private`` file can at
    no moment be read by anybody but its owner. Raises OSError as ``open`` does.
    """

    def owners(name: str, flags: int) -> int:
        return os.open(name, flags, 0o600)

    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_name(path)
    try:
        # Not tempfile.mkstemp, whose files are private: to make them ordinary ones afterwards one
        # must know the umask, and that can only be read by changing it for all threads.
        with open(temporary, "xb", opener=owners if private else None) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def atomic_write_text(path: str | Path, text: str, *, private: bool = False) -> None:
    """Write ``text`` as UTF-8 with ``\\n`` line ends; see `atomic_write`.

    File names on Linux may hold bytes that are no UTF-8, which Python keeps as lone surrogates.
    They are written as ``\\udce9``, which JSON reads back as the same name.
    """
    with atomic_write(path, private=private) as file:
        file.write(text.encode("utf-8", "backslashreplace"))


def file_digest(path: Path) -> str:
    """SHA-256 of a file in hex. Raises OSError as ``open`` does."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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
