"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from common.errors import UserError


@contextmanager
def atomic_write(path: str | Path) -> Iterator[BinaryIO]:
    """Open a binary file that takes the name ``path`` only when the block ends without error.

    The bytes go to a hidden temporary file beside ``path``, are flushed to the disk, and the file
    is renamed over ``path`` in one step, so a reader (or a killed process) sees the old file or the
    new one, never a part. The parent folder is created. Raises OSError as ``open`` does.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield cast(BinaryIO, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_umask())  # mkstemp makes files private; these are ordinary ones
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def atomic_write_text(path: str | Path, text: str) -> None:
    """Write ``text`` as UTF-8 with ``\\n`` line ends; see `atomic_write`."""
    with atomic_write(path) as file:
        file.write(text.encode("utf-8"))


def check_writable(folder: Path) -> None:
    """Make sure that results can be put into ``folder``, before the work that they come from.

    Nothing is made yet. Raises UserError when the folder, or the nearest one above it that exists,
    is a file or takes no new files.
    """
    nearest = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    try:
        with tempfile.TemporaryFile(dir=nearest):
            pass
    except OSError as error:
        raise UserError(
            f"results cannot be written to {folder}: {nearest}: {error.strerror}; name another "
            "folder with --out"
        ) from error


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
