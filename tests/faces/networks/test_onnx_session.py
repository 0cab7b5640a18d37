"""Which provider a session runs on, files that are none, and runs from several threads."""

from __future__ import annotations

import copy
import os
import pickle
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from faces.errors import UserError
from faces.networks.onnx_session import (
    CPU,
    CUDA,
    MOST_LANES,
    SharedSession,
    onnxruntime,
    open_session,
    pick_providers,
)

ROOT = Path(__file__).parents[3]


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


@pytest.fixture
def network(tmp_path: Path) -> Path:
    """A small real network."""
    import onnx
    from onnx import helper

    value = [helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, [1]) for n in "xy"]
    graph = helper.make_graph([helper.make_node("Abs", ["x"], ["y"])], "g", value[:1], value[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.save(model, tmp_path / "abs.onnx")
    return tmp_path / "abs.onnx"


class Gpu:
    """In place of ``onnxruntime.InferenceSession``: a wheel with CUDA, with and without a GPU.

    Args:
        broken: CUDA's libraries cannot be loaded, which ONNX Runtime passes over.
        devices: how many there are; another number raises.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, broken: bool, devices: int) -> None:
        self.broken, self.devices, self.opened = broken, devices, 0
        self.real = onnxruntime.InferenceSession
        monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA, CPU])
        monkeypatch.setattr(onnxruntime, "InferenceSession", self.open)

    def open(self, model: Any, options: Any, providers: list[Any], enable_fallback: int) -> Any:
        assert not enable_fallback, "else another device is taken, and stdout written to"
        self.opened += 1
        session = self.real(model, options, providers=[CPU])
        named = dict(one if isinstance(one, tuple) else (one, {}) for one in providers)
        if CUDA in named and not self.broken:
            number = named[CUDA].get("device_id", 0)
            if number >= self.devices:
                raise RuntimeError("CUDA failure 101: invalid device ordinal\nmore")
            there = {CUDA: {"device_id": str(number)}, CPU: {}}
            session.get_providers = lambda: [*there]
            session.get_provider_options = lambda: there
        return session


def test_a_gpu_that_was_asked_for_is_used(
    network: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    Gpu(monkeypatch, broken=False, devices=2)
    for device in ("cuda", "cuda:1", "auto"):
        assert open_session(network, device).get_providers() == [CUDA, CPU]
    assert open_session(network, "cpu", [CUDA]).get_providers() == [CUDA, CPU]
    assert not caplog.text


@pytest.mark.parametrize(
    ("device", "providers", "broken", "devices", "told"),
    [
        ("cuda", None, True, 1, "device=cuda: .*the session runs without CUDAExecutionProvider"),
        ("cuda:2", None, False, 2, "device=cuda:2: .*invalid device ordinal"),
        ("cuda", None, False, 0, "device=cuda: .*invalid device ordinal"),
        ("auto", [CUDA, CPU], True, 1, "providers CUDAExecutionProvider, .*runs without CUDA"),
    ],
)
def test_a_gpu_that_cannot_be_used_is_refused(
    network: Path, monkeypatch: pytest.MonkeyPatch, device: str, providers: Any, broken: bool,
    devices: int, told: str,
) -> None:  # fmt: skip
    Gpu(monkeypatch, broken, devices)
    with pytest.raises(UserError, match=told) as caught:
        open_session(network, device, providers)
    assert "more" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("broken", "devices"), [(True, 1), (False, 0)])
def test_auto_takes_the_cpu_and_says_so(
    network: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
    broken: bool, devices: int,
) -> None:  # fmt: skip
    Gpu(monkeypatch, broken, devices)
    assert open_session(network).get_providers() == [CPU]
    assert "cannot use the GPU, so it takes the CPU" in caplog.text


def test_a_damaged_file_is_not_blamed_on_the_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Gpu(monkeypatch, broken=False, devices=1)
    path = tmp_path / "half.onnx"
    path.write_bytes(b"\x08\x07not a network")
    with pytest.raises(UserError, match=r"half\.onnx is damaged"):
        open_session(path, "cuda")


def test_onnx_runtime_reports_to_nobody(network: Path, tmp_path: Path) -> None:
    """Its wheels leave an identity and a database in the home folder, and send what is in it."""
    home = tmp_path / "home"
    home.mkdir()
    quiet = {"ORT_DISABLE_TELEMETRY", "ORT_TELEMETRY_DISABLED", "CI", "XDG_CACHE_HOME"}
    environment = {key: value for key, value in os.environ.items() if key not in quiet}
    code = f"from faces.networks.onnx_session import *; open_session(Path({str(network)!r}))"
    subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, check=True,
        env={**environment, "HOME": str(home), "USERPROFILE": str(home)},
    )  # fmt: skip
    assert list(home.rglob("*")) == []


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


def test_an_open_network_says_how_another_process_gets_one() -> None:
    session = SharedSession(FakeSession)  # type: ignore[arg-type]
    for send in (pickle.dumps, copy.deepcopy):
        with pytest.raises(TypeError, match="have each process open its own"):
            send([session])
