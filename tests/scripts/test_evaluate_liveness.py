"""`faces evaluate-liveness` and `faces export-liveness` from the flags to the files."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from faces.errors import UserError
from scripts.evaluate_liveness import main
from scripts.export_liveness import main as export
from scripts.main import run_command
from tests.pipeline.liveness.pixels import faces
from tests.pipeline.liveness.test_passive import model_file


def test_made_attempts(capsys, tmp_path):
    out = tmp_path / "report.json"
    assert main(["--simulate", "1", "--seed", "50000", "--quiet", "--out", str(out)]) == 0
    text = capsys.readouterr().out
    report = json.loads(out.read_text(encoding="utf-8"))
    assert "BPCER" in text
    assert len(report["active"]) == len(text.splitlines()) - 1
    attacks = [row for row in report["active"] if row["expected_to_fail"]]
    assert len(attacks) >= 8
    assert sum(row["errors"] for row in attacks) == 0


@pytest.fixture
def presentations(tmp_path):
    """One live face, one attack, an attack without a face, and a file that is broken."""
    folder = tmp_path / "presentations"
    (folder / "live").mkdir(parents=True)
    (folder / "attacks" / "print").mkdir(parents=True)
    hopper, collins = (path for path, _ in faces().values())
    shutil.copy(hopper, folder / "live")
    shutil.copy(collins, folder / "attacks" / "print")
    Image.fromarray(np.zeros((90, 90, 3), np.uint8)).save(folder / "attacks" / "print" / "no.png")
    return folder


@pytest.mark.slow
def test_labeled_pictures(presentations, tmp_path, capsys):
    model = model_file(tmp_path / "2.7_x.onnx", ["N", 3, 80, 80])  # everything is live: 0.79
    arguments = [str(presentations), "--model", str(model), "--quiet"]
    assert main([*arguments, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)["passive"]
    assert report["bpcer"]["rate"] == 0
    assert report["apcer"]["print"] | {"low": 0, "high": 0} == {
        "errors": 1, "count": 1, "rate": 1, "low": 0, "high": 0,
    }  # fmt: skip
    assert report["without_face"] == {"live": 0, "print": 1}
    assert {row["attack"] for row in report["presentations"]} == {None, "print"}
    assert main([*arguments, "--threshold", "0.9"]) == 0
    text = capsys.readouterr().out
    assert "BPCER  100.0%" in text
    assert "APCER  0.0%" in text


@pytest.mark.slow
def test_no_bar_is_drawn_into_a_file_of_logs(presentations, tmp_path, capsys):
    model = model_file(tmp_path / "2.7_x.onnx", ["N", 3, 80, 80])
    assert main([str(presentations), "--model", str(model), "--simulate", "1"]) == 0
    assert "it/s" not in (error := capsys.readouterr().err)
    assert "files" not in error
    assert "attempts" not in error


@pytest.mark.slow
def test_a_broken_file_is_named_and_the_rest_is_judged(presentations, tmp_path, capsys):
    (presentations / "live" / "broken.jpg").write_bytes(b"nothing")
    model = model_file(tmp_path / "2.7_x.onnx", ["N", 3, 80, 80])
    assert main([str(presentations), "--model", str(model), "--quiet"]) == 1
    captured = capsys.readouterr()
    assert "broken.jpg" in captured.err
    assert "0 of 1" in captured.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "nothing to evaluate"),
        (["."], "--model FILE is missing"),
        (["--model", "x.onnx", "--simulate", "1"], "give their folder as well"),
        ([".", "--model", "x", "--threshold", "2"], "between 0 and 1"),
        (["gone", "--model", "x"], "gone is not a folder"),
    ],
)
def test_flags_that_cannot_work(arguments, message):
    with pytest.raises(UserError, match=message):
        main(arguments)


def test_a_folder_without_labels(tmp_path):
    with pytest.raises(UserError, match="neither live/ nor attacks/KIND/"):
        main([str(tmp_path), "--model", "x.onnx"])


def test_export_of_nothing_and_of_something_else(tmp_path, capsys):
    with pytest.raises(UserError, match="give the published files"):
        export([])
    assert run_command("scripts.export_liveness", [str(tmp_path / "2.7_gone.pth")]) == 2
    assert "no such file" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
