"""Reading and writing video files."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from faces.errors import UserError
from faces.video.film import Frame, VideoReader, VideoWriter
from tests.films import PICTURE, SOUND, ffmpeg

RED, GREEN, BLUE = (220, 30, 30), (30, 200, 30), (30, 30, 220)


def picture(i: int, height: int = 48, width: int = 64) -> np.ndarray:
    """Red on the left, blue on the right, a green bar that has moved ``i`` pixels down."""
    image = np.zeros((height, width, 3), np.uint8)
    image[:, : width // 2], image[:, width // 2 :] = RED, BLUE
    image[i : i + 8] = GREEN
    return image


def write(path: Path, count: int = 10, fps: float = 25.0, **size: int) -> Path:
    with VideoWriter(path, fps) as writer:
        for i in range(count):
            writer.write(picture(i, **size))
    return path


def read(path: Path) -> list[Frame]:
    with VideoReader(path) as video:
        return list(iter(video.read, None))


def near(pixel: np.ndarray, color: tuple[int, int, int]) -> bool:
    return bool(np.abs(pixel.astype(int) - color).max() < 40)


def test_what_is_written_is_read(tmp_path):
    frames = read(write(tmp_path / "new" / "a.mp4"))
    assert [frame.index for frame in frames] == list(range(10))
    assert np.allclose([frame.time for frame in frames], np.arange(10) / 25)
    for i, frame in enumerate(frames):
        assert frame.image.shape == (48, 64, 3)
        assert frame.image.dtype == np.uint8
        assert np.abs(frame.image.astype(int) - picture(i)).mean() < 12
        assert near(frame.image[40, 5], RED), "RGB, not BGR"
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.mp4"]


@pytest.mark.parametrize("fps", [29.97, 23.976, 14.988, 59.94, 119.88, 240.01, 12.5])
def test_the_frame_rate_keeps_its_fraction(tmp_path, fps):
    with VideoReader(write(tmp_path / "a.mp4", 3, fps)) as video:
        assert video.fps == pytest.approx(fps, abs=1e-4)
        assert video.frames == 3


def test_a_rate_too_fine_for_the_format_is_rounded(tmp_path):
    with VideoReader(write(tmp_path / "a.mp4", 3, 119.8812345)) as video:
        assert video.fps == pytest.approx(119.88)


def test_an_odd_size_loses_the_last_row_and_column(tmp_path):
    frames = read(write(tmp_path / "a.mp4", height=49, width=65))
    assert len(frames) == 10
    assert frames[0].image.shape == (48, 64, 3)
    assert near(frames[0].image[-1, 0], RED)


def test_a_film_written_through_a_link_leaves_the_link(tmp_path):
    link, real = tmp_path / "a.mp4", tmp_path / "real.mp4"
    try:
        link.symlink_to(real)
    except OSError:
        pytest.skip("this system makes no links")
    write(link)
    assert link.is_symlink()
    assert len(read(real)) == 10


def turned(path: Path) -> Path:
    """The same file with a rotation of 90 degrees clockwise in its track header (ISO 14496-12)."""
    data = bytearray(path.read_bytes())
    matrix = data.index(b"tkhd") + 4 + 4 + 5 * 4 + 8 + 8
    data[matrix : matrix + 36] = struct.pack(">9i", 0, 1 << 16, 0, -1 << 16, 0, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    return path


def test_rotation_metadata_is_honored(tmp_path):
    [first, *_] = read(turned(write(tmp_path / "a.mp4")))
    assert first.image.shape == (64, 48, 3)
    assert near(first.image[5, 5], RED), "left became top"
    assert near(first.image[-5, 5], BLUE), "right became bottom"


# -- broken files


@pytest.mark.parametrize("content", [b"", b"no video", "cut"], ids=["empty", "text", "cut"])
def test_a_file_that_is_no_video_is_named(tmp_path, content):
    path = tmp_path / "a.mp4"
    path.write_bytes(write(tmp_path / "b.mp4").read_bytes()[:900] if content == "cut" else content)
    with pytest.raises(UserError, match=r"a\.mp4: cannot read the video"):
        VideoReader(path)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["a.mpg", "a.ts", "a.mov"])
def test_an_interlaced_film_is_refused_instead_of_read_as_unset_memory(tmp_path, name):
    codec = "prores_ks" if name == "a.mov" else "mpeg2video"  # whose track says "progressive"
    fields = ("-r", "25", "-flags", "+ildct+ilme", "-top", "1")
    film = ffmpeg(tmp_path / name, *PICTURE, *SOUND, "-c:v", codec, *fields)
    with pytest.raises(UserError, match=r"interlaced.*ffmpeg -i .*yadif"):
        VideoReader(film)
    again = ffmpeg(tmp_path / "a.mp4", "-i", film, "-vf", "yadif")
    assert len(read(again)) >= 48, "the remedy works"


def test_a_sound_file_with_a_cover_is_no_damaged_film(tmp_path):
    cover = ffmpeg(tmp_path / "cover.png", *PICTURE, "-frames:v", "1")
    kinds = ("-c:a", "aac", "-c:v", "png", "-disposition:v:0", "attached_pic")
    film = ffmpeg(tmp_path / "a.m4a", *SOUND, "-i", cover, "-map", "0:a", "-map", "1:v", *kinds)
    with pytest.raises(UserError, match="sound with a cover"):
        VideoReader(film)


def test_which_of_two_picture_tracks_is_looked_at_is_said(tmp_path, caplog):
    small, large = write(tmp_path / "a.mp4"), write(tmp_path / "b.mp4", width=128)
    both = ffmpeg(
        tmp_path / "both.mkv", "-i", small, "-i", large, *["-map", "0", "-map", "1", "-c", "copy"]
    )
    with VideoReader(both) as reader:
        width = reader.read().image.shape[1]
    assert "2 picture tracks; number 1, 64x48, is looked at" in caplog.text
    assert "-map 0:v:1" in caplog.text
    assert width == 64
    caplog.clear()
    with VideoReader(small):
        pass
    assert not caplog.text


def test_a_gif_without_its_end_is_said_to_be_so(tmp_path, caplog):
    path = tmp_path / "a.gif"
    first, *others = (Image.fromarray(picture(i)) for i in range(10))
    first.save(path, save_all=True, append_images=others, duration=100)
    assert len(read(path)) == 10
    path.write_bytes(path.read_bytes() + bytes(100))
    assert len(read(path)) == 10
    assert not caplog.messages
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert 2 < len(read(path)) < 10
    assert ["no end mark" in message for message in caplog.messages] == [True]


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"a\.mp4: there is no such file"):
        VideoReader(tmp_path / "a.mp4")


def motion_jpeg(path: Path, count: int) -> Path:
    """A format whose head says how long it is, so that it opens although its end is missing."""
    writer = cv2.VideoWriter(
        str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48)
    )
    for i in range(count):
        writer.write(picture(i % 40)[..., ::-1].copy())
    writer.release()
    return path


def test_a_video_that_is_cut_short_is_read_as_far_as_it_goes_and_reported(tmp_path):
    path = motion_jpeg(tmp_path / "a.avi", 60)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with VideoReader(path) as video:
        frames = list(iter(video.read, None))
        assert 20 < len(frames) < 40
        assert video.read() is None
        with pytest.raises(UserError, match=r"a\.avi: .*cut short: only [23]\.\d of 6\.0 seconds"):
            video.check_end()


def test_a_whole_video_is_not_reported(tmp_path):
    for path in (write(tmp_path / "a.mp4"), motion_jpeg(tmp_path / "a.avi", 60)):
        with VideoReader(path) as video:
            while video.read():
                pass
            video.check_end()


class FakeCapture:
    """An OpenCV capture of three frames whose container tells neither times nor a rate."""

    def __init__(self, path: str, backend: int, settings: Sequence[int] = ()) -> None:
        self.left = 3

    def isOpened(self) -> bool:
        return True

    def set(self, key: int, value: float) -> bool:
        return True

    def get(self, key: int) -> float:
        return 0.0

    def read(self) -> tuple[bool, np.ndarray | None]:
        self.left -= 1
        return (True, picture(0)) if self.left >= 0 else (False, None)

    def grab(self) -> bool:
        return self.read()[0]

    def release(self) -> None:
        pass


def test_a_container_without_times_gets_even_ones(tmp_path, monkeypatch):
    monkeypatch.setattr(cv2, "VideoCapture", FakeCapture)
    (tmp_path / "a.avi").touch()
    with VideoReader(tmp_path / "a.avi") as video:
        assert (video.fps, video.frames) == (25.0, 0)
        assert [frame.time for frame in iter(video.read, None)] == [0, 0.04, 0.08]
        video.check_end()


def test_a_clock_that_is_set_forward_makes_no_day_of_one_picture(tmp_path, monkeypatch):
    shown = iter([0.0, 0.0, 40.0, 26.5 * 3600e3])
    monkeypatch.setattr(FakeCapture, "grab", lambda self: False)
    monkeypatch.setattr(
        FakeCapture, "get", lambda self, key: next(shown) if key == cv2.CAP_PROP_POS_MSEC else 25.0
    )
    monkeypatch.setattr(cv2, "VideoCapture", FakeCapture)
    next(shown)
    (tmp_path / "a.avi").touch()
    with VideoReader(tmp_path / "a.avi") as video:
        assert [frame.time for frame in iter(video.read, None)] == pytest.approx([0, 0.04, 0.08])


def test_a_video_without_a_frame_is_reported(tmp_path, monkeypatch):
    monkeypatch.setattr(FakeCapture, "read", lambda self: (False, None))
    monkeypatch.setattr(cv2, "VideoCapture", FakeCapture)
    (tmp_path / "a.avi").touch()
    with VideoReader(tmp_path / "a.avi") as video:
        assert video.read() is None
        with pytest.raises(UserError, match="no frame can be decoded"):
            video.check_end()


# -- whole or not at all


def test_an_exception_leaves_the_old_file_and_nothing_else(tmp_path):
    path = write(tmp_path / "a.mp4", 3)
    before = path.read_bytes()

    def interrupted() -> None:
        with VideoWriter(path, 25) as writer:
            writer.write(picture(0))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_name_may_be_as_long_as_the_disk_allows(tmp_path):
    path = tmp_path / ("a" * 251 + ".mp4")
    try:
        path.write_bytes(b"old")
    except OSError:
        pytest.skip("this file system allows no such name")
    assert len(read(write(path, 3))) == 3
    assert list(tmp_path.iterdir()) == [path]


def test_no_frame_makes_no_file(tmp_path):
    with VideoWriter(tmp_path / "a.mp4", 25):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_frame_of_another_size_is_refused(tmp_path):
    def mixed() -> None:
        with VideoWriter(tmp_path / "a.mp4", 25) as writer:
            writer.write(picture(0))
            writer.write(picture(0, height=60))

    with pytest.raises(ValueError, match="frame of"):
        mixed()
    assert list(tmp_path.iterdir()) == []


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
import numpy as np
from faces.video.film import VideoWriter
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
random = np.random.default_rng(0)
with VideoWriter(Path(sys.argv[1]), 25) as writer:
    for i in range(30):
        writer.write(random.integers(0, 255, (120, 160, 3), dtype=np.uint8))
"""


@pytest.mark.skipif(os.name == "nt", reason="needs a limit on the size of files")
def test_a_full_disk_is_noticed(tmp_path):
    result = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path / "a.mp4")],
        capture_output=True, text=True, check=False, cwd=Path(__file__).parents[3],
    )  # fmt: skip
    assert result.returncode == 1
    assert "could not be written in full; is the disk full?" in result.stderr
    assert list(tmp_path.iterdir()) == []
