"""Weights of an ONNX network stored in half precision."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import numpy_helper

_SMALL = 64  # values; constants below this size stay as they are


def store_in_half(graph: onnx.GraphProto) -> None:
    """Make weights float16, each with a Cast, which runtimes do once when they open the file."""
    casts = []
    for tensor in graph.initializer:
        if tensor.data_type != onnx.TensorProto.FLOAT or np.prod(tensor.dims) < _SMALL:
            continue
        name, stored = tensor.name, f"{tensor.name}_half"
        values = numpy_helper.to_array(tensor).astype(np.float16)
        tensor.CopyFrom(numpy_helper.from_array(values, stored))
        casts.append(onnx.helper.make_node("Cast", [stored], [name], to=onnx.TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
