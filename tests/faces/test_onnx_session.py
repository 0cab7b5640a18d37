"""Which provider a session runs on, files that are none, and runs from several threads."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import onnxruntime
import pytest

from faces.errors import UserError
from faces.onnx_session import CPU, CUDA, MOST_LANES, SharedSession, open_session, pick_providers


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


class FakeSession:
    """Notes the runs by the threads of the session they had; each waits for ``go``."""

    def __init__(self, threads: int | None, provider: str = CPU) -> None:
        self.threads, self.provider = threads, provider
        self.begun, self.go = threading.Semaphore(0), threading.Event()

    def get_providers(self) -> list[str]:
        return [self.provider]

    def run(self, outputs: Any, feed: Any) -> list[Any]:
        self.begun.release()
        assert self.go.wait(20)
        if feed:
            raise ValueError("wrong feed")
        return [self.threads]


def test_a_run_beside_another_takes_one_thread() -> None:
    opened: list[FakeSession] = []

    def open_with(threads: int | None) -> Any:
        opened.append(FakeSession(threads))
        return opened[-1]

    session = SharedSession(open_with, 3)
    assert session.lanes == 3
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(session.run, None, {})
        assert opened[0].begun.acquire(timeout=20)
        assert len(opened) == 1, "the second is opened when it is needed"
        others = [pool.submit(session.run, None, {"a": 1}), pool.submit(session.run, None, {})]
        for _ in others:
            while len(opened) < 2:
                pass
            assert opened[1].begun.acquire(timeout=20)
        for one in opened:
            one.go.set()
        assert first.result() == [3]
        assert others[1].result() == [1]
        with pytest.raises(ValueError, match="wrong feed"):
            others[0].result()
    assert session.run(None, {}) == [3], "alone again, after one that failed, too"
    assert len(opened) == 2


def test_how_many_lanes_a_session_has() -> None:
    def lanes(threads: int | None, provider: str = CPU) -> int:
        return SharedSession(lambda n: FakeSession(n, provider), threads).lanes  # type: ignore[arg-type,return-value]

    assert [lanes(1), lanes(4), lanes(99)] == [1, 4, MOST_LANES]
    assert lanes(None) == min(MOST_LANES, os.cpu_count() or 1)
    assert lanes(4, CUDA) == 1
