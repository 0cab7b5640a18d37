"""The walk-through: its commands are real ones, a failure ends it, its summary is honest."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from detector.data.portraits import PORTRAIT_FACES
from faces.errors import UserError
from faces.images.read import read_image
from faces.images.write import save_image
from faces.video.film import VideoWriter
from scripts import demo
from scripts.demo_parts import film as demo_film
from scripts.demo_parts import summary as demo_summary
from scripts.demo_parts.film import Seen
from scripts.main import COMMANDS
from tests.commands import parse_only


@pytest.mark.parametrize("step", demo.walk(Path("out"), 3), ids=lambda step: step.title)
def test_every_command_is_understood_by_its_own_parser(step):
    program, name, *arguments = step.command
    assert program == "faces"
    assert name in COMMANDS
    assert parse_only(name, arguments) is not None


def test_each_step_takes_what_an_earlier_one_made():
    """Every path that is read was written before (the scenes and portraits by the demo itself)."""
    made = {"out/wider", "out/portraits", "out/film/film.mp4"}
    writes = {"--out", "--report", "--run", "--json", "--gallery"}
    for step in demo.walk(Path("out"), 2):
        words = step.command
        for before, word in pairwise(words):
            if word.startswith("out/") and before not in writes:
                assert any(word == path or word.startswith(f"{path}/") for path in made), word
        for before, word in pairwise(words):
            if before in writes:
                made.add(word)


def test_long_commands_can_be_pasted():
    command = ("faces", "train", "--image-path", "a b", *["--anchors", "-1.5", "x" * 30] * 3)
    text = demo.shown(command, width=60)
    assert max(map(len, text.splitlines())) <= 60
    assert text.startswith("  $ faces train --image-path 'a b'")
    pasted = text.replace("  $ ", "", 1)
    assert not [line for line in pasted.splitlines()[:-1] if not line.endswith(" \\")]
    assert tuple(shlex.split(pasted.replace("\\\n", " "))) == command


@pytest.mark.slow
def test_a_step_that_fails_ends_the_walk_with_its_exit_code(tmp_path, monkeypatch, capfd):
    """The first command is a real one, and finds nothing to convert."""
    monkeypatch.setattr(demo, "write_pictures", lambda out: (out / "wider").mkdir(parents=True))
    assert demo.main(["--out", str(tmp_path / "d")]) == 2
    text = capfd.readouterr().out
    assert "[2/12] " in text
    assert "[3/12] " not in text
    assert "step 2 of 12 ended with 2" in text
    assert "Done in" not in text


def test_a_command_runs_in_a_process_of_its_own(capfd):
    assert demo.run(("faces", "trian")) == 2
    assert "Did you mean `faces train`?" in capfd.readouterr().err


WAITS = """
import signal, subprocess, sys
from scripts import demo
real = subprocess.Popen
child = [sys.executable, "-c", '''
import os, signal, sys, time
def save(*_):
    time.sleep(0.5)
    os.write(1, b"saved" + os.linesep.encode())  # print may not have ended yet
    sys.exit(130)
signal.signal(signal.SIGINT, save)
print("training", flush=True)
time.sleep(60)
''']
demo.subprocess.Popen = lambda command: real(child)
try:
    demo.run(("faces", "train"))
except KeyboardInterrupt:
    print("stopped", flush=True)
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows sends Ctrl-C to the whole console")
def test_ctrl_c_lets_the_running_command_save(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-c", WAITS],
        stdout=subprocess.PIPE,
        encoding="utf-8",
        start_new_session=True,
    ) as process:
        assert process.stdout.readline() == "training\n"
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        out, _ = process.communicate(timeout=60)
    assert out == "saved\nstopped\n"


@pytest.mark.parametrize("taken", [["mine.txt"], ["run", "voc"]], ids=str)
def test_a_folder_with_something_in_it_is_left_alone(tmp_path, taken):
    for name in taken:
        (tmp_path / name).write_text("", encoding="utf-8")
    with pytest.raises(UserError, match="is there already: name a new folder with --out"):
        demo.main(["--out", str(tmp_path)])
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(taken)


def test_a_second_demo_goes_beside_the_first(tmp_path):
    first = tmp_path / "demo"
    for name in ("demo", "demo-2", "demo-3"):
        assert demo.free_path(first) == tmp_path / name
        demo.free_path(first).mkdir()


# -- the summary


@pytest.fixture
def finished(tmp_path):
    """A demo's folder after all its steps; call it with the boxes found in each portrait, and by
    how many pixels the ONNX file places them elsewhere."""

    def make(boxes: dict[str, list[list[float]]], apart: float = 0.0) -> Path:
        for name in ("run", "detected", "detected-onnx", "exported", "evaluation"):
            (tmp_path / name).mkdir()
        history = [{"step": 40, "valid": {"loss": 1.25}}, {"step": 80, "valid": {"loss": 0.75}}]
        (tmp_path / "run" / "history.jsonl").write_text(
            "".join(json.dumps(line) + "\n" for line in history), encoding="utf-8"
        )
        for folder, shift in (("detected", 0.0), ("detected-onnx", apart)):
            lines = [
                {
                    "path": f"x/{name}.png",
                    "faces": [{"box": [v + shift for v in box], "score": 0.9} for box in found],
                }
                for name, found in boxes.items()
            ]
            (tmp_path / folder / "detections.jsonl").write_text(
                "".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8"
            )
        cases = [
            {"faces": 1200, "box_error": 0.0004, "score_error": 2e-6},
            {"faces": 34, "box_error": 0.0021, "score_error": 3e-5},
        ]
        (tmp_path / "exported" / "best.onnx.parity.json").write_text(
            json.dumps({"file": "best.onnx", "cases": cases}), encoding="utf-8"
        )
        report = {
            "images": 40,
            "scale": "longest side 640 px",
            "voc": {"ap50": 0.9816},
            "coco": {"ap": 0.7},
        }
        (tmp_path / "evaluation" / "report.json").write_text(json.dumps(report), encoding="utf-8")
        return tmp_path

    return make


def test_the_summary_says_what_was_found_and_what_was_not(finished):
    collins = list(PORTRAIT_FACES["eileen_collins"])
    out = finished({"eileen_collins": [[0, 0, 9, 9], collins], "grace_hopper": [[0, 0, 50, 50]]})
    seen = [Seen("Ada", True, 20, 20, 19), Seen("Bob", False, 10, 9)]
    text = demo_summary.summary(out, 150, seen)
    assert "Done in 2.5 minutes." in text
    assert "1.250 after the first epoch, 0.750 after 2 epochs (80 steps)" in text
    assert "Eileen Collins: the face was found (2 detections)." in text
    assert "Grace Hopper: the face was NOT found (1 detection)." in text
    for path in ("check/sample.png", "run/loss.png", "run/samples.png", "detected", "run/best.pt"):
        assert str(out / path) in text
    assert (
        "best.onnx: within 0.0021 px and 3e-05 in score of the checkpoint, 1,234 boxes in 2 cases."
    ) in text
    assert (
        "On 40 validation scenes, longest side 640 px: PASCAL VOC AP50 0.982, COCO AP 0.7" in text
    )
    assert "  Ada was named: on 19 of 20 frames.\n" in text
    assert "  Bob, whom nobody introduced, stayed unknown (found on 9 of 10 frames).\n" in text
    for name in ("named.mp4", "faces.jsonl", "report/timeline.png", "filmstrip.jpg"):
        assert str(out / "film" / name) in text
    assert f"faces train --resume {out / 'run'} --epochs 20" in text


@pytest.mark.parametrize(("apart", "verdict"), [(0.01, "the same"), (0.5, "something ELSE")])
def test_the_summary_says_whether_the_onnx_file_agrees(finished, apart, verdict):
    out = finished({"grace_hopper": [[1, 2, 30, 40], [5, 5, 9, 9]]}, apart)
    assert f"The ONNX file, without torch, finds {verdict} in them." in demo_summary.summary(
        out, 60, []
    )


def test_another_number_of_faces_is_something_else(finished):
    out = finished({"eileen_collins": [[1, 2, 3, 4]], "grace_hopper": []})
    moved = {"path": "x", "faces": []}, {"path": "y", "faces": [{"box": [1, 2, 3, 4], "score": 1}]}
    (out / "detected-onnx" / "detections.jsonl").write_text(
        "".join(json.dumps(line) + "\n" for line in moved), encoding="utf-8"
    )
    assert not demo_summary.same_faces(out / "detected", out / "detected-onnx")


@pytest.mark.parametrize(
    ("shift", "found"), [(0, True), (10, True), (60, False), (500, False)], ids=str
)
def test_a_face_is_found_when_a_box_overlaps_it_by_half(finished, shift, found):
    x1, y1, x2, y2 = PORTRAIT_FACES["grace_hopper"]
    out = finished({"grace_hopper": [[x1 + shift, y1 + shift, x2 + shift, y2 + shift]]})
    [portrait] = demo_summary.read_portraits(out / "detected" / "detections.jsonl")
    assert portrait == demo_summary.Portrait("Grace Hopper", 1, found)


def test_portraits_without_any_detection(finished):
    out = finished({"eileen_collins": [], "grace_hopper": []})
    assert "Grace Hopper: the face was NOT found (0 detections)." in demo_summary.summary(
        out, 60, []
    )


# -- the film


ADA, BOB = [10.0, 10.0, 50.0, 60.0], [100.0, 10.0, 140.0, 60.0]
NEAR_ADA = [14.0, 12.0, 54.0, 62.0]


@pytest.mark.parametrize(
    ("faces", "ada", "bob"),
    [
        ([(NEAR_ADA, "Ada"), (BOB, None)], (1, 1, 1, 0), (1, 1, 0, 0)),
        ([(NEAR_ADA, None), (BOB, "Ada")], (1, 1, 0, 0), (1, 1, 0, 1)),
        ([(NEAR_ADA, "Eve")], (1, 1, 0, 1), (1, 0, 0, 0)),
        ([([60.0, 10.0, 95.0, 60.0], "Ada")], (1, 0, 0, 0), (1, 0, 0, 0)),  # beside both
        ([(ADA, "Ada"), (NEAR_ADA, "Eve")], (1, 1, 1, 1), (1, 0, 0, 0)),
    ],
    ids=["right", "exchanged", "a third name", "nobody there", "twice"],
)
def test_what_was_said_is_compared_with_the_truth(tmp_path, faces, ada, bob):
    truth = [{"Ada": ADA, "Bob": BOB}, {}]
    said = [[{"box": box, "name": name} for box, name in faces], []]
    for name, frames in (("truth.jsonl", truth), ("faces.jsonl", said)):
        lines = [json.dumps({"frame": i, "faces": frame}) for i, frame in enumerate(frames)]
        (tmp_path / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    assert demo_film.compare(tmp_path, ["Ada", "Zoe"]) == [
        Seen("Ada", True, *ada),
        Seen("Zoe", True),
        Seen("Bob", False, *bob),
    ]


@pytest.mark.parametrize(
    ("seen", "fine", "text"),
    [
        (Seen("Ada", True, 10, 10, 6), True, "Ada was named: on 6 of 10 frames."),
        (Seen("Ada", True, 10, 10, 5), False, "Ada was NOT named as should be: on 5 of 10 frames."),
        (Seen("Ada", True, 10, 10, 9, 1), False,
         "Ada was NOT named as should be: on 9 of 10 frames, under another's on 1."),
        (Seen("Ada", True), False, "Ada was NOT named as should be: on 0 of 0 frames."),
        (Seen("Bob", False, 10, 8), True,
         "Bob, whom nobody introduced, stayed unknown (found on 8 of 10 frames)."),
        (Seen("Bob", False, 10, 8, 0, 2), False,
         "Bob, whom nobody introduced, did NOT stay unknown "
         "(given a name on 2 of 10 frames)."),
        (Seen("Bob", False, 10, 4), False,
         "Bob, whom nobody introduced, was NOT found (only on 4 of 10 frames)."),
    ],
)  # fmt: skip
def test_the_verdict_is_honest(seen, fine, text):
    assert seen.fine is fine
    assert str(seen) == text


def test_a_strip_shows_four_frames_and_the_timeline(tmp_path):
    with VideoWriter(tmp_path / "named.mp4", 10) as writer:
        for i in range(8):
            writer.write(np.full((90, 160, 3), 30 * i, np.uint8))
    save_image(tmp_path / "report" / "timeline.png", np.full((100, 406, 3), 200, np.uint8))
    strip = read_image(demo_film.draw_strip(tmp_path))
    height = round(200 * 90 / 160)
    assert strip.shape == (2 * (height + 6) + 100, 406, 3)
    shades = [strip[y, x, 0] for y in (50, 170) for x in (100, 300)]
    assert shades == sorted(set(shades)), "in order, from left to right and down"
    assert strip[-50, 200, 0] == 200


# -- the whole of it


@pytest.mark.slow(60)
def test_the_whole_walk_on_a_few_scenes(tmp_path, monkeypatch, capfd):
    from scripts.demo_parts import scenes, wall_film

    make_scenes = scenes.make_scenes
    monkeypatch.setattr(scenes, "make_scenes", lambda out: make_scenes(out, train=8, val=4))
    monkeypatch.setattr(wall_film, "SECONDS", 4.0)
    out = tmp_path / "demo"
    assert demo.main(["--out", str(out), "--epochs", "1"]) == 0
    text, log = capfd.readouterr()
    assert "were trained on" not in log, "the validation scenes are others"
    assert "[12/12] " in text
    assert "Done in " in text
    assert "The ONNX file, without torch, finds the same in them." in text
    assert "  Eileen Collins was named: on " in text
    assert "  Grace Hopper was named: on " in text
    assert "  The photographer, whom nobody introduced, stayed unknown (found on " in text
    report = json.loads((out / "film" / "report" / "report.json").read_text(encoding="utf-8"))
    names = {person["name"] for person in report["people"] if person["known"]}
    assert names == {"Eileen Collins", "Grace Hopper"}
    for path in (
        "wider/wider_face_split/wider_face_train_bbx_gt.txt",
        "voc/train/annotations",
        "check/sample.png",
        "run/best.pt",
        "run/loss.png",
        "run/samples.png",
        "detected/eileen_collins.png",
        "detected/detections.jsonl",
        "exported/best.onnx",
        "exported/best.torchscript",
        "evaluation/curves.png",
        "detected-onnx/grace_hopper.png",
        "film/film.mp4",
        "film/named.mp4",
        "film/faces.jsonl",
        "film/report/timeline.png",
        "film/filmstrip.jpg",
    ):
        assert (out / path).exists(), path
