"""The five points of a face: the part of `fpn` that finds them, and its loss.

They are found from the final box of a face, in the second stage: a branch beside box and score,
which pools finer than these, as a cell of theirs is a seventh of a face and more.
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

GRID = 14
"""Cells to a side of the maps that points are found from."""

SAMPLES = 2
"""How many samples are averaged for a cell, in each direction: taken from maps that are finer than
the cells, they show where a large face's points are to a fraction of one."""

SHAKEN = 0.05
"""How far the sides of the boxes that points are learned from lie from the true ones (standard
deviation, in widths and heights): a found box is not exact either."""

AROUND = 1.3
"""How many sides of the box those maps span: points of a turned head lie at its edge."""


class PointsHead(nn.Module):
    """Maps (K, C, GRID, GRID) pooled from boxes made ``AROUND`` times as large -> points
    (K, 5, 2), from the center of the box, in its widths and heights.

    For each point a map says where it is; its place is the mean of all cells, weighted by the
    softmax of that map (Sun et al. 2018, https://arxiv.org/abs/1711.08229): finer than a cell.
    """

    def __init__(self, channels: int, width: int = 48) -> None:
        super().__init__()
        inputs = (channels, width, width)
        # A cell of the last sees 13 x 13: whether an eye is the left one shows far from it.
        convs = [nn.Conv2d(c, width, 3, padding=d, dilation=d) for d, c in enumerate(inputs, 1)]
        for conv in convs:
            nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
        self.convs = nn.ModuleList(convs)
        self.maps = nn.Conv2d(width, 5, 1)
        nn.init.zeros_(self.maps.weight)
        at = ((torch.arange(GRID) + 0.5) / GRID - 0.5) * AROUND
        y, x = torch.meshgrid(at, at, indexing="ij")
        cells = torch.stack((x.flatten(), y.flatten()), 1)
        self.register_buffer("cells", cells, persistent=False)
        # Where a point is on most faces; learning starts from it.
        far = torch.cdist(torch.tensor(MEAN_FACE), cells)
        self.prior = nn.Parameter(-far.square() / (2 * 0.15**2))

    def forward(self, pooled: Tensor) -> Tensor:
        for conv in self.convs:
            pooled = conv(pooled).relu()
        maps = self.maps(pooled).float().flatten(2) + self.prior
        return maps.softmax(2) @ self.cells


def points_in_pixels(relative: Tensor, boxes: Tensor) -> Tensor:
    """Points (K, 5, 2) of `PointsHead` and the boxes (K, 4) -> points in pixels."""
    corner, other = boxes[:, None, :2], boxes[:, None, 2:]
    return (corner + other) / 2 + relative * (other - corner)


def shaken(boxes: Tensor) -> Tensor:
    """Boxes (K, 4) with every side moved at random, by `SHAKEN` of the width or height."""
    sides = boxes[:, 2:] - boxes[:, :2]
    return boxes + SHAKEN * torch.randn_like(boxes) * torch.cat((sides, sides), dim=1)


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
