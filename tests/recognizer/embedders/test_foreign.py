"""Somebody else's ONNX file becomes an embedder that gives its vectors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from faces.errors import UserError
from recognizer.embedders.embedder import open_onnx_embedder
from recognizer.embedders.load import load_embedder
from recognizer.types import unit
from scripts.main import main

MEAN, STD = (120.0, 110.0, 100.0), (60.0, 50.0, 40.0)
SIDE = 8


def network(
    path: Path, batch: int | str = "N", kind: int = TensorProto.FLOAT, shape: object = None
) -> Path:
    """The mean of each quarter and channel of (N, 3, 8, 8), times a matrix: vectors (N, 5)."""
    dtype = helper.tensor_dtype_to_np_dtype(kind)
    matrix = np.random.default_rng(1).normal(size=(12, 5)).astype(dtype)
    nodes = [
        helper.make_node("AveragePool", ["data"], ["pooled"], kernel_shape=[4, 4], strides=[4, 4]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("MatMul", ["flat", "matrix"], ["vectors"]),
    ]
    graph = helper.make_graph(
        nodes, "theirs",
        [helper.make_tensor_value_info("data", kind, shape or [batch, 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("vectors", kind, [batch, 5])],
        [numpy_helper.from_array(matrix, "matrix")],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)
    return path


def expected(faces: np.ndarray, *, bgr: bool = False) -> np.ndarray:
    """The vectors, in NumPy alone."""
    pixels = (faces - np.array(MEAN)) / STD
    pixels = (pixels[..., ::-1] if bgr else pixels).transpose(0, 3, 1, 2)
    quarters = pixels.reshape(len(faces), 3, 2, 4, 2, 4).mean(axis=(3, 5))
    return unit(quarters.reshape(len(faces), 12) @ np.random.default_rng(1).normal(size=(12, 5)))


def adopt(path: Path, *flags: str) -> Path:
    out = path.with_name("ours.onnx")
    numbers = ["--mean", *map(str, MEAN), "--std", *map(str, STD)]
    assert main(["export-embedder", str(path), *numbers, *flags, "--out", str(out)]) == 0
    return out


@pytest.mark.parametrize("bgr", [False, True])
@pytest.mark.parametrize("batch", ["N", 1, 4])
def test_its_vectors_stay(tmp_path: Path, batch: int | str, bgr: bool) -> None:
    path = adopt(network(tmp_path / "theirs.onnx", batch), *(["--bgr"] if bgr else []))
    embedder = load_embedder(path)
    assert (embedder.size, embedder.dimension) == (SIDE, 5)
    faces = np.random.default_rng(0).integers(0, 256, (7, SIDE, SIDE, 3), np.uint8)
    np.testing.assert_allclose(embedder.embed(faces), expected(faces, bgr=bgr), atol=1e-5)
    assert embedder.embed(faces[:0]).shape == (0, 5)


def test_half_precision_is_taken_too(tmp_path: Path) -> None:
    path = adopt(network(tmp_path / "theirs.onnx", kind=TensorProto.FLOAT16))
    faces = np.random.default_rng(0).integers(0, 256, (3, SIDE, SIDE, 3), np.uint8)
    np.testing.assert_allclose(open_onnx_embedder(path).embed(faces), expected(faces), atol=5e-3)


def test_other_numbers_are_another_embedder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Vectors of the two must never mix in one gallery."""
    theirs = network(tmp_path / "theirs.onnx")
    one = load_embedder(adopt(theirs)).fingerprint
    assert one.startswith("theirs-")
    assert one == load_embedder(adopt(theirs)).fingerprint
    other = load_embedder(adopt(theirs, "--bgr")).fingerprint
    assert main(["export-embedder", str(theirs)]) == 0
    plain = load_embedder(tmp_path / "theirs.faces.onnx").fingerprint
    assert len({one, other, plain}) == 3
    assert "faces calibrate --embedder" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("shape", "flags", "message"),
    [
        (["N", 3, SIDE, "W"], "", "takes one picture (N, 3, S, S) of a fixed S"),
        (["N", SIDE, SIDE, 3], "", "takes one picture (N, 3, S, S) of a fixed S"),
        (None, "--std 0", "std must not be 0"),
        (None, "--mean 1 2", "--mean takes one number or three"),
        (None, "--out theirs.onnx", "would replace the original"),
    ],
)
def test_what_it_cannot_be_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    shape: object, flags: str, message: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    network(tmp_path / "theirs.onnx", shape=shape)
    before = (tmp_path / "theirs.onnx").read_bytes()
    assert main(["export-embedder", "theirs.onnx", *flags.split()]) == 2
    assert message in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["theirs.onnx"]
    assert (tmp_path / "theirs.onnx").read_bytes() == before


def test_files_that_are_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "text.onnx").write_text("no network")
    assert main(["export-embedder", str(tmp_path / "text.onnx")]) == 2
    assert "is no ONNX file, or it is damaged" in capsys.readouterr().err
    assert main(["export-embedder", str(tmp_path / "absent.onnx")]) == 2
    assert "there is no file" in capsys.readouterr().err
    with pytest.raises(UserError, match=r"`faces export-embedder theirs\.onnx` makes one"):
        load_embedder(network(tmp_path / "theirs.onnx"))
