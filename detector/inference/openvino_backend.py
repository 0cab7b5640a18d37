"""An exported ONNX file run by OpenVINO in bfloat16: speed "fast". Torch is not imported.

OpenVINO (Apache-2.0) is an extra, ``pip install 'faces[fast]'``. It pays on processors that
multiply bfloat16 matrices (AMX: Intel Xeon from 2023 on); docs/export.md has the figures.
"""

from __future__ import annotations

import importlib
import logging
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from detector.inference.metadata import Artefact, per_image
from faces.errors import UserError

log = logging.getLogger(__name__)

CACHED = 1000
"""How many prepared kernels OpenVINO keeps (its default is 5,000). A new size needs about 80, of
5 MB together: memory would grow by that with every one."""


class OpenVinoNetwork:
    """Runs a compiled model; a `detector.inference.detect.Network`.

    Args:
        compiled: from `open_openvino`.
        score_threshold: boxes below it are not even given (0..1).
        nms_threshold: overlap (IoU) above which the better of two boxes stays.
    """

    def __init__(self, compiled: Any, score_threshold: float, nms_threshold: float) -> None:
        self.request = compiled.create_infer_request()
        self.score_threshold = score_threshold
        self.nms_threshold = nms_threshold
        self._alone = threading.Lock()  # a request holds one call's inputs and outputs

    def __call__(
        self, batch: NDArray[np.uint8]
    ) -> list[tuple[NDArray[np.float32], NDArray[np.float32]]]:
        feed = {
            "images": batch,
            "score_threshold": np.array(self.score_threshold, np.float32),
            "nms_threshold": np.array(self.nms_threshold, np.float32),
        }
        with self._alone:
            found = self.request.infer(feed)
            boxes, scores, image = (found[name].copy() for name in ("boxes", "scores", "image"))
        return per_image(boxes, scores, image, len(batch))


def open_openvino(path: Path, threads: int | None = None) -> tuple[Any, Artefact]:
    """A compiled model of an exported ONNX file, and what the file says of itself.

    Raises UserError without OpenVINO, and for a damaged or foreign file.
    """
    openvino = import_openvino()
    try:
        model = onnx.load(path)
    except Exception as error:  # protobuf's own kinds of errors
        raise UserError(
            f"{path} is damaged or no ONNX file: export the checkpoint again"
        ) from error
    artefact = Artefact.from_metadata({p.key: p.value for p in model.metadata_props}, path)
    # OpenVINO takes an input that has a default for a constant; without the default it is an input.
    inputs = {value.name for value in model.graph.input}
    values = [value for value in model.graph.initializer if value.name not in inputs]
    del model.graph.initializer[:]
    model.graph.initializer.extend(values)
    core = openvino.Core()
    if "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        log.warning('this processor has no bfloat16: speed "fast" is about as fast as normal here')
    options: dict[str, Any] = {
        "INFERENCE_PRECISION_HINT": "bf16",
        "NUM_STREAMS": 1,
        "CPU_RUNTIME_CACHE_CAPACITY": CACHED,
    }
    if threads is not None:
        options["INFERENCE_NUM_THREADS"] = threads
    try:
        return core.compile_model(
            core.read_model(model.SerializeToString()), "CPU", options
        ), artefact
    except RuntimeError as error:
        reason = (str(error).strip().splitlines() or [""])[-1]
        raise UserError(
            f"OpenVINO {openvino.__version__} cannot run {path} ({reason}): leave speed at normal"
        ) from error


def import_openvino() -> Any:
    """The package, without its telemetry.

    ``import openvino`` reports itself to Google Analytics and leaves a file in the home folder.
    Nothing of ours calls anywhere, so the package that does it cannot be imported here; OpenVINO
    then goes on without.
    """
    if "openvino" not in sys.modules:
        sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
    try:
        return importlib.import_module("openvino")
    except ImportError as error:
        raise UserError(
            "speed \"fast\" needs OpenVINO, which is not installed: pip install 'faces[fast]'"
        ) from error
