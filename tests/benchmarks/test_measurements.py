"""What `faces benchmark` does not measure, and benchmarks/ does: soak, cold start, batches."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from benchmarks import batch, cameras, cold_start, soak
from faces.errors import UserError
from tests.detector.benchmark.fakes import write_our_checkpoint, write_our_onnx


@pytest.fixture
def model(tmp_path):
    return write_our_onnx(tmp_path / "model.onnx")


def test_soak_prints_memory_over_time(model, capsys):
    # The limits are wide: here it is the memory of all tests so far.
    flags = ["--count", "40", "--warm-up", "20", "--flat", "0.5", "--limit", "20000"]
    assert soak.main([str(model), *flags]) == 0
    out = capsys.readouterr().out
    assert out.count("\n| ") == 20
    assert "| 40 |" in out
    assert "flat: " in out
    assert "NOT" not in out


def test_soak_says_when_memory_is_too_large(model, capsys):
    flags = [str(model), "--count", "4", "--warm-up", "2", "--limit", "10"]
    assert soak.main(flags) == 1
    assert "NOT under 10" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("resident", "peak", "fine", "words"),
    [
        ([900, 100, 105, 110], 500, True, ["flat: 100-110 MB (+-4.8%"]),
        ([900, 100, 105, 112], 500, False, ["NOT flat: 100-112 MB (+-5.7%"]),
        ([900, 100, 100, 100], 600, False, ["flat: ", "NOT under 600"]),
    ],
)
def test_verdicts_of_the_soak(resident, peak, fine, words):
    found, line = soak.verdict(np.array(resident, float), peak, 1, 0.05, 600)
    assert found is fine
    assert all(word in line for word in words)


def test_the_soaks_images_have_all_sizes():
    pictures = [np.zeros((10, 10, 3), np.uint8)]
    shapes = [image.shape for image in soak.random_images(pictures, 50)]
    assert len(set(shapes)) > 45
    assert shapes == [image.shape for image in soak.random_images(pictures, 50)]
    sides = np.array(shapes)[:, :2]
    assert sides.min() >= soak.SIDES[0]
    assert sides.max() <= soak.SIDES[1]


def test_a_cold_start_runs_the_command_and_looks_for_torch(model, capsys):
    assert cold_start.main([str(model), "--runs", "1", "--limit", "60"]) == 0
    out = capsys.readouterr().out
    assert "1 runs: median " in out
    assert "torch is not imported" in out


def test_a_cold_start_that_is_too_slow(model, capsys):
    assert cold_start.main([str(model), "--runs", "1", "--limit", "0.01"]) == 1
    assert "NOT under 0.01 s" in capsys.readouterr().out


def test_a_cold_start_that_fails_is_no_time(tmp_path):
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"\x08 nothing")
    with pytest.raises(RuntimeError, match="damaged"):
        cold_start.main([str(broken), "--runs", "1"])


def test_batches_on_two_threads(model, capsys, monkeypatch):
    monkeypatch.setattr(batch, "PAUSE", 0.0)
    flags = [str(model), "--batch", "2", "--rounds", "2", "--size", "64", "48"]
    assert batch.main([*flags, "--least", "0.001"]) == 0
    out = capsys.readouterr().out
    assert "| one thread |" in out
    assert "| 2 threads of ONNX Runtime |" in out
    assert "| 2 Python threads, an image each |" in out
    assert batch.main([*flags, "--least", "100"]) == 1
    assert "BELOW 100" in capsys.readouterr().out


def test_the_ratio_of_batches_is_that_of_their_times(capsys, monkeypatch):
    # The first round is not timed; of the others the first way takes 4 s, the second 2 s.
    clock = iter(np.cumsum([0, 0, *[0, 4, 0, 2] * 3]).tolist())
    monkeypatch.setattr(batch.time, "perf_counter", lambda: next(clock))
    monkeypatch.setattr(batch, "PAUSE", 0.0)
    ways = {"one thread": len, "two": len}
    assert batch.contest(ways, [np.zeros(1)] * 8, 3) == pytest.approx(2.0)
    out = capsys.readouterr().out
    assert "| one thread | 2.00 (2.00-2.00) | 1.00 |" in out
    assert "| two | 4.00 (4.00-4.00) | 2.00 |" in out


def test_batches_need_an_onnx_file(tmp_path):
    with pytest.raises(UserError, match="give an ONNX file"):
        batch.main([str(write_our_checkpoint(tmp_path / "best.pt"))])


def test_the_command_is_the_installed_one(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    paths = [tmp_path / name for name in ("m.onnx", "i.jpg", "out")]
    assert cold_start.command(*paths)[1:4] == ["-m", "scripts.main", "detect"]
    (tmp_path / "faces").write_text("", encoding="utf-8")
    assert cold_start.command(*paths)[:2] == [str(tmp_path / "faces"), "detect"]


def test_the_longest_pause_between_two_looks_counts_the_ends():
    assert cameras.longest_pause([1.0, 1.5, 4.0], 5.0) == 2.5
    assert cameras.longest_pause([], 5.0) == 5.0
    assert cameras.longest_pause([0.5], 5.0) == 4.5
