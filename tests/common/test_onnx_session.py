"""Which provider a session runs on, and files that are none."""

from __future__ import annotations

from pathlib import Path

import onnxruntime
import pytest

from common.errors import UserError
from common.onnx_session import CPU, CUDA, open_session, pick_providers


def test_the_device_chooses_the_provider(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CPU])
    assert pick_providers("auto", None) == pick_providers("cpu", None) == [CPU]
    with pytest.raises(UserError, match="onnxruntime-gpu"):
        pick_providers("cuda", None)
    with pytest.raises(UserError, match="for an ONNX file take"):
        pick_providers("mps", None)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA, CPU])
    assert pick_providers("auto", None) == [CUDA, CPU]
    assert pick_providers("cpu", None) == [CPU]
    assert pick_providers("cuda:1", None) == [(CUDA, {"device_id": 1}), CPU]
    assert pick_providers("cpu", [CUDA]) == [CUDA]
    with pytest.raises(UserError, match=f"only {CUDA}, {CPU}"):
        pick_providers("auto", ["TPU"])


def test_a_file_that_is_no_network_is_named(tmp_path: Path) -> None:
    path = tmp_path / "half.onnx"
    path.write_bytes(b"\x08\x07not a network")
    with pytest.raises(UserError, match=r"half\.onnx is damaged, cut short or no ONNX file"):
        open_session(path)
