"""Muon: momentum whose direction is made orthogonal, for the convolutions of a small network.

Jordan et al., "Muon: an optimizer for hidden layers", 2024, https://kellerjordan.github.io/posts/muon.
torch.optim.Muon takes matrices only. As in that author's CIFAR record, every convolution is kept at
a fixed length (batch norm follows, so its length means nothing), and a learning rate is a turn
relative to that length.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor


class Muon(torch.optim.Optimizer):
    """For convolutions (O, I, H, W) that batch norm follows."""

    def __init__(self, params: Iterable[Tensor], lr: float, momentum: float = 0.9) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One step, with Nesterov's momentum."""
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                if not state:
                    state["momentum"] = torch.zeros_like(weight)
                average = state["momentum"].mul_(group["momentum"]).add_(weight.grad)
                slope = weight.grad.add(average, alpha=group["momentum"])
                rows = len(weight)
                update = orthogonal(slope.reshape(rows, -1)).view_as(weight)
                weight.mul_(rows**0.5 / weight.norm()).add_(update, alpha=-group["lr"])


def orthogonal(matrix: Tensor, steps: int = 5) -> Tensor:
    """The nearest matrix (rows, columns) whose singular values are all about 1.

    Newton-Schulz iteration with the quintic polynomial of the source, which is coarse (0.7 to 1.2)
    but fast and stable in bfloat16.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    x = matrix.bfloat16()
    tall = x.shape[0] > x.shape[1]
    if tall:
        x = x.T
    x = x / (x.norm() + 1e-7)
    for _ in range(steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x.T if tall else x).to(matrix.dtype)
