"""Films of the kinds that people have: length, start, rate and shape are the picture track's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from faces.errors import UserError
from faces.video.film import Frame, VideoReader, VideoWriter, _rates
from faces.video.sound import copy_sound
from tests.films import LONG_SOUND, MPEG4, PICTURE, SOUND, cut, ffmpeg, shown, with_matrix


@pytest.fixture(params=["with ffprobe", "without"])
def programs(request, monkeypatch):
    """Hides the programs for the second half of a test that calls it after making its film."""

    def hide() -> bool:
        if request.param == "without":
            monkeypatch.setenv("PATH", "")
        return bool(request.param == "without")

    return hide


def read(path: Path) -> tuple[VideoReader, list[Frame]]:
    with VideoReader(path) as film:
        frames = list(iter(film.read, None))
    return film, frames


def written(film: VideoReader, frames: list[Frame], path: Path) -> Path:
    with VideoWriter(path, film.rate) as writer:
        for frame in frames:
            writer.write(frame.image, frame.time)
        writer.end = film.end
    return path


def whole(path: Path, count: int, seconds: float) -> VideoReader:
    """Read a film of which nothing may be called damaged, and that begins at 0."""
    film, frames = read(path)
    film.check_end()
    assert len(frames) == count
    assert frames[0].time == 0
    assert film.end == pytest.approx(seconds, abs=0.11)
    return film


# -- nothing that was read in full is damaged


@pytest.mark.parametrize("suffix", ["mkv", "ts", "mp4", "avi", "flv", "mpg"])
def test_containers(tmp_path, programs, suffix):
    codec = {"ts": "mpeg2video", "mpg": "mpeg2video", "flv": "flv"}.get(suffix, "mpeg4")
    sound = "mp2" if suffix in ("ts", "mpg", "avi") else "aac"
    rate = ("-vf", "fps=25") if codec == "mpeg2video" else ()  # which knows no rate of 10
    path = ffmpeg(tmp_path / f"a.{suffix}", *PICTURE, *SOUND, *rate, "-c:v", codec, "-c:a", sound)
    programs()
    film = whole(path, 50 if rate else 20, 2.0)
    assert (film.fps, film.rate) == ((25.0, 25.0) if rate else (10.0, 10.0))


def test_a_film_that_starts_late(tmp_path, programs):
    path = ffmpeg(tmp_path / "a.mkv", *PICTURE, *SOUND, *MPEG4, "-output_ts_offset", "5")
    hidden = programs()
    film = whole(path, 20, 2.0)
    assert film.frames > 60, "the file counts from 0"
    assert film.has_sound is (None if hidden else True)


def test_a_film_cut_without_encoding(tmp_path, programs):
    """What comes before the cut is in the file, for decoding, and counted by it."""
    source = ffmpeg(
        tmp_path / "a.mp4", "-f", "lavfi", "-i", "testsrc=size=64x48:rate=10:duration=6",
        *MPEG4, "-g", "40",
    )  # fmt: skip
    path = ffmpeg(tmp_path / "b.mp4", "-ss", "2.05", "-i", source, "-c", "copy")
    programs()
    film, frames = read(path)
    film.check_end()
    assert film.frames - len(frames) >= 15
    assert frames[-1].time == pytest.approx(3.8, abs=0.15)


@pytest.mark.parametrize("name", ["a.mkv", "a.mp4", "fragments.mp4"])
def test_sound_that_goes_on_is_no_missing_picture(tmp_path, programs, caplog, name):
    flags = ("-movflags", "frag_keyframe+empty_moov") if name.startswith("f") else ()
    path = ffmpeg(tmp_path / name, *PICTURE, *LONG_SOUND, *MPEG4, *flags)
    hidden = programs()
    whole(path, 20, 2.0)
    said = "only ffprobe, a part of ffmpeg, could" in caplog.text
    assert said is (hidden and name != "a.mp4")


def test_one_frame(tmp_path, programs):
    path = ffmpeg(tmp_path / "a.mkv", *PICTURE, *MPEG4, "-bf", "0", "-frames:v", "1")
    programs()
    film = whole(path, 1, 0.1)
    with VideoReader(written(film, read(path)[1], tmp_path / "b.mp4")) as copy:
        assert (copy.frames, copy.fps) == (1, 10)


def test_the_cover_is_not_the_film(tmp_path, programs):
    cover = ffmpeg(tmp_path / "c.png", *PICTURE, "-vf", "scale=200:200", "-frames:v", "1")
    path = ffmpeg(
        tmp_path / "a.mp4", "-i", cover, *PICTURE, *SOUND, "-map", "0", "-map", "1", "-map", "2",
        "-c:v:0", "png", "-c:v:1", "mpeg4", "-disposition:v:0", "attached_pic",
    )  # fmt: skip
    programs()
    assert whole(path, 20, 2.0).has_sound in (True, None)
    assert read(path)[1][0].image.shape == (48, 64, 3)


def test_without_any_times(tmp_path, programs):
    path = ffmpeg(tmp_path / "raw", *PICTURE, "-r", "25", "-c:v", "mpeg2video", "-f", "mpeg2video")
    programs()
    film, frames = read(path)
    film.check_end()
    assert [frame.time for frame in frames[:3]] == pytest.approx([0, 0.04, 0.08])
    assert len(frames) == 50


# -- what is cut short is said


@pytest.mark.parametrize("name", ["a.mp4", "a.avi", "a.mkv", "a.flv"])
def test_missing_frames_are_reported(tmp_path, programs, caplog, name):
    codec = ("-c:v", "flv") if name == "a.flv" else MPEG4
    flags = ("-movflags", "+faststart") if name == "a.mp4" else ()
    sound = ("-c:a", "mp2" if name == "a.avi" else "aac")
    path = cut(ffmpeg(tmp_path / name, *PICTURE, *SOUND, *codec, *sound, *flags))
    hidden = programs()
    film, frames = read(path)
    assert 4 <= len(frames) <= 14
    if hidden and name in ("a.mkv", "a.flv"):  # which is documented
        film.check_end()
        assert "the picture ends after" in caplog.text
        return
    with pytest.raises(UserError, match=r"damaged or cut short: only [01]\.\d of 2\.\d seconds"):
        film.check_end()


def test_a_tail_of_zeros_is_no_film(tmp_path, programs, caplog):
    path = ffmpeg(tmp_path / "a.mp4", *PICTURE, *MPEG4, "-movflags", "+faststart")
    size = path.stat().st_size
    cut(path, 0.6)
    path.write_bytes(path.read_bytes().ljust(size, b"\0"))
    hidden = programs()
    film, frames = read(path)
    assert len(frames) < 18
    if hidden:  # it might have been cut off on purpose
        film.check_end()
        assert "the picture ends after" in caplog.text
        return
    with pytest.raises(UserError, match="damaged or cut short"):
        film.check_end()


# -- rate and length


def test_a_varying_rate_keeps_its_time(tmp_path, programs):
    """Thirty frames a second, then ten; the file declares neither rate nor length."""
    path = ffmpeg(
        tmp_path / "a.mkv", "-f", "lavfi", "-i", "testsrc=size=64x48:rate=30:duration=4",
        "-vf", r"select=lt(n\,45)+not(mod(n\,3)),settb=1/1000", "-vsync", "passthrough",
        *MPEG4, "-bf", "0", "-live", "1",
    )  # fmt: skip
    programs()
    film, frames = read(path)
    film.check_end()
    assert len(frames) == 45 + 25
    assert film.end == pytest.approx(4, abs=0.1)
    assert film.rate == pytest.approx(30, abs=0.5)
    copy, again = read(written(film, frames, tmp_path / "b.mp4"))
    assert copy.end == pytest.approx(film.end, abs=0.02)
    # What is seen at a moment is what the original shows then.
    for moment in (0.5, 1.6, 2.45, 3.9):
        before = [f for f in frames if f.time <= moment + 0.001][-1]
        now = [f for f in again if f.time <= moment + 0.001][-1]
        assert np.abs(before.image.astype(int) - now.image).mean() < 8


@pytest.mark.parametrize(
    ("declared", "times", "fps", "rate"),
    [
        (29.97002997, [round(i / 29.97, 3) for i in range(200)], 29.97002997, 29.97002997),
        (59.94, [round(i / 59.94, 3) for i in range(200)], 59.94, 59.94),
        (120, [round(i / 120, 3) for i in range(200)], 120, 120),
        (1000, [round(i / 30, 3) for i in range(200)], 30, 30),
        (90000, [i / 25 for i in range(50)], 25, 25),
        (float("nan"), [i / 12.5 for i in range(50)], 12.5, 12.5),
        (9.8847, [i / 10 for i in range(60)], 10, 10),  # the average of a film that was cut
        (30, [i / 30 for i in range(60)] + [2 + i / 10 for i in range(60)], None, 30),
        (8.6, [0.12 * i for i in range(10)] + [2 + i / 25 for i in range(40)], 25, 25),
        (1000, [0.0, 0.1, 0.13, 0.3, 0.31, 0.41, 0.53], None, 66),
        (25, [0.0], 25, 25),
        (90000, [0.0], 25, 25),
        (float("nan"), [], 25, 25),
        (25, [0.0] * 50, 25, 25),
        (0.2, [0.0, 5.0, 10.0], 0.2, 0.2),
        (float("nan"), [0.0, 0.1, 0.4], 10, 10),
        (30, [0.0, 0.1, 0.4], 10, 30),
    ],
)
def test_rates(declared, times, fps, rate):
    told = _rates(declared, times)
    if fps is not None:
        assert told[0] == pytest.approx(fps, rel=0.003)
    assert told[1] == pytest.approx(rate, rel=0.2 if fps is None else 0.003)


def test_a_written_film_repeats_and_leaves_out_by_time(tmp_path):
    images = [np.full((48, 64, 3), value, np.uint8) for value in (20, 80, 140, 200)]
    with VideoWriter(tmp_path / "a.mp4", 10) as writer:
        for image, time in zip(images, [0.0, 0.3, 0.31, 0.5], strict=True):
            writer.write(image, time)
        writer.end = 0.9
    levels = [round(int(f.image.mean()) / 60) for f in read(tmp_path / "a.mp4")[1]]
    assert levels == [0, 0, 0, 2, 2, 3, 3, 3, 3]


# -- shape


@pytest.mark.parametrize(
    ("matrix", "upright"),
    [
        ((-1, 0, 0, 1), lambda image: image[:, ::-1]),
        ((1, 0, 0, -1), lambda image: image[::-1]),
        ((-1, 0, 0, -1), lambda image: image[::-1, ::-1]),
        ((0, 1, -1, 0), lambda image: np.rot90(image, -1)),
        ((0, -1, 1, 0), lambda image: np.rot90(image)),
        ((0, 1, 1, 0), lambda image: image.swapaxes(0, 1)),
        ((0, -1, -1, 0), lambda image: np.rot90(image, 2).swapaxes(0, 1)),
    ],
)
def test_turned_and_mirrored_as_players_show_it(tmp_path, programs, matrix, upright):
    path = ffmpeg(tmp_path / "a.mp4", *PICTURE, *MPEG4)
    expected = upright(read(path)[1][3].image)
    with_matrix(path, matrix)
    a, b, c, d = matrix
    hidden = programs()
    if hidden and a * d - b * c < 0:
        pytest.skip("OpenCV alone does not mirror, as is documented")
    image = read(path)[1][3].image
    assert image.shape == expected.shape
    assert np.abs(image.astype(int) - expected).max() <= 2


@pytest.mark.parametrize(
    ("sar", "shape"), [("2/1", (48, 128)), ("1/2", (96, 64)), ("4/3", (48, 85)), ("1/1", (48, 64))]
)
def test_pixels_become_square(tmp_path, programs, sar, shape):
    path = ffmpeg(tmp_path / "a.mp4", *PICTURE, "-vf", f"setsar={sar}", *MPEG4)
    turned = with_matrix(ffmpeg(tmp_path / "b.mp4", "-i", path, "-c", "copy"), (0, 1, -1, 0))
    programs()
    assert read(path)[1][0].image.shape[:2] == shape
    assert read(turned)[1][0].image.shape[:2] == shape[::-1]


# -- sound


@pytest.mark.slow
@pytest.mark.parametrize(
    ("flags", "begins"),
    [((), 0.0), (("-itsoffset", "0.7"), 0.7), (("-itsoffset", "-0.5"), -0.5)],
    ids=["together", "sound first", "picture first"],
)
def test_sound_stays_with_its_picture(tmp_path, flags, begins):
    base = ffmpeg(tmp_path / "a.mkv", *PICTURE, *SOUND, *MPEG4, "-c:a", "aac")
    path = ffmpeg(
        tmp_path / "b.mkv", *flags, "-i", base, "-i", base, "-map", "0:v", "-map", "1:a",
        "-c", "copy",
    )  # fmt: skip
    film, frames = read(path)
    copy = written(film, frames, tmp_path / "c.mp4")
    assert copy_sound(film, copy)
    tracks = shown(copy)
    assert tracks["video"][0] - tracks["audio"][0] == pytest.approx(begins, abs=0.06)
    assert tracks["video"][1] == pytest.approx(2, abs=0.01)
    assert tracks["audio"][1] == pytest.approx(2, abs=0.1)
    assert copy_sound(film, copy, 1.0)
    assert shown(copy)["audio"][1] <= 1.1 + max(0.0, begins)


# -- animations


def animation(path: Path, delays: list[int]) -> Path:
    images = [Image.fromarray(np.full((24, 32, 3), 50 * i + 20, np.uint8)) for i in range(4)]
    images[0].save(path, save_all=True, append_images=images[1:], duration=delays, loop=0)
    return path


@pytest.mark.parametrize("name", ["a.gif", "a.png", "a.webp", "no suffix.gif"])
def test_animations_are_films(tmp_path, monkeypatch, name):
    path = animation(tmp_path / name, [100, 200, 100, 500])
    if name.startswith("no"):
        path = path.rename(tmp_path / "none")
    monkeypatch.setenv("PATH", "")
    film, frames = read(path)
    film.check_end()
    assert [frame.time for frame in frames] == pytest.approx([0, 0.1, 0.3, 0.4])
    assert [int(frame.image[0, 0, 0]) for frame in frames] == pytest.approx(
        [20, 70, 120, 170], abs=3
    )
    assert film.end == pytest.approx(0.9)
    assert film.has_sound is False
    copy, _ = read(written(film, frames, tmp_path / "b.mp4"))
    assert copy.frames == 9


def test_an_animation_that_asks_for_no_delay(tmp_path):
    film, _ = read(animation(tmp_path / "a.gif", [0, 0, 0, 0]))
    assert film.fps == pytest.approx(10)
    assert film.end == pytest.approx(0.4)
