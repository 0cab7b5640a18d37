"""`faces detect`: what it writes, what it says, and how it ends."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from detector.data.submission import read_submission
from detector.draw import FOUND
from detector.types import Detections
from faces.images.read import read_image
from faces.video.film import VideoReader
from scripts.main import main
from tests.films import SOUND, ffmpeg, shown
from tests.scripts.detecting import FakeDetector, detect, files, lines, make_video, picture

# -- what is written


def test_pictures_lines_and_a_summary(photos, capsys):
    detect("photos", "--out", "found")
    assert files("found") == ["a.png", "b.png", "detections.jsonl", "trip/c.jpg"]
    assert lines("found/detections.jsonl") == [
        {
            **{"path": "photos/a.png", "width": 160, "height": 120},
            "faces": [{"box": [40, 50, 70, 90], "score": 0.9}],
        },
        {"path": "photos/b.png", "width": 160, "height": 120, "faces": []},
        {
            **{"path": "photos/trip/c.jpg", "width": 160, "height": 120},
            "faces": [{"box": [80, 50, 110, 90], "score": 0.9}],
        },
    ]
    marked = read_image(Path("found/a.png"))
    assert (marked[49, 40:70] == FOUND).all()
    assert (marked[50:90, 40:70] == picture(40)[50:90, 40:70]).all()
    assert (read_image(Path("found/b.png")) == picture(-1)).all()
    out, err = capsys.readouterr()
    assert err == ""
    told = dict(line.split(":", 1) for line in out.splitlines())
    assert told["images"].strip() == "3 (1 without a face)"
    assert told["faces"].strip() == "2 with a score of at least 0.5"
    assert told["pictures"].strip() == "found"
    assert told["detections"].strip() == str(Path("found/detections.jsonl"))
    assert told["speed"].strip().endswith("images/s")


def test_the_default_folder_is_not_looked_at_again(photos):
    detect(".")
    assert "detected/photos/trip/c.jpg" in files(".")
    before = files(".")
    detect(".")
    assert files(".") == before
    assert len(lines("detected/detections.jsonl")) == 3


def test_json_lines_on_stdout_are_alone_there(photos, capsys):
    detect("photos", "--json", "-")
    out, err = capsys.readouterr()
    assert [json.loads(line)["path"] for line in out.splitlines()] == [
        *("photos/a.png", "photos/b.png", "photos/trip/c.jpg")
    ]
    assert "3 (1 without a face)" in err
    assert files(".") == ["photos/a.png", "photos/b.png", "photos/trip/c.jpg"]


def test_json_lines_in_a_file_of_ones_own(photos, capsys):
    detect("photos", "--json", "new/lines.jsonl")
    assert len(lines("new/lines.jsonl")) == 3
    assert "detected" not in files(".")
    detect("photos", "--json", "new/lines.jsonl", "--out", "found")
    assert files("found") == ["a.png", "b.png", "trip/c.jpg"]


def test_wider_files_hold_low_scores_too(photos, opened):
    detect("photos", "--wider", "wider", "--out", "found", "--threshold", "0.6")
    assert files("wider") == ["a.txt", "b.txt", "trip/c.txt"]
    assert read_submission(Path("wider/a.txt"))[:, 4] == pytest.approx([0.9, 0.2])
    assert len(read_submission(Path("wider/b.txt"))) == 1
    assert [len(line["faces"]) for line in lines("found/detections.jsonl")] == [1, 0, 1]
    assert opened[0][1]["score_threshold"] == 0.005


def test_hidden_faces_have_no_box_and_nothing_else_changes(photos, opened):
    detect("photos/a.png", "--out", "hidden", "--anonymize")
    before, after = picture(40), read_image(Path("hidden/a.png"))
    # On the face a blurred mixture with the dark surroundings, at the corner's 0.2 nothing.
    assert np.abs(before[50:90, 40:70].astype(int) - after[50:90, 40:70]).mean() > 15
    outside = np.ones((120, 160), bool)
    outside[42:98, 34:76] = False
    assert (before[outside] == after[outside]).all()
    assert not (after == FOUND).all(axis=2).any()
    assert opened[0][1]["score_threshold"] == 0.3, "lower than usual"


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ([], {"score_threshold": 0.5, "max_side": None, "device": "auto", "threads": None}),
        ([], {"speed": "normal"}),
        (["--threshold", "0.7"], {"score_threshold": 0.7}),
        (["--threshold", "0.003", "--wider", "w"], {"score_threshold": 0.003}),
        (["--anonymize", "--threshold", "0.6"], {"score_threshold": 0.6}),
        (["--max-side", "0", "--batch-size", "3"], {"max_side": 0, "batch_size": 3}),
        (["--device", "cuda:1", "--threads", "2"], {"device": "cuda:1", "threads": 2}),
        (["--speed", "fast"], {"speed": "fast"}),
    ],
    ids=" ".join,
)
def test_flags_reach_the_model(photos, opened, flags, expected):
    out = ["--out", "found"]
    detect("photos/b.png", *flags, *out)
    [(path, options)] = opened
    assert path == Path("m.onnx")
    assert expected.items() <= options.items()


def test_patterns_and_files(photos):
    detect("photos/**/*.jpg", "photos/a.png", "--out", "found")
    assert files("found") == ["a.png", "detections.jsonl", "trip/c.jpg"]


# -- videos


def test_a_video_is_marked_at_its_own_rate(photos, capsys):
    make_video(Path("clips/party.mp4"), fps=12.345)
    detect("clips", "--out", "found", "--batch-size", "5")
    assert files("found") == ["detections.jsonl", "party.mp4"]
    found = lines("found/detections.jsonl")
    assert [line["frame"] for line in found] == list(range(12))
    assert [line["time"] for line in found] == pytest.approx(np.arange(12) / 12.345, abs=1e-3)
    assert all(line["path"] == "clips/party.mp4" and len(line["faces"]) == 1 for line in found)
    with VideoReader(Path("found/party.mp4")) as video:
        assert video.fps == pytest.approx(12.345)
        frames = [frame.image.astype(int) for frame in iter(video.read, None)]
    assert len(frames) == 12
    for i, image in enumerate(frames):
        x1, _, x2, _ = found[i]["faces"][0]["box"]
        assert x1 == pytest.approx(40 + 2 * i, abs=2)
        line = image[47:50, int(x1) + 5 : int(x2) - 5].reshape(-1, 3)
        assert (line[:, 0] - line[:, 2]).max() > 60, "an orange line above the face"
    assert "videos:      1 (12 frames)" in capsys.readouterr().out


def edge(image: np.ndarray, x: int) -> int:
    """The largest step between neighboring pixels of the face at ``x``."""
    return int(np.abs(np.diff(image[54:86, x + 3 : x + 27].astype(int), axis=1)).max())


@pytest.mark.slow
def test_a_film_that_starts_late_and_has_sound_is_done_in_full(photos, capsys):
    make_video(Path("party.mp4"), 25, 12.5)
    ffmpeg(Path("late.mkv"), "-i", "party.mp4", *SOUND, "-c:v", "copy", "-output_ts_offset", "5")
    detect("late.mkv", "--out", "found")
    assert "videos:      1 (25 frames)" in capsys.readouterr().out
    tracks = shown(Path("found/late.mkv.mp4"))
    assert tracks["video"][1] == pytest.approx(2, abs=0.01)
    assert tracks["audio"][1] == pytest.approx(2, abs=0.1)


def test_an_animation_is_a_film_as_it_is_for_run(photos, capsys):
    images = [Image.fromarray(np.full((48, 64, 3), 80 * i, np.uint8)) for i in range(3)]
    images[0].save("a.gif", save_all=True, append_images=images[1:], duration=[100, 300, 200])
    detect("a.gif", "--out", "found")
    with VideoReader(Path("found/a.gif.mp4")) as video:
        assert video.frames == 6, "0.6 s at ten frames a second"


@pytest.mark.slow
def test_hidden_faces_of_a_video_stay_hidden_in_a_frame_where_they_are_missed(photos, monkeypatch):
    make_video(Path("party.mp4"))
    calls = iter(range(100))
    usual = FakeDetector.detect

    def misses_the_fifth(self: FakeDetector, image: np.ndarray) -> Detections:
        return Detections.empty(image.shape[:2]) if next(calls) == 4 else usual(self, image)

    monkeypatch.setattr(FakeDetector, "detect", misses_the_fifth)
    detect("party.mp4", "--out", "hidden", "--anonymize")
    assert [len(line["faces"]) for line in lines("hidden/detections.jsonl")][3:6] == [1, 0, 1]
    with VideoReader(Path("hidden/party.mp4")) as video:
        sharpest = [edge(frame.image, 40 + 2 * frame.index) for frame in iter(video.read, None)]
    with VideoReader(Path("party.mp4")) as video:
        assert edge(video.read().image, 40) > 150, "its eyes are sharp at first"
    assert max(sharpest) < 60, sharpest


def test_a_video_can_be_listed_without_writing_one(photos, capsys):
    make_video(Path("party.mp4"), 3)
    detect("party.mp4", "photos/a.png", "--json", "-", "--wider", "wider")
    out, err = capsys.readouterr()
    assert [json.loads(line).get("frame") for line in out.splitlines()] == [None, 0, 1, 2]
    assert files("wider") == ["a.txt"]
    assert "party.mp4: a video has no place in WIDER FACE's format" in err


# -- broken files and bad input


def test_a_broken_file_is_named_and_skipped(photos, capsys):
    Path("photos/a.png").write_bytes(Path("photos/a.png").read_bytes()[:200])
    Path("photos/broken.mp4").write_bytes(b"no video")
    make_video(Path("photos/fine.mp4"), 2)
    detect("photos", "--out", "found", code=1)
    out, err = capsys.readouterr()
    assert f"faces: {Path('photos/a.png')}: cannot read the image" in err
    assert f"faces: {Path('photos/broken.mp4')}: cannot read the video" in err
    assert "failed:      2 (named above)" in out
    assert files("found") == ["b.png", "detections.jsonl", "fine.mp4", "trip/c.jpg"]
    assert len(lines("found/detections.jsonl")) == 4


def test_a_folder_that_cannot_be_read_is_named(photos, capsys, close_folder):
    close_folder(Path("photos/trip"))
    detect("photos", "--out", "found", code=1)
    assert "trip: the folder cannot be read: Permission denied" in capsys.readouterr().err
    assert files("found") == ["a.png", "b.png", "detections.jsonl"]


def test_a_file_that_is_no_picture_fails(photos, capsys):
    Path("notes.txt").write_text("a\n")
    detect("notes.txt", "--json", "-", code=1)
    assert "notes.txt: cannot read the image" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "m.onnx"], "nothing to look at (no path was given)"),
        (["nope.jpg", "--model", "m.onnx"], "nope.jpg: there is no such file"),
        (["photos/*.gif", "--model", "m.onnx"], "matches no image"),
        (["photos", "--model", "damaged.onnx"], "damaged.onnx is damaged"),
        (["photos", "--model", "m.onnx", "--out", "photos"], "would replace the original"),
        (["photos/a.png", "-m", "m.onnx", "--json", "photos/a.png"], "would replace the original"),
        (["photos", "--model", "m.onnx", "--threshold", "1.5"], "--threshold must be between"),
        (["photos", "-m", "m.onnx", "--batch-size", "0"], "--batch-size must be at least 1, got 0"),
        (["photos", "-m", "m.onnx", "--anonymize", "--json", "-"], "say where with --out"),
        (["photos", "-m", "m.onnx", "--out", "photos/a.png/x"], "cannot be written"),
    ],
)
def test_bad_input_is_named_and_nothing_is_written(photos, capsys, arguments, message):
    before = {name: Path(name).read_bytes() for name in files(".")}
    assert main(["detect", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("faces: ")
    assert message in err
    assert err.count("\n") == 1
    assert {name: Path(name).read_bytes() for name in files(".")} == before


def test_earlier_results_survive_a_model_that_cannot_be_opened(photos):
    detect("photos", "--out", "found")
    before = Path("found/detections.jsonl").read_bytes()
    assert main(["detect", "photos", "--out", "found", "--model", "damaged.onnx"]) == 2
    assert Path("found/detections.jsonl").read_bytes() == before


def test_a_full_disk_ends_the_run_with_its_reason(photos, capsys, monkeypatch):
    def full(path: Path, image: np.ndarray) -> None:
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr("faces.images.write.save_image", full)
    detect("photos", "--out", "found", code=2)
    err = capsys.readouterr().err
    assert "the results cannot be written: " in err
    assert "No space left" in err


def test_progress_goes_to_a_terminal_only(photos, monkeypatch, capsys):
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    make_video(Path("party.mp4"), 3)
    detect("photos", "party.mp4", "--out", "found")
    assert "images: 100%" in terminal.getvalue()
    assert "images/s" in terminal.getvalue()
    assert "party.mp4: 100%" in terminal.getvalue()
    terminal.truncate(0)
    detect("photos", "--out", "found", "--quiet")
    assert terminal.getvalue().strip("\0") == ""
    assert "images:" in capsys.readouterr().out
