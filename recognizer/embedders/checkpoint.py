"""Checkpoints of our own embedding network: tensors and plain values, never a pickle.

format, version   what this file is
network           the fields of `MiniConfig`
recipe            the fields of `CropRecipe`
weights           the state dict to use (the running average of the weights)
history           one dict an evaluation
training          only in a run that can go on
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from faces.errors import UserError
from faces.files import atomic_write
from faces.networks.torch import read_checkpoint
from recognizer.crop import CropRecipe
from recognizer.embedders.embedder import FaceEmbedder, landmarks_for
from recognizer.embedders.mini import MiniConfig, MiniResNet

FORMAT = "faces-embedder"
VERSION = 1
DIGEST_LENGTH = 16  # hex digits: 64 bits tell networks apart


def save_checkpoint(
    path: Path,
    config: MiniConfig | None,
    recipe: CropRecipe,
    weights: Mapping[str, Tensor],
    *,
    half: bool = False,
    **more: Any,
) -> None:
    """Write a network, whole or not at all; ``half`` stores the weights in half precision.

    ``config`` is None for InceptionResnetV1, whose runs alone are kept in this form.
    """
    payload = {
        "format": FORMAT,
        "version": VERSION,
        "network": None if config is None else dataclasses.asdict(config),
        "recipe": dataclasses.asdict(recipe),
        "weights": {
            name: value.half() if half and value.dtype == torch.float32 else value.clone()
            for name, value in weights.items()
        },
        **more,
    }
    save_tensors(path, payload)


def save_tensors(path: Path, payload: Mapping[str, Any]) -> None:
    """Write what torch writes, whole or not at all."""
    buffer = io.BytesIO()
    torch.save(payload, buffer)
    try:
        with atomic_write(path) as file:
            file.write(buffer.getbuffer())
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from error


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint onto the CPU.

    Raises UserError with one clear line for a missing, damaged or foreign file.
    """
    return read_checkpoint(path, FORMAT, VERSION, "embedder", "faces pretrain-embedder")


def open_mini(path: Path) -> tuple[MiniResNet, CropRecipe]:
    """The network with its weights in float32, in evaluation mode, and its recipe."""
    payload = load_checkpoint(path)
    if payload["network"] is None:
        raise UserError(
            f"{path} is a run of InceptionResnetV1: its weights are in "
            f"{path.with_name('inception.pt')} (--embedder inception --embedder-weights FILE)"
        )
    network = MiniResNet(MiniConfig(**payload["network"]))
    network.load_state_dict(payload["weights"])
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network.eval(), CropRecipe(**payload["recipe"])


def weights_digest(weights: Mapping[str, Tensor]) -> str:
    """Digest of a state dict, the same in every file format that holds it.

    Values count in half precision, so that weights shipped so are the ones that were trained.
    """
    digest = hashlib.sha256()
    for name in sorted(weights):
        value = weights[name].detach().cpu()
        if value.is_floating_point():
            digest.update(f"{name} {tuple(value.shape)}\n".encode())
            digest.update(value.half().contiguous().numpy().tobytes())
    return digest.hexdigest()[:DIGEST_LENGTH]


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
