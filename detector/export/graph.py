"""The network as one function of tensors, which is what an exported file holds.

`torchvision`'s Faster R-CNN walks through lists of images in Python and decodes every anchor; no
exporter can follow that for any size, batch and number of faces. `FaceGraph` computes the same with
tensors only, for a whole batch at once:

* the images need no resizing, so torchvision's transform is left out (`detector.inference.resize`
  does that);
* the best anchors of a level are chosen before their boxes are decoded; from there on all levels go
  together, for ONNX Runtime takes a microsecond or two for the smallest step;
* non-maximum suppression is done for all images and levels together, without branches, and exactly:
  boxes of different groups never meet;
* what runs at every place of the image is in `detector.export.dense`.
"""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor, nn
from torchvision.ops import nms, roi_align

from detector.export.dense import DenseLayers
from detector.model import FaceRCNN
from detector.points import AROUND, GRID, SAMPLES, points_in_pixels
from detector.stages import enlarge


class FaceGraph(nn.Module):
    """A `FaceRCNN` in evaluation mode as a function of tensors alone.

    ``graph(images, score_threshold, nms_threshold)`` takes uint8 RGB (B, H, W, 3) with H and W
    multiples of 32 and two numbers from 0 to 1 (None: the network's own), and returns, over all
    images together, sorted by image and then by descending score:

        boxes   float32 (K, 4), ``x1 y1 x2 y2`` in pixels of the batch
        scores  float32 (K,)
        image   int64 (K,), the position 0..B-1 of the image in the batch

    Args:
        model: is left as it is.
        grouped: see `DenseLayers`; a gain in float32 with ONNX Runtime, not for other formats.
    """

    def __init__(self, model: FaceRCNN, grouped: bool = False) -> None:
        super().__init__()
        model = copy.deepcopy(model).cpu().eval()
        rpn, roi = model.rpn, model.roi_heads
        self.dense: nn.Module = DenseLayers(model, grouped)
        # (levels * anchors, 4): the anchors of the place (0, 0)
        cells = torch.stack(list(rpn.anchor_generator.cell_anchors))
        self.levels, self.anchors = int(cells.shape[0]), int(cells.shape[1])
        self.cells = nn.Buffer(cells.flatten(0, 1))
        self.per_level = int(rpn.pre_nms_top_n())
        self.per_image = int(rpn.post_nms_top_n())
        self.proposal_threshold = float(rpn.score_thresh)
        # A logit below every one that reaches the threshold, rounding included.
        self.lowest = (
            math.log(self.proposal_threshold / (1 - self.proposal_threshold)) - 0.01
            if 0 < self.proposal_threshold < 1
            else -math.inf
        )
        self.proposal_nms = float(rpn.nms_thresh)
        self.smallest_proposal = float(rpn.min_size)
        pool = roi.box_roi_pool
        self.pooled = len(pool.featmap_names)
        self.grid = int(pool.output_size[0])
        self.samples = int(pool.sampling_ratio)
        self.canonical_step = float(pool.canonical_scale) / (self.grid * self.samples)
        self.canonical_level = float(pool.canonical_level)
        self.context = float(getattr(pool, "context", 1.0))
        self.finest = 2 if self.pooled > 1 else 5  # log2 of the finest pooled stride
        self.objectness = float(roi.objectness)
        self.shift = float(roi.shift)
        self.temperature = float(roi.temperature)
        self.head = roi.box_head
        self.predictor = roi.box_predictor
        self.box_weights = nn.Buffer(torch.tensor(roi.box_coder.weights))
        self.detections = int(roi.detections_per_img)
        self.score_threshold = float(roi.score_thresh)
        self.nms_threshold = float(roi.nms_thresh)

    def forward(
        self,
        images: Tensor,
        score_threshold: float | None = None,
        nms_threshold: float | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        boxes, scores, image, _ = self.find(images, score_threshold, nms_threshold)
        return boxes, scores, image

    def find(
        self, images: Tensor, score_threshold: float | None, nms_threshold: float | None
    ) -> tuple[Tensor, Tensor, Tensor, list[Tensor]]:
        """What `forward` gives, and the maps that faces are pooled from."""
        if score_threshold is None:
            score_threshold = self.score_threshold
        if nms_threshold is None:
            nms_threshold = self.nms_threshold
        features, anchors = self.dense(images)
        height, width = images.shape[1], images.shape[2]
        boxes, of_proposal, image = self.propose(anchors, height, width)
        pooled, order = self.pool(features, boxes, image, self.grid, self.samples, self.context)
        boxes, image = boxes.index_select(0, order), image.index_select(0, order)
        of_proposal = of_proposal.index_select(0, order)
        logits, moves = self.predictor(self.head(pooled))
        face = torch.lerp(logits[:, 1] - logits[:, 0], of_proposal, self.objectness)
        scores = ((face - self.shift) / self.temperature).sigmoid()
        boxes, wide, high = _decode(boxes, moves[:, 4:8] / self.box_weights, height, width)
        good = (scores > score_threshold) & (torch.minimum(wide, high) >= 1e-2)
        found = good.nonzero().squeeze(1)
        boxes, scores = boxes.index_select(0, found), scores.index_select(0, found)
        image = image.index_select(0, found)
        kept = self.nms(boxes, scores, image, images.shape[0], nms_threshold, self.detections)
        boxes, scores = boxes.index_select(0, kept), scores.index_select(0, kept)
        return boxes, scores, image.index_select(0, kept), features

    def propose(
        self, anchors: list[Tensor], height: int, width: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The proposals of all images: boxes (R, 4), objectness (R,), a logit, and image (R,).

        ``anchors`` of every level are as `DenseLayers` gives them.
        """
        batch = anchors[0].shape[0]
        numbers = torch.arange(batch, device=anchors[0].device)[:, None]
        level_logits, level_x, level_y, level_number, level_kind, level_values = (
            [],
            [],
            [],
            [],
            [],
            [],
        )
        for level, values in enumerate(anchors):
            rows, columns = values.shape[1], values.shape[2]
            flat = values[..., : self.anchors].flatten(1)
            if self.lowest > -math.inf:
                # What is dropped below anyhow is made equal, which is quickly looked through.
                flat = flat.clamp(min=self.lowest)
            best, index = flat.topk(_smaller(self.per_level, flat.shape[1]), dim=1)
            # Nothing is negative: truncated is floored, and in ONNX one step instead of eleven.
            place = index.div(self.anchors, rounding_mode="trunc")
            row = place.div(columns, rounding_mode="trunc")
            level_x.append((place - row * columns) * (width // columns))
            level_y.append(row * (height // rows))
            level_kind.append(index - place * self.anchors)
            level_number.append(torch.full_like(index, level))
            level_logits.append(best)
            place = (place + numbers * (rows * columns)).flatten()
            level_values.append(
                values.flatten(0, 2).index_select(0, place).reshape(batch, -1, values.shape[3])
            )
        all_logits = torch.cat(level_logits, dim=1)
        scores = all_logits.sigmoid()
        x, y, kind = torch.cat(level_x, 1), torch.cat(level_y, 1), torch.cat(level_kind, 1)
        number = torch.cat(level_number, 1)
        cells = self.cells.index_select(0, (number * self.anchors + kind).flatten())
        moves = torch.cat(level_values, 1)[..., self.anchors : 5 * self.anchors]
        moves = moves.reshape(-1, self.anchors, 4)
        moves = moves.gather(1, kind.reshape(-1, 1, 1).expand(-1, -1, 4)).reshape(batch, -1, 4)
        corner = torch.stack((x, y, x, y), dim=2)
        boxes, wide, high = _decode(cells.reshape(batch, -1, 4) + corner, moves, height, width)
        good = scores >= self.proposal_threshold
        good = good & (torch.minimum(wide, high) >= self.smallest_proposal)
        where = good.flatten().nonzero().squeeze(1)
        boxes = boxes.reshape(-1, 4)
        groups = (numbers * self.levels + number).flatten().index_select(0, where)
        kept = self.nms(
            boxes.index_select(0, where), scores.flatten().index_select(0, where), groups,
            batch * self.levels, self.proposal_nms, self.per_image,
        )  # fmt: skip
        kept = where.index_select(0, kept)
        # The best of each image, over its levels: back to one row an image, zero where dropped.
        of_kept = scores.flatten().index_select(0, kept)
        left = torch.zeros_like(scores).flatten().scatter(0, kept, of_kept)
        left = left.reshape(batch, -1)
        limit = _smaller(self.per_image, left.shape[1])
        best, index = left.topk(limit, dim=1)
        index = index + numbers * left.shape[1]
        some = (best.flatten() > 0).nonzero().squeeze(1)
        chosen = index.flatten().index_select(0, some)
        image = some.div(limit, rounding_mode="trunc")
        return boxes.index_select(0, chosen), all_logits.flatten().index_select(0, chosen), image

    def pool(
        self,
        features: list[Tensor],
        boxes: Tensor,
        image: Tensor,
        grid: int,
        samples: int,
        context: float,
    ) -> tuple[Tensor, Tensor]:
        """RoIAlign from the level that suits each box (Lin et al. 2017, equation 1).

        Returns the boxes, ``context`` times as large, as maps (R, C, grid, grid), level by level,
        and which box each is. A cell is the mean of ``samples`` in each direction.
        """
        boxes = enlarge(boxes, context)
        sides = ((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])).sqrt()
        wanted = torch.floor(
            self.canonical_level + torch.log2(sides / (self.canonical_step * grid * samples)) + 1e-6
        ).clamp(self.finest, self.finest + self.pooled - 1)
        rois = torch.cat((image[:, None].to(boxes.dtype), boxes), dim=1)
        order, pooled = [], []
        for level, feature in enumerate(features):
            here = (wanted == self.finest + level).nonzero().squeeze(1)
            order.append(here)
            pooled.append(
                roi_align(
                    feature,
                    rois.index_select(0, here),
                    [grid, grid],
                    0.5 ** (self.finest + level),
                    samples,
                )
            )
        return torch.cat(pooled), torch.cat(order)

    def nms(
        self, boxes: Tensor, scores: Tensor, groups: Tensor, count: int, iou: float, limit: int
    ) -> Tensor:
        """Non-maximum suppression within each group.

        Args:
            boxes: (N, 4) with their scores (N,) and groups (N,), int64 0..count-1.
            count: how many groups there may be.
            iou: a box that overlaps a better one of its group by more than this is dropped.
            limit: how many boxes a group may keep.

        Returns the positions kept, int64 (K,), sorted by group and then by descending score.
        """
        # 2**20 pixels apart: further than any image is wide, and exact in float64.
        apart = boxes.double() + groups[:, None].double() * 1048576.0
        kept = nms(apart, scores.double(), iou)
        kept = kept[groups[kept].argsort(stable=True)]
        group = groups[kept]
        rank = torch.arange(group.shape[0], device=group.device) - torch.searchsorted(group, group)
        return kept[rank < limit]


class PointsGraph(FaceGraph):
    """`FaceGraph` of a network that finds points: a fourth output, landmarks float32 (K, 5, 2)."""

    def __init__(self, model: FaceRCNN, grouped: bool = False) -> None:
        super().__init__(model, grouped)
        self.points = copy.deepcopy(model.roi_heads.points).cpu()
        self.points_grid, self.points_samples, self.around = GRID, SAMPLES, AROUND

    def forward(  # type: ignore[override]
        self,
        images: Tensor,
        score_threshold: float | None = None,
        nms_threshold: float | None = None,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        boxes, scores, image, features = self.find(images, score_threshold, nms_threshold)
        pooled, order = self.pool(
            features, boxes, image, self.points_grid, self.points_samples, self.around
        )
        points = points_in_pixels(self.points(pooled), boxes.index_select(0, order))
        # Back in their order. The exporter does not know that there are as many as boxes.
        place = order[:, None, None].expand(-1, 5, 2)
        landmarks = boxes.new_zeros((boxes.shape[0], 5, 2)).scatter(0, place, points)
        return boxes, scores, image, landmarks


def face_graph(model: FaceRCNN) -> FaceGraph:
    """The graph of a network, with points where it has them."""
    return (FaceGraph if model.roi_heads.points is None else PointsGraph)(model)


def _smaller(a: int, b: int) -> int:
    """The smaller number, without fixing which one it is while `torch.export` traces."""
    if torch.jit.is_scripting():
        return min(a, b)
    return torch.sym_min(a, b)  # type: ignore[return-value]


def _decode(
    boxes: Tensor, deltas: Tensor, height: int, width: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Boxes (..., 4) moved by deltas (..., 4), as torchvision's BoxCoder does it, and clipped.

    Returns the boxes (..., 4), their widths (...) and their heights (...).
    """
    x1, y1, x2, y2 = boxes.unbind(-1)
    dx, dy, dw, dh = deltas.unbind(-1)
    wide, high = x2 - x1, y2 - y1
    x = dx * wide + (x1 + 0.5 * wide)
    y = dy * high + (y1 + 0.5 * high)
    # log(1000 / 16): torchvision's bound on growth, from Detectron
    half_wide = 0.5 * dw.clamp(max=4.135166556742356).exp() * wide
    half_high = 0.5 * dh.clamp(max=4.135166556742356).exp() * high
    left, right = (x - half_wide).clamp(0, width), (x + half_wide).clamp(0, width)
    top, bottom = (y - half_high).clamp(0, height), (y + half_high).clamp(0, height)
    return torch.stack((left, top, right, bottom), dim=-1), right - left, bottom - top


def example_images() -> Tensor:
    """What the exporters trace with; the sizes are free in the result."""
    return torch.zeros(2, 128, 192, 3, dtype=torch.uint8)


def dynamic_shapes() -> dict[int, object]:
    """Any batch, any height and width that are multiples of 32, for `torch.export`."""
    batch = torch.export.Dim("batch", min=1, max=1024)
    rows = torch.export.Dim("rows", min=1, max=1024)
    columns = torch.export.Dim("columns", min=1, max=1024)
    return {0: batch, 1: 32 * rows, 2: 32 * columns}
