"""`load_detector`: one call opens any file that holds a detector, told apart by content.

Only the backend that a file needs is imported: an ONNX file runs without torch.
"""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from detector.inference.detect import Arithmetic, FaceDetector, Network, Speed
from detector.inference.metadata import inference_resize
from detector.shipped import SHIPPED, find_model, refuse_folder
from faces.errors import UserError, require

Kind = Literal["checkpoint", "torchscript", "onnx", "openvino"]


def load_detector(
    path: str | Path = SHIPPED,
    *,
    max_side: int | None = None,
    score_threshold: float = 0.5,
    nms_threshold: float | None = None,
    device: str = "auto",
    providers: Sequence[str] | None = None,
    threads: int | None = None,
    batch_size: int = 8,
    speed: Speed = "normal",
) -> FaceDetector:
    """Open a trained detector.

    Args:
        path: a checkpoint of `faces train`, or an ONNX, TorchScript or OpenVINO file (.xml) of
            `faces export`;
            "shipped" is the detector that comes with the package.
        max_side: images are shrunk until their longest side has this many pixels, 0 keeps them as
            they are; None takes what the network was validated with (640 unless changed).
        score_threshold: faces below this score (0..1) are left out.
        nms_threshold: of two boxes that overlap by more than this (IoU, 0..1) the better one stays;
            None takes the network's own.
        device: `auto` (CUDA if there is one, else CPU), `cpu`, `cuda`, `cuda:1`, `mps`.
        providers: ONNX Runtime execution providers in order of preference; None follows ``device``.
        threads: CPU threads; None leaves the choice to the runtime. With torch it holds for the
            whole process.
        batch_size: images of the same padded size that go through the network at once, at most.
        speed: `fast` runs an ONNX file in int8 (the file beside it, see `faces.export`) or with
            OpenVINO in bfloat16, whichever a short measurement says is the fastest here, or as
            normal, with a warning; ``arithmetic`` and ``speed`` of the result say which.

    Raises UserError for a file that is missing, damaged, foreign or of another version, and for
    options that cannot work with it.

    >>> import faces
    >>> from skimage.data import astronaut
    >>> faces.load_detector().detect(astronaut())
    Detections(1 face in 512x512: [177 61 270 176] 0.95)
    """
    path = find_model(path)
    _check(max_side, score_threshold, nms_threshold, threads, batch_size, speed)
    kind = file_kind(path)
    if kind != "onnx" and providers is not None:
        raise UserError(f"providers are for ONNX files; {path} runs with torch: choose a device")
    if speed == "fast":
        _check_fast(path, kind, device, providers)
    network: Network
    if kind == "onnx":
        from detector.inference.onnx_backend import OnnxNetwork, open_onnx

        session, artifact = open_onnx(path, device, providers, threads)
        network = OnnxNetwork(session, score_threshold, nms_threshold)
    elif kind == "torchscript":
        from detector.inference.script_backend import ScriptNetwork, open_script
        from detector.inference.torch_backend import pick_device, set_threads

        module, artifact = open_script(path)
        network = ScriptNetwork(module, pick_device(device), score_threshold, nms_threshold)
        set_threads(threads)
    elif kind == "openvino":
        from detector.inference.openvino_backend import OpenVinoNetwork, open_ir

        if device not in ("auto", "cpu"):
            raise UserError(f"{path} runs on the CPU: leave the device out")
        compiled, artifact = open_ir(path, threads)
        nms = artifact.nms_threshold if nms_threshold is None else nms_threshold
        network = OpenVinoNetwork(compiled, score_threshold, nms)
    else:
        from detector.inference.torch_backend import (
            TorchNetwork,
            open_checkpoint,
            pick_device,
            set_threads,
        )

        model, artifact = open_checkpoint(path)
        # Below the network's own threshold there would be nothing to find; above it, less work.
        model.roi_heads.score_thresh = score_threshold
        if nms_threshold is not None:
            model.roi_heads.nms_thresh = nms_threshold
        network = TorchNetwork(model, pick_device(device))
        set_threads(threads)
    resize = inference_resize(artifact.config.model, artifact.config.data, max_side)
    arithmetic: Arithmetic = "int8" if artifact.int8_of else "float32"
    if speed == "fast" and arithmetic == "float32":
        from detector.inference.fast import fast_network

        nms = artifact.nms_threshold if nms_threshold is None else nms_threshold
        network, arithmetic = fast_network(path, network, resize, score_threshold, nms, threads)
    return FaceDetector(network, resize, score_threshold, batch_size, arithmetic, artifact)


def file_kind(path: Path) -> Kind:
    """What a file holds, by its content. Raises UserError when it is none of ours."""
    refuse_folder(path)
    try:
        with path.open("rb") as file:
            head = file.read(4)
    except FileNotFoundError as error:
        raise UserError(f"there is no detector {path}") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error
    if head[:1] == b"\x08":  # protobuf field 1 of an ONNX ModelProto, its version
        return "onnx"
    if head == b"<?xm" and path.suffix == ".xml":
        return "openvino"
    if head[:2] == b"PK":
        try:
            with zipfile.ZipFile(path) as archive:
                names = {name.partition("/")[2] for name in archive.namelist()}
                spoiled = archive.testzip()  # torch itself does not look at the checksums
        except Exception as error:  # zipfile lets through what each kind of decompressor raises
            raise UserError(
                f"{path} is damaged, cut short or encrypted: copy or make it again"
            ) from error
        if spoiled is not None:
            raise UserError(f"{path} is damaged (checksum of {spoiled}): copy or make it again")
        if "constants.pkl" in names:
            return "torchscript"
        if "data.pkl" in names:
            return "checkpoint"
    raise UserError(
        f"{path} holds no detector: give a checkpoint of `faces train` or a file made from one "
        "with `faces export`"
    )


def _check(
    max_side: int | None,
    score_threshold: float,
    nms_threshold: float | None,
    threads: int | None,
    batch_size: int,
    speed: str,
) -> None:
    require(
        [
            (
                max_side is None or max_side == 0 or max_side >= 32,
                "max_side must be 0 or at least 32",
            ),
            (0 <= score_threshold <= 1, "score_threshold must be between 0 and 1"),
            (nms_threshold is None or 0 < nms_threshold <= 1, "nms_threshold must be in (0, 1]"),
            (threads is None or threads >= 1, "threads must be at least 1"),
            (batch_size >= 1, "batch_size must be at least 1"),
            (speed in ("normal", "fast"), f'speed must be "normal" or "fast", not {speed!r}'),
        ]
    )


def _check_fast(path: Path, kind: Kind, device: str, providers: Sequence[str] | None) -> None:
    if kind != "onnx":
        raise UserError(
            f'speed "fast" is for ONNX files, and {path} is none: make one with `faces export` '
            "(without an argument: of the shipped detector) and give that"
        )
    if device not in ("auto", "cpu") or providers is not None:
        raise UserError('speed "fast" runs on the CPU: leave device and providers out')
