"""Lines, videos and snapshots."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from faces.images.read import read_image
from faces.video.film import VideoReader
from pipeline.sinks import files as sinks
from pipeline.sinks.files import JsonLines, Recorder, Snapshots, file_name, fit
from pipeline.types import Face, FrameFaces, Picture, Tick
from recognizer.types import Match


def tick(index: int = 0, time: float = 0.0, size: tuple[int, int] = (48, 64), **more) -> Tick:
    face = Face((10.0, 20.0, 30.0, 40.0), 0.9, 1, Match("Ada", 0.9, None, "gallery", "Ada"), 1.0)
    picture = Picture(index, time, np.full((*size, 3), 10 * index, np.uint8), 0.0)
    return Tick(picture, FrameFaces(index, time, size, (face,), 1), **more)


def frames(path: Path) -> list[np.ndarray]:
    with VideoReader(path) as video:
        return [frame.image for frame in iter(video.read, None)]


def test_a_line_for_every_new_frame(tmp_path):
    with JsonLines(tmp_path / "new" / "a.jsonl") as sink:
        for each in (tick(0), tick(0, fresh=False), tick(1, 0.04)):
            sink.show(each)
    lines = [json.loads(line) for line in (tmp_path / "new" / "a.jsonl").read_text().splitlines()]
    assert [line["frame"] for line in lines] == [0, 1]
    assert lines[0]["faces"][0]["name"] == "Ada"


def test_lines_may_go_to_a_function():
    lines: list[str] = []
    with JsonLines(lines.append) as sink:
        sink.show(tick())
    assert json.loads(lines[0])["frame"] == 0


@pytest.mark.parametrize("fps", [29.97, 12.5])
def test_a_file_gives_a_video_of_its_own_rate_and_length(tmp_path, fps):
    with Recorder(tmp_path / "a.mp4", fps) as sink:
        for i in range(6):
            sink.show(tick(i, i / fps))
            sink.show(tick(i, i / fps, fresh=False))
    with VideoReader(tmp_path / "a.mp4") as video:
        assert (video.fps, video.frames) == (pytest.approx(fps, abs=1e-3), 6)


def test_a_camera_gives_a_video_as_long_as_the_time_it_took(tmp_path):
    with Recorder(tmp_path / "a.mp4", 10, live=True) as sink:
        # Ten frames in the first 0.1 s, then a pause.
        for i, time in enumerate([*np.linspace(0, 0.1, 10), 0.9, 1.0]):
            sink.show(tick(i, float(time)))
    assert len(frames(tmp_path / "a.mp4")) == 11


def test_a_recording_goes_on_while_the_camera_gives_no_picture(tmp_path, monkeypatch):
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr(sinks, "time", SimpleNamespace(monotonic=lambda: clock.now))
    with Recorder(tmp_path / "a.mp4", 10, live=True) as sink:
        one = tick(0, 0.0)
        one = replace(one, picture=replace(one.picture, captured=clock.now))
        sink.show(one)
        for clock.now in (100.5, 101.0):
            sink.show(replace(one, fresh=False))
        assert sink._written == 10, "all but the one of this moment, before another picture"
        sink.show(tick(1, 2.0))
    assert len(frames(tmp_path / "a.mp4")) == 21


def test_every_picture_of_a_slow_camera_gets_into_the_video(tmp_path, monkeypatch):
    """The loop says after 0.1 s that there is none, moments before the next one comes."""
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr(sinks, "time", SimpleNamespace(monotonic=lambda: clock.now))
    written = []
    with Recorder(tmp_path / "a.mp4", 10, live=True) as sink:
        monkeypatch.setattr(
            sink._writer, "write", lambda picture: written.append(int(picture[0, 0, 0]))
        )
        for i in range(20):
            at = i * 0.102
            picture = replace(
                tick(i, at).picture,
                captured=100.0 + at,
                image=np.full((48, 64, 3), 10 * i, np.uint8),
            )
            one = replace(tick(i, at), picture=picture)
            clock.now = 100.0 + at
            sink.show(one)
            clock.now += 0.1
            sink.show(replace(one, fresh=False))
    assert sorted(set(written)) == [10 * i for i in range(20)]
    assert len(written) in (20, 21)


def test_a_gap_of_an_hour_is_shortened_and_keeps_nobody_waiting(tmp_path, monkeypatch):
    with Recorder(tmp_path / "a.mp4", 10, live=True) as sink:
        submitted = []
        submit = sink._behind.submit
        monkeypatch.setattr(
            sink._behind, "submit", lambda *call: (submitted.append(call), submit(*call))
        )
        for i, at in enumerate([0.0, 3600.0, 3600.1]):
            sink.show(tick(i, at))
    assert len(submitted) == 3
    assert len(frames(tmp_path / "a.mp4")) == 1 + 20 + 1


def test_faces_are_drawn_into_the_video(tmp_path):
    with Recorder(tmp_path / "a.mp4", 10) as sink:
        sink.show(tick(size=(240, 320)))
    assert frames(tmp_path / "a.mp4")[0].max() > 150


def test_frames_of_another_size_are_fitted_in(tmp_path):
    with Recorder(tmp_path / "a.mp4", 10) as sink:
        sink.show(tick(0))
        sink.show(tick(1, 0.1, size=(100, 20)))
    assert [frame.shape for frame in frames(tmp_path / "a.mp4")] == [(48, 64, 3)] * 2
    fitted = fit(np.full((100, 20, 3), 200, np.uint8), (48, 64))
    assert fitted.shape == (48, 64, 3)
    assert (fitted[:, 30:34] == 200).all()
    assert (fitted[:, :20] == 0).all()


def test_an_exception_leaves_no_video(tmp_path):
    def interrupted() -> None:
        with Recorder(tmp_path / "a.mp4", 10) as sink:
            sink.show(tick())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []


# -- snapshots


def test_snapshots_have_free_names(tmp_path):
    snapshots = Snapshots(tmp_path / "new")
    first, second = snapshots.save(tick(7), "Zoë / ../x"), snapshots.save(tick(7), "Zoë / ../x")
    assert [first.name, second.name] == ["Zoë_x-000007.jpg", "Zoë_x-000007-2.jpg"]
    assert read_image(first).shape == (48, 64, 3)
    assert json.loads(first.with_suffix(".json").read_text())["frame"] == 7


@pytest.mark.parametrize(
    ("text", "name"),
    [("Ada", "Ada"), ("../../etc", "etc"), ("", "unnamed"), ("???", "unnamed"), ("a b", "a_b"),
     ("李雷", "李雷"), ("x" * 200, "x" * 60), ("NUL:", "NUL")],
)  # fmt: skip
def test_names_of_files_are_harmless(text, name):
    assert file_name(text) == name
