"""Whether a video has sound, and what becomes of it."""

from __future__ import annotations

import os
import re
import stat
import struct
from pathlib import Path

import numpy as np
import pytest

from faces.video import VideoReader, VideoWriter
from pipeline.sinks.files import Recorder
from pipeline.sinks.sound import copy_sound, has_sound
from pipeline.types import FrameFaces, Picture, Tick


def box(kind: bytes, *content: bytes) -> bytes:
    data = b"".join(content)
    return struct.pack(">I4s", 8 + len(data), kind) + data


def track(holds: bytes) -> bytes:
    handler = box(b"hdlr", bytes(8), holds, bytes(13))
    return box(b"trak", box(b"tkhd", bytes(84)), box(b"mdia", box(b"mdhd", bytes(24)), handler))


PICTURES, SOUND = track(b"vide"), track(b"soun")
HEAD, PIXELS = box(b"ftyp", b"isom", bytes(4)), box(b"mdat", bytes(1000))
LARGE = struct.pack(">I4sQ", 1, b"mdat", 16 + 500) + bytes(500)
META = box(b"meta", box(b"hdlr", bytes(8), b"soun"))  # says nothing about a track


@pytest.mark.parametrize(
    ("content", "answer"),
    [
        (HEAD + PIXELS + box(b"moov", PICTURES, SOUND), True),
        (HEAD + box(b"moov", SOUND, PICTURES) + PIXELS, True),
        (box(b"wide") + LARGE + box(b"moov", PICTURES, SOUND), True),
        (HEAD + box(b"moov", PICTURES, META) + META, False),
        (HEAD + PIXELS + box(b"moov", PICTURES, SOUND)[:-40], None),  # cut short
        (HEAD + box(b"moov", PICTURES, SOUND) + PIXELS[:50], True),  # only its pictures are
        (HEAD + struct.pack(">I4s", 3, b"moov") + SOUND, None),  # a length that cannot be
        (HEAD + struct.pack(">I4sI", 1, b"mdat", 0), None),
        (struct.pack(">I4s", 0, b"moov") + PICTURES + SOUND, True),  # 0: up to the end
        (box(b"moov") * 3, None),
        (b"RIFF" + bytes(200), None),
        (b"\x1aE\xdf\xa3" + bytes(200), None),
        (b"", None),
    ],
    ids=str,
)
def test_tracks_are_found_in_the_header(tmp_path, content, answer):
    video = tmp_path / "a.mov"
    video.write_bytes(content)
    assert has_sound(video) is answer


def silent(path: Path) -> Path:
    with VideoWriter(path, 10) as writer:
        writer.write(np.zeros((48, 64, 3), np.uint8))
    return path


def test_a_video_as_opencv_writes_it_has_none(tmp_path):
    assert has_sound(silent(tmp_path / "a.mp4")) is False
    assert has_sound(tmp_path / "b.mp4") is None


# -- copying it


FFMPEG = """#!/bin/sh
echo "$@" >> {log}
case "$*" in *"-c:a copy"*) {copy};; esac
for last; do :; done
printf with-sound > "$last"
"""


@pytest.fixture
def ffmpeg(tmp_path, monkeypatch):
    """A program of that name; gives a function that says what it does with ``-c:a copy``."""
    if os.name == "nt":
        pytest.skip("needs a shell")

    def install(copy: str) -> Path:
        log = tmp_path / "log"
        program = tmp_path / "bin" / "ffmpeg"
        program.parent.mkdir()
        program.write_text(FFMPEG.format(log=log, copy=copy))
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
        return log

    return install


def source(folder: Path, sound: bool | None) -> Path:
    """A file that has sound, has none, or of which nobody knows."""
    path = folder / ("in put.mkv" if sound is None else "in put.mov")
    tracks = [PICTURES, SOUND] if sound else [PICTURES]
    path.write_bytes(b"?" if sound is None else HEAD + box(b"moov", *tracks))
    return path


@pytest.mark.parametrize(
    ("copy", "calls"), [(":", 1), ("exit 1", 2)], ids=["as it is", "encoded anew"]
)
@pytest.mark.parametrize("sound", [True, None])
def test_sound_is_copied_by_ffmpeg(tmp_path, ffmpeg, copy, calls, sound):
    log = ffmpeg(copy)
    video = tmp_path / "a.mp4"
    video.write_bytes(b"silent")
    original = source(tmp_path, sound)
    assert copy_sound(original, video)
    assert video.read_bytes() == b"with-sound"
    lines = log.read_text().splitlines()
    assert len(lines) == calls
    assert f"-i {original}" in lines[0]
    assert "-c:v copy" in lines[0]
    assert {path.name for path in tmp_path.iterdir()} == {"a.mp4", "bin", "log", original.name}


def test_no_sound_is_copied_where_there_is_none(tmp_path, ffmpeg, caplog):
    log = ffmpeg(":")
    video = tmp_path / "a.mp4"
    video.write_bytes(b"silent")
    assert not copy_sound(source(tmp_path, False), video)
    assert video.read_bytes() == b"silent"
    assert not log.exists()
    assert caplog.text == ""


def test_a_failing_ffmpeg_leaves_the_silent_video(tmp_path, ffmpeg, caplog):
    ffmpeg("exit 1")
    (tmp_path / "bin" / "ffmpeg").write_text("#!/bin/sh\nexit 1\n")
    video = tmp_path / "a.mp4"
    video.write_bytes(b"silent")
    assert not copy_sound(source(tmp_path, True), video)
    assert video.read_bytes() == b"silent"
    assert "in put.mov has: ffmpeg could not copy it" in caplog.text


@pytest.mark.parametrize(
    ("sound", "message"),
    [
        (True, r"a\.mp4 has no sound, though .*in put\.mov has: install ffmpeg to have it copied"),
        (None, r"a\.mp4 has no sound; if .*in put\.mkv has any: install ffmpeg to have it copied"),
        (False, None),
    ],
)
def test_without_ffmpeg_the_video_is_silent_and_says_so(
    tmp_path, monkeypatch, caplog, sound, message
):
    monkeypatch.setenv("PATH", str(tmp_path))
    picture = Picture(0, 0.0, np.zeros((48, 64, 3), np.uint8), 0.0)
    with Recorder(tmp_path / "a.mp4", 10, sound_of=source(tmp_path, sound)) as sink:
        sink.show(Tick(picture, FrameFaces(0, 0.0, (48, 64), (), 1)))
    with VideoReader(tmp_path / "a.mp4") as video:
        assert video.frames == 1
    if message is None:
        assert caplog.text == ""
    else:
        [record] = caplog.records
        assert re.search(message, record.getMessage())
