"""A checkpoint's network as a `detector.detect.Network`."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from detector.config import DataConfig, ModelConfig
from detector.errors import UserError
from detector.model import FaceRCNN
from detector.resize import Resize


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
    absent = (device.type == "cuda" and not torch.cuda.is_available()) or (
        device.type == "mps" and not torch.backends.mps.is_available()
    )
    if device.type not in ("cpu", "cuda", "mps") or absent:
        raise UserError(f"--device {name}: this machine has no such device; take auto or cpu")
    return device


def inference_resize(model: ModelConfig, data: DataConfig, max_side: int | None = None) -> Resize:
    """How pictures are brought to size for a network: as it was validated, or with ``max_side``."""
    if model.arch == "reference":
        return Resize("square", data.image_size)
    return Resize("fit", data.max_side if max_side is None else max_side)


class TorchNetwork:
    """Runs a `FaceRCNN` in evaluation mode; a `detector.detect.Network`."""

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
