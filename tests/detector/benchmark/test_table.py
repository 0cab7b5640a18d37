"""Results as Markdown, JSON and a scatter plot."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from detector.benchmark.contestants import Contestant
from detector.benchmark.table import (
    Result,
    Setup,
    draw_scatter,
    machine,
    markdown,
    ratios,
    spread,
    to_json,
)
from detector.benchmark.timing import ContestantFailed, Timing

MB = 2**20
AP = {"easy": 0.81, "medium": 0.7, "hard": None}


def timing(*milliseconds: float) -> Timing:
    return Timing(tuple(t / 1000 for t in milliseconds), 30 * MB, 130 * MB)


OURS = Result(
    Contestant("ours", "model.onnx", "ONNX Runtime", Path("model.onnx")),
    timing(100, 200, 300), AP, 2_670_000, 10_700_000,
)  # fmt: skip
RESULTS = [
    OURS,
    Result(Contestant("mtcnn", "MTCNN", "PyTorch", note="its own settings"), timing(300, 200, 600)),
    Result(
        Contestant("reference", "reference", "PyTorch", trained=False), timing(1000, 2000, 3000),
        parameters=82_400_000,
    ),
    Result(
        Contestant("backbone", "the backbone", "ONNX Runtime", trained=False), timing(50, 100, 200)
    ),
    Result(
        Contestant("yunet", "YuNet", "ONNX Runtime", Path("y.onnx")),
        ContestantFailed("its process ended with exit code -9"),
    ),
]  # fmt: skip
SETUP = Setup(3, 640, 1, 1, 0.5, 0.04, {"processor": "A processor", "processors": "2",
              "date": "2026-11-22T10:00:00+00:00"}, ap_images=250)  # fmt: skip


def rows(text: str) -> dict[str, list[str]]:
    """The cells of the table by the first one."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert len({len(row) for row in cells}) == 1, "every row has the same cells"
    return {row[0]: row[1:] for row in cells}


def test_the_table_has_what_was_measured():
    table = rows(markdown(RESULTS, SETUP))
    assert table["**model.onnx**"] == [
        "ONNX Runtime", "200.0 (120.0-280.0)", "1.00 (1.00-1.00)", "130 (100 its own)", "2.67 M",
        "10.7", "0.810", "0.700", "-",
    ]  # fmt: skip
    # Ratios are of the same image: 3, 1 and 2, whose median is not that of the times.
    assert table["MTCNN"][2] == "2.00 (1.20-2.80)"
    assert table["reference"][4:] == ["82.4 M", "-", "not trained", "-", "-"]
    assert table["the backbone"][6] == "no boxes"
    assert table["YuNet"][1:4] == ["failed", "-", "-"]


def test_conditions_and_failures_are_in_words():
    text = markdown(RESULTS, SETUP)
    assert "3 images, longest side shrunk to 640 pixels for everyone, 1 thread." in text
    assert "A processor, 2 processors, 4% busy before; 2026-11-22" in text
    assert "IoU 0.5 with +1 pixel" in text
    assert "250 images" in text
    assert "`model.onnx` takes 2.00 (1.60-2.00) times as long as the backbone alone." in text
    assert "- MTCNN: its own settings." in text
    assert "- YuNet failed: its process ended with exit code -9" in text
    many = Setup(3, 0, 2, 5, 0.5, 0.0, SETUP.machine)
    text = markdown(RESULTS, many)
    assert "of their own size for everyone, 2 threads." in text
    assert "the median of 5 looks" in text
    assert "AP:" not in text


@pytest.mark.parametrize(
    ("arithmetic", "runtime"),
    [
        ("int8", "ONNX Runtime, int8"),
        ("bfloat16", "OpenVINO, bfloat16"),
        ("float32", "ONNX Runtime"),  # where neither is a gain
    ],
)
def test_the_table_says_what_fast_was(arithmetic, runtime):
    fast = Contestant("ours", "model.onnx, fast", "the fastest here", speed="fast")
    result = Result(fast, replace(timing(100, 200, 300), arithmetic=arithmetic))
    text = markdown([OURS, result], SETUP)
    assert rows(text)["**model.onnx, fast**"][0] == runtime
    assert ("so it ran as normal" in text) == (arithmetic == "float32")
    assert to_json([OURS, result], SETUP)["contestants"][1]["runtime"] == runtime


def test_a_table_whose_first_contestant_failed():
    table = rows(markdown([RESULTS[4], OURS], SETUP))
    assert table["**model.onnx**"][1:3] == ["200.0 (120.0-280.0)", "-"]


def test_an_ap_that_failed_is_not_an_ap():
    result = Result(OURS.contestant, OURS.timing, ContestantFailed("no answer within 600 s"))
    text = markdown([result], SETUP)
    assert rows(text)["**model.onnx**"][6:] == ["failed", "-", "-"]
    assert "- model.onnx failed: no answer within 600 s" in text
    assert result.failures == ["no answer within 600 s"]


def test_spread_and_ratios():
    assert spread(np.arange(11.0)) == (5.0, 1.0, 9.0)
    assert ratios(RESULTS[2], OURS) == pytest.approx((10, 10, 10))
    assert ratios(RESULTS[4], OURS) is None


def test_the_json_has_every_image():
    found = json.loads(json.dumps(to_json(RESULTS, SETUP), allow_nan=False))
    ours, mtcnn, *_, failed = found["contestants"]
    assert ours["seconds"] == [0.1, 0.2, 0.3]
    assert ours["median_s"] == pytest.approx(0.2)
    assert (ours["path"], ours["ap"]) == ("model.onnx", AP)
    assert mtcnn["ratio_to_first"] == pytest.approx(2.0)
    assert failed["failures"] == ["its process ended with exit code -9"]
    assert "seconds" not in failed
    assert found["setup"]["threads"] == 1


def test_the_machine_is_described():
    found = machine()
    assert found["processor"]
    assert int(found["processors"]) >= 1
    assert {"python", "onnxruntime", "torch", "date", "system", "memory"} <= set(found)


@pytest.mark.slow
def test_the_scatter_is_drawn_when_there_is_an_ap(tmp_path):
    path = tmp_path / "scatter.png"
    assert draw_scatter(path, RESULTS, SETUP)
    assert Image.open(path).size == (1320, 600)
    colored = np.asarray(Image.open(path).convert("RGB")).std(axis=2) > 20
    assert colored.mean() > 0.001


@pytest.mark.parametrize("results", [RESULTS[1:], []])
def test_without_an_ap_there_is_no_scatter(results, tmp_path):
    assert not draw_scatter(tmp_path / "scatter.png", results, SETUP)
    assert not list(tmp_path.iterdir())
