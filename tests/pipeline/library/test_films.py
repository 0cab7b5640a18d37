"""Films: a row for each track, of the look at which its face is seen best."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageFilter

from tests.films import cut
from tests.pipeline.library.looking import index, rows
from tests.pipeline.people_photos import person, photo

BEST = 12


def film(path: Path, frames: int = 24) -> Path:
    """Two people who stay; all but the frame `BEST` are blurred."""
    sharp = photo(person(1), person(2))
    blurred = np.asarray(Image.fromarray(sharp).filter(ImageFilter.GaussianBlur(3)))
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 10, (400, 300))
    for i in range(frames):
        frame = sharp.copy()
        if i != BEST:
            frame[40:120, 30:110] = blurred[40:120, 30:110]
            frame[60:140, 200:280] = blurred[60:140, 200:280]
        writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    writer.release()
    return path


@pytest.mark.slow
def test_a_film_has_a_row_for_each_track_at_its_sharpest(tmp_path):
    film(tmp_path / "party.mp4")
    tally = index(tmp_path / "lib", tmp_path / "party.mp4")
    assert (tally.looked, tally.faces, tally.failed) == (1, 2, 0)
    found = rows(tmp_path / "lib")
    assert [row["seconds"] for row in found] == pytest.approx([BEST / 10] * 2, abs=0.01)
    assert {row["face"].rpartition("-")[2] for row in found} == {"1", "2"}
    assert all(row["face"].startswith(row["digest"][:16]) for row in found)
    assert found[0]["x1"] == pytest.approx(30, abs=10)
    assert (found[0]["width"], found[0]["height"]) == (400, 300)
    assert index(tmp_path / "lib", tmp_path / "party.mp4").unchanged == 1


@pytest.mark.slow
def test_a_film_that_is_cut_short_keeps_what_was_seen(tmp_path):
    writer_path = tmp_path / "cut.avi"
    sharp = photo(person(1))
    writer = cv2.VideoWriter(str(writer_path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (400, 300))
    for _ in range(40):
        writer.write(cv2.cvtColor(sharp, cv2.COLOR_RGB2BGR))
    writer.release()
    cut(writer_path, 0.6)
    (tmp_path / "none.mp4").write_bytes(b"\0\0\0\x20ftypisom" + bytes(100))
    tally = index(tmp_path / "lib", tmp_path)
    assert (tally.looked, tally.failed) == (2, 2)
    found = rows(tmp_path / "lib")
    assert [bool(row["error"]) for row in found] == [True, False, True]
    assert [row["face"] is not None for row in found] == [False, True, False]
    assert index(tmp_path / "lib", tmp_path).unchanged == 2
