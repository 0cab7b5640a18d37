"""Films of the kinds that people have, made with the system's ffmpeg."""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path

import pytest

PICTURE = ("-f", "lavfi", "-i", "testsrc=size=64x48:rate=10:duration=2")
SOUND = ("-f", "lavfi", "-i", "sine=duration=2")
LONG_SOUND = ("-f", "lavfi", "-i", "sine=duration=8")
MPEG4 = ("-c:v", "mpeg4", "-bf", "2")  # an encoder that every ffmpeg has, with B-frames


def need_ffmpeg() -> None:
    """Skip the test where it is missing."""
    if not (shutil.which("ffmpeg") and shutil.which("ffprobe")):
        pytest.skip("needs ffmpeg and ffprobe: install ffmpeg")


_made: dict[tuple[str, ...], bytes] = {}
"""Films that depend on nothing but how they were asked for: many tests look at the same ones."""


def ffmpeg(path: Path, *arguments: str | Path) -> Path:
    """Make ``path`` with ffmpeg; skips the test where there is none."""
    need_ffmpeg()
    asked = (path.name, *map(str, arguments))
    if asked in _made:
        path.write_bytes(_made[asked])
        return path
    command = ["ffmpeg", "-nostdin", "-loglevel", "error", "-y", *asked[1:], str(path)]
    subprocess.run(command, check=True, capture_output=True)
    if asked.count("-i") == asked.count("lavfi"):  # no file went in
        _made[asked] = path.read_bytes()
    return path


def shown(path: Path) -> dict[str, tuple[float, float]]:
    """Kind of each track -> when it begins and how long it lasts, as ffprobe says."""
    need_ffmpeg()
    told = subprocess.run(
        ["ffprobe", "-v", "error", "-show_entries", "stream=codec_type,start_time,duration",
         "-of", "csv=p=0", str(path)],
        check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    tracks = {}
    for line in told.splitlines():
        kind, start, duration = line.split(",")[:3]
        tracks[kind] = (float(start), float(duration))
    return tracks


def with_matrix(path: Path, matrix: tuple[int, int, int, int]) -> Path:
    """Give an .mp4 a display matrix ``a b c d`` in its track header (ISO/IEC 14496-12, 8.3.2)."""
    data = bytearray(path.read_bytes())
    place = data.index(b"tkhd") + 4 + 4 + 5 * 4 + 8 + 8
    a, b, c, d = (v << 16 for v in matrix)
    data[place : place + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    return path


def cut(path: Path, share: float = 0.5) -> Path:
    """Leave only the first part of a file."""
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    return path
