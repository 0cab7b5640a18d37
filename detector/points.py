"""The five points of a face: the part of `fpn` that finds them, and its loss.

They are found from the final box of a face, in the second stage: a branch beside box and score.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

MEAN_FACE = ((-0.21, -0.12), (0.21, -0.12), (0.0, 0.08), (-0.18, 0.25), (0.18, 0.25))
"""Where the points lie in boxes of WIDER FACE, from the center, in widths and heights (mean of 340
faces): left eye, right eye (as seen in the image), nose, corners of the mouth. Learning starts from
it."""

OTHER_SIDE = (1, 0, 2, 4, 3)
"""Which point each becomes when the image is mirrored."""

ROUND = 0.03
"""Errors below this, in sides of the box, count by their square: labels are no better."""


class PointsHead(nn.Module):
    """Maps (K, C, S, S) pooled from around boxes -> points (K, 5, 2), from the center of the box,
    in its widths and heights."""

    def __init__(self, channels: int, size: int, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)
        self.hidden = nn.Linear(channels * size * size, width)
        self.out = nn.Linear(width, 10)
        nn.init.normal_(self.out.weight, std=0.001)
        with torch.no_grad():
            self.out.bias.copy_(torch.tensor(MEAN_FACE).flatten())

    def forward(self, pooled: Tensor) -> Tensor:
        x = self.conv(pooled).relu().flatten(1)
        return self.out(self.hidden(x).relu()).reshape(-1, 5, 2)


def points_in_pixels(relative: Tensor, boxes: Tensor) -> Tensor:
    """Points (K, 5, 2) of `PointsHead` and the boxes (K, 4) -> points in pixels."""
    corner, other = boxes[:, None, :2], boxes[:, None, 2:]
    return (corner + other) / 2 + relative * (other - corner)


def points_loss(relative: Tensor, boxes: Tensor, points: Tensor) -> tuple[Tensor, int]:
    """The mean distance of the points that are known, and how many those are.

    Args:
        relative: (K, 5, 2) of `PointsHead`.
        boxes: (K, 4), what they were pooled from.
        points: (K, 5, 2) in pixels, NaN where it is not known.
    """
    corner, other = boxes[:, None, :2], boxes[:, None, 2:]
    wanted = (points - (corner + other) / 2) / (other - corner)
    known = wanted.isfinite().all(dim=2)
    off = relative.float() - torch.where(known[..., None], wanted, relative.float().detach())
    off = off.abs()
    each = torch.where(off < ROUND, off.square() / (2 * ROUND), off - ROUND / 2).sum(dim=2)
    count = int(known.sum())
    return each.sum() / max(1, count), count
