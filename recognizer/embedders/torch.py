"""An embedder that runs with torch: a checkpoint of our own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from recognizer.embedders.checkpoint import open_mini, weights_digest
from recognizer.embedders.embedder import FaceEmbedder, landmarks_for


class TorchNetwork:
    """Faces uint8 (N, S, S, 3) -> vectors float32 (N, D), channels last, on the CPU."""

    def __init__(self, network: nn.Module) -> None:
        """``network`` takes and gives the same as tensors."""
        self.module = network.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def __call__(self, faces: NDArray[np.uint8]) -> NDArray[np.float32]:
        with torch.inference_mode():
            return self.module(torch.from_numpy(faces)).float().numpy()


def open_torch_embedder(path: Path, threads: int | None = None) -> FaceEmbedder:
    """Open a checkpoint of `faces pretrain-embedder`. Raises UserError when it is none."""
    network, recipe = open_mini(path)
    if threads is not None:
        torch.set_num_threads(threads)
    return FaceEmbedder(
        TorchNetwork(network),
        recipe,
        f"mini-{weights_digest(network.state_dict())}",
        network.config.dimension,
        landmarks_for(recipe, threads),
    )
