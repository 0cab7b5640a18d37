"""Speed "fast": what it finds, what it refuses, and that it calls nobody."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detector import load_detector
from detector.export.parity import draw_crowd
from detector.inference import fast as fast_module
from detector.inference import openvino_backend
from detector.inference.fast import time_share
from detector.inference.onnx_backend import OnnxNetwork
from detector.inference.openvino_backend import OpenVinoNetwork
from detector.types import Detections
from faces.errors import UserError
from tests.small_export import SmallExport

ROOT = Path(__file__).parents[3]

# Looked for, not imported: `import openvino` calls home unless `import_openvino` does it.
needs_openvino = pytest.mark.skipif(
    importlib.util.find_spec("openvino") is None, reason="needs: pip install 'faces[fast]'"
)


@pytest.fixture
def gain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let OpenVINO be faster, whatever runs these tests."""
    monkeypatch.setattr(openvino_backend, "has_bfloat16", lambda: True)
    monkeypatch.setattr(fast_module, "time_share", lambda *networks: 0.5)


@pytest.fixture
def fast(small_export: SmallExport, gain: None) -> Callable[..., Any]:
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


@pytest.mark.slow
@needs_openvino
def test_it_finds_the_same_faces(
    gain: None, photos: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the shipped network: untrained scores are too close to each other for 8 bits."""
    monkeypatch.setattr(fast_module, "find_int8", lambda path: None)
    normal = load_detector(score_threshold=0.4, threads=1).detect_batch(photos)
    detector = load_detector(score_threshold=0.4, speed="fast", threads=1)
    assert isinstance(detector.network, OpenVinoNetwork)
    fast = detector.detect_batch(photos)
    for a, b in zip(normal, fast, strict=True):
        assert len(a.above(0.5)) > 3
        assert shared(a.above(0.5), b) == shared(b.above(0.5), a) == 1


@pytest.mark.slow
def test_a_batch_gives_what_single_images_give(
    fast: Callable[..., Any], photos: list[np.ndarray]
) -> None:
    detector = fast(score_threshold=0.3)
    for a, photo in zip(detector.detect_batch(photos), photos, strict=True):
        assert shared(a, detector.detect(photo)) > 0.9


@pytest.mark.slow
def test_thresholds_are_obeyed(fast: Callable[..., Any], photos: list[np.ndarray]) -> None:
    def count(score: float, nms: float | None = None) -> int:
        found = fast(score_threshold=score, nms_threshold=nms).detect(photos[1])
        assert (found.score >= score).all()
        return len(found)

    assert count(0.02) > count(0.3) > 0
    assert count(1.0) == 0
    assert count(0.02, 0.9) > count(0.02) == count(0.02, 0.5) > count(0.02, 0.05)


@pytest.mark.slow
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
from detector.inference import fast, openvino_backend
openvino_backend.has_bfloat16 = lambda: True
fast.time_share = lambda *networks: 0.5
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
    with pytest.raises(
        UserError, match=r"--formats int8.*not installed: pip install 'faces\[fast\]'"
    ):
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


# -- never slower than normal


@pytest.mark.parametrize(
    ("bfloat16", "share", "speed", "told"),
    [
        (True, 0.6, "fast", "bfloat16 takes 0.60 of the time of normal"),
        (True, 0.97, "normal", "bfloat16 takes 0.97 of the time"),
        (True, 3.7, "normal", "bfloat16 takes 3.70 of the time"),
        (False, 0.6, "normal", "does not compute in bfloat16"),
    ],
)
@needs_openvino
def test_what_is_no_gain_runs_as_normal_and_is_told(
    small_export: SmallExport,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    bfloat16: bool,
    share: float,
    speed: str,
    told: str,
) -> None:
    monkeypatch.setattr(openvino_backend, "has_bfloat16", lambda: bfloat16)
    monkeypatch.setattr(fast_module, "time_share", lambda *networks: share)
    with caplog.at_level("INFO"):
        detector = load_detector(small_export.onnx, speed="fast", threads=1)
    assert detector.speed == speed
    assert isinstance(detector.network, OpenVinoNetwork if speed == "fast" else OnnxNetwork)
    assert told in caplog.text
    assert ("it is normal that runs" in caplog.text) == (speed == "normal")


def test_a_file_that_openvino_cannot_run_runs_as_normal(
    fast: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(self: Any, *arguments: Any) -> None:
        raise RuntimeError("first\nno kernel for Pooling")

    monkeypatch.setattr(openvino_backend.import_openvino().Core, "compile_model", broken)
    assert fast().speed == "normal"
    assert "no kernel for Pooling" in caplog.text


MEASURED = """
import sys, time
from detector import load_detector
from detector.inference import openvino_backend
real = openvino_backend.OpenVinoNetwork.__call__
def slowed(self, batch):
    time.sleep(0.5)
    return real(self, batch)
openvino_backend.OpenVinoNetwork.__call__ = slowed
print(load_detector(sys.argv[1], speed="fast", threads=1).speed)
"""


@needs_openvino
def test_it_is_really_measured(small_export: SmallExport) -> None:
    output = subprocess.check_output(
        [sys.executable, "-c", MEASURED, str(small_export.onnx)], cwd=ROOT, text=True
    )
    assert output == "normal\n"


class Sleeper:
    """A network that takes so many seconds, and once as much again for a new size."""

    def __init__(self, seconds: float, lanes: int = 1) -> None:
        self.seconds, self.lanes, self.warm = seconds, lanes, False

    def __call__(self, batch: np.ndarray) -> list[Any]:
        time.sleep(self.seconds * (1 if self.warm else 10))
        self.warm = True
        return []


def test_the_measured_share_leaves_the_first_look_out() -> None:
    pixels = np.zeros((32, 32, 3), np.uint8)
    assert 0.4 < time_share(Sleeper(0.02), Sleeper(0.04), pixels) < 0.7
    assert 1.5 < time_share(Sleeper(0.04), Sleeper(0.02), pixels) < 2.5


def test_pictures_done_side_by_side_count_as_well() -> None:
    """Four at once at normal speed: then 0.6 of the time for one by one is slower."""
    pixels = np.zeros((32, 32, 3), np.uint8)
    assert 2.0 < time_share(Sleeper(0.03), Sleeper(0.05, lanes=4), pixels) < 2.8
    # The same with a network that does four at once, too: int8.
    assert 0.4 < time_share(Sleeper(0.03, lanes=4), Sleeper(0.05, lanes=4), pixels) < 0.8
