"""ONNX Runtime sessions with the settings that every network here runs with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnxruntime

from common.errors import UserError

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"


def open_session(
    path: Path, device: str = "auto", providers: Sequence[str] | None = None,
    threads: int | None = None,
) -> onnxruntime.InferenceSession:  # fmt: skip
    """A session for an ONNX file; ``threads`` None leaves their number to ONNX Runtime.

    Raises UserError for a damaged file and for a device or provider that is absent.
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
    # Threads that wait for the next operation keep a core busy. Within a run that saves time; after
    # it they would take the core from decoding and from everything else this process does.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    try:
        return onnxruntime.InferenceSession(path, options, providers=chosen)
    except Exception as error:  # ONNX Runtime has a class of its own for every status
        raise UserError(
            f"{path} is damaged, cut short or no ONNX file that this version of ONNX Runtime "
            f"({onnxruntime.__version__}) can run: {_first_line(error)}"
        ) from error


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
