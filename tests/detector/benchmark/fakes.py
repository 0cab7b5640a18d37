"""Contestants that do as told, importable in a process of their own, and files for real ones."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from detector.types import Detections


class Fake:
    """A detector that writes down its calls, takes its time, and may fail.

    Args:
        name: written to ``log``, a line a call.
        seconds: what a call takes.
        fails_at: the call, counted from 1, that raises.
        dies_at: the call that ends the process.
        hog: megabytes it holds.
    """

    def __init__(
        self,
        name: str,
        log: Path,
        seconds: float = 0.0,
        fails_at: int = 0,
        dies_at: int = 0,
        hog: int = 0,
    ) -> None:
        self.name, self.log, self.seconds = name, log, seconds
        self.fails_at, self.dies_at = fails_at, dies_at
        self.held = np.ones(hog * 2**20, np.uint8)
        self.calls = 0

    def detect(self, image: NDArray[np.uint8]) -> Detections:
        self.calls += 1
        with self.log.open("a", encoding="utf-8") as file:
            file.write(f"{self.name} {image[0, 0, 0]} {os.environ['OMP_NUM_THREADS']}\n")
        if self.calls == self.fails_at:
            raise ValueError("cannot see\nanything")
        if self.calls == self.dies_at:
            os._exit(3)
        time.sleep(self.seconds)
        return Detections.empty(image.shape[:2])

    def detect_batch(self, images: list[NDArray[np.uint8]]) -> list[Detections]:
        return [self.detect(image) for image in images]


class WhiteBox:
    """Finds the white rectangle of an image."""

    def detect(self, image: NDArray[np.uint8]) -> Detections:
        rows, columns = np.nonzero((image > 200).all(axis=2))
        if not len(rows):
            return Detections.empty(image.shape[:2])
        box = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        return Detections.from_raw([box], [0.9], image.shape[:2])

    def detect_batch(self, images: list[NDArray[np.uint8]]) -> list[Detections]:
        return [self.detect(image) for image in images]


def unbuildable() -> Fake:
    """A contestant whose file is of no use."""
    from faces.errors import UserError

    raise UserError("model.onnx is damaged: make it again")


def write_our_onnx(path: Path) -> Path:
    """A file that `load_detector` opens: one box of 24x20 pixels in the first image of a batch.

    It has a node of each part of the network, named as `faces export` names them.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    from detector.inference.metadata import Artifact
    from tests.tiny import tiny_config

    def weights(name: str, *shape: int) -> TensorProto:
        values = np.random.default_rng(0).normal(0, 0.1, shape).astype(np.float32)
        return numpy_helper.from_array(values, name)

    def constant(name: str, value: object) -> TensorProto:
        return numpy_helper.from_array(np.array(value), name)

    node = helper.make_node
    nodes = [
        node("Cast", ["images"], ["floats"], name="cast", to=TensorProto.FLOAT),
        node("Transpose", ["floats"], ["pixels"], name="permute", perm=[0, 3, 1, 2]),
        node("Conv", ["pixels", "dense.backbone.body.0.0.weight"], ["stem"], strides=[32, 32]),
        node("Relu", ["stem"], ["features"], name="relu"),
        node("Conv", ["features", "dense.backbone.lateral.0.0.weight"], ["level"], name="lateral"),
        node("Conv", ["level", "dense.tower.1.0.weight"], ["tower"], name="tower"),
        node("Conv", ["tower", "dense.outputs.weight"], ["logits"], name="outputs"),
        node("Reshape", ["logits", "flat"], ["scores_of_anchors"], name="reshape"),
        node("TopK", ["scores_of_anchors", "one"], ["best", "index"], name="topk", axis=0),
        node("Mul", ["best", "zero"], ["nothing"], name="mul"),
        node("Add", ["box", "nothing"], ["boxes"], name="add"),
        node("RoiAlign", ["level", "boxes", "first"], ["pooled"], name="roi", output_height=1),
        node("Flatten", ["pooled"], ["flattened"], name="flatten"),
        node("Gemm", ["flattened", "head.fc.weight"], ["logit"], name="fc"),
        node("Sigmoid", ["logit"], ["score"], name="sigmoid"),
        node("Max", ["score", "high"], ["higher"], name="max"),
        node("Reshape", ["higher", "flat"], ["scores"], name="last"),
        node("Identity", ["first"], ["image"], name="identity"),
    ]
    graph = helper.make_graph(
        nodes,
        "faces",
        [
            helper.make_tensor_value_info("images", TensorProto.UINT8, ["batch", "h", "w", 3]),
            helper.make_tensor_value_info("score_threshold", TensorProto.FLOAT, []),
        ],
        [
            helper.make_tensor_value_info("boxes", TensorProto.FLOAT, ["faces", 4]),
            helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["faces"]),
            helper.make_tensor_value_info("image", TensorProto.INT64, ["faces"]),
        ],
        [
            weights("dense.backbone.body.0.0.weight", 8, 3, 3, 3),
            weights("dense.backbone.lateral.0.0.weight", 8, 8, 1, 1),
            weights("dense.tower.1.0.weight", 8, 8, 1, 1),
            weights("dense.outputs.weight", 1, 8, 1, 1),
            weights("head.fc.weight", 8, 1),
            constant("flat", np.array([-1], np.int64)),
            constant("one", np.array([1], np.int64)),
            constant("zero", np.float32(0)),
            constant("high", np.array([[0.8]], np.float32)),
            constant("box", np.array([[4, 6, 28, 26]], np.float32)),
            constant("first", np.array([0], np.int64)),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    for key, value in Artifact(tiny_config(path.parent, path.parent)).to_metadata().items():
        model.metadata_props.add(key=key, value=value)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)
    return path


OUR_PARAMETERS = 8 * 27 + 64 + 64 + 8 + 8 + 6
"""Of `write_our_onnx`: its weights, and six numbers in constants."""


def write_peer_onnx(
    path: Path, outputs: tuple[str, ...], widths: tuple[int, ...] | None = None
) -> Path:
    """A file with the outputs of a peer, which tell who it is, some by their widths; never run."""
    import onnx
    from onnx import TensorProto, helper

    shape = [1, 3, 24, 32]
    graph = helper.make_graph(
        [helper.make_node("Identity", ["input"], [name]) for name in outputs],
        "peer",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)],
        [
            helper.make_tensor_value_info(
                name, TensorProto.FLOAT, shape if widths is None else [None, widths[i]]
            )
            for i, name in enumerate(outputs)
        ],
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path
    )
    return path


def write_our_checkpoint(path: Path) -> Path:
    """A checkpoint of a tiny network with random weights."""
    from detector.checkpoint import save_checkpoint
    from detector.config import to_dict
    from detector.model import build_model
    from tests.tiny import TINY_MODEL, tiny_config

    config = to_dict(tiny_config(path.parent, path.parent))
    weights = build_model(TINY_MODEL, pretrained=False).state_dict()
    save_checkpoint(path, {"config": config, "weights": weights, "provenance": {}})
    return path
