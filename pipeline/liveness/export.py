"""MiniFASNet's published weights as one ONNX file that describes itself, and as they are."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from faces.errors import UserError
from faces.files import atomic_write
from faces.networks.onnx_export import drop_notes, quiet_exporter
from faces.networks.onnx_session import onnxruntime
from pipeline.liveness.crops import LIVE, METADATA, SIZE, Network
from pipeline.liveness.minifas import MiniFASNet, load_minifas

OPSET = 18
"""The oldest that has all we use, so that the most runtimes can run the file."""

TOLERANCE = 1e-4  # of a score
DOC = (
    "How alive faces look. crops: uint8 RGB (faces, networks, 80, 80, 3), for each face one crop "
    "for each scale of metadata_props['faces.liveness']. live: 0..1. From the weights of "
    "Silent-Face-Anti-Spoofing (Minivision, Apache-2.0)."
)


class Ensemble(nn.Module):
    """uint8 RGB crops (N, K, 80, 80, 3) -> the mean of K networks' live probability (N,).

    The published decision sums the softmax of the networks (`test.py` there).
    """

    def __init__(self, networks: Sequence[MiniFASNet]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, crops: Tensor) -> Tensor:
        bgr = crops.flip(-1).permute(0, 1, 4, 2, 3).float()
        live = [
            network(bgr[:, i]).softmax(dim=1)[:, LIVE] for i, network in enumerate(self.networks)
        ]
        return torch.stack(live).mean(dim=0)


def load_ensemble(paths: Sequence[Path]) -> tuple[tuple[float, ...], Ensemble]:
    """Published files -> the scales of their crops, and the networks. Raises UserError."""
    networks, scales = zip(*(load_minifas(path) for path in paths), strict=True)
    if len(set(scales)) != len(scales):
        raise UserError(f"two of {', '.join(map(str, paths))} have the same scale: give each once")
    return scales, Ensemble(networks).eval()


def open_weights(
    paths: Sequence[Path], threads: int | None = None
) -> tuple[tuple[float, ...], Network]:
    """What `PassiveLiveness` is made of, run by torch."""
    scales, ensemble = load_ensemble(paths)
    if threads is not None:
        torch.set_num_threads(threads)

    def run(crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        with torch.inference_mode():
            return ensemble(torch.from_numpy(crops)).numpy()

    return scales, run


def export_liveness(paths: Sequence[Path], out: Path) -> float:
    """Write published weights as one ONNX file; it appears only when it gives the same scores.

    Returns the largest difference of a score. Raises UserError for files that are something else,
    RuntimeError when the exported network differs.
    """
    scales, ensemble = load_ensemble(paths)
    example = torch.zeros(2, len(scales), SIZE, SIZE, 3, dtype=torch.uint8)
    batch = torch.export.Dim("batch", min=1, max=4096)
    with quiet_exporter(), torch.no_grad():
        program = torch.onnx.export(
            ensemble,
            (example,),
            dynamo=True,
            opset_version=OPSET,
            input_names=["crops"],
            output_names=["live"],
            dynamic_shapes=({0: batch},),
            verbose=False,
        )
    assert program is not None
    proto = program.model_proto
    drop_notes(proto)
    proto.doc_string = DOC
    description = {"version": 1, "scales": scales, "size": SIZE}
    proto.metadata_props.add(key=METADATA, value=json.dumps(description))
    onnx.checker.check_model(proto, full_check=True)
    model = proto.SerializeToString()
    difference = _difference(ensemble, model)
    if not difference <= TOLERANCE:
        raise RuntimeError(f"the exported network differs by {difference:.2g}: not written")
    with atomic_write(out) as file:
        file.write(model)
    return difference


def _difference(ensemble: Ensemble, model: bytes) -> float:
    """The largest difference of a score on noise of every brightness, one and several faces."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    source = np.random.default_rng(0)
    worst = 0.0
    for count in (1, 5):
        shape = (count, len(ensemble.networks), SIZE, SIZE, 3)
        for level in (0, 60, 128, 255):
            crops = source.normal(level, 40, shape).clip(0, 255).astype(np.uint8)
            with torch.inference_mode():
                expected = ensemble(torch.from_numpy(crops)).numpy()
            got = session.run(None, {"crops": crops})[0]
            worst = max(worst, float(np.abs(got - expected).max()))
    return worst
