"""Locks between processes that end with the process, so that a killed one leaves none behind."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import BinaryIO


def hold(path: Path, seconds: float = 0.0) -> BinaryIO | None:
    """Lock a file of our own, made when missing; closing what is returned lets go.

    Returns None when another process still has it after ``seconds``.
    """
    file = path.open("ab")
    until = time.monotonic() + seconds
    while True:
        try:
            _lock(file)
            return file
        except OSError:
            if time.monotonic() >= until:
                file.close()
                return None
            time.sleep(0.02)


def _lock(file: BinaryIO) -> None:
    if os.name == "nt":
        import msvcrt

        file.seek(0)
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
    else:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
