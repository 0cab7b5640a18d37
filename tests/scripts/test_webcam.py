"""`faces webcam`, with a video in place of the camera."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from faces.errors import UserError
from faces.images.write import save_image
from faces.video.film import VideoReader
from pipeline.sinks.files import Showing
from pipeline.types import Tick
from scripts.main import main
from tests.commands import parse_only
from tests.films import SOUND, ffmpeg, shown
from tests.pipeline.live_fakes import scene
from tests.pipeline.sinks.test_webhook import running
from tests.scripts.test_run import enroll, film, lines, no_frames, world

ROOT = Path(__file__).resolve().parents[2]
__all__ = ["no_frames", "world"]


def live(*flags: str, code: int = 0) -> None:
    assert main(["webcam", "party.mp4", "--no-window", *flags]) == code


def events(path: str) -> list[tuple[str, str | None]]:
    return [(event["event"], event["name"]) for event in lines(path)]


@pytest.mark.slow
def test_all_outputs_at_once(world, capsys):
    film(count=40)
    enroll("Ada")
    with running() as server:
        live("--out", "a.mp4", "--json", "a.jsonl", "--events", "e.jsonl", "--snapshots", "seen",
             "--webhook", server.url, "--arrive", "0.1")  # fmt: skip
        sent = [(body["event"], body["name"]) for _, _, body in server.got]
    told = events("e.jsonl")
    assert ("seen", "Ada") in told
    assert ("left", "Ada") in told
    assert sent == told
    assert "at" in lines("e.jsonl")[0]
    frames = lines("a.jsonl")
    assert frames[-1]["frame"] <= 39
    assert any(face["name"] == "Ada" for frame in frames for face in frame["faces"])
    with VideoReader(Path("a.mp4")) as video:
        assert video.fps == 20
        assert 30 <= video.frames <= 45, "as long as what it shows: two seconds"
    assert any(path.name.startswith("Ada-") for path in Path("seen").glob("*.jpg"))
    assert "frames shown" in capsys.readouterr().err


@pytest.mark.slow
def test_a_film_is_recorded_with_its_sound(world):
    """It has ten frames a second, then a pause of a second, and starts late."""
    film(count=40, fps=20)
    ffmpeg(
        Path("late.mkv"), "-i", "party.mp4", *SOUND, "-vf",
        r"select=not(mod(n\,2))*not(between(n\,11\,29)),settb=1/1000", "-vsync", "passthrough",
        "-c:v", "mpeg4", "-output_ts_offset", "3",
    )  # fmt: skip
    assert main(["webcam", "late.mkv", "--no-window", "--out", "a.mp4", "--json", "a.jsonl"]) == 0
    tracks = shown(Path("a.mp4"))
    assert tracks["video"][1] == pytest.approx(2, abs=0.21)
    assert tracks["audio"][1] == pytest.approx(tracks["video"][1], abs=0.15)
    times = [frame["time"] for frame in lines("a.jsonl")]
    assert times[-1] == pytest.approx(1.9, abs=0.01), "the film's own times"


def test_events_may_be_printed(world, capsys):
    film(count=30)
    enroll("Ada")
    live("--events", "-", "--arrive", "0")
    out = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert ("seen", "Ada") in [(event["event"], event["name"]) for event in out]


@pytest.mark.slow
def test_people_enrolled_meanwhile_are_known_at_once(world, monkeypatch):
    film(count=200)
    enroll("Zoe")  # the file is there, Ada is not
    threading.Timer(0.7, enroll, ["Ada"]).start()
    monkeypatch.setattr("pipeline.gallery_watch.GalleryWatch.__init__.__defaults__", (0.1, None))
    live("--json", "a.jsonl", "--seconds", "3")
    names = [face["name"] for frame in lines("a.jsonl") for face in frame["faces"]]
    assert names[0] is None
    assert "Ada" in names


@pytest.mark.slow
def test_a_gallery_that_is_made_meanwhile_is_known(world, monkeypatch):
    film(count=200)
    threading.Timer(0.7, enroll, ["Ada"]).start()
    monkeypatch.setattr("pipeline.gallery_watch.GalleryWait.__init__.__defaults__", (0.1,))
    live("--json", "a.jsonl", "--seconds", "3")
    names = [face["name"] for frame in lines("a.jsonl") for face in frame["faces"]]
    assert names[0] is None
    assert "Ada" in names


@pytest.mark.parametrize(
    ("cameras", "message"),
    [
        (["door=a-door.mp4", "garden=b.mp4"], "a-door.mp4 would replace the video itself"),
        (["garden=b.mp4", "door=a-door.mp4"], "a-door.mp4 would replace the video itself"),
        (["Garden 2=b.mp4", "garden_2=b.mp4"], "would both be recorded as a-garden_2.mp4"),
    ],
)
def test_no_recording_replaces_a_film_or_another(tmp_path, monkeypatch, capsys, cameras, message):
    monkeypatch.chdir(tmp_path)
    for name in ("a-door.mp4", "b.mp4"):
        Path(name).write_bytes(b"a film")
    assert main(["webcam", *cameras, "--no-window", "--out", "a.mp4"]) == 2
    assert message in capsys.readouterr().err
    assert Path("a-door.mp4").read_bytes() == b"a film"


def test_it_ends_after_the_time_asked_for(world, monkeypatch):
    film(count=20)
    shown = [0.0]  # the clock is the film's: a busy machine shows fewer frames a second
    show = Showing.show

    def showing(sinks: Showing, tick: Tick) -> None:
        show(sinks, tick)
        shown.append(tick.picture.time)

    monkeypatch.setattr(Showing, "show", showing)
    monkeypatch.setattr("scripts.webcam.time", SimpleNamespace(monotonic=lambda: shown[-1]))
    live("--again", "--seconds", "1.5", "--json", "a.jsonl")
    assert shown[-2] < 1.5 <= shown[-1], "it ends with the first frame after it"
    assert lines("a.jsonl")[-1]["frame"] >= 20, "it began again"


CTRL_C = """
import sys
from tests.pipeline.live_fakes import CountingEmbedder, FakeDetector
import detector.inference.load, recognizer.embedders.load
detector.inference.load.load_detector = lambda *a, **k: FakeDetector()
recognizer.embedders.load.load_embedder = lambda *a, **k: CountingEmbedder()
from scripts.main import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="needs signals")
def test_ctrl_c_ends_it_and_keeps_the_recording(tmp_path):
    video = film(str(tmp_path / "party.mp4"), count=30)
    flags = ["--no-window", "--again", "--out", str(tmp_path / "a.mp4"), "--json", "-"]
    process = subprocess.Popen(
        [sys.executable, "-c", CTRL_C, "webcam", str(video), *flags],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    for _ in range(15):
        assert process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert "Traceback" not in err
    with VideoReader(tmp_path / "a.mp4") as recorded:
        assert recorded.frames >= 10


def test_the_mirror(world):
    film(count=20)
    live("--mirror", "--json", "a.jsonl")
    first = next(frame["faces"][0] for frame in lines("a.jsonl") if frame["faces"])
    assert first["box"][0] > 150, "Ada begins on the left"
    assert scene({}).shape == (240, 320, 3)


# -- windows


class FakeWindow:
    """Closes after some frames."""

    frames = 5
    made: list[FakeWindow] = []  # noqa: RUF012

    def __init__(self, keys: Any = None, on_click: Any = None, typing: Any = None) -> None:
        self.shown, self.closed, self.keys = 0, False, keys
        FakeWindow.made.append(self)

    def show(self, tick: Any) -> None:
        self.shown += 1
        if self.shown == 3:
            self.keys[ord("s")](tick)
        if self.shown == self.frames:
            self.keys[27](tick)

    def __enter__(self) -> FakeWindow:
        return self

    def __exit__(self, *_: object) -> None:
        pass


def test_the_window_ends_it_and_saves_snapshots(world, monkeypatch):
    film(count=100)
    monkeypatch.setattr("pipeline.sinks.window.require_window", lambda: None)
    monkeypatch.setattr("pipeline.sinks.window.Window", FakeWindow)
    assert main(["webcam", "party.mp4"]) == 0
    assert FakeWindow.made[-1].closed
    assert FakeWindow.made[-1].shown == 5
    assert len(list(Path("snapshots").glob("snapshot-*.jpg"))) == 1


def no_window() -> None:
    raise UserError("no window can be opened: there is no display")


def test_without_a_display_it_says_so_and_goes_on_with_what_is_left(world, capsys, monkeypatch):
    monkeypatch.setattr("pipeline.sinks.window.require_window", no_window)
    film(count=10)
    assert main(["webcam", "party.mp4", "--json", "a.jsonl"]) == 0
    assert "there is no display" in capsys.readouterr().err
    assert lines("a.jsonl")


def test_without_a_display_the_picture_is_on_a_page(world, capsys, monkeypatch):
    monkeypatch.setattr("pipeline.sinks.window.require_window", no_window)
    film(count=10)
    assert main(["webcam", "party.mp4", "--port", "0"]) == 0
    told = capsys.readouterr().err
    assert "there is no display" in told
    assert re.search(r"the page is at http://127\.0\.0\.1:\d+/\n", told)


def test_a_token_that_could_be_guessed_is_refused(world, capsys, monkeypatch):
    monkeypatch.setenv("FACES_WEB_TOKEN", "secret")
    film(count=2)
    assert main(["webcam", "party.mp4", "--web", "--port", "0"]) == 2
    assert "FACES_WEB_TOKEN must have at least 20" in capsys.readouterr().err


# -- refusals


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["63"], "camera 63 cannot be opened.*\n.*`faces webcam browser`"),
        (["browser", "--out", "a.mp4"], "--out needs a camera of this machine"),
        (["party.mp4", "--web", "--port", "70000"], "--port must be between"),
        (["party.mp4", "--web", "--tls-cert", "a.pem"], "--tls-cert and --tls-key go together"),
        (["party.mp4", "--no-window"], "--no-window leaves nothing to do"),
        (["63", "--json", "x"], "camera 63 cannot be opened"),
        (["gone.mp4", "--json", "x"], r"gone\.mp4: there is no such file"),
        (["photos", "--json", "x"], "use `faces run`"),
        (["party.mp4", "--json", "-", "--events", "-"], "would mix on stdout"),
        (["party.mp4", "--out", "a.avi"], r"must end in \.mp4"),
        (["party.mp4", "--webhook", "ftp://x"], "http:// or https://"),
        (["party.mp4", "--json", "x", "--size", "big"], "--size big: expected"),
        (["party.mp4", "--json", "x", "--seconds", "0"], "--seconds must be positive"),
        (["-", "--json", "x"], "--stdin-size 640x480"),
    ],
)
def test_what_cannot_work_is_said(world, capsys, monkeypatch, no_frames, flags, message):
    monkeypatch.setattr("pipeline.sinks.window.require_window", no_window)
    film(count=2)
    monkeypatch.setattr(sys, "stdin", no_frames)  # pytest's own has no number
    Path("photos").mkdir()
    Path("photos/a.png").write_bytes(b"")
    assert main(["webcam", *flags, *(["--size", "1x1"] if flags == ["photos"] else [])]) == 2
    captured = capsys.readouterr()
    assert re.search(message, captured.err)
    assert "Traceback" not in captured.err


@pytest.mark.parametrize("flag", ["--out", "--json", "--events"])
@pytest.mark.parametrize("other", [False, True], ids=["itself", "a link to it"])
def test_no_output_may_replace_the_video(world, capsys, flag, other):
    film(count=2)
    size = Path("party.mp4").stat().st_size
    target = "party.mp4"
    if other:
        target = "other.mp4"
        Path(target).hardlink_to("party.mp4")
    live(flag, target, code=2)
    assert f"{flag} {target} would replace the video itself" in capsys.readouterr().err
    assert Path("party.mp4").stat().st_size == size > 500


def test_the_default_is_the_first_camera_with_a_window():
    options = parse_only("webcam", [])
    assert (options.source, options.window, options.every) == ("0", True, 1)
    assert not options.writes


def test_no_secret_of_an_address_is_shown(world, capsys):
    flags = ["http://ada:hunter2@127.0.0.1:9/live?token=geheim", "--json", "x"]
    assert main(["webcam", *flags, "--no-window"]) == 2
    err = capsys.readouterr().err
    assert "http://127.0.0.1:9/... cannot be opened" in err
    assert "hunter2" not in err
    assert "geheim" not in err


# -- several cameras


def several(*flags: str, code: int = 0) -> list[dict[str, Any]]:
    assert main(["webcam", *flags, "--no-window", "--json", "a.jsonl"]) == code
    return lines("a.jsonl")


@pytest.mark.slow
def test_several_cameras_at_once(world, capsys):
    film(count=40)
    film("other.mp4", count=40)
    enroll("Ada")
    frames = several("door=party.mp4", "other.mp4", "--events", "e.jsonl", "--arrive", "0.1",
                     "--snapshots", "seen", "--out", "all.mp4")  # fmt: skip
    assert {frame["camera"] for frame in frames} == {"door", "other"}
    told = {(e["event"], e["camera"], e["name"]) for e in lines("e.jsonl")}
    assert {("seen", "door", "Ada"), ("left", "door", "Ada"), ("seen", "other", "Ada")} <= told
    for camera in ("door", "other"):
        with VideoReader(Path(f"all-{camera}.mp4")) as video:
            assert video.frames >= 25
        assert list(Path("seen").glob(f"{camera}-Ada-*.jpg"))
    tracks = {
        camera: {
            f["track"] for frame in frames if frame["camera"] == camera for f in frame["faces"]
        }
        for camera in ("door", "other")
    }
    assert tracks["door"].isdisjoint(tracks["other"])
    err = capsys.readouterr().err
    assert "door: " in err
    assert "other: " in err


def test_one_camera_says_nothing_of_its_name(world):
    film(count=10)
    enroll("Ada")
    live("--json", "a.jsonl", "--events", "e.jsonl", "--arrive", "0")
    assert not any("camera" in line for line in lines("a.jsonl") + lines("e.jsonl"))


TOML = """
[cameras.garden]
source = "party.mp4"
mirror = true
min_face = 30
zones = [[[0.5, 0], [1, 0], [1, 1], [0.5, 1]]]

[cameras."Tür 2"]
source = "party.mp4"
every = 2
"""


def test_cameras_of_a_file(world):
    film(count=20)
    Path("cameras.toml").write_text(TOML, encoding="utf-8")
    frames = several("cameras.toml", "third=party.mp4")
    assert {frame["camera"] for frame in frames} == {"garden", "Tür 2", "third"}
    garden = [f for frame in frames if frame["camera"] == "garden" for f in frame["faces"]]
    door = [f for frame in frames if frame["camera"] == "Tür 2" for f in frame["faces"]]
    assert garden
    assert all(face["box"][0] > 110 for face in garden), "mirrored: only its right half"
    assert any(face["box"][0] < 100 for face in door)


def test_what_was_drawn_on_the_page_holds_after_a_restart(world):
    from pipeline.live.area import Area, AreaFile

    film(count=10)
    AreaFile(Path("people.cameras.json")).save("door", Area((((0, 0), (0.01, 0), (0, 0.01)),)))
    frames = several("door=party.mp4", "other=party.mp4")
    assert not any(frame["faces"] for frame in frames if frame["camera"] == "door")
    assert any(frame["faces"] for frame in frames if frame["camera"] == "other")


@pytest.mark.parametrize(
    ("flags", "content", "message"),
    [
        (["a=0", "A=1"], "", "two cameras have the same name"),
        (["0", "browser"], "", "browser cannot be one of several cameras"),
        (["door=-"], "", "- cannot be one of several cameras"),
        (["0", "gone.mp4"], "", r"gone\.mp4: there is no such file"),
        (["0", "photos"], "", "photos holds photos"),
        (["none.toml"], "", "cannot read the cameras of none.toml"),
        (["c.toml"], "door = 1", r"\[cameras.door\], source ="),
        (["c.toml"], "[cameras.door]\nmirror = true", "cameras.door: expected a table with source"),
        (["c.toml"], '[cameras.door]\nsource = ["rtsp://u:geheim@h"]', "source must be a text"),
        (["c.toml"], '[cameras.door]\nsource = "0"\nmirorr = true', "did you mean 'mirror'"),
        (["c.toml"], '[cameras.door]\nsource = "0"\nzones = [[[0, 0]]]', "door: a zone has 3 to"),
        (["c.toml"], '[cameras."a/b"]\nsource = "0"', "a name has letters"),
        (
            ["c.toml"],
            '[cameras.door]\nsource = "rtsp://u:geheim/x@h"',
            "address of the stream cannot be",
        ),
        (["door=rtsp:u:geheim@h", "0"], "", "address of the stream cannot be understood"),
    ],
)
def test_cameras_that_cannot_be_are_refused(world, capsys, flags, content, message):
    Path("photos").mkdir()
    save_image(Path("photos/a.png"), scene({"Ada": (30, 30)}))
    Path("c.toml").write_text(content, encoding="utf-8")
    code = main(["webcam", *flags, "--no-window", "--events", "-", "--seconds", "0.2"])
    captured = capsys.readouterr()
    assert "geheim" not in captured.err
    assert "Traceback" not in captured.err
    assert code == 2
    assert re.search(message, captured.err)


def test_no_secret_of_several_addresses_is_shown(world, capsys):
    film(count=10)
    Path("c.toml").write_text(
        '[cameras.yard]\nsource = "http://eve:geheim@127.0.0.1:9/x?key=hunter2"', encoding="utf-8"
    )
    frames = several("http://ada:hunter2@127.0.0.1:9/live?token=geheim", "c.toml", "party.mp4",
                     "--seconds", "2", "--events", "e.jsonl")  # fmt: skip
    assert {frame["camera"] for frame in frames} == {"party"}, "the film does not wait for others"
    err = capsys.readouterr().err
    assert "127.0.0.1 9 cannot be opened" in err
    assert "yard cannot be opened" in err
    assert "hunter2" not in err
    assert "geheim" not in err


def test_no_secret_of_an_address_is_kept_with_unknown_faces(world):
    from scripts.webcam import open_loop

    film(count=2)
    address = "rtsp://eve:geheim@192.168.1.20/x?key=hunter2"
    flags = ["--remember-unknown", "7d", "--web"]
    for sources in ([address], ["a=party.mp4"]):
        with ExitStack() as stack:
            _, _, memory = open_loop(parse_only("webcam", [*sources, *flags]), stack, teach=True)
            assert not re.search("eve|geheim|hunter2", memory._source)


def test_tiles_are_shown_in_the_window(world, monkeypatch):
    film(count=30)
    made: dict[str, Any] = {}

    class Window(FakeWindow):
        def __init__(self, *arguments: Any, tiles: Any = None) -> None:
            super().__init__(*arguments)
            made["tiles"] = tiles

    monkeypatch.setattr("pipeline.sinks.window.require_window", lambda: None)
    monkeypatch.setattr("pipeline.sinks.window.Window", Window)
    monkeypatch.setattr(FakeWindow, "frames", 12)
    assert main(["webcam", "a=party.mp4", "b=party.mp4"]) == 0
    assert made["tiles"].draw().shape == (720, 1280, 3)
    assert {path.name[0] for path in Path("snapshots").glob("*.jpg")} <= {"a", "b"}
    assert list(Path("snapshots").glob("*.jpg"))
