"""Running ONNX: what happens to the outputs, and memory."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from detector.inference.load import load_detector
from detector.inference.metadata import per_image
from tests.small_export import SmallExport

ROOT = Path(__file__).parents[3]


def test_outputs_are_split_by_image() -> None:
    boxes = np.arange(20, dtype=np.float32).reshape(5, 4)
    scores = np.array([0.9, 0.8, 0.7, 0.9, 0.1], np.float32)
    parts = per_image(4, np.array([0, 0, 2, 2, 2]), boxes, scores)
    assert [len(part[0]) for part in parts] == [2, 0, 3, 0]
    np.testing.assert_array_equal(parts[2][0], boxes[2:])
    np.testing.assert_array_equal(parts[2][1], scores[2:])
    nothing = per_image(2, np.zeros(0, np.int64), boxes[:0], scores[:0])
    assert [part[0].shape for part in nothing] == [(0, 4), (0, 4)]


def test_runs_beside_each_other_find_the_same_whatever_became_of_the_file(
    small_export: SmallExport, tmp_path: Path
) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(small_export.onnx.read_bytes())
    detector = load_detector(path, threads=2, score_threshold=0.1)
    assert detector.lanes == 2
    random = np.random.default_rng(0)
    images = [random.integers(0, 256, (160, 128 + 32 * i, 3), np.uint8) for i in range(8)]
    alone = [detector.detect(image) for image in images]
    path.write_bytes(b"another model, exported meanwhile")
    with ThreadPoolExecutor(2) as pool:
        beside = list(pool.map(detector.detect, images))
    assert sum(map(len, alone)) > 0
    for a, b in zip(alone, beside, strict=True):
        np.testing.assert_allclose(b.xyxy, a.xyxy, atol=1e-3)
        np.testing.assert_allclose(b.score, a.score, atol=1e-5)


SOAK = """
import sys, numpy as np, psutil
from detector import load_detector
detector = load_detector(sys.argv[1], threads=1, score_threshold=0.3)
random = np.random.default_rng(0)
process = psutil.Process()
for i in range(int(sys.argv[2])):
    height, width = random.integers(100, 481, 2)
    detector.detect(random.integers(0, 256, (height, width, 3), np.uint8))
    if i % 8 == 7:
        print(process.memory_info().rss >> 20, flush=True)
"""


@pytest.mark.slow
def test_memory_is_flat_over_many_sizes(small_export: SmallExport) -> None:
    output = subprocess.check_output(
        [sys.executable, "-c", SOAK, str(small_export.onnx), "240"], cwd=ROOT, text=True
    )
    memory = [int(line) for line in output.split()]
    early, late = max(memory[5:15]), max(memory[-10:])
    assert late <= 1.05 * early, memory
    assert late < 600, memory
