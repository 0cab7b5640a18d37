"""From a network of the recognizer in torch to an ONNX file that describes itself; an embedder's is
written only when both give the same vectors.

Input: faces, uint8 RGB (N, S, S, 3), N free. Weights are stored in half precision and widened when
the file is opened, so it is half as large and runs as fast."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnxscript import optimizer
from torch import nn

from faces.errors import UserError
from faces.files import atomic_write
from faces.networks.onnx_export import drop_notes, quiet_exporter, store_in_half
from faces.networks.onnx_session import open_session
from recognizer.crop import CropRecipe
from recognizer.embedders.checkpoint import TorchNetwork, open_mini, weights_digest
from recognizer.embedders.embedder import OnnxNetwork, metadata

log = logging.getLogger(__name__)

TOLERANCE = 1e-4
"""Largest difference of a component of a unit vector between torch and ONNX Runtime."""

BATCHES = (1, 2, 5)


@dataclass(frozen=True, eq=False)
class OpenNetwork:
    """A network in torch and what its file must say of it."""

    module: nn.Module
    recipe: CropRecipe
    identity: str
    dimension: int
    default_file: Path


def open_network(name: str | Path, weights: Path | None = None) -> OpenNetwork:
    """Open ``inception`` (with a state dict, or as `load_inception` does) or a checkpoint of ours.

    Raises UserError as loading does.
    """
    if str(name) == "inception":
        from recognizer.embedders.inception import DIMENSION, RECIPE, identity_of, open_inception
        from recognizer.embedders.inception_weights import find_or_fetch

        source = weights or find_or_fetch()
        net = open_inception(source)
        file = Path(source.with_suffix(".onnx").name)
        return OpenNetwork(net, RECIPE, identity_of(net), DIMENSION, file)
    if weights is not None:
        raise UserError(f"weights ({weights}) are for the embedder inception, not for {name}")
    mini, recipe = open_mini(Path(name))
    digest = weights_digest(mini.state_dict())
    file = Path(name).with_suffix(".onnx")
    return OpenNetwork(mini, recipe, f"mini-{digest}", mini.config.dimension, file)


def export_embedder(network: OpenNetwork, path: Path) -> float:
    """Write the ONNX file; returns the largest difference from torch.

    The weights are stored in half precision where that keeps the vectors within `TOLERANCE`, else
    in full. Raises RuntimeError when not even those do, UserError when ``path`` is a folder.
    """
    if path.is_dir():
        raise UserError(f"{path} is a folder: name the file, such as {path / 'embedder.onnx'}")
    size = network.recipe.size
    notes = metadata(network.recipe, network.identity, network.dimension)
    difference = np.inf
    for half in (True, False):
        data = export_onnx(network.module, size, ("vectors",), notes, half=half)
        difference = parity(network.module, data, size)
        if difference <= TOLERANCE:
            break
        log.info("with half-precision weights vectors differ by %.1e; taking full", difference)
    else:
        raise RuntimeError(f"{path} is not written: its vectors differ by {difference:.1e}")
    with atomic_write(path) as file:
        file.write(data)
    return difference


def parity(module: nn.Module, data: bytes, size: int) -> float:
    """Largest difference between the vectors of torch and of a serialized ONNX model."""
    random = np.random.default_rng(0)
    reference = TorchNetwork(module)
    worst = 0.0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.onnx"
        path.write_bytes(data)
        network = OnnxNetwork(open_session(path, "cpu", threads=torch.get_num_threads()))
        for batch in BATCHES:
            faces = some_faces(random, batch, size)
            worst = max(worst, float(np.abs(reference(faces) - network(faces)).max()))
    return worst


def some_faces(random: np.random.Generator, count: int, size: int) -> NDArray[np.uint8]:
    """Smooth pictures and noise, uint8 (count, size, size, 3)."""
    coarse = random.integers(0, 256, (count, 3, 7, 7)).astype(np.float32)
    smooth = torch.nn.functional.interpolate(torch.from_numpy(coarse), size=(size, size))
    noise = random.normal(0, 20, (count, size, size, 3))
    return (smooth.permute(0, 2, 3, 1).numpy() + noise).clip(0, 255).astype(np.uint8)


OPSET = 18
"""The oldest that has all we use, so that the most runtimes can run the file."""

INPUT = "faces"


def export_onnx(
    network: nn.Module,
    size: int,
    outputs: Sequence[str],
    metadata: Mapping[str, str],
    *,
    half: bool = True,
) -> bytes:
    """``network`` (uint8 (N, S, S, 3) -> one or more tensors (N, ...)) as a serialized ONNX model.

    Args:
        size: S.
        outputs: a name for each tensor that the network gives.
        metadata: stored in the file's ``metadata_props``.
        half: store the weights in half precision.
    """
    example = torch.zeros(2, size, size, 3, dtype=torch.uint8)
    batch = torch.export.Dim("batch", min=1, max=4096)
    with quiet_exporter(), torch.no_grad():
        program = torch.onnx.export(
            network.eval(),
            (example,),
            dynamo=True,
            opset_version=OPSET,
            input_names=[INPUT],
            output_names=list(outputs),
            dynamic_shapes=({0: batch},),
            verbose=False,
            optimize=False,
        )
        assert program is not None
        # Not all that the exporter's own optimizer does: it also merges batch norm into the
        # convolutions (as runtimes do when they open the file), and weights that are
        # half-precision numbers would be so no longer.
        optimizer.fold_constants(program.model)
        optimizer.remove_unused_nodes(program.model)
    proto = program.model_proto
    drop_notes(proto)
    del proto.graph.value_info[:]
    if half:
        store_in_half(proto.graph)
    for key, value in metadata.items():
        proto.metadata_props.add(key=key, value=value)
    onnx.checker.check_model(proto, full_check=True)
    return proto.SerializeToString()
