"""OpenVINO's own files: what the ONNX file gives, published as every other format."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

import numpy as np
import pytest

from detector import load_detector
from detector.export import publish
from detector.export.parity import draw_crowd
from detector.export.publish import ParityError, export_checkpoint
from detector.inference.load import file_kind
from faces.errors import UserError
from tests.small_export import SmallExport

# Looked for, not imported: `import openvino` calls home unless `import_openvino` does it.
pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("openvino") is None, reason="needs: pip install 'faces[fast]'"
)


@pytest.fixture
def ir(small_export: SmallExport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """As `faces export --formats openvino` writes it, without making the ONNX file once more."""
    content = small_export.onnx.read_bytes()
    monkeypatch.setattr(publish, "serialize", lambda *arguments: content)
    (exported,) = export_checkpoint(small_export.checkpoint, tmp_path / "out", ["openvino"])
    assert all(outcome.passed for outcome in exported.outcomes)
    return exported.path


def test_it_is_published_in_two_files_and_finds_what_the_onnx_file_finds(
    small_export: SmallExport, ir: Path
) -> None:
    names = sorted(path.name for path in ir.parent.iterdir())
    assert names == ["small.bin", "small.xml", "small.xml.parity.json"]
    assert file_kind(ir) == "openvino"
    photo = draw_crowd(300, 411, 30, np.random.default_rng(4))
    ours = load_detector(ir, score_threshold=0.1, threads=1)
    theirs = load_detector(small_export.onnx, score_threshold=0.1, threads=1)
    assert ours.artifact is not None
    assert theirs.artifact is not None
    for name in ("config", "classes", "pictures", "score_threshold", "nms_threshold"):
        assert getattr(ours.artifact, name) == getattr(theirs.artifact, name)
    found, expected = ours.detect(photo), theirs.detect(photo)
    assert len(found) == len(expected) > 5
    np.testing.assert_allclose(found.xyxy, expected.xyxy, atol=0.01)
    np.testing.assert_allclose(found.score, expected.score, atol=1e-4)


def test_one_that_differs_is_not_published(
    small_export: SmallExport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import onnx

    model = onnx.load(small_export.onnx)
    for value in model.graph.initializer:
        if value.name.endswith("bias"):
            spoiled = onnx.numpy_helper.to_array(value) + np.float32(0.05)
            value.CopyFrom(onnx.numpy_helper.from_array(spoiled.astype(np.float32), value.name))
    monkeypatch.setattr(publish, "serialize", lambda *arguments: model.SerializeToString())
    with pytest.raises(ParityError, match=r"small\.xml was not written"):
        export_checkpoint(small_export.checkpoint, tmp_path / "out", ["openvino"])
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["small.xml.parity.json"]


def test_what_cannot_be_run_is_named(ir: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"small\.xml runs on the CPU"):
        load_detector(ir, device="cuda")
    alone = tmp_path / "alone.xml"
    shutil.copy(ir, alone)
    with pytest.raises(UserError, match=r"alone\.xml is one file of two: put alone\.bin beside it"):
        load_detector(alone)
    shutil.copy(ir.with_suffix(".bin"), alone.with_suffix(".bin"))
    alone.write_text(ir.read_text().replace('"faces-detector-export"', '"else"'))
    with pytest.raises(UserError, match=r"alone\.xml was not made by this program"):
        load_detector(alone)
    alone.write_bytes(ir.read_bytes()[:5000])
    with pytest.raises(UserError, match=r"alone\.xml is damaged: export the checkpoint again"):
        load_detector(alone)
    shutil.copy(ir, alone)
    alone.with_suffix(".bin").write_bytes(b"")
    with pytest.raises(UserError, match=r"alone\.xml is damaged: export the checkpoint again"):
        load_detector(alone)
