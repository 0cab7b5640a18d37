from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from recognizer.embedders import export
from recognizer.embedders.checkpoint import save_checkpoint
from recognizer.embedders.export import export_embedder, open_network, parity
from recognizer.embedders.load import load_embedder
from scripts.main import main
from tests.recognizer.embedders.test_mini import RECIPE, TINY, faces, tiny


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("mini") / "tiny.pt"
    save_checkpoint(path, TINY, RECIPE, tiny().state_dict(), half=True)
    return path


@pytest.fixture(scope="module")
def exported(checkpoint: Path) -> Path:
    path = checkpoint.with_suffix(".onnx")
    assert main(["export-embedder", str(checkpoint), "--out", str(path)]) == 0
    return path


def test_the_file_gives_what_the_checkpoint_gives(checkpoint: Path, exported: Path) -> None:
    from_torch, from_onnx = load_embedder(checkpoint), load_embedder(exported, threads=1)
    assert from_onnx.fingerprint == from_torch.fingerprint
    assert (from_onnx.size, from_onnx.dimension) == (32, 8)
    assert from_onnx.recipe == RECIPE
    for count in (1, 2, 7):
        some = faces(count).numpy()
        np.testing.assert_allclose(from_onnx.embed(some), from_torch.embed(some), atol=1e-5)


def test_weights_are_stored_in_half_precision(exported: Path) -> None:
    proto = onnx.load(exported)
    large = [t for t in proto.graph.initializer if np.prod(t.dims) >= 64]
    assert large
    assert {t.data_type for t in large} == {onnx.TensorProto.FLOAT16}
    assert str(Path.cwd()).encode() not in exported.read_bytes()  # nothing of this machine


def test_parity_sees_other_weights(checkpoint: Path, exported: Path) -> None:
    data = exported.read_bytes()
    assert parity(open_network(checkpoint).module, data, 32) < 1e-5
    assert parity(tiny(seed=1), data, 32) > 0.05


@pytest.mark.parametrize(
    ("difference", "written"),
    [((1e-6, 0.0), b"half"), ((2e-4, 1e-6), b"full"), ((2e-4, 2e-4), None)],
)
def test_half_precision_if_that_is_enough_else_full_else_nothing(
    checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    difference: tuple[float, float],
    written: bytes | None,
) -> None:
    def fake_export(*_: object, half: bool) -> bytes:
        return b"half" if half else b"full"

    def fake_parity(_: object, data: bytes, size: int) -> float:
        return difference[data == b"full"]

    monkeypatch.setattr(export, "export_onnx", fake_export)
    monkeypatch.setattr(export, "parity", fake_parity)
    path = tmp_path / "a.onnx"
    if written is None:
        with pytest.raises(RuntimeError, match=r"is not written: its vectors differ by 2\.0e-04"):
            export_embedder(open_network(checkpoint), path)
        assert list(tmp_path.iterdir()) == []
    else:
        export_embedder(open_network(checkpoint), path)
        assert path.read_bytes() == written


def test_refusals(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export-embedder", str(tmp_path / "none.pt")]) == 2
    assert "there is no embedder" in capsys.readouterr().err
    weights = ["--embedder-weights", str(checkpoint)]
    assert main(["export-embedder", str(checkpoint), *weights]) == 2
    assert "are for the embedder inception" in capsys.readouterr().err
    assert main(["export-embedder", "inception", *weights, "--out", str(tmp_path / "a.onnx")]) == 2
    assert "is no state dict of InceptionResnetV1" in capsys.readouterr().err
    assert main(["export-embedder", str(checkpoint), "--out", str(tmp_path)]) == 2
    assert f"{tmp_path} is a folder: name the file" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
