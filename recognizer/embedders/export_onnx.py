"""A network of the recognizer as an ONNX file that describes itself.

Input: faces, uint8 RGB (N, S, S, 3), N free. All weights are stored in half precision and widened
when the file is opened, so it is half as large and runs as fast.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import onnx
import torch
from onnxscript import optimizer
from torch import nn

from faces.networks.onnx_export import drop_notes, quiet_exporter, store_in_half

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
