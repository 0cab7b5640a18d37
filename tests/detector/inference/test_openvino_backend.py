"""Speed "fast": what it finds, what it refuses, and that it calls nobody."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detector import load_detector
from detector.export.parity import draw_crowd
from detector.inference.openvino_backend import import_openvino
from detector.types import Detections
from faces.errors import UserError
from tests.small_export import SmallExport

ROOT = Path(__file__).parents[3]

# Looked for, not imported: `import openvino` calls home unless `import_openvino` does it.
needs_openvino = pytest.mark.skipif(
    importlib.util.find_spec("openvino") is None, reason="needs: pip install 'faces[fast]'"
)


@pytest.fixture
def fast(small_export: SmallExport) -> Callable[..., Any]:
    """Opens the small ONNX file with OpenVINO."""
    if importlib.util.find_spec("openvino") is None:
        pytest.skip("needs: pip install 'faces[fast]'")
    return lambda **options: load_detector(small_export.onnx, speed="fast", threads=1, **options)


@pytest.fixture(scope="module")
def photos() -> list[np.ndarray]:
    random = np.random.default_rng(3)
    return [draw_crowd(h, w, 12, random) for h, w in [(300, 170), (700, 900), (300, 170)]]


def shared(a: Detections, b: Detections) -> float:
    """The share of a's boxes that b has as well, within 4 px and 0.1 in score."""
    near = np.abs(a.xyxy[:, None] - b.xyxy[None]).max(axis=2) < 4
    alike = np.abs(a.score[:, None] - b.score[None]) < 0.1
    return float((near & alike).any(axis=1).mean())


@needs_openvino
def test_it_finds_the_same_faces(photos: list[np.ndarray]) -> None:
    """With the shipped network: untrained scores are too close to each other for 8 bits."""
    normal = load_detector(score_threshold=0.4, threads=1).detect_batch(photos)
    fast = load_detector(score_threshold=0.4, speed="fast", threads=1).detect_batch(photos)
    for a, b in zip(normal, fast, strict=True):
        assert len(a.above(0.5)) > 3
        assert shared(a.above(0.5), b) == shared(b.above(0.5), a) == 1


def test_a_batch_gives_what_single_images_give(
    fast: Callable[..., Any], photos: list[np.ndarray]
) -> None:
    detector = fast(score_threshold=0.3)
    for a, photo in zip(detector.detect_batch(photos), photos, strict=True):
        assert shared(a, detector.detect(photo)) > 0.9


def test_thresholds_are_obeyed(fast: Callable[..., Any], photos: list[np.ndarray]) -> None:
    def count(score: float, nms: float | None = None) -> int:
        found = fast(score_threshold=score, nms_threshold=nms).detect(photos[1])
        assert (found.score >= score).all()
        return len(found)

    assert count(0.02) > count(0.3) > 0
    assert count(1.0) == 0
    assert count(0.02, 0.9) > count(0.02) == count(0.02, 0.4) > count(0.02, 0.05)


def test_threads_may_share_a_detector(fast: Callable[..., Any], photos: list[np.ndarray]) -> None:
    detector = fast(score_threshold=0.3)
    expected = [detector.detect(photo) for photo in photos]
    with ThreadPoolExecutor(3) as pool:
        for a, b in zip(pool.map(detector.detect, photos * 4), expected * 4, strict=True):
            np.testing.assert_array_equal(a.xyxy, b.xyxy)


PRIVATE = """
import sys
import numpy as np
from detector import load_detector
detector = load_detector(sys.argv[1], speed="fast", threads=1)
detector.detect(np.zeros((64, 64, 3), np.uint8))
print("torch" in sys.modules, sys.modules["openvino_telemetry"])
"""


@needs_openvino
def test_it_calls_nobody_and_does_without_torch(small_export: SmallExport, tmp_path: Path) -> None:
    """`import openvino` reports to Google Analytics and writes into the home folder."""
    home = tmp_path / "home"
    home.mkdir()
    output = subprocess.check_output(
        [sys.executable, "-c", PRIVATE, str(small_export.onnx)],
        cwd=ROOT,
        env={**os.environ, "HOME": str(home), "LOCALAPPDATA": str(home)},
        text=True,
    )
    assert output == "False None\n"
    assert not list(home.iterdir())


# -- refusals


def test_without_openvino_it_says_what_to_install(
    small_export: SmallExport, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(UserError, match=r"not installed: pip install 'faces\[fast\]'"):
        load_detector(small_export.onnx, speed="fast")


def test_other_files_are_refused(small_export: SmallExport) -> None:
    for path in (small_export.checkpoint, small_export.torchscript):
        with pytest.raises(UserError, match=f"{path.name} is none: make one with `faces export`"):
            load_detector(path, speed="fast")


@pytest.mark.parametrize(
    "options", [{"device": "cuda"}, {"providers": ["CPUExecutionProvider"]}], ids=str
)
def test_other_devices_are_refused(small_export: SmallExport, options: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="runs on the CPU: leave device and providers out"):
        load_detector(small_export.onnx, speed="fast", **options)


@needs_openvino
def test_a_damaged_file_is_refused(small_export: SmallExport, tmp_path: Path) -> None:
    path = tmp_path / "cut.onnx"
    path.write_bytes(small_export.onnx.read_bytes()[:5000])
    with pytest.raises(UserError, match=r"cut\.onnx") as caught:
        load_detector(path, speed="fast")
    assert "\n" not in str(caught.value)


@needs_openvino
def test_a_processor_without_bfloat16_is_told(
    small_export: SmallExport, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    openvino = import_openvino()
    monkeypatch.setattr(openvino.Core, "get_property", lambda *arguments: ["FP32", "INT8"])
    load_detector(small_export.onnx, speed="fast", threads=1)
    assert "has no bfloat16" in caplog.text
