"""What only the program ``ffprobe`` tells about a film, where the user has installed it.

OpenCV tells neither mirrored films nor sound, nor when a track begins and ends. The Python packages
that do bring GPL codecs along; a program of the user's is nobody's license problem. Without it
these things stay unknown, and `docs/detect.md` says what is lost.
"""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PATIENCE = 60.0
"""Seconds for the head of a file; only a broken disk or network needs as many."""

_SAMPLED = 20
"""Packets, of pictures and sound, from which the first pictures are decoded."""

Matrix = tuple[float, float, float, float]
"""``a b c d``: what is stored at (x, y) is shown at (a x + c y, b x + d y), moved into view."""


@dataclass(frozen=True)
class FilmFacts:
    """The head of a film."""

    # seconds from the beginning of the file to that of the picture track; sound may begin earlier
    start: float
    # of the picture track in seconds; None when only that of the whole file is known
    duration: float | None
    whole_duration: float | None  # of the file in seconds; None when unknown
    # of the picture track, by the file's own account; None when it does not say
    packets: int | None
    matrix: Matrix | None  # how to turn and mirror the picture; None: not at all
    has_sound: bool  # whether there is a sound track
    stream: int  # number of the picture track
    clock: float  # what the file's clock shows at its beginning, in seconds
    cover: bool = False  # whether the only picture is the cover of a sound file
    # whether among the first pictures are some whose odd and even rows are of two moments
    interlaced: bool = False
    picture: int = 1  # which of the picture tracks this is, from 1; covers do not count
    pictures: int = 1  # how many there are


@dataclass(frozen=True)
class Packets:
    """What is in a film, without decoding it; seconds from the start of the picture track."""

    count: int  # packets of the picture track
    last: float  # when the last of these is to be shown; minus infinity when no times are known
    end: float  # when it is over
    whole_end: float  # when the last packet of any track is over


def film_facts(path: Path, size: tuple[int, int] | None = None) -> FilmFacts | None:
    """Read the head of a film; None without ``ffprobe``, or when it cannot.

    Args:
        size: (width, height) as stored, of the picture track meant, where there are several.
    """
    told = _ask(
        path,
        "format=start_time,duration"
        ":stream=index,codec_type,width,height,start_time,duration,nb_frames"
        ":stream_tags=DURATION:stream_disposition=attached_pic:stream_side_data=displaymatrix"
        ":frame=stream_index,interlaced_frame",
        PATIENCE,
        *("-read_intervals", f"%+#{_SAMPLED}"),
    )
    if told is None:
        return None
    streams = told.get("streams", [])
    pictures = [s for s in streams if s.get("codec_type") == "video"]
    # A cover is a picture track, too; what OpenCV reads is another one where there is one.
    pictures.sort(
        key=lambda s: (
            _is_cover(s),
            (s.get("width"), s.get("height")) != size,
        )
    )
    if not pictures:
        return None
    track, whole = pictures[0], told.get("format", {})
    films = sorted(s["index"] for s in pictures if not _is_cover(s))
    clock = _seconds(whole.get("start_time")) or 0.0
    begin = _seconds(track.get("start_time"))
    begin = clock if begin is None else begin
    duration = _seconds(track.get("duration"))
    if duration is None:  # Matroska's tag counts from the beginning of the file
        tag = _clock_time(track.get("tags", {}).get("DURATION"))
        duration = tag - begin if tag is not None and tag > begin else tag
    return FilmFacts(
        start=begin - clock,
        duration=duration,
        whole_duration=_seconds(whole.get("duration")),
        packets=int(track["nb_frames"]) if str(track.get("nb_frames")).isdecimal() else None,
        matrix=_matrix(track.get("side_data_list", [])),
        has_sound=any(s.get("codec_type") == "audio" for s in streams),
        stream=int(track["index"]),
        clock=clock,
        cover=_is_cover(track),
        # The track's own word, field_order, is often missing or wrong.
        interlaced=any(
            frame.get("interlaced_frame") == 1 and frame.get("stream_index") == track["index"]
            for frame in told.get("frames", [])
        ),
        picture=1 + films.index(track["index"]) if track["index"] in films else 1,
        pictures=max(1, len(films)),
    )


def _is_cover(stream: dict[str, Any]) -> bool:
    return bool(stream.get("disposition", {}).get("attached_pic") == 1)


def film_packets(path: Path, facts: FilmFacts) -> Packets | None:
    """Read through a film without decoding it; None when that fails. As slow as its disk."""
    told = _ask(path, "packet=stream_index,pts_time,duration_time,flags", None)
    if told is None:
        return None
    zero = facts.clock + facts.start
    count, last, end, whole_end = 0, -math.inf, -math.inf, -math.inf
    for packet in told.get("packets", []):
        ours = packet.get("stream_index") == facts.stream
        count += ours
        time = _seconds(packet.get("pts_time"))
        if time is None or "D" in packet.get("flags", ""):  # D: decoded, but not to be shown
            continue
        over = time - zero + (_seconds(packet.get("duration_time")) or 0.0)
        whole_end = max(whole_end, over)
        if ours:
            last, end = max(last, time - zero), max(end, over)
    return Packets(count, last, end, whole_end)


def _ask(path: Path, entries: str, seconds: float | None, *options: str) -> dict[str, Any] | None:
    program = shutil.which("ffprobe")
    if program is None:
        return None
    name = os.fspath(path.absolute())  # in full: it may look like a flag or an address
    command = [program, "-v", "error", *options]
    command += ["-show_entries", entries, "-of", "json", "-i", name]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=seconds
        )
        told = json.loads(done.stdout)
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None
    return told if isinstance(told, dict) else None


def _seconds(text: Any) -> float | None:
    try:
        value = float(text)
    except (TypeError, ValueError):  # "N/A", or not there
        return None
    return value if math.isfinite(value) else None


def _clock_time(text: Any) -> float | None:
    """``00:01:02.500000000`` -> 62.5."""
    match = re.fullmatch(r"(\d+):(\d\d):(\d\d(?:\.\d+)?)", str(text))
    if match is None:
        return None
    return int(match[1]) * 3600 + int(match[2]) * 60 + float(match[3])


def _matrix(side_data: Any) -> Matrix | None:
    """The display matrix (ISO/IEC 14496-12, 6.2.2), printed as three lines of three numbers."""
    for data in side_data:
        rows = re.findall(r":\s*(-?\d+)\s+(-?\d+)\s+(-?\d+)", str(data.get("displaymatrix", "")))
        if len(rows) == 3:
            (a, b, _), (c, d, _), _ = rows
            return (int(a), int(b), int(c), int(d))
    return None
