"""The training targets and losses of `fpn`: which anchors are faces, their scores, their boxes.

The target of a score is the overlap (IoU) of its own box with a face, so that the best box of a
face ranks first and survives non-maximum suppression.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

NEAREST = 9
"""Anchors of every level that a face may choose from, those whose centers are nearest to its own
(Zhang et al. 2020, https://arxiv.org/abs/1912.02424, table 4)."""

WEIGHED = (16.0, 64.0)
"""Side in pixels of a face that counts as much in the losses as a place without one, and the side
up to which larger faces count for more, in proportion. With equal weights the network learns little
but specks: they are most of the faces in training crops (docs/experiments.md, 30)."""

GROWTH = 4.135166556742356
"""log(1000 / 16): torchvision's bound on how much a box grows in one step."""


def assign_anchors(anchors: Tensor, per_level: list[int], faces: Tensor) -> Tensor:
    """Which face every anchor is to find: int64 (A,), -1 for none (ATSS, Zhang et al. 2020).

    Args:
        anchors: (A, 4), level by level.
        per_level: how many of them each level has.
        faces: (N, 4).

    Of the nearest anchors of all levels those count whose overlap with the face is above the mean
    plus the standard deviation of all of them, and whose center lies in the face. So a small face
    gets as many anchors as a large one, where a fixed overlap starves it. A face that gets none so
    has the one that overlaps it most. An anchor of two faces is for that which it overlaps more.
    """
    chosen = anchors.new_full((len(anchors),), -1, dtype=torch.int64)
    if not len(faces):
        return chosen
    centers, middles = _centers(anchors), _centers(faces)
    candidates = []
    before = 0
    for count in per_level:
        near = torch.cdist(middles, centers[before : before + count])
        nearest = near.topk(min(NEAREST, count), dim=1, largest=False).indices
        candidates.append(nearest + before)
        before += count
    near = torch.cat(candidates, dim=1)  # (N, C)
    overlap, _ = overlaps(anchors[near], faces[:, None].expand(-1, near.shape[1], -1))
    enough = overlap.mean(dim=1, keepdim=True) + overlap.std(dim=1, keepdim=True)
    x, y = centers[near].unbind(-1)
    inside = (x > faces[:, None, 0]) & (x < faces[:, None, 2])
    inside &= (y > faces[:, None, 1]) & (y < faces[:, None, 3])
    good = (overlap >= enough) & inside
    best = overlap.argmax(dim=1)
    none = ~good.any(dim=1)
    good[none, best[none]] = True
    face, place = good.nonzero(as_tuple=True)
    anchor, value = near[face, place], overlap[face, place]
    most = value.new_zeros(len(anchors)).scatter_reduce(0, anchor, value, "amax")
    first = value == most[anchor]
    chosen[anchor[first]] = face[first]
    return chosen


def boxes_of_deltas(deltas: Tensor, weights: tuple[float, ...] = (1.0, 1.0, 1.0, 1.0)) -> Tensor:
    """Deltas (..., 4) of torchvision's BoxCoder as boxes, in sides of the box that they move.

    Overlaps do not change when both boxes are stretched alike, so they can be taken of these.
    """
    dx, dy, dw, dh = (d / w for d, w in zip(deltas.unbind(-1), weights, strict=True))
    half_wide, half_high = 0.5 * dw.clamp(max=GROWTH).exp(), 0.5 * dh.clamp(max=GROWTH).exp()
    return torch.stack((dx - half_wide, dy - half_high, dx + half_wide, dy + half_high), dim=-1)


def overlaps(boxes: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    """Intersection over union, and its generalization (GIoU), of boxes (..., 4) pair by pair.

    GIoU (Rezatofighi et al. 2019) goes below zero, down to -1, the further the two are apart.
    """
    area = _area(boxes) + _area(others)
    corner = torch.maximum(boxes[..., :2], others[..., :2])
    other = torch.minimum(boxes[..., 2:], others[..., 2:])
    shared = (other - corner).clamp(min=0).prod(dim=-1)
    union = (area - shared).clamp(min=1e-7)
    overlap = shared / union
    around = torch.maximum(boxes[..., 2:], others[..., 2:])
    around = (around - torch.minimum(boxes[..., :2], others[..., :2])).prod(dim=-1).clamp(min=1e-7)
    return overlap, overlap - (around - union) / around


def face_weights(faces: Tensor) -> Tensor:
    """How much each face counts in the losses: boxes (N, 4) in pixels -> (N,), above 0."""
    one, most = WEIGHED
    side = (faces[:, 2:] - faces[:, :2]).clamp(min=1).prod(dim=1).sqrt()
    return side.clamp(max=most) / one


def quality_loss(logits: Tensor, quality: Tensor, weights: Tensor) -> Tensor:
    """Cross-entropy with a target from 0 to 1, weighted by the square of how far off it is.

    Quality focal loss (Li et al. 2020, https://arxiv.org/abs/2006.04388): thousands of places that
    are easily no face weigh next to nothing, so that none need be left out. ``weights`` (N,) come
    on top.
    """
    off = (logits.sigmoid() - quality).detach().square() * weights
    return functional.binary_cross_entropy_with_logits(logits, quality, off, reduction="sum")


def detection_losses(
    logits: Tensor,
    deltas: Tensor,
    wanted: Tensor,
    coder: tuple[float, ...],
    faces: Tensor,
    weights: Tensor,
) -> tuple[Tensor, Tensor]:
    """The loss of the scores and that of the boxes, each a weighted mean over the boxes on faces.

    Args:
        logits: (N,) of all boxes.
        deltas: (F, 4), how the network moves those that are on faces.
        wanted: (F, 4), how they should be moved.
        coder: the weights of the box coder.
        faces: which of the N the F are, int64 (F,).
        weights: of the F, above 0 (see `face_weights`).
    """
    overlap, generalized = overlaps(
        boxes_of_deltas(deltas.float(), coder), boxes_of_deltas(wanted, coder)
    )
    quality = torch.zeros_like(logits, dtype=torch.float32)
    quality[faces] = overlap.detach()
    every = torch.ones_like(quality)
    every[faces] = weights
    whole = weights.sum().clamp(min=1)
    scores = quality_loss(logits.float(), quality, every)
    return scores / whole, (weights * (1 - generalized)).sum() / whole


def _centers(boxes: Tensor) -> Tensor:
    return (boxes[:, :2] + boxes[:, 2:]) / 2


def _area(boxes: Tensor) -> Tensor:
    return (boxes[..., 2:] - boxes[..., :2]).clamp(min=0).prod(dim=-1)
