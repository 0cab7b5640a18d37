"""What becomes of a film's sound."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from faces.video.sound import copy_sound

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


def film(folder: Path, sound: bool | None) -> Any:
    """A film that has sound, has none, or of which nobody knows."""
    path = folder / "in put.mov"
    path.write_bytes(b"a film")
    return SimpleNamespace(path=path, has_sound=sound, start=0.25)


@pytest.mark.parametrize(
    ("copy", "calls"), [(":", 1), ("exit 1", 2)], ids=["as it is", "encoded again"]
)
@pytest.mark.parametrize("sound", [True, None])
def test_sound_is_copied_by_ffmpeg(tmp_path, ffmpeg, copy, calls, sound):
    log = ffmpeg(copy)
    video = tmp_path / "a.mp4"
    video.write_bytes(b"silent")
    original = film(tmp_path, sound)
    assert copy_sound(original, video, 2.0)
    assert video.read_bytes() == b"with-sound"
    lines = log.read_text().splitlines()
    assert len(lines) == calls
    assert f"-itsoffset 0.250000 -i {video} -i {original.path}" in lines[0]
    assert "-c:v copy" in lines[0]
    assert "-t 2.250000" in lines[0]
    assert {path.name for path in tmp_path.iterdir()} == {"a.mp4", "bin", "log", "in put.mov"}


def test_no_sound_is_copied_where_there_is_none(tmp_path, ffmpeg, caplog):
    log = ffmpeg(":")
    video = tmp_path / "a.mp4"
    video.write_bytes(b"silent")
    assert not copy_sound(film(tmp_path, False), video)
    assert video.read_bytes() == b"silent"
    assert not log.exists()
    assert caplog.text == ""


def test_a_failing_ffmpeg_leaves_the_silent_video(tmp_path, ffmpeg, caplog):
    ffmpeg("exit 1")
    (tmp_path / "bin" / "ffmpeg").write_text("#!/bin/sh\nexit 1\n")
    video = tmp_path / "a.mp4"
    video.write_bytes(b"silent")
    assert not copy_sound(film(tmp_path, True), video)
    assert video.read_bytes() == b"silent"
    assert "in put.mov has: ffmpeg could not copy it" in caplog.text


@pytest.mark.parametrize(
    ("sound", "message"),
    [
        (True, r"a\.mp4 has no sound, though .*in put\.mov has: install ffmpeg to have it copied"),
        (None, r"a\.mp4 has no sound; if .*in put\.mov has any: install ffmpeg to have it copied"),
        (False, None),
    ],
)
def test_without_ffmpeg_the_video_is_silent_and_says_so(
    tmp_path, monkeypatch, caplog, sound, message
):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not copy_sound(film(tmp_path, sound), tmp_path / "a.mp4")
    if message is None:
        assert caplog.text == ""
    else:
        [record] = caplog.records
        assert re.search(message, record.getMessage())
