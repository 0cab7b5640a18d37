"""ONNX: non-maximum suppression as ONNX has it, and a clean file that describes itself."""

from __future__ import annotations

import functools
from typing import Any

import onnx
import torch
from torch import Tensor

from detector.export.graph import FaceGraph, PointsGraph, dynamic_shapes, example_images
from detector.inference.metadata import Artifact
from detector.model import FaceRCNN
from faces.networks.onnx_export import drop_notes, quiet_exporter

OPSET = 18
"""The oldest that has all we use, so that the most runtimes can run the file."""

DOC = (
    "A face detector. images: uint8 RGB (batch, height, width, 3), height and width multiples of "
    "32; see metadata_props['input'] for how to resize and pad. Optional inputs: score_threshold, "
    "nms_threshold. Outputs, sorted by image and then by descending score: boxes (x1 y1 x2 y2 in "
    "pixels of the input), scores, image (position in the batch)."
)
DOC_POINTS = (
    " Also landmarks (x y of the left and right eye, as seen in the image, the nose, the left and "
    "right corner of the mouth)."
)


class _OnnxNms:
    """For a `FaceGraph`: thresholds are tensors, the suppression is one ONNX operator."""

    def nms(
        self, boxes: Tensor, scores: Tensor, groups: Tensor, count: int, iou: Any, limit: int
    ) -> Tensor:
        operator = _nms_operator()
        if not isinstance(iou, Tensor):
            iou = torch.tensor(iou)
        return operator(boxes, scores, groups, count, iou, limit)


class OnnxGraph(_OnnxNms, FaceGraph):
    """`FaceGraph` for ONNX."""


class OnnxPointsGraph(_OnnxNms, PointsGraph):
    """`PointsGraph` for ONNX."""


def export_onnx(model: FaceRCNN, artifact: Artifact, grouped: bool = True) -> bytes:
    """The network as a serialized ONNX model, checked, with ``artifact`` as ``metadata_props``.

    ``grouped`` as in `FaceGraph`: for a file that is run as it is.
    """
    points = model.roi_heads.points is not None
    graph = (OnnxPointsGraph if points else OnnxGraph)(model, grouped).eval()
    thresholds = {
        "score_threshold": artifact.score_threshold,
        "nms_threshold": artifact.nms_threshold,
    }
    with quiet_exporter(), torch.no_grad():
        program = torch.onnx.export(
            graph,
            (example_images(), *(torch.tensor(value) for value in thresholds.values())),
            dynamo=True,
            opset_version=OPSET,
            input_names=["images", *thresholds],
            output_names=["boxes", "scores", "image", *(["landmarks"] if points else [])],
            dynamic_shapes=(dynamic_shapes(), None, None),
            custom_translation_table={
                _nms_operator(): _nms_in_onnx,
                torch.ops.aten.div.Tensor_mode: _whole_quotient,
            },
            verbose=False,
        )
    assert program is not None
    proto = program.model_proto
    # The shapes of inner values stay: ONNX Runtime needs them to see that two free sizes are equal.
    drop_notes(proto)
    _name_sizes(proto)
    _make_optional(proto, thresholds)
    proto.doc_string = DOC + DOC_POINTS if points else DOC
    for key, value in artifact.to_metadata().items():
        proto.metadata_props.add(key=key, value=value)
    onnx.checker.check_model(proto, full_check=True)
    return proto.SerializeToString()


@functools.cache
def _nms_operator() -> Any:
    """An operator of torch that stands for the suppression until it is translated."""

    @torch.library.custom_op("faces::grouped_nms", mutates_args=())
    def grouped_nms(
        boxes: Tensor, scores: Tensor, groups: Tensor, count: int, iou: Tensor, limit: int
    ) -> Tensor:
        return FaceGraph.nms(None, boxes, scores, groups, count, float(iou), limit)  # type: ignore[arg-type]

    @grouped_nms.register_fake
    def _(boxes: Tensor, scores: Tensor, groups: Tensor, count: int, iou: Tensor, limit: int):  # type: ignore[no-untyped-def]
        return groups.new_empty(torch.library.get_ctx().new_dynamic_size())

    return torch.ops.faces.grouped_nms.default


def _nms_in_onnx(boxes: Any, scores: Any, groups: Any, count: Any, iou: Any, limit: int) -> Any:
    """NonMaxSuppression never compares boxes of different classes, so every group is a class.

    The scores become a matrix (groups, boxes) that is zero where a box belongs to another group,
    and zero is left out.
    """
    import onnxscript

    op: Any = onnxscript.opset18
    zero, one = op.Constant(value_int=0), op.Constant(value_int=1)
    first, column = op.Constant(value_ints=[0]), op.Constant(value_ints=[1])
    every = op.Unsqueeze(op.Range(zero, op.Squeeze(count), one), column)
    mine = op.Equal(op.Unsqueeze(groups, first), every)
    matrix = op.Where(mine, op.Unsqueeze(scores, first), op.Constant(value_float=0.0))
    chosen = op.NonMaxSuppression(
        op.Unsqueeze(boxes, first),
        op.Unsqueeze(matrix, first),
        op.Constant(value_ints=[limit]),
        op.Reshape(iou, column),
        op.Constant(value_floats=[0.0]),
    )
    return op.Gather(chosen, op.Constant(value_int=2), axis=1)


def _whole_quotient(a: Any, b: Any, rounding_mode: str) -> Any:
    """Of integers, ONNX's division is truncated; the exporter's own way takes eleven steps."""
    import onnxscript

    assert rounding_mode == "trunc"
    op: Any = onnxscript.opset18
    return op.Div(a, b)


def _name_sizes(proto: onnx.ModelProto) -> None:
    """Give the free sizes names that say what they are."""
    for value in (*proto.graph.input, *proto.graph.output):
        if value.name == "images":
            for position, name in enumerate(("batch", "height", "width")):
                value.type.tensor_type.shape.dim[position].dim_param = name
        elif value.type.tensor_type.shape.dim:
            value.type.tensor_type.shape.dim[0].dim_param = "faces"


def _make_optional(proto: onnx.ModelProto, defaults: dict[str, float]) -> None:
    """An input that is an initializer as well may be left out, and then has that value."""
    for name, value in defaults.items():
        proto.graph.initializer.append(
            onnx.helper.make_tensor(name, onnx.TensorProto.FLOAT, [], [value])
        )
