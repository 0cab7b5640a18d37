"""Speed "fast": which of the ways to run a file is taken."""

from __future__ import annotations

import shutil
from pathlib import Path

import onnx
import pytest

from detector import load_detector
from detector.data.portraits import portraits
from detector.inference import fast, openvino_backend
from detector.shipped import FOLDER, INT8, NETWORK
from faces.errors import UserError
from faces.files import file_digest
from tests.small_export import SmallExport


class Fake:
    """In place of OpenVINO's network."""


@pytest.fixture
def pair(small_export: SmallExport, tmp_path: Path) -> Path:
    """An ONNX file, and beside it one that says it is the same in int8."""
    path = Path(shutil.copy(small_export.onnx, tmp_path / "a.b.onnx"))
    proto = onnx.load(path)
    proto.metadata_props.add(key="int8_of", value=file_digest(path))
    onnx.save(proto, tmp_path / "a.b.int8.onnx")
    return path


def choose(monkeypatch: pytest.MonkeyPatch, path: Path, int8: float, bfloat16: float | None) -> str:
    """What is taken where they take these shares of the time of normal."""
    monkeypatch.setattr(openvino_backend, "has_bfloat16", lambda: bfloat16 is not None)
    monkeypatch.setattr(openvino_backend, "open_openvino", lambda *a: None)
    monkeypatch.setattr(openvino_backend, "OpenVinoNetwork", lambda *a: Fake())
    monkeypatch.setattr(
        fast, "time_share", lambda network, *a: bfloat16 if isinstance(network, Fake) else int8
    )
    detector = load_detector(path, speed="fast", threads=1)
    assert detector.speed == ("normal" if detector.arithmetic == "float32" else "fast")
    assert isinstance(detector.network, Fake) == (detector.arithmetic == "bfloat16")
    return detector.arithmetic


@pytest.mark.parametrize(
    ("int8", "bfloat16", "taken"),
    [
        (0.6, None, "int8"),  # VNNI alone
        (0.6, 0.95, "int8"),  # bfloat16 without AMX
        (0.6, 0.5, "bfloat16"),
        (1.1, 0.5, "bfloat16"),
        (1.1, 3.0, "float32"),
        (0.91, None, "float32"),
    ],
)
def test_the_fastest_is_taken_and_never_a_slower_one(
    monkeypatch: pytest.MonkeyPatch, pair: Path, caplog: pytest.LogCaptureFixture,
    int8: float, bfloat16: float | None, taken: str,
) -> None:  # fmt: skip
    assert choose(monkeypatch, pair, int8, bfloat16) == taken
    assert ("it is normal that runs" in caplog.text) == (taken == "float32")


def test_an_int8_file_of_another_is_not_taken(
    monkeypatch: pytest.MonkeyPatch, pair: Path, caplog: pytest.LogCaptureFixture
) -> None:
    proto = onnx.load(pair)
    proto.producer_version += " trained on"
    onnx.save(proto, pair)
    assert choose(monkeypatch, pair, 0.5, None) == "float32"
    assert "a.b.int8.onnx was made of another a.b.onnx: export both again" in caplog.text


def test_a_damaged_int8_file_is_named(monkeypatch: pytest.MonkeyPatch, pair: Path) -> None:
    small = pair.with_suffix(INT8)
    small.write_bytes(small.read_bytes()[:5000])
    with pytest.raises(UserError, match=r"a\.b\.int8\.onnx is damaged"):
        choose(monkeypatch, pair, 0.5, None)


@pytest.mark.slow
def test_the_shipped_int8_file_belongs_to_the_shipped_one_and_finds_its_faces(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert choose(monkeypatch, FOLDER / NETWORK, 0.6, None) == "int8"
    quick = load_detector(speed="fast", threads=1)
    normal = load_detector(threads=1)
    for image in portraits().values():
        a, b = (detector.detect(image).above(0.8) for detector in (normal, quick))
        assert len(a) == len(b) > 0
        assert abs(a.xyxy - b.xyxy).max() < 4
