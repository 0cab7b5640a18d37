"""What every export to ONNX shares. torch is not imported."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

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


def load_in_full(content: bytes) -> onnx.ModelProto:
    """A serialized model, with the weights of `store_in_half` as float32 again."""
    proto = onnx.load_from_string(content)
    tensors = {tensor.name: tensor for tensor in proto.graph.initializer}
    nodes = []
    for node in proto.graph.node:
        stored = tensors.get(node.input[0]) if node.op_type == "Cast" else None
        if stored is None or stored.data_type != onnx.TensorProto.FLOAT16:
            nodes.append(node)
        else:
            values = numpy_helper.to_array(stored).astype(np.float32)
            stored.CopyFrom(numpy_helper.from_array(values, node.output[0]))
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
    return proto


def drop_notes(proto: onnx.ModelProto) -> None:
    """Remove what the exporter noted in a model: it holds paths of this machine."""
    graph = proto.graph
    for node in graph.node:
        node.ClearField("metadata_props")
        node.ClearField("doc_string")
    values = (*graph.value_info, *graph.initializer, *graph.input, *graph.output)
    for holder in (proto, graph, *values):
        holder.ClearField("metadata_props")


@contextmanager
def quiet_exporter() -> Iterator[None]:
    """torch's exporter tells of every step and warns about itself; not within this block."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
