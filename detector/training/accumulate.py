"""The gradient of several batches as that of one, with the memory of one of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from detector.model import FaceRCNN
from detector.training.dataset import Batch


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
    counts: dict[tuple[str, ...], int] = defaultdict(int)
    sums: dict[str, float] = defaultdict(float)
    for batch in parts:
        losses = losses_of(batch)
        for names, count in model.counted().items():
            weight = max(1, count)
            total = torch.stack([losses[name] for name in names]).sum() * weight
            counts[names] += count
            for name in names:
                sums[name] += losses[name].item() * weight
            if not total.requires_grad:  # where only the points learn
                continue
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
