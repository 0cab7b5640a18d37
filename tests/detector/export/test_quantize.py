"""int8 files: what is in them, what they find, and when none is written."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest

from detector import load_detector
from detector.export import quantize as module
from detector.export.parity import draw_crowd
from detector.export.publish import ParityError, check_formats, export_checkpoint, publish_int8
from detector.export.quantize import MOST, agreement, divide
from detector.types import Detections
from faces.errors import UserError
from faces.files import file_digest
from scripts.main import main
from tests.small_export import SmallExport


def crowds(count: int, height: int = 96, width: int = 128) -> list[np.ndarray]:
    random = np.random.default_rng(5)
    return [draw_crowd(height, width, 6, random, largest=40) for _ in range(count)]


@pytest.fixture
def small(small_export: SmallExport, tmp_path: Path) -> Path:
    """The float32 file, alone in a folder. Its weights are random, so 8 bits find other faces."""
    return Path(shutil.copy(small_export.onnx, tmp_path / "small.onnx"))


@pytest.mark.slow
def test_the_inner_layers_are_in_int8_and_the_description_stays(
    small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LEAST_AP", 0.0)
    monkeypatch.setattr(module, "FEWEST_FACES", 0)
    made = publish_int8(small, small.read_bytes(), small.with_suffix(".int8.onnx"), crowds(8))
    whole, graph = onnx.load(small).graph, onnx.load(made.path).graph
    types = {tensor.name: tensor.data_type for tensor in graph.initializer}
    stored = {t.name for t in graph.initializer if t.data_type == onnx.TensorProto.INT8}
    assert any(name.startswith("dense.backbone") for name in stored)
    assert any(name.startswith("head.") for name in stored)
    first = [node.input[1] for node in whole.node if node.op_type == "Conv"][:3]
    outputs = [t.name for t in whole.initializer if t.name.startswith(("dense.outp", "predictor"))]
    assert {types[name] for name in (*first, *outputs)} == {onnx.TensorProto.FLOAT}
    normal, fast = load_detector(small).artifact, load_detector(made.path)
    assert fast.artifact is not None
    assert fast.artifact.int8_of == file_digest(small)
    assert (fast.artifact.config, fast.artifact.pictures) == (normal.config, normal.pictures)
    assert (fast.arithmetic, fast.speed) == ("int8", "fast")
    # Any size, any batch.
    assert len(fast.detect_batch(crowds(3, 64, 160))) == 3


@pytest.mark.slow
def test_a_file_that_finds_other_faces_is_not_written(
    small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LEAST_AP", 1.01)
    monkeypatch.setattr(module, "FEWEST_FACES", 0)
    path = small.with_suffix(".int8.onnx")
    path.write_bytes(b"older")
    with pytest.raises(ParityError, match="finds other faces: AP 0"):
        publish_int8(small, small.read_bytes(), path, crowds(8))
    assert path.read_bytes() == b"older"
    report = json.loads(path.with_name(path.name + ".parity.json").read_text(encoding="utf-8"))
    assert not report["passed"]
    assert report["ap"] < 1


class Finds:
    """A detector that finds these boxes on every photo."""

    def __init__(self, boxes: Sequence[Sequence[float]], scores: Sequence[float]) -> None:
        self.found = Detections.from_raw(
            np.array(boxes, np.float32), np.array(scores, np.float32), (100, 100)
        )

    def detect(self, image: np.ndarray) -> Detections:
        return self.found

    def detect_batch(self, images: Sequence[np.ndarray]) -> list[Detections]:
        return [self.found for _ in images]


def test_agreement_is_ap_with_the_other_file_as_truth() -> None:
    photos = [np.zeros((100, 100, 3), np.uint8)] * 20
    boxes = [[0, 0, 20, 20], [40, 40, 80, 80], [80, 0, 99, 20]]
    expected = Finds(boxes, [0.9, 0.4, 0.3])
    assert agreement(expected, expected, photos).ap == 1
    # As many again as those it is sure of are to be found, and boxed as well; others may be missed.
    assert agreement(expected, Finds(boxes[:2], [0.9, 0.8]), photos).ap == 1
    lost = agreement(expected, Finds(boxes[:1], [0.9]), photos)
    assert (lost.ap, lost.faces, lost.passed) == (pytest.approx(0.5), 40, False)
    moved = [boxes[0], [60, 40, 100, 80]]
    assert agreement(expected, Finds(moved, [0.9, 0.8]), photos).ap == pytest.approx(0.5)
    with pytest.raises(UserError, match="finds 2 faces with a score"):
        agreement(expected, expected, photos[:2])


def test_what_a_low_score_says_does_not_change_how_int8_is_compared() -> None:
    """The same faces in the same order, once with unsure ones at 0.4 and once at 0.03."""
    photos = [np.zeros((100, 100, 3), np.uint8)] * 20
    boxes = [[0, 0, 20, 20], [40, 40, 80, 80], [80, 0, 99, 20]]
    found = [
        agreement(Finds(boxes, [0.9, *low]), Finds([boxes[0], boxes[2]], [0.9, low[1]]), photos)
        for low in ((0.4, 0.35), (0.03, 0.025))
    ]
    assert found[0] == found[1]
    assert found[0].faces == 40
    assert found[0].ap == pytest.approx(0.5)


def test_photos_that_calibrate_do_not_compare() -> None:
    photos = [np.full((1, 1, 3), i, np.uint8) for i in range(200)]
    calibrating, comparing = ({int(p[0, 0, 0]) for p in part} for part in divide(photos))
    assert len(calibrating) == len(comparing) == MOST // 2
    assert not calibrating & comparing


@pytest.mark.parametrize("count", [0, 7])
def test_too_few_photos_are_refused_before_anything_is_done(
    small_export: SmallExport, tmp_path: Path, count: int
) -> None:
    with pytest.raises(UserError, match=f"there are {count}: name a folder with --calibrate"):
        export_checkpoint(small_export.checkpoint, tmp_path, ["int8"], calibrate=crowds(count))
    assert not list(tmp_path.iterdir())


def test_the_command_refuses_without_photos(
    small_export: SmallExport, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["export", str(small_export.checkpoint), "--formats", "int8", "--out", str(tmp_path)]
    assert main(command) == 2
    assert "--calibrate" in capsys.readouterr().err
    assert main([*command, "--calibrate", str(tmp_path)]) == 2
    assert "there are no images" in capsys.readouterr().err


def test_int8_brings_the_file_that_it_belongs_to() -> None:
    assert check_formats(["int8"]) == ["onnx", "int8"]
    assert check_formats(["torchscript"]) == ["torchscript"]
