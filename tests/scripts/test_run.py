"""`faces run`: what it writes, what it says, and how it ends."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from faces.errors import UserError
from faces.images.write import save_image
from faces.video.film import VideoReader, VideoWriter
from recognizer.store.people import Store
from scripts.main import main
from tests.commands import parse_only
from tests.films import SOUND, ffmpeg, shown
from tests.pipeline.live_fakes import SIDE, CountingEmbedder, FakeDetector, scene


@pytest.fixture
def world(tmp_path, monkeypatch):
    """An empty current folder, and fakes in place of the networks; what they were opened with."""
    monkeypatch.chdir(tmp_path)
    calls: list[dict[str, Any]] = []

    def load_detector(path: str | Path, **options: Any) -> FakeDetector:
        calls.append({"path": str(path), **options})
        if Path(path).name == "damaged.onnx":
            raise UserError(f"{path} is damaged")
        return FakeDetector()

    monkeypatch.setattr("detector.inference.load.load_detector", load_detector)
    monkeypatch.setattr(
        "recognizer.embedders.load.load_embedder", lambda *_, **__: CountingEmbedder()
    )  # fmt: skip
    return calls


def enroll(*names: str, path: str = "people.db") -> None:
    embedder = CountingEmbedder()
    with Store.open(path, embedder.fingerprint, embedder.dimension) as store:
        for name in names:
            image = scene({name: (50, 50)})
            box = np.array([[50, 50, 50 + SIDE, 50 + SIDE]], np.float32)
            store.add(name, embedder.embed(embedder.crop(image, box)))


def film(path: str = "party.mp4", count: int = 40, fps: float = 20.0) -> Path:
    """Ada walks from the left; Bob, unknown, stands in the second half."""
    with VideoWriter(Path(path), fps) as writer:
        for i in range(count):
            places = {"Ada": (10 + 4 * i, 40)}
            if i >= count // 2:
                places["Bob"] = (40, 150)
            writer.write(scene(places))
    return Path(path)


def lines(path: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]


def test_everything_at_once(world, capsys, monkeypatch):
    monkeypatch.setenv("PATH", "")  # no ffmpeg
    film()
    enroll("Ada")
    assert main(["run", "party.mp4", "--out", "new/a.mp4", "--json", "a.jsonl"]) == 0
    frames = lines("a.jsonl")
    assert [frame["frame"] for frame in frames] == list(range(40))
    assert frames[10]["faces"][0]["name"] == "Ada"
    assert [face["name"] for face in frames[-1]["faces"]] == ["Ada", None]
    with VideoReader(Path("new/a.mp4")) as video:
        assert (video.fps, video.frames) == (20.0, 40)
    report = json.loads(Path("party-faces/report.json").read_text(encoding="utf-8"))
    assert [(p["name"], p["known"], p["frames"]) for p in report["people"]] == [
        ("Ada", True, 40), ("unknown 1", False, 20),
    ]  # fmt: skip
    assert (report["source"], report["fps"], report["every"]) == ("party.mp4", 20.0, 2)
    assert Path("party-faces/timeline.png").is_file()
    assert len(list(Path("party-faces/thumbnails").iterdir())) == 2
    captured = capsys.readouterr()
    assert captured.out.splitlines()[1].split()[:4] == ["Ada", "0:00.0", "0:02.0", "0:02.0"]
    assert "timeline: party-faces/timeline.png" in captured.out
    assert "1 person known from people.db" in captured.err
    assert "new/a.mp4 has no sound; if party.mp4 has any: install ffmpeg" in captured.err


def test_only_lines_are_on_stdout_when_they_are_asked_for(world, capsys):
    film(count=6)
    assert main(["run", "party.mp4", "--json", "-", "--no-report"]) == 0
    captured = capsys.readouterr()
    assert [json.loads(line)["frame"] for line in captured.out.splitlines()] == list(range(6))
    assert "unknown 1" in captured.err
    assert "nobody is known: people.db is missing" in captured.err
    assert not Path("people.db").exists()
    assert not Path("party-faces").exists()


def test_photos(world, capsys):
    enroll("Ada")
    save_image(Path("photos/a.png"), scene({"Ada": (30, 30)}))
    save_image(Path("photos/b.png"), scene({"Bob": (30, 30)}))
    Path("photos/c.jpg").write_bytes(b"broken")
    assert main(["run", "photos", "--json", "a.jsonl"]) == 1
    assert [[f["name"] for f in frame["faces"]] for frame in lines("a.jsonl")] == [["Ada"], [None]]
    assert "1 of 3 pictures could not be read" in capsys.readouterr().err
    assert Path("photos-faces/report.json").is_file()


def test_raw_frames(world, monkeypatch):
    data = b"".join(scene({"Ada": (30 + i, 30)}).tobytes() for i in range(5))
    Path("frames.raw").write_bytes(data)
    flags = ["--stdin-size", "320x240", "--stdin-fps", "10", "--json", "a.jsonl"]
    with Path("frames.raw").open() as frames:
        monkeypatch.setattr(sys, "stdin", frames)
        assert main(["run", "-", *flags]) == 0
    assert len(lines("a.jsonl")) == 5
    assert Path("stdin-faces/report.json").is_file()


def test_a_video_that_is_cut_short_is_used_as_far_as_it_goes(world, capsys, monkeypatch):
    film()

    def cut(self):
        raise UserError("party.mp4: the video is damaged or cut short")

    monkeypatch.setattr(VideoReader, "check_end", cut)
    assert main(["run", "party.mp4", "--json", "a.jsonl"]) == 1
    assert len(lines("a.jsonl")) == 40
    assert "faces: party.mp4: the video is damaged" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["none", "film.ts", "film.jpg", "film.gif"])
def test_films_are_known_by_their_content(world, name):
    film(count=20, fps=20)
    if name == "film.gif":
        ffmpeg(Path(name), "-i", "party.mp4")
    elif name == "film.ts":
        ffmpeg(Path(name), "-i", "party.mp4", *SOUND, "-c:v", "mpeg2video", "-vf", "fps=25")
    else:
        Path("party.mp4").rename(name)
    assert main(["run", name, "--json", "a.jsonl", "--out", "a.mp4", "--no-report"]) == 0
    assert len(lines("a.jsonl")) == (25 if name == "film.ts" else 20)
    with VideoReader(Path("a.mp4")) as video:
        assert video.frames / video.fps == pytest.approx(1.0)


def test_the_detector_is_opened_as_asked(world):
    film(count=2)
    main(["run", "party.mp4", "--no-report", "--model", "m.onnx", "--threshold", "0.6",
          "--max-side", "320", "--threads", "1", "--device", "cpu"])  # fmt: skip
    assert world == [{"path": "m.onnx", "score_threshold": pytest.approx(0.4), "max_side": 320,
                      "device": "cpu", "threads": 1}]  # fmt: skip


def test_every_frame_can_be_looked_at(world):
    assert parse_only("run", ["a.mp4", "--every", "1"]).every == 1
    assert parse_only("run", ["a.mp4"]).every is None


def test_the_report_may_go_into_the_current_folder_and_spares_what_else_is_there(
    world, monkeypatch
):
    video = film(count=6).absolute()
    folder = Path("report").absolute()
    folder.mkdir()
    monkeypatch.chdir(folder)
    for _ in range(2):  # an empty folder, and that of a report
        assert main(["run", str(video), "--report", ".", "--json", "a.jsonl"]) == 0
        assert sorted(path.name for path in folder.iterdir()) == [
            "a.jsonl", "report.json", "thumbnails", "timeline.png",
        ]  # fmt: skip
        assert len(lines("a.jsonl")) == 6
    assert len(list(Path("thumbnails").iterdir())) == 1


def test_a_folder_that_takes_no_report_is_found_out_before_the_work(world, capsys):
    film(count=2)
    Path("a.txt").write_text("a file")
    assert main(["run", "party.mp4", "--report", "a.txt/report", "--json", "a.jsonl"]) == 2
    assert "--report" in capsys.readouterr().err
    assert world == [], "no network was opened"
    assert not Path("a.jsonl").exists()


# -- refusals


@pytest.fixture
def no_frames(tmp_path):
    (tmp_path / "empty").touch()
    with (tmp_path / "empty").open() as file:
        yield file


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "name a video file"),
        (["nothing.mp4"], r"nothing\.mp4: there is no such file"),
        (["rtsp://camera/live"], "use `faces webcam`"),
        (["a.txt"], r"a\.txt: cannot read the video"),
        (["party.mp4", "--out", "a.avi"], r"--out a\.avi must end in \.mp4"),
        (["party.mp4", "--out", "party.mp4"], r"--out party\.mp4 would replace the video itself"),
        (["party.mp4", "--json", "party.mp4"], r"--json party\.mp4 would replace the video"),
        (["party.mp4", "--report", "a.txt/report"], "name another folder with --report"),
        (["party.mp4", "--report", "full"], "full is there and holds no report"),
        (["party.mp4", "--no-report", "--report", "x"], "contradict"),
        (["party.mp4", "--every", "0"], "--every must be at least 1"),
        (["party.mp4", "--threshold", "2"], "--threshold must be between 0 and 1"),
        (["party.mp4", "--model", "damaged.onnx"], r"damaged\.onnx is damaged"),
        (["-"], "--stdin-size 640x480"),
        (["-", "--stdin-size", "640", "--stdin-fps", "9"], "--stdin-size 640: expected"),
        (["-", "--stdin-size", "6x4", "--stdin-fps", "0"], "--stdin-fps must be"),
    ],
)
def test_what_cannot_work_is_said_in_one_line(
    world, capsys, monkeypatch, no_frames, flags, message
):
    film(count=2)
    monkeypatch.setattr(sys, "stdin", no_frames)  # pytest's own has no number
    Path("a.txt").write_text("no video")
    save_image(Path("full/of.png"), scene({}))
    assert main(["run", *flags]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Traceback" not in captured.err
    assert re.search(message, captured.err)
    assert Path("party.mp4").stat().st_size > 500
    assert not Path("party-faces").exists()


def test_a_gallery_of_another_embedder_is_refused(world, capsys):
    film(count=2)
    with Store.open(Path("people.db"), "another", 64) as store:
        store.add("Ann", np.eye(1, 64, dtype=np.float32))
    assert main(["run", "party.mp4"]) == 2
    assert "holds vectors of another embedder" in capsys.readouterr().err


def test_a_full_disk_is_no_bug(world, capsys, monkeypatch):
    film(count=2)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pipeline.sinks.files.JsonLines.show", full)
    assert main(["run", "party.mp4", "--json", "a.jsonl", "--out", "a.mp4"]) == 2
    assert "cannot be written: [Errno 28] No space left" in capsys.readouterr().err
    assert not Path("a.mp4").exists()


@pytest.mark.parametrize(("bad", "told"), [(1, "1 frame failed"), (999, "times in a row")])
def test_frames_that_fail_are_skipped_and_told(world, monkeypatch, capsys, bad, told):
    class Broken(FakeDetector):
        def detect(self, image):
            self.calls += 1
            if self.calls <= bad:
                raise RuntimeError("out of memory")
            self.calls -= 1
            return super().detect(image)

    monkeypatch.setattr("detector.inference.load.load_detector", lambda path, **options: Broken())
    film()
    flags = ["--every", "1", "--json", "a.jsonl", "--no-report"]
    assert main(["run", "party.mp4", *flags]) == 1
    assert told in capsys.readouterr().err
    assert len(lines("a.jsonl")) == (40 if bad == 1 else 29)


# -- hiding


def sharp(path: str) -> list[tuple[bool, bool]]:
    """Of each frame of a film made by `film`: whether Ada's face and Bob's can be seen."""

    def seen(image: np.ndarray, x: int, y: int) -> bool:
        return float(image[y + 5 : y + SIDE - 5, x + 5 : x + SIDE - 5].std()) > 40

    with VideoReader(Path(path)) as video:
        frames = [frame.image for frame in iter(video.read, None)]
    return [(seen(image, 10 + 4 * i, 40), seen(image, 40, 150)) for i, image in enumerate(frames)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("flags", "ada", "bob"),
    [
        (["--hide", "unknown"], True, False),
        (["--hide", "known"], False, True),
        (["--hide", "Ada"], False, True),
        (["--hide", "everyone"], False, False),
        (["--hide", "everyone", "--show", "Ada"], True, False),
    ],
)
def test_faces_are_hidden_by_name(world, capsys, monkeypatch, flags, ada, bob):
    monkeypatch.setattr("pipeline.hiding.hider.FAR", 0.7)  # made faces are more alike than people
    film()
    enroll("Ada")
    assert main(["run", "party.mp4", *flags, "--out", "a.mp4", "--json", "a.jsonl"]) == 0
    assert sharp("party.mp4")[30:35] == [(True, True)] * 5
    assert sharp("a.mp4")[5:10] == [(ada, False)] * 5, "there is no Bob yet"
    assert sharp("a.mp4")[30:35] == [(ada, bob)] * 5
    assert len(lines("a.jsonl")) == len(sharp("a.mp4")) == 40
    assert "Ada" in capsys.readouterr().out
    assert not Path("party-faces").exists(), "no pictures of those who were to be hidden"


def test_a_film_with_hidden_faces_is_written_again_with_a_report(world):
    film(count=3)
    flags = ["--hide", "unknown", "--out", "a.mp4"]
    assert main(["run", "party.mp4", *flags]) == 0
    assert main(["run", "party.mp4", *flags, "--report", "r"]) == 0
    assert Path("r/report.json").is_file()


def test_hiding_asks_for_weak_faces_whatever_the_threshold(world):
    film(count=3)
    flags = ["--threshold", "0.9", "--hide", "everyone", "--out", "a.mp4"]
    assert main(["run", "party.mp4", *flags]) == 0
    assert world[-1]["score_threshold"] == pytest.approx(0.3)


@pytest.mark.slow
def test_a_film_with_hidden_faces_keeps_its_sound(world, capsys, monkeypatch):
    film(count=40, fps=20)
    ffmpeg(Path("loud.mp4"), "-i", "party.mp4", *SOUND, "-c:v", "copy")
    assert main(["run", "loud.mp4", "--hide", "everyone", "--out", "a.mp4"]) == 0
    tracks = shown(Path("a.mp4"))
    assert tracks["audio"][1] == pytest.approx(tracks["video"][1], abs=0.15)
    monkeypatch.setenv("PATH", "")
    assert main(["run", "loud.mp4", "--hide", "everyone", "--out", "b.mp4"]) == 0
    assert "install ffmpeg to have it copied" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["party.mp4", "--hide", "unknown"], "--hide writes a film: say where with --out"),
        (["party.mp4", "--show", "Ada", "--out", "a.mp4"], "--show leaves people out of --hide"),
        (["party.mp4", "--hide", "Eda", "--out", "a.mp4"], "nobody is called 'Eda'.*mean 'Ada'"),
        (["photos", "--hide", "unknown", "--out", "a.mp4"], "faces detect --anonymize"),
        (["-", "--hide", "unknown", "--out", "a.mp4"], "looks at a film twice"),
        (["party.mp4", "--hide", "unknown", "--out", "party.mp4"], "would replace the video"),
        (["party.mp4", "--hide", "unknown", "--out", "party.mp4/a.mp4"], "cannot be written"),
    ],
)
def test_hiding_that_cannot_work_is_said_at_once(world, capsys, flags, message):
    film(count=5)
    enroll("Ada")
    save_image(Path("photos/a.png"), scene({"Ada": (30, 30)}))
    assert main(["run", *flags]) == 2
    assert re.search(message, capsys.readouterr().err)
    assert not Path("a.mp4").exists()
