"""A checkpoint's network as a `detector.inference.detect.Network`."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from detector.checkpoint import checkpoint_config, load_checkpoint, model_from_checkpoint
from detector.config import Arch, Precision
from detector.inference.metadata import Artifact
from detector.inference.metadata import inference_resize as inference_resize  # the trainer's import
from detector.model import FaceRCNN
from faces.errors import UserError
from faces.networks.torch import cpu_gains_by_bf16

log = logging.getLogger(__name__)


def pick_device(name: str) -> torch.device:
    """`auto` is CUDA if there is one, else the CPU; MPS only when asked for.

    torchvision's detection operators hang or fall back on MPS
    (https://github.com/pytorch/vision/issues/9345). Raises UserError for a device that is absent or
    cannot be used; ``auto`` then takes the CPU, with a warning.
    """
    if name == "auto":
        if not torch.cuda.is_available():
            return torch.device("cpu")
        problem = _try(torch.device("cuda"))
        if problem is not None:
            log.warning("torch cannot use the GPU, so it takes the CPU: %s", problem)
        return torch.device("cpu" if problem else "cuda")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UserError(f"device={name}: take auto, cpu, cuda, cuda:N or mps") from error
    absent = (device.type == "mps" and not torch.backends.mps.is_available()) or (
        device.type == "cuda"
        and (not torch.cuda.is_available() or (device.index or 0) >= torch.cuda.device_count())
    )
    if device.type not in ("cpu", "cuda", "mps") or absent:
        raise UserError(f"device={name}: this machine has no such device; take auto or cpu")
    problem = _try(device)
    if problem is not None:
        raise UserError(f"device={name}: torch cannot use it ({problem}); take auto or cpu")
    return device


def _try(device: torch.device) -> str | None:
    """What goes wrong when the device is used: a GPU that this torch was not built for is
    "available", and torchvision may have been built without it."""
    from torchvision.ops import nms

    try:
        nms(torch.zeros(1, 4, device=device), torch.ones(1, device=device), 0.5).cpu()
    except (RuntimeError, AssertionError) as error:
        return (str(error).strip().splitlines() or [type(error).__name__])[0]
    return None


def trains_in_bf16(precision: Precision, device: torch.device, arch: Arch) -> bool:
    """Whether a network learns in bfloat16, see `detector.config.TrainConfig.precision`.

    Not every processor that has instructions for bfloat16 is faster with it.
    """
    if precision != "auto":
        return precision == "bf16"
    if device.type == "cpu":
        return arch == "fpn" and cpu_gains_by_bf16()
    return device.type == "cuda"


class TorchNetwork:
    """Runs a `FaceRCNN` in evaluation mode; a `detector.inference.detect.Network`."""

    def __init__(self, model: FaceRCNN, device: torch.device) -> None:
        self.device = device
        self.model = model.eval().to(device)
        if device.type == "cpu":
            self.model = self.model.to(memory_format=torch.channels_last)

    @torch.inference_mode()
    def __call__(self, batch: NDArray[np.uint8]) -> list[tuple[NDArray[np.float32], ...]]:
        images = (
            torch.from_numpy(np.require(batch, requirements="W"))
            .to(self.device)
            .permute(0, 3, 1, 2)
        )
        results = self.model(images)
        names = ("boxes", "scores", "landmarks")
        return [tuple(r[name].cpu().numpy() for name in names if name in r) for r in results]


def open_checkpoint(path: Path) -> tuple[FaceRCNN, Artifact]:
    """A checkpoint's network on the CPU, and what the checkpoint says of it.

    Raises UserError for a file that is missing, damaged, foreign or of another version.
    """
    payload = load_checkpoint(path)
    model = model_from_checkpoint(payload)
    artifact = Artifact(
        checkpoint_config(payload),
        payload.get("provenance", {}),
        score_threshold=model.roi_heads.score_thresh,
        nms_threshold=model.roi_heads.nms_thresh,
        pictures=payload.get("pictures", ""),
    )
    return model, artifact


def set_threads(threads: int | None) -> None:
    """Let torch use so many CPU threads in this process; None leaves it as it is."""
    if threads is not None:
        torch.set_num_threads(threads)
