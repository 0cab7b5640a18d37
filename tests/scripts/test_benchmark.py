"""`faces benchmark` from the flags to the files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scripts.main import run_command
from tests.detector.benchmark.fakes import write_our_checkpoint, write_our_onnx
from tests.detector.evaluation.cases import faces, write_ground_truth

SKIP_ALL = ["--skip", "mtcnn", "torchvision", "reference", "body"]
FACE = [8, 12, 56, 52]  # what the file of `write_our_onnx` finds in an image shrunk by half


def paint(path: Path, seed: int, size: tuple[int, int] = (1024, 96)) -> None:
    pixels = np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3), np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def photos(tmp_path) -> Path:
    for i in range(3):
        paint(tmp_path / "photos" / f"{i}.png", i, (90 + i, 60))
    return tmp_path / "photos"


@pytest.fixture
def wider(tmp_path) -> Path:
    """WIDER FACE with two of its images."""
    truth = []
    for i, name in enumerate(["0--A/one", "1--B/two"]):
        paint(tmp_path / "wider" / "WIDER_val" / "images" / f"{name}.png", i)
        listed = {setting: [0] for setting in ("easy", "medium", "hard")}
        truth.append(faces(name, [FACE], listed=listed))
    write_ground_truth(tmp_path / "wider" / "eval_ground_truth", truth)
    return tmp_path / "wider"


def benchmark(*arguments) -> int:
    return run_command("scripts.benchmark", [str(argument) for argument in arguments])


@pytest.mark.slow
def test_formats_side_by_side_and_one_that_is_broken(tmp_path, photos, capsys):
    models = [write_our_onnx(tmp_path / "model.onnx"), write_our_checkpoint(tmp_path / "best.pt")]
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(models[0].read_bytes()[:200])
    out = tmp_path / "out"
    flags = ["--image-path", photos, "--images", 2, "--max-side", 64, "--out", out, *SKIP_ALL]
    assert benchmark(*models, broken, *flags) == 1
    assert {path.name for path in out.iterdir()} == {"table.md", "results.json"}
    table = (out / "table.md").read_text(encoding="utf-8")
    printed = capsys.readouterr()
    assert printed.out.strip() == table.strip()
    assert "broken.onnx failed" in printed.err
    assert "| **model.onnx** | ONNX Runtime |" in table
    assert "| **best.pt** | PyTorch |" in table
    assert "| **broken.onnx** | ONNX Runtime | failed |" in table
    assert f"broken.onnx failed: {broken} is damaged" in table
    found = json.loads((out / "results.json").read_text(encoding="utf-8"))
    onnx, checkpoint, failed = found["contestants"]
    assert len(onnx["seconds"]) == len(checkpoint["seconds"]) == 2
    assert failed["failures"]
    assert found["setup"]["images"] == 2
    assert found["setup"]["ap_images"] is None
    # An ONNX file must not be charged for torch.
    assert onnx["peak_bytes"] < checkpoint["peak_bytes"]


@pytest.mark.slow
def test_ap_is_judged_on_all_images_and_drawn(tmp_path, wider, capsys):
    model = write_our_onnx(tmp_path / "model.onnx")
    out = tmp_path / "out"
    flags = ["--wider", wider, "--images", 1, "--max-side", 512, "--ap", "--out", out, *SKIP_ALL]
    assert benchmark(model, *flags) == 0
    assert Image.open(out / "scatter.png").width > 1000
    [found] = json.loads((out / "results.json").read_text(encoding="utf-8"))["contestants"]
    assert found["ap"] == {s: pytest.approx(1.0) for s in ("easy", "medium", "hard")}
    assert len(found["seconds"]) == 1
    assert "| 1.000 | 1.000 | 1.000 |" in capsys.readouterr().out


def test_a_profile(tmp_path, photos, capsys):
    model = write_our_onnx(tmp_path / "model.onnx")
    out = tmp_path / "out"
    assert benchmark(model, "--image-path", photos, "--profile", "--out", out) == 0
    assert [path.name for path in out.iterdir()] == ["profile.md"]
    text = (out / "profile.md").read_text(encoding="utf-8")
    assert "medians over 3 images" in text
    assert "| RoI |" in text
    assert capsys.readouterr().out.strip() == text.strip()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["model.onnx"], "give --wider DIR or --image-path DIR"),
        (["model.onnx", "--wider", "w", "--image-path", "photos", "--ap"], "eval_tools.zip"),
        (["model.onnx", "--image-path", "photos", "--ap"], "--ap needs --wider"),
        (["model.onnx", "--wider", "wider", "--ap", "--profile"], "--profile takes no --ap"),
        (["model.onnx", "--image-path", "photos", "--max-side", "8"], "--max-side must be 0 or"),
        (["model.onnx", "--image-path", "photos", "--threads", "0"], "--threads must be at least"),
        (["model.onnx", "--image-path", "photos", "--repeats", "0"], "--repeats must be at least"),
        (["model.onnx", "--image-path", "photos", "--images=-1"], "--images must not be negative"),
        (["model.onnx", "--image-path", "nowhere"], "nowhere is not a folder"),
        (["model.onnx", "--image-path", "empty"], "empty: there are no images"),
        (["missing.onnx", "--image-path", "photos"], "there is no detector missing.onnx"),
        (["model.onnx", "--image-path", "photos", "--peers", "model.onnx"], "neither YuNet"),
        (["model.onnx", "--wider", "empty"], "WIDER_val"),
        (["best.pt", "--image-path", "photos", "--profile"], "only ONNX files can be profiled"),
        (["model.onnx", "--wider", "wider", "--reference", "best.pt"], "--reference is skipped"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_mistakes_are_named_at_once(flags, message, tmp_path, photos, wider, monkeypatch, capsys):
    write_our_onnx(tmp_path / "model.onnx")
    write_our_checkpoint(tmp_path / "best.pt")
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    assert benchmark(*flags, *([] if "--profile" in flags else SKIP_ALL), "--out", "out") == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
    assert not (tmp_path / "out").exists()
