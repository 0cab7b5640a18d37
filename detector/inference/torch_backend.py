"""A checkpoint's network as a `detector.inference.detect.Network`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from detector.checkpoint import checkpoint_config, load_checkpoint, model_from_checkpoint
from detector.inference.metadata import Artefact
from detector.inference.metadata import inference_resize as inference_resize  # the trainer's import
from detector.model import FaceRCNN
from faces.errors import UserError


def pick_device(name: str) -> torch.device:
    """`auto` is CUDA if there is one, else the CPU; MPS only when asked for.

    torchvision's detection operators hang or fall back on MPS
    (https://github.com/pytorch/vision/issues/9345). Raises UserError for a device that is absent.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UserError(f"--device {name}: take auto, cpu, cuda, cuda:N or mps") from error
    absent = (device.type == "mps" and not torch.backends.mps.is_available()) or (
        device.type == "cuda"
        and (not torch.cuda.is_available() or (device.index or 0) >= torch.cuda.device_count())
    )
    if device.type not in ("cpu", "cuda", "mps") or absent:
        raise UserError(f"--device {name}: this machine has no such device; take auto or cpu")
    return device


class TorchNetwork:
    """Runs a `FaceRCNN` in evaluation mode; a `detector.inference.detect.Network`."""

    def __init__(self, model: FaceRCNN, device: torch.device) -> None:
        self.device = device
        self.model = model.eval().to(device)
        if device.type == "cpu":
            self.model = self.model.to(memory_format=torch.channels_last)

    @torch.inference_mode()
    def __call__(
        self, batch: NDArray[np.uint8]
    ) -> list[tuple[NDArray[np.float32], NDArray[np.float32]]]:
        images = torch.from_numpy(batch).to(self.device).permute(0, 3, 1, 2)
        results = self.model(images)
        return [(r["boxes"].cpu().numpy(), r["scores"].cpu().numpy()) for r in results]


def open_checkpoint(path: Path) -> tuple[FaceRCNN, Artefact]:
    """A checkpoint's network on the CPU, and what the checkpoint says of it.

    Raises UserError for a file that is missing, damaged, foreign or of another version.
    """
    payload = load_checkpoint(path)
    model = model_from_checkpoint(payload)
    artefact = Artefact(
        checkpoint_config(payload),
        payload.get("provenance", {}),
        score_threshold=model.roi_heads.score_thresh,
        nms_threshold=model.roi_heads.nms_thresh,
    )
    return model, artefact


def set_threads(threads: int | None) -> None:
    """Let torch use so many CPU threads in this process; None leaves it as it is."""
    if threads is not None:
        torch.set_num_threads(threads)
