"""Other people's embedding networks: an ONNX file of theirs becomes one that describes itself."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from faces.errors import UserError
from faces.files import atomic_write, file_digest
from faces.networks.onnx_session import open_session
from recognizer.crop import CropRecipe
from recognizer.embedders.embedder import OnnxNetwork, metadata
from recognizer.types import unit

INPUT = "faces"

TOLERANCES: dict[int, float] = {TensorProto.FLOAT: 1e-4, TensorProto.FLOAT16: 5e-3}
"""Largest difference of a component of a unit vector between the file and what was made of it, by
what its network computes in."""

_PREFIX = "faces_pixels_"


def adopt_onnx(
    source: Path, out: Path, mean: Sequence[float], std: Sequence[float], *, bgr: bool = False
) -> str:
    """Write the ONNX file ``source`` as an embedder of this program; returns its identity.

    The network must take one picture tensor (N or a number, 3, S, S) and give vectors (N, D), of
    faces that are aligned as ArcFace's are (`recognizer.crop.TEMPLATE`): insightface's, for
    example. What is added reads RGB bytes; the network itself stays as it is.

    Args:
        mean, std: what is taken from the channels of a pixel (0..255, red first), and what that is
            divided by.
        bgr: the network takes blue first.

    Raises UserError for a file that is damaged or takes something else, and where the new file
    gives other vectors.
    """
    if out.is_dir():
        raise UserError(f"{out} is a folder: name the file, such as {out / 'embedder.onnx'}")
    if any(value == 0 for value in std):
        raise UserError("std must not be 0")
    try:
        model = onnx.load(source)
    except Exception as error:  # protobuf's errors have no common parent
        raise UserError(f"{source} is no ONNX file, or it is damaged") from error
    graph = model.graph
    weights = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in weights]
    shape = (
        [dim.dim_value or None for dim in inputs[0].type.tensor_type.shape.dim] if inputs else []
    )
    kind = inputs[0].type.tensor_type.elem_type if inputs else 0
    if (
        len(inputs) != 1
        or len(shape) != 4
        or shape[1] != 3
        or shape[2] is None
        or shape[2] != shape[3]
        or kind not in TOLERANCES
    ):
        raise UserError(
            f"{source} takes {[value.name for value in inputs]} of the shape {shape}: an embedder "
            "takes one picture (N, 3, S, S) of a fixed S in floating point"
        )
    batch, _, side, _ = shape
    assert side is not None
    asked = f"{file_digest(source)} {list(mean)} {list(std)} {bgr}".encode()
    identity = f"{source.stem}-{hashlib.sha256(asked).hexdigest()[:16]}"
    before = _vectors(source, _prepared(_some_faces(side), mean, std, bgr, kind), batch)
    _read_bytes(model, inputs[0], (batch, side), (mean, std), bgr)
    del graph.output[1:]
    recipe = CropRecipe(size=side, margin=0.0, kind="aligned")
    del model.metadata_props[:]
    for key, value in metadata(recipe, identity, before.shape[1]).items():
        model.metadata_props.add(key=key, value=value)
    data = model.SerializeToString()
    with tempfile.TemporaryDirectory() as folder:
        trial = Path(folder) / "embedder.onnx"
        trial.write_bytes(data)
        network = OnnxNetwork(open_session(trial, "cpu"))
        difference = float(np.abs(unit(network(_some_faces(side))) - before).max())
        del network  # Windows removes no file that is open
    if not difference <= TOLERANCES[kind]:
        raise UserError(
            f"{out} is not written: its vectors differ from those of {source} by {difference:.1e}"
        )
    with atomic_write(out) as file:
        file.write(data)
    return identity


def _read_bytes(
    model: onnx.ModelProto,
    old: onnx.ValueInfoProto,
    sizes: tuple[int | None, int],
    scale: tuple[Sequence[float], Sequence[float]],
    bgr: bool,
) -> None:
    """Put in front of the network what makes its input of RGB bytes (N, S, S, 3)."""
    graph, (batch, side) = model.graph, sizes
    constants = [
        numpy_helper.from_array(np.array(values, np.float32), f"{_PREFIX}{name}")
        for name, values in zip(("mean", "std"), scale, strict=True)
    ]
    steps: list[tuple[str, list[str], dict[str, Any]]] = [
        ("Cast", [INPUT], {"to": TensorProto.FLOAT}),
        ("Sub", [constants[0].name], {}),
        ("Div", [constants[1].name], {}),
        ("Transpose", [], {"perm": [0, 3, 1, 2]}),
    ]
    if bgr:
        order = numpy_helper.from_array(np.array([2, 1, 0], np.int64), f"{_PREFIX}order")
        constants.append(order)
        steps.append(("Gather", [order.name], {"axis": 1}))
    steps.append(("Cast", [], {"to": old.type.tensor_type.elem_type}))
    nodes, last = [], ""
    for i, (operator, names, attributes) in enumerate(steps):
        result = old.name if i == len(steps) - 1 else f"{_PREFIX}{i}"
        nodes.append(
            helper.make_node(operator, [last, *names] if last else names, [result], **attributes)
        )
        last = result
    own = helper.make_tensor_value_info(INPUT, TensorProto.UINT8, [batch or "N", side, side, 3])
    kept = [value for value in graph.input if value.name != old.name]
    rest = list(graph.node)
    del graph.input[:], graph.node[:]
    graph.input.extend([own, *kept])
    graph.node.extend([*nodes, *rest])
    graph.initializer.extend(constants)


def _prepared(
    faces: NDArray[np.uint8], mean: Sequence[float], std: Sequence[float], bgr: bool, kind: int
) -> NDArray[np.floating]:
    """What the network is given for faces (N, S, S, 3), computed here."""
    pixels = (faces.astype(np.float32) - np.array(mean, np.float32)) / np.array(std, np.float32)
    pixels = pixels[..., ::-1] if bgr else pixels
    return np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)).astype(
        helper.tensor_dtype_to_np_dtype(kind)
    )


def _vectors(path: Path, pixels: NDArray[np.floating], batch: int | None) -> NDArray[np.float32]:
    """The network's own unit vectors. Raises UserError where it cannot run or gives none."""
    session = open_session(path, "cpu")
    name = session.get_inputs()[0].name
    step = batch or len(pixels)
    try:
        parts = [
            session.run(None, {name: pixels[i : i + step]})[0] for i in range(0, len(pixels), step)
        ]
    except Exception as error:  # ONNX Runtime's errors have no common parent
        raise UserError(f"{path} cannot be run: {str(error).splitlines()[0]}") from error
    vectors = np.concatenate(parts)
    if vectors.ndim != 2 or not np.isfinite(vectors).all():
        raise UserError(f"{path} gives {vectors.shape} for {len(pixels)} faces, not vectors (N, D)")
    return unit(vectors.astype(np.float32))


def _some_faces(side: int) -> NDArray[np.uint8]:
    """As many as any usual fixed batch divides."""
    return np.random.default_rng(0).integers(0, 256, (8, side, side, 3), np.uint8)
