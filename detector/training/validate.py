"""The validation loss, exact and repeatable, and the modes that training and validation need."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd
from tqdm import tqdm

from detector.config import OptimConfig
from detector.model import FaceRCNN, Targets
from detector.training.dataset import Batch


def set_train_mode(model: FaceRCNN, optim: OptimConfig) -> None:
    """Training mode with the chosen batch-norm policy; frozen blocks never move a statistic."""
    model.train()
    for position, block in enumerate(model.body):
        if position < optim.freeze or optim.batch_norm != "all":
            _freeze_statistics(block)
    if optim.batch_norm == "frozen":
        _freeze_statistics(model)


def _freeze_statistics(module: nn.Module) -> None:
    for child in module.modules():
        if isinstance(child, _BatchNorm):
            child.eval()


def to_device(targets: Targets, device: torch.device) -> Targets:
    """The targets' tensors on ``device``."""
    return [{key: value.to(device) for key, value in target.items()} for target in targets]


@torch.no_grad()
def validation_losses(
    model: FaceRCNN, batches: Iterable[Batch], device: torch.device, progress: bool = False
) -> dict[str, float]:
    """The mean of each loss over the images, and their sum as ``loss``.

    Torchvision gives losses only in training mode, where batch norm would move its statistics and
    dropout and the sampling of boxes would make every call differ. So batch norm and dropout stay
    in evaluation mode and the random numbers are fixed: two calls give the same numbers, and the
    model, its modes and the random state are left as they were.
    """
    modes = [(module, module.training) for module in model.modules()]
    sums: dict[str, float] = defaultdict(float)
    images_seen = 0
    model.train()
    for module in model.modules():
        if isinstance(module, _BatchNorm | _DropoutNd):
            module.eval()
    try:
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            for images, targets, _ in tqdm(
                batches, desc="validating", unit="batch", leave=False, disable=not progress
            ):
                torch.manual_seed(0)  # for every batch, so that one batch does not shift the next
                losses = model(images.to(device), to_device(targets, device))
                for name, value in losses.items():
                    sums[name] += float(value) * len(images)
                images_seen += len(images)
    finally:
        for module, training in modes:
            module.training = training
    means = {name: value / images_seen for name, value in sums.items()}
    return {"loss": sum(means.values()), **means}
