"""An exported ONNX file in int8: a third of the size, and faster where processors multiply 8 bits.

`onnxruntime.quantization` does it, calibrated on photos. What is left in float32 here is what loses
accuracy (docs/export.md) and gains no time: the first three convolutions, whose weights reach
from 0.3 to 56; the scores and moves of boxes that come out; and all arithmetic with boxes.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from detector.evaluation.curves import voc_curve
from detector.evaluation.matching import ImageFaces, match
from detector.types import Detector
from faces.errors import UserError
from faces.networks.onnx_export import load_in_full
from faces.networks.onnx_session import onnxruntime, quantization

FEWEST = 8
"""Photos: half of them calibrate, the others compare."""
MOST = 48
"""More take time and only widen the ranges by ever rarer values."""
FEWEST_FACES = 10
"""That the float32 file is sure of. Below that a comparison says nothing."""
SURE = 0.5
"""Score from which it is sure of a face: the threshold that is used everywhere."""
TIMES = 2
"""How many faces are to be found for each that is sure, the next best ones. By number, since what
a low score says differs from network to network: from 0.1 up two of ours find 298 and 821 faces on
the same photos where they are sure of 171 and 164."""
LOWEST = 0.02
"""Score from which faces are compared at all."""
OVERLAP = 0.5
"""Of the two boxes of a face, as everywhere. At 0.75 it is the boxes of faces of ten pixels that
decide: a file that loses nothing on labels then reaches 0.980, one that loses 1.5 points 0.982."""
LEAST_AP = 0.98
"""The AP where the float32 file's faces are the truth (docs/export.md)."""

WITH = ("Clip", "Relu", "Add", "Resize", "MaxPool")
"""What stays in int8 between two layers that are: left out, each is a conversion there and back."""


@dataclass(frozen=True)
class Agreement:
    """How an int8 file compares with the float32 file that it was made of."""

    photos: int  # on how many they were compared; none of them calibrated
    faces: int  # how many the float32 file found there and the other was to find
    ap: float  # average precision of the int8 file where those are the truth (0..1)

    @property
    def passed(self) -> bool:
        """Whether they are alike enough to publish the file."""
        return self.ap >= LEAST_AP

    def __str__(self) -> str:
        return (
            f"AP {self.ap:.4f} ({LEAST_AP} or more is asked for) on {self.photos} photos, if the "
            f"{self.faces} faces that the float32 file finds there first are the truth"
        )

    def to_json(self) -> dict[str, Any]:
        """For the report beside the file."""
        return {"passed": self.passed, "least_ap": LEAST_AP, **asdict(self)}


def divide(photos: Sequence[NDArray[np.uint8]]) -> tuple[list[Any], list[Any]]:
    """The photos that calibrate, and those that compare. Raises UserError for too few."""
    if len(photos) < FEWEST:
        raise UserError(
            f"int8 needs {FEWEST} photos or more to calibrate on, of the kind that the detector is "
            f"for, and there are {len(photos)}: name a folder with --calibrate"
        )
    some = [photos[i * len(photos) // MOST] for i in range(MOST)] if len(photos) > MOST else photos
    return list(some[::2]), list(some[1::2])


def quantize(content: bytes, digest: str, batches: Sequence[NDArray[np.uint8]]) -> bytes:
    """A serialized ONNX file of ours in int8.

    Args:
        content: from `detector.export.onnx.export_onnx`.
        digest: SHA-256 of the file that the result belongs to; the description keeps it.
        batches: what the network sees of the photos that calibrate: uint8 (1, H, W, 3).
    """
    tools = quantization()
    model = load_in_full(content)
    with tempfile.TemporaryDirectory() as folder, _quiet():
        whole, small = Path(folder) / "whole.onnx", Path(folder) / "int8.onnx"
        onnx.save(model, whole)
        tools.quantize_static(
            whole,
            small,
            _Photos(batches),
            quant_format=tools.QuantFormat.QDQ,
            op_types_to_quantize=["Conv", "Gemm", *WITH],
            nodes_to_quantize=_inner_layers(model.graph),
            per_channel=True,
            # On x86 the only pair that is fast; ARM takes either.
            activation_type=tools.QuantType.QUInt8,
            weight_type=tools.QuantType.QInt8,
            calibrate_method=tools.CalibrationMethod.MinMax,
        )
        proto = onnx.load(small)
    proto.producer_name, proto.producer_version = model.producer_name, model.producer_version
    proto.doc_string = model.doc_string
    del proto.metadata_props[:]
    proto.metadata_props.extend(model.metadata_props)
    proto.metadata_props.add(key="int8_of", value=digest)
    onnx.checker.check_model(proto)
    return proto.SerializeToString()


def _inner_layers(graph: onnx.GraphProto) -> list[str]:
    """Names of the nodes to quantize, by the names that `detector.export.graph` gives weights."""
    chosen: list[str] = []
    made: set[str] = set()
    convolutions = [node.name for node in graph.node if node.op_type == "Conv"]
    for node in graph.node:
        if node.op_type in ("Conv", "Gemm"):
            weight = node.input[1]
            take = weight.startswith(("dense.", "head.")) and not weight.startswith("dense.outputs")
            take = take and node.name not in convolutions[:3]
        else:
            values = node.input if node.op_type == "Add" else node.input[:1]
            take = node.op_type in WITH and made.issuperset(values)
        if take:
            chosen.append(node.name)
            made.update(node.output)
    return chosen


def agreement(
    expected: Detector, actual: Detector, photos: Sequence[NDArray[np.uint8]]
) -> Agreement:
    """Compare two detectors, both with score threshold `LOWEST`, on RGB uint8 (H, W, 3) photos.

    The best faces of ``expected`` are to be found, `TIMES` as many as it is sure of; the others
    count neither way. Raises UserError where it is sure of too few.
    """
    faces = [expected.detect(photo) for photo in photos]
    scores = np.sort(np.concatenate([one.score for one in faces]))[::-1]
    sure = int((scores >= SURE).sum())
    if sure < FEWEST_FACES:
        raise UserError(
            f"int8 cannot be compared: the network finds {sure} faces with a score of {SURE} or "
            f"more on {len(photos)} of the photos to calibrate on, and {FEWEST_FACES} are needed: "
            "give more of them, or photos with more faces"
        )
    least = scores[min(TIMES * sure, len(scores)) - 1]
    truth, found = [], {}
    for i, (photo, one) in enumerate(zip(photos, faces, strict=True)):
        truth.append(ImageFaces(str(i), one.xyxy.astype(np.float64), one.score < least))
        others = actual.detect(photo)
        found[str(i)] = np.column_stack((others.xyxy, others.score)).astype(np.float64)
    curve = voc_curve(match(truth, found, least=OVERLAP))
    return Agreement(len(photos), curve.faces, float(curve.ap or 0.0))


class _Photos:
    """What `quantize_static` reads: one feed after the other, then None."""

    def __init__(self, batches: Sequence[NDArray[np.uint8]]) -> None:
        self._feeds = iter([{"images": batch} for batch in batches])

    def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
        return next(self._feeds, None)


@contextmanager
def _quiet() -> Iterator[None]:
    """ONNX Runtime recommends a preparation that export did, and remarks on optional inputs."""
    logger = logging.getLogger()
    onnxruntime.set_default_logger_severity(3)
    logger.addFilter(_from_elsewhere)
    try:
        yield
    finally:
        logger.removeFilter(_from_elsewhere)
        onnxruntime.set_default_logger_severity(2)


def _from_elsewhere(record: logging.LogRecord) -> bool:
    return "quantization" not in Path(record.pathname).parts
