"""The sound of a recorded video: whether there is any, and copying it with the system's ffmpeg."""

from __future__ import annotations

import logging
import os
import shutil
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

logger = logging.getLogger(__name__)

_FIRST_BOXES = {b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"}


def has_sound(video: Path) -> bool | None:
    """Whether a file has a sound track; None when it is no whole MP4 or QuickTime file.

    OpenCV does not tell. These files say it in their ``moov`` box (ISO/IEC 14496-12, 8.4.3), which
    is short; for other formats the answer would need a library of codecs.
    """
    try:
        with video.open("rb") as file:
            end = file.seek(0, os.SEEK_END)
            kind, *_ = next(_boxes(file, 0, end), (b"",))
            tracks = list(_handlers(file, 0, end)) if kind in _FIRST_BOXES else []
    except (OSError, struct.error):
        return None
    return b"soun" in tracks if tracks else None


def _handlers(
    file: BinaryIO, begin: int, end: int, path: tuple[bytes, ...] = (b"moov", b"trak", b"mdia")
) -> Iterator[bytes]:
    """What each track holds, ``vide``, ``soun``, ...: the ``hdlr`` boxes in boxes of ``path``."""
    for kind, start, stop in _boxes(file, begin, end):
        if path and kind == path[0]:
            yield from _handlers(file, start, stop, path[1:])
        elif not path and kind == b"hdlr":
            file.seek(start + 8)  # after version, flags and a field that is not used
            yield file.read(4)


def _boxes(file: BinaryIO, begin: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """The boxes between two positions: kind, where its content begins and where it ends."""
    while begin + 8 <= end:
        file.seek(begin)
        length, kind = struct.unpack(">I4s", file.read(8))
        head = 8
        if length == 1:
            (length,), head = struct.unpack(">Q", file.read(8)), 16
        elif length == 0:
            length = end - begin
        if length < head or begin + length > end:
            return
        yield kind, begin + head, begin + length
        begin += length


def copy_sound(source: Path, video: Path) -> bool:
    """Put the sound of ``source`` into ``video`` with the system's ``ffmpeg``; whether it did.

    OpenCV cannot write sound, and the Python packages that can bring GPL encoders with them; a
    program that the user installed is nobody's licence problem. The pictures are copied as they
    are, the sound as well where .mp4 can hold it. Where there is sound that cannot be copied the
    video stays silent, and the log says so.
    """
    sound = has_sound(source)
    if sound is False:
        return False
    silent = f"{video} has no sound, though {source} has"
    if sound is None:
        silent = f"{video} has no sound; if {source} has any"
    program = shutil.which("ffmpeg")
    if program is None:
        logger.warning("%s: install ffmpeg to have it copied", silent)
        return False
    part = video.with_name(f".{video.stem}.{os.getpid()}.sound{video.suffix}")
    for codec in ("copy", "aac"):
        command = [
            *(program, "-nostdin", "-loglevel", "error", "-y"),
            *("-i", os.fspath(video), "-i", os.fspath(source)),
            # The second 0 is the first sound track; ? lets a film without sound pass.
            *("-map", "0:v:0", "-map", "1:a:0?", "-c:v", "copy", "-c:a", codec),
            *("-movflags", "+faststart", os.fspath(part)),
        ]
        try:
            done = subprocess.run(command, capture_output=True, check=False)
            if done.returncode == 0 and part.stat().st_size > 0:
                part.replace(video)
                return True
        except OSError:
            continue
        finally:
            part.unlink(missing_ok=True)
    logger.warning("%s: ffmpeg could not copy it", silent)
    return False
