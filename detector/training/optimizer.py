"""What moves the weights: the gradient of one or several batches, AdamW over what learns, and its
learning rate."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.optim.lr_scheduler import ReduceLROnPlateau

from detector.config import OptimConfig, TrainConfig
from detector.model import FaceRCNN
from detector.training.dataset import Batch
from detector.training.start import settled


def make_optimizer(model: FaceRCNN, config: TrainConfig) -> torch.optim.AdamW:
    """AdamW over what learns: the backbone at its own rate, no decay on biases and norms (`fpn`).

    `reference` decays everything alike, as published. ``full_lr`` of a group is its learning rate
    apart from warm-up and cooldown, see `set_learning_rate`.
    """
    optim = config.optim
    backbone = {id(p) for p in model.backbone_blocks.parameters()}
    groups: dict[tuple[float, float], list[Tensor]] = {}
    for parameter in model.parameters():
        if parameter.requires_grad:
            lr = optim.learning_rate * (
                settled(optim.backbone_lr) if id(parameter) in backbone else 1.0
            )
            plain = config.model.arch == "fpn" and parameter.ndim == 1
            decay = 0.0 if plain else optim.weight_decay
            groups.setdefault((lr, decay), []).append(parameter)
    ordered = sorted(groups.items(), key=lambda item: item[0], reverse=True)
    return torch.optim.AdamW(
        [
            {"params": parameters, "lr": lr, "full_lr": lr, "weight_decay": decay}
            for (lr, decay), parameters in ordered
        ],
        amsgrad=optim.amsgrad,
    )


def warmup_steps(optim: OptimConfig, steps: int) -> int:
    """Steps over which the learning rate of a run of ``steps`` rises: a tenth of them at most.

    So a run on a few pictures, shorter than ``optim.warmup_steps``, learns at its full rate too.
    """
    return min(optim.warmup_steps, steps // 10)


def set_learning_rate(
    optimizer: torch.optim.Optimizer, optim: OptimConfig, step: int, steps: int
) -> None:
    """The learning rate of step ``step`` (from 0) of a run of ``steps``: full, or a part of it.

    It rises linearly over `warmup_steps` and falls linearly to zero over the share ``cooldown``
    at the end (Haegele et al. 2024, https://arxiv.org/abs/2405.18392).
    """
    factor = 1.0
    rising = warmup_steps(optim, steps)
    if step < rising:
        factor = (step + 1) / rising
    if optim.cooldown:
        factor = min(factor, max(0, steps - step) / (optim.cooldown * steps))
    for group in optimizer.param_groups:
        group["lr"] = group["full_lr"] * factor


def lower_learning_rate(scheduler: ReduceLROnPlateau, loss: float) -> None:
    """One step of the plateau schedule, which acts on the full learning rate of every group."""
    groups = scheduler.optimizer.param_groups
    for group in groups:
        group["lr"] = group["full_lr"]
    scheduler.step(loss)
    for group in groups:
        group["full_lr"] = group["lr"]


def accumulate_gradients(
    model: FaceRCNN, parts: Sequence[Batch], losses_of: Callable[[Batch], dict[str, Tensor]]
) -> dict[str, float]:
    """Put the gradient of all ``parts`` together into ``model``; returns the losses of the whole.

    A loss is a mean over what it counted (`FaceRCNN.counted`): ten in one part, none in the next,
    and how many in all is known after the last. So the gradients of sums are added up, one for each
    thing that is counted, and divided at the end.
    """
    learning = [p for p in model.parameters() if p.requires_grad]
    gradients: dict[tuple[str, ...], list[Tensor | None]] = {}
    counts: dict[tuple[str, ...], float] = defaultdict(int)
    sums: dict[str, float] = defaultdict(float)
    for batch in parts:
        losses = losses_of(batch)
        for names, count in model.counted().items():
            weight = max(1, count)
            total = torch.stack([losses[name] for name in names]).sum() * weight
            counts[names] += count
            for name in names:
                sums[name] += losses[name].item() * weight
            new = torch.autograd.grad(total, learning, retain_graph=True, allow_unused=True)
            before = gradients.setdefault(names, [None] * len(learning))
            gradients[names] = [
                b if a is None else a if b is None else a + b
                for a, b in zip(new, before, strict=True)
            ]
    for names, every in gradients.items():
        for parameter, gradient in zip(learning, every, strict=True):
            if gradient is not None:
                share = gradient / max(1, counts[names])
                parameter.grad = share if parameter.grad is None else parameter.grad + share
    return {name: sums[name] / max(1, counts[names]) for names in counts for name in names}
