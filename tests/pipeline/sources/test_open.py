"""Cameras, streams, pipes, files and folders."""

from __future__ import annotations

import io
import os
import time
from pathlib import Path

import numpy as np
import pytest

from faces.errors import UserError
from faces.images.write import save_image
from pipeline.sources.captures import (
    PlayedFile,
    RawFrames,
)
from pipeline.sources.open import EverySource, SourceOptions, open_source
from pipeline.types import Picture
from tests.pipeline.sources.cameras import everything, gray, video


def test_a_played_file_takes_its_time_and_ends(tmp_path):
    with open_source(str(video(tmp_path / "a.mp4")), SourceOptions(live=True)) as source:
        assert source.fps == pytest.approx(12.5)
        start, last = time.monotonic(), None
        while not source.ended:
            last = source.read(0.1) or last
        assert 1.4 < time.monotonic() - start < 30
        assert last.index == 19


def test_a_played_file_can_begin_again(tmp_path):
    played = PlayedFile(video(tmp_path / "a.mp4", 3, 100), again=True)
    values = [int(played.read()[24, 32, 0]) for _ in range(7)]
    played.close()
    assert np.abs(np.diff(values)[[2, 5]]).min() > 10, "from the last to the first"
    assert values[0] == values[3] == values[6]


# -- in full


def test_every_frame_of_a_file_comes(tmp_path):
    with open_source(str(video(tmp_path / "a.mp4"))) as source:
        pictures = everything(source)
        source.check_end()
    assert [picture.index for picture in pictures] == list(range(20))
    assert np.allclose([picture.time for picture in pictures], np.arange(20) / 12.5)
    assert (source.fps, source.frames, source.follow, source.ended) == (12.5, 20, True, True)


def test_a_folder_gives_its_photos_and_names_what_is_broken(tmp_path, caplog):
    save_image(tmp_path / "b.png", gray(20))
    save_image(tmp_path / "in" / "c.jpg", gray(30, 40, 50))
    (tmp_path / "a.jpg").write_bytes(b"no picture")
    with open_source(str(tmp_path)) as source:
        pictures = everything(source)
        with pytest.raises(UserError, match="1 of 3 pictures could not be read"):
            source.check_end()
    assert [picture.name for picture in pictures] == ["b.png", "in/c.jpg"]
    assert [picture.size for picture in pictures] == [(24, 32), (40, 50)]
    assert not source.follow
    assert "a.jpg" in caplog.text


def test_one_photo_is_a_folder_of_one(tmp_path):
    save_image(tmp_path / "b.png", gray(20))
    with open_source(str(tmp_path / "b.png")) as source:
        assert [picture.name for picture in everything(source)] == ["b.png"]


def test_closing_early_is_fine(tmp_path):
    source = open_source(str(video(tmp_path / "a.mp4")))
    assert source.read().index == 0
    source.close()
    assert source.read() is None


def test_an_error_while_reading_reaches_the_caller():
    def read() -> Picture | None:
        raise RuntimeError("disk")

    with pytest.raises(RuntimeError, match="disk"), EverySource(read, "x", 30) as source:
        source.read()


# -- raw frames


@pytest.mark.parametrize(
    ("layout", "pixel", "rgb"),
    [
        ("rgb24", [1, 2, 3], (1, 2, 3)),
        ("bgr24", [3, 2, 1], (1, 2, 3)),
        ("gray", [7], (7, 7, 7)),
    ],
)
def test_raw_frames(layout, pixel, rgb):
    stream = io.BytesIO(bytes(pixel * 6 * 3))
    options = SourceOptions(size=(3, 2), fps=10.0, layout=layout)
    with open_source("-", options, stream) as source:
        pictures = everything(source)
        source.check_end()
    assert [picture.time for picture in pictures] == [0, 0.1, 0.2]
    assert pictures[0].image.shape == (2, 3, 3)
    assert (pictures[0].image == rgb).all()


def test_raw_frames_that_do_not_fit_are_reported():
    options = SourceOptions(size=(3, 2), fps=10.0)
    with open_source("-", options, io.BytesIO(bytes(18 + 5))) as source:
        assert len(everything(source)) == 1
        with pytest.raises(UserError, match=r"within a frame \(5 bytes.*--stdin-size"):
            source.check_end()


def test_a_pipe_gives_its_bytes_in_any_parts():
    class Dribble(io.BytesIO):
        def read(self, size=-1):
            return super().read(min(size, 7))

    frames = RawFrames(Dribble(bytes(range(18)) * 2), (3, 2), 10)
    first, second, end = frames.read(), frames.read(), frames.read()
    assert first.ravel().tolist() == second.ravel().tolist() == list(range(18))
    assert end is None


@pytest.mark.parametrize("options", [SourceOptions(fps=30.0), SourceOptions(size=(3, 2))])
def test_raw_frames_need_a_size_and_a_rate(options):
    with pytest.raises(UserError, match="--stdin-size 640x480 --stdin-fps 30"):
        open_source("-", options, io.BytesIO())


# -- names


def test_a_missing_file_is_not_taken_for_a_camera():
    with pytest.raises(UserError, match=r"party\.mp4: there is no such file, folder or camera"):
        open_source("party.mp4")


def test_a_camera_that_does_not_exist():
    with pytest.raises(UserError, match="camera 63 cannot be opened"):
        open_source("63")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes")
@pytest.mark.timeout(20)
@pytest.mark.parametrize("name", ["pipe", "film.mp4"])
def test_a_pipe_is_named_with_the_way_on(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises(UserError, match=rf"{name} is a pipe: save .*, faces run - --stdin-size"):
        open_source(str(tmp_path / name))
