"""The running average of a network's weights, which is better than the weights of any one step."""

from __future__ import annotations

import torch
from torch import nn


@torch.no_grad()
def update_average(average: nn.Module, network: nn.Module, decay: float, step: int) -> None:
    """Move ``average`` towards ``network``, of the same class; faster in the first steps."""
    decay = min(decay, (1 + step) / (10 + step))
    new = network.state_dict().values()
    for kept, current in zip(average.state_dict().values(), new, strict=True):
        if kept.is_floating_point():
            kept.lerp_(current, 1 - decay)
        else:
            kept.copy_(current)
