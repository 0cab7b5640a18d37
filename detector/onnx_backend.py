"""An exported ONNX file as a `detector.detect.Network`. Neither torch nor onnx is imported."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from detector.artefact import Artefact, per_image
from detector.errors import UserError

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"


class OnnxNetwork:
    """Runs an exported file with ONNX Runtime; a `detector.detect.Network`.

    Args:
        session: of a file that `Artefact.from_metadata` knows.
        score_threshold: boxes below it are not even given (0..1).
        nms_threshold: overlap (IoU) above which the better of two boxes stays; None takes the
            file's own.
    """

    def __init__(
        self,
        session: onnxruntime.InferenceSession,
        score_threshold: float,
        nms_threshold: float | None = None,
    ) -> None:
        self.session = session
        self.score_threshold = score_threshold
        self.nms_threshold = nms_threshold

    def __call__(
        self, batch: NDArray[np.uint8]
    ) -> list[tuple[NDArray[np.float32], NDArray[np.float32]]]:
        feed = {"images": batch, "score_threshold": np.array(self.score_threshold, np.float32)}
        if self.nms_threshold is not None:
            feed["nms_threshold"] = np.array(self.nms_threshold, np.float32)
        boxes, scores, image = self.session.run(["boxes", "scores", "image"], feed)
        return per_image(boxes, scores, image, len(batch))


def open_onnx(
    path: Path, device: str = "auto", providers: Sequence[str] | None = None,
    threads: int | None = None,
) -> tuple[onnxruntime.InferenceSession, Artefact]:  # fmt: skip
    """A session for an exported file, and what the file says of itself.

    Raises UserError for a damaged or foreign file and for a device or provider that is absent.
    """
    chosen = pick_providers(device, providers)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors; warnings of the optimiser are of no use to anyone
    options.inter_op_num_threads = 1
    if threads is not None:
        options.intra_op_num_threads = threads
    # A plan of the memory is kept for every input shape that was ever seen: never freed, so memory
    # would grow with the sizes of the images (https://github.com/microsoft/onnxruntime/issues/11118).
    options.enable_mem_pattern = False
    try:
        session = onnxruntime.InferenceSession(path, options, providers=chosen)
    except Exception as error:  # ONNX Runtime has a class of its own for every status
        raise UserError(
            f"{path} is damaged, cut short or no ONNX file that this version of ONNX Runtime "
            f"({onnxruntime.__version__}) can run: {_first_line(error)}"
        ) from error
    return session, Artefact.from_metadata(session.get_modelmeta().custom_metadata_map, path)


def pick_providers(device: str, providers: Sequence[str] | None) -> list[Any]:
    """ONNX Runtime execution providers for a device, or those asked for, if they are installed."""
    available = onnxruntime.get_available_providers()
    if providers is not None:
        for name in providers:
            if name not in available:
                raise UserError(
                    f"this ONNX Runtime has no provider {name!r}, only {', '.join(available)}"
                )
        return list(providers)
    if device == "auto":
        return [CUDA, CPU] if CUDA in available else [CPU]
    if device == "cpu":
        return [CPU]
    kind, _, number = device.partition(":")
    if kind == "cuda" and (number.isdecimal() or not number):
        if CUDA in available:
            return [(CUDA, {"device_id": int(number or 0)}), CPU]
        raise UserError(
            f"--device {device}: this ONNX Runtime runs on the CPU only; install onnxruntime-gpu, "
            "or take auto or cpu"
        )
    raise UserError(f"--device {device}: for an ONNX file take auto, cpu, cuda or cuda:N")


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
