"""The larger network that a small one learns from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from faces.errors import UserError
from faces.networks.onnx_session import onnxruntime
from recognizer.types import unit

MEAN = np.array([0.485, 0.456, 0.406], np.float32) * 255
SPREAD = np.array([0.229, 0.224, 0.225], np.float32) * 255
"""Of ImageNet, with which the teacher was trained."""


class Teacher:
    """MobileFaceNet as ONNX: aligned RGB faces -> unit vectors."""

    def __init__(self, path: Path, threads: int | None = None) -> None:
        """Open the file, with its fixed batch of 1 made free.

        Raises UserError when it cannot be read or is no such network.
        """
        try:
            proto = onnx.load(path)
            [image], [vector] = proto.graph.input, proto.graph.output
            sizes = [d.dim_value for d in image.type.tensor_type.shape.dim]
            self.dimension = int(vector.type.tensor_type.shape.dim[1].dim_value)
            self.size = int(sizes[2])
            _free_batch(proto, self.dimension)
            options = onnxruntime.SessionOptions()
            options.log_severity_level = 3
            options.intra_op_num_threads = threads or 0
            self._session = onnxruntime.InferenceSession(
                proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # protobuf and ONNX Runtime have many kinds
            raise UserError(f"the teacher {path} cannot be opened as ONNX: {error}") from error
        if sizes[1:] != [3, self.size, self.size] or not self.dimension:
            raise UserError(f"the teacher {path} takes {sizes}, expected (N, 3, S, S)")
        self._input = image.name

    def __call__(self, faces: NDArray[np.uint8]) -> NDArray[np.float32]:
        """RGB uint8 (N, size, size, 3) -> unit vectors float32 (N, dimension)."""
        x = np.ascontiguousarray(((faces - MEAN) / SPREAD).transpose(0, 3, 1, 2))
        return unit(self._session.run(None, {self._input: x})[0])


def _free_batch(proto: onnx.ModelProto, dimension: int) -> None:
    for value in (*proto.graph.input, *proto.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    del proto.graph.value_info[:]
    for node in proto.graph.node:  # the target of the last Reshape was written for a batch of 1
        for attribute in node.attribute if node.op_type == "Constant" else ():
            if attribute.t.data_type == onnx.TensorProto.INT64:
                values = numpy_helper.to_array(attribute.t)
                if values.tolist() in ([1, -1], [1, dimension]):
                    attribute.t.CopyFrom(numpy_helper.from_array(np.array([-1, dimension])))
