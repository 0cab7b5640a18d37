"""`faces detect`: what it writes, what it says, and how it ends."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from detector.data.submission import read_submission
from detector.data.voc.annotation import read_voc
from detector.draw import FOUND
from detector.types import Detections
from faces.errors import UserError
from faces.images.read import read_image
from faces.images.write import save_image
from faces.video.film import VideoReader, VideoWriter
from scripts.main import main
from tests.films import SOUND, ffmpeg, shown

ROOT = Path(__file__).resolve().parents[2]


class FakeDetector:
    """Finds the box of all white with a score of 0.9, and one of 0.2 in the corner."""

    def __init__(self, score_threshold: float) -> None:
        self.score_threshold = score_threshold

    def detect_batch(self, images: Sequence[np.ndarray]) -> list[Detections]:
        return [self.detect(image) for image in images]

    def detect(self, image: np.ndarray) -> Detections:
        rows, columns = np.nonzero((image > 180).all(axis=2))
        boxes, scores = [[0, 0, 5, 5]], [0.2]
        if len(rows):
            boxes.append([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
            scores.append(0.9)
        found = Detections.from_raw(boxes, scores, image.shape[:2])
        return found.above(self.score_threshold)


@pytest.fixture
def opened(monkeypatch):
    """Puts the fake in place of every model; gives what it was opened with."""
    calls: list[tuple[Path, dict[str, Any]]] = []

    def load_detector(path: str | Path, **options: Any) -> FakeDetector:
        calls.append((Path(path), options))
        if Path(path).name == "damaged.onnx":
            raise UserError(f"{path} is damaged")
        return FakeDetector(options.get("score_threshold", 0.5))

    monkeypatch.setattr("detector.inference.load.load_detector", load_detector)
    return calls


def picture(x: int = 40, height: int = 120, width: int = 160) -> np.ndarray:
    """Dark noise with a white face with eyes at ``x``, 30 x 40 pixels; none for a negative one."""
    image = np.random.default_rng(0).integers(0, 90, (height, width, 3), dtype=np.uint8)
    if x >= 0:
        image[50:90, x : x + 30] = 255
        image[62:68, x + 6 : x + 12] = image[62:68, x + 18 : x + 24] = 0
    return image


@pytest.fixture
def photos(tmp_path, monkeypatch, opened):
    """Three pictures in the current folder's photos; in b.png there is no face."""
    monkeypatch.chdir(tmp_path)
    save_image(Path("photos/a.png"), picture(40))
    save_image(Path("photos/b.png"), picture(-1))
    save_image(Path("photos/trip/c.jpg"), picture(80))
    return tmp_path


def make_video(path: Path, count: int = 12, fps: float = 12.5) -> Path:
    with VideoWriter(path, fps) as writer:
        for i in range(count):
            writer.write(picture(40 + 2 * i))
    return path


def detect(*arguments: str, code: int = 0) -> None:
    assert main(["detect", *arguments, "--model", "m.onnx"]) == code


def lines(path: str | Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]


def files(folder: str | Path) -> list[str]:
    return sorted(
        path.relative_to(folder).as_posix() for path in Path(folder).rglob("*") if path.is_file()
    )


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


# -- in a process of its own

START = """
import sys, time
from detector.inference import load
from detector.types import Detections

class Slow:
    def detect_batch(self, images):
        time.sleep({seconds})
        return [Detections.empty(image.shape[:2]) for image in images]

load.load_detector = lambda path, **options: Slow()
from scripts.main import main
code = main(sys.argv[1:])
{after}
sys.exit(code)
"""


def start(*arguments: str, seconds: float = 0, after: str = "") -> subprocess.Popen[str]:
    program = START.format(seconds=seconds, after=after)
    return subprocess.Popen(
        [sys.executable, "-c", program, "detect", *arguments, "-m", "m.onnx"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8",
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip


def test_images_need_none_of_the_heavy_libraries(photos):
    names = "'torch', 'torchvision', 'matplotlib', 'scipy', 'cv2', 'skimage', 'lxml', 'onnx'"
    after = f"print([name for name in ({names}) if name in sys.modules])"
    with start("photos", "--out", "found", "--wider", "wider", after=after) as process:
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert out.splitlines()[-1] == "[]"


@pytest.mark.skipif(os.name == "nt", reason="Windows sends Ctrl-C to the whole console")
@pytest.mark.parametrize("number", [signal.SIGINT, getattr(signal, "SIGKILL", signal.SIGINT)])
def test_a_run_that_is_stopped_leaves_complete_lines_and_pictures(photos, number):
    for i in range(40):
        Image.fromarray(picture()).save(f"photos/{i:02d}.png")
    arguments = ["photos", "--out", "found", "--json", "-", "--batch-size", "1"]
    with start(*arguments, seconds=0.1) as process:
        for _ in range(3):
            json.loads(process.stdout.readline())
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    assert "Traceback" not in err
    assert len(out.splitlines()) < 30, "it stopped early"
    for line in out.splitlines():
        json.loads(line)
    for path in Path("found").rglob("*.png"):
        if not path.name.startswith("."):
            assert read_image(path).shape == (120, 160, 3)
    if number == signal.SIGINT:
        assert process.returncode == 130
        assert err == "faces: stopped.\n"
        assert not [name for name in files("found") if name.startswith(".")]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no broken pipe")
def test_a_reader_of_the_lines_may_leave(photos):
    for i in range(40):
        Image.fromarray(picture()).save(f"photos/{i:02d}.png")
    with start("photos", "--json", "-", "--batch-size", "1", seconds=0.02) as process:
        assert process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(timeout=60) == 0


# -- the real thing


def test_the_example_of_the_documentation_runs(photos, capsys, monkeypatch):
    import detector.inference.load

    text = (ROOT / "docs" / "detect.md").read_text(encoding="utf-8")
    [example] = text.split("```python\n")[1:]
    Path("photos/broken.jpg").write_text("no image")
    monkeypatch.setattr("faces.load_detector", detector.inference.load.load_detector)
    exec(example.split("```")[0], {})
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("photos/broken.jpg: cannot read the image")
    assert second == "photos/trip/c.jpg [[ 80.  50. 110.  90.]]"


def test_a_checkpoint_finds_what_it_finds_from_python(tmp_path):
    import torch

    from detector.checkpoint import save_checkpoint
    from detector.config import TrainConfig, to_dict
    from detector.inference.load import load_detector
    from detector.model import build_model
    from tests.tiny import TINY_MODEL

    torch.manual_seed(0)
    model = build_model(TINY_MODEL, pretrained=False)
    torch.nn.init.zeros_(model.rpn.head.cls_logits.bias)  # so that it finds something
    torch.nn.init.zeros_(model.roi_heads.box_predictor.cls_score.bias)
    save_checkpoint(
        tmp_path / "tiny.pt",
        {
            **{"config": to_dict(TrainConfig(model=TINY_MODEL)), "weights": model.state_dict()},
            **{"history": [], "provenance": {}},
        },
    )
    images = [picture(40), picture(80, 96, 96), picture(20, 200, 300)]
    for i, image in enumerate(images):
        save_image(tmp_path / "photos" / f"{i}.png", image)
    arguments = ["--threshold", "0.1", "--threads", "1", "--json", str(tmp_path / "lines.jsonl")]
    model_file = str(tmp_path / "tiny.pt")
    assert main(["detect", str(tmp_path / "photos"), "-m", model_file, *arguments]) == 0
    detector = load_detector(model_file, score_threshold=0.1, threads=1)
    faces = 0
    for line, image in zip(lines(tmp_path / "lines.jsonl"), images, strict=True):
        found = detector.detect(image)
        faces += len(found)
        assert [face["score"] for face in line["faces"]] == pytest.approx(found.score, abs=1e-4)
        boxes = [face["box"] for face in line["faces"]]
        assert np.allclose(np.reshape(boxes, (-1, 4)), found.xyxy, atol=0.02)
    assert faces > 0, "an untrained network is unsure of everything"


def onnx_file(path: Path) -> Path:
    """The smallest file that runs as an exported detector: it finds one face in every picture."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    from detector.config import TrainConfig
    from detector.inference.metadata import Artifact

    outputs = {
        "boxes": np.array([[8, 16, 24, 40]], np.float32),
        "scores": np.array([0.75], np.float32),
        "image": np.array([0], np.int64),
    }
    graph = helper.make_graph(
        [
            helper.make_node("Constant", [], [name], value=numpy_helper.from_array(value))
            for name, value in outputs.items()
        ],
        "one face",
        [
            helper.make_tensor_value_info("images", TensorProto.UINT8, ["n", "h", "w", 3]),
            helper.make_tensor_value_info("score_threshold", TensorProto.FLOAT, []),
        ],
        [
            helper.make_tensor_value_info(
                name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape
            )
            for name, value in outputs.items()
        ],
    )
    model = helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 18)])
    helper.set_model_props(model, Artifact(TrainConfig()).to_metadata())
    onnx.save(model, path)
    return path


def test_an_onnx_file_answers_at_once_without_torch(photos):
    """Processor time, from the start of Python to the written picture; the clock depends on what
    else the machine does."""
    onnx_file(Path("model.onnx"))
    heavy = "'torch', 'torchvision', 'matplotlib', 'scipy', 'cv2', 'skimage', 'lxml', 'onnx'"
    program = (
        "import sys, time; from scripts.main import main; "
        "code = main(['detect', 'photos/a.png', '-m', 'model.onnx', '--out', 'found']); "
        f"print([name for name in ({heavy}) if name in sys.modules], time.process_time()); "
        "sys.exit(code)"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=120,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    imported, seconds = result.stdout.splitlines()[-1].split("] ")
    assert imported == "["
    assert float(seconds) < 2.5
    [line] = lines("found/detections.jsonl")
    assert line["faces"] == [{"box": [8, 16, 24, 40], "score": 0.75}]
    assert (read_image(Path("found/a.png"))[15, 8:24] == FOUND).all()


@pytest.mark.data
def test_a_folder_of_wider_face_becomes_a_submission(shared_data, tmp_path, opened, capsys):
    folder = shared_data / "widerface" / "WIDER_val" / "images"
    images = sorted(path for path in folder.rglob("*.jpg"))
    detect(str(folder), "--wider", str(tmp_path), "--json", str(tmp_path / "lines.jsonl"))
    expected = [path.relative_to(folder).with_suffix(".txt").as_posix() for path in images]
    assert files(tmp_path) == sorted([*expected, "lines.jsonl"])
    assert [Path(line["path"]) for line in lines(tmp_path / "lines.jsonl")] == images
    assert capsys.readouterr().out.startswith(f"images:      {len(images)} (")


# -- first labels


def test_first_labels_are_a_folder_to_train_on(photos, capsys):
    """Copies of the pictures, and boxes as found, also for the one without a face."""
    before = {name: Path("photos", name).read_bytes() for name in files("photos")}
    detect("photos", "--annotate", "voc", "--out", "found")
    folder = Path("found/first-labels")
    assert files(folder) == [
        "README.md",
        *("annotations/a.xml", "annotations/b.xml", "annotations/trip/c.xml"),
        *("images/a.png", "images/b.png", "images/trip/c.jpg"),
    ]
    boxes = [
        [item.xyxy for item in read_voc(path).objects]
        for path in (folder / "annotations" / name for name in ("a.xml", "b.xml", "trip/c.xml"))
    ]
    assert boxes == [[(40, 50, 70, 90)], [], [(80, 50, 110, 90)]]
    assert {name: Path("photos", name).read_bytes() for name in files("photos")} == before
    assert f"labels:      {folder} (voc)" in capsys.readouterr().out
    assert files("found")[:3] == ["a.png", "b.png", "detections.jsonl"]  # marked as ever


def test_first_labels_in_the_formats_of_other_tools(photos):
    detect("photos", "--annotate", "coco", "--out", "coco")
    detect("photos", "--annotate", "yolo", "--out", "yolo")
    content = json.loads(Path("coco/first-labels/annotations/instances_default.json").read_text())
    names = [item["file_name"] for item in content["images"]]
    assert names == ["a.png", "b.png", "trip/c.jpg"]
    assert [item["bbox"] for item in content["annotations"]] == [[40, 50, 30, 40], [80, 50, 30, 40]]
    label = Path("yolo/first-labels/labels/a.txt").read_text()
    assert [float(x) for x in label.split()] == pytest.approx(
        [0, 55 / 160, 70 / 120, 30 / 160, 1 / 3]
    )
    assert Path("yolo/first-labels/labels/b.txt").read_text() == ""


def test_corrected_labels_are_never_overwritten(photos, capsys, opened):
    detect("photos", "--annotate", "voc", "--out", "found")
    label = Path("found/first-labels/annotations/a.xml")
    label.write_text(label.read_text().replace("40", "41"))
    kept, calls = label.read_bytes(), len(opened)
    detect("photos", "--annotate", "yolo", "--out", "found", code=2)
    assert "found/first-labels is not empty" in capsys.readouterr().err
    assert label.read_bytes() == kept
    assert len(opened) == calls  # before anything is detected


def test_first_labels_leave_out_what_cannot_be_read(photos):
    Path("photos/broken.jpg").write_bytes(b"nothing")
    make_video(Path("photos/film.mp4"))
    detect("photos", "--annotate", "voc", "--out", "found", code=1)
    assert len(list(Path("found/first-labels/images").rglob("*.*"))) == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--json", "-"), "say where with --out"),
        (("--anonymize",), "leave out --anonymize"),
    ],
)
def test_first_labels_that_cannot_be(photos, capsys, arguments, message):
    detect("photos", "--annotate", "voc", *arguments, code=2)
    assert message in capsys.readouterr().err


def test_films_alone_get_no_labels(photos, capsys):
    make_video(Path("film.mp4"))
    detect("film.mp4", "--annotate", "voc", code=2)
    assert "film.mp4: --annotate labels pictures" in capsys.readouterr().err
