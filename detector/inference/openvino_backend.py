"""Exported files run by OpenVINO: ONNX in bfloat16, speed "fast", and OpenVINO's own, in float32.

Torch is not imported.

OpenVINO (Apache-2.0) is an extra, ``pip install 'faces[fast]'``. Where bfloat16 gains something,
`detector.inference.fast` measures.
"""

from __future__ import annotations

import importlib
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.inference.metadata import Artifact, per_image
from faces.errors import UserError

CACHED = 1000
"""How many prepared kernels OpenVINO keeps (its default is 5,000): each new image size needs about
80 of them, 5 MB together."""


def has_bfloat16() -> bool:
    """Whether the processor has instructions for bfloat16, as OpenVINO sees it."""
    core = import_openvino().Core()
    return "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")


class OpenVinoNetwork:
    """Runs a compiled model; a `detector.inference.detect.Network`.

    Args:
        score_threshold: boxes below it are not even given (0..1).
        nms_threshold: overlap (IoU) above which the better of two boxes stays.
    """

    def __init__(self, compiled: Any, score_threshold: float, nms_threshold: float) -> None:
        self.request = compiled.create_infer_request()
        names = {name for output in compiled.outputs for name in output.get_names()}
        self.found = [name for name in ("boxes", "scores", "landmarks") if name in names]
        self.score_threshold = score_threshold
        self.nms_threshold = nms_threshold
        self._alone = threading.Lock()  # a request holds one call's inputs and outputs

    def __call__(self, batch: NDArray[np.uint8]) -> list[tuple[NDArray[np.float32], ...]]:
        feed = {
            "images": batch,
            "score_threshold": np.array(self.score_threshold, np.float32),
            "nms_threshold": np.array(self.nms_threshold, np.float32),
        }
        with self._alone:
            found = self.request.infer(feed)
            image, *outputs = (found[name].copy() for name in ("image", *self.found))
        return per_image(len(batch), image, *outputs)


def open_openvino(path: Path, threads: int | None = None) -> Any:
    """A compiled model of an exported ONNX file that ONNX Runtime has opened.

    Raises UserError without OpenVINO, and for a file that it cannot run.
    """
    core = import_openvino().Core()
    return _compile(core, read_onnx(core, path), path, "bf16", threads)


def open_ir(path: Path, threads: int | None = None) -> tuple[Any, Artifact]:
    """A compiled model of OpenVINO's own files (.xml and .bin), and what they say of themselves.

    Raises UserError without OpenVINO, and for damaged and foreign files.
    """
    core = import_openvino().Core()
    if not path.with_suffix(".bin").is_file():
        raise UserError(f"{path} is one file of two: put {path.with_suffix('.bin').name} beside it")
    try:
        model = core.read_model(path)
        info = model.get_rt_info(["faces"]).value if model.has_rt_info(["faces"]) else {}
    except RuntimeError as error:
        raise UserError(f"{path} is damaged: export the checkpoint again") from error
    artifact = Artifact.from_metadata({key: str(value) for key, value in info.items()}, path)
    return _compile(core, model, path, "f32", threads), artifact


def save_ir(onnx_file: Path, path: Path, artifact: Artifact) -> None:
    """Write an exported ONNX file as OpenVINO's own: ``path``, an .xml, and a .bin beside it."""
    openvino = import_openvino()
    model = read_onnx(openvino.Core(), onnx_file)
    for key, value in artifact.to_metadata().items():
        model.set_rt_info(value, ["faces", key])
    openvino.save_model(model, path, compress_to_fp16=False)


def read_onnx(core: Any, path: Path) -> Any:
    """An exported ONNX file as OpenVINO's model, with both thresholds as inputs."""
    import onnx

    try:
        model = onnx.load(path)
    except Exception as error:  # protobuf's own kinds of errors
        raise UserError(
            f"{path} is damaged or no ONNX file: export the checkpoint again"
        ) from error
    # OpenVINO takes an input that has a default for a constant; without the default it is an input.
    inputs = {value.name for value in model.graph.input}
    values = [value for value in model.graph.initializer if value.name not in inputs]
    del model.graph.initializer[:]
    model.graph.initializer.extend(values)
    try:
        return core.read_model(model.SerializeToString())
    except RuntimeError as error:
        raise _cannot(path, error) from error


def _compile(core: Any, model: Any, path: Path, precision: str, threads: int | None) -> Any:
    options: dict[str, Any] = {
        "INFERENCE_PRECISION_HINT": precision,
        "NUM_STREAMS": 1,
        "CPU_RUNTIME_CACHE_CAPACITY": CACHED,
    }
    if threads is not None:
        options["INFERENCE_NUM_THREADS"] = threads
    try:
        return core.compile_model(model, "CPU", options)
    except RuntimeError as error:
        raise _cannot(path, error) from error


def _cannot(path: Path, error: RuntimeError) -> UserError:
    reason = (str(error).strip().splitlines() or [""])[-1]
    return UserError(f"OpenVINO {import_openvino().__version__} cannot run {path} ({reason})")


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
            "this needs OpenVINO, which is not installed: pip install 'faces[fast]'"
        ) from error
