"""The network as one function of tensors, which is what an exported file holds.

`torchvision`'s Faster R-CNN walks through lists of images in Python and decodes every anchor; no
exporter can follow that for any size, batch and number of faces. `FaceGraph` computes the same with
tensors only, for a whole batch at once:

* the images need no resizing, so torchvision's transform is left out (`detector.inference.resize`
  does that);
* the best anchors of a level are chosen before their boxes are decoded;
* non-maximum suppression is done for all images and levels together, without branches, and exactly:
  boxes of different groups never meet;
* batch norm and the division by the standard deviation are folded into the convolutions, and the
  two output convolutions of the proposal network are one.
"""

from __future__ import annotations

import copy
import itertools

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torchvision.ops import nms, roi_align

from detector.model import MEAN, STD, FaceRCNN
from detector.points import AROUND, GRID, points_in_pixels
from detector.stages import enlarge


class DenseLayers(nn.Module):
    """Everything that runs at every place of the image: backbone, pyramid and proposal network.

    uint8 RGB (B, H, W, 3) -> the maps that proposals are pooled from, and for every level the
    objectness (B, A, h, w) and box deltas (B, 4 A, h, w) of its A anchors.
    """

    def __init__(self, model: FaceRCNN) -> None:
        super().__init__()
        self.mean = nn.Buffer(torch.tensor(MEAN).view(1, 3, 1, 1) * 255)
        self.backbone = _without_batch_norm(model.backbone)
        first = next(m for m in self.backbone.modules() if isinstance(m, nn.Conv2d))
        first.weight.data /= torch.tensor(STD).view(1, 3, 1, 1) * 255
        self.tower = _without_batch_norm(model.rpn.head.conv)
        self.outputs = _side_by_side(model.rpn.head.cls_logits, model.rpn.head.bbox_pred)
        self.anchors = model.rpn.head.cls_logits.out_channels
        self.pooled = len(model.roi_heads.box_roi_pool.featmap_names)

    def forward(self, images: Tensor) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        maps = self.backbone(images.permute(0, 3, 1, 2).float() - self.mean)
        levels = list(maps.values()) if isinstance(maps, dict) else [maps]
        objectness, deltas = [], []
        for level in levels:
            both = self.outputs(self.tower(level))
            objectness.append(both[:, : self.anchors])
            deltas.append(both[:, self.anchors : 5 * self.anchors])
        return levels[: self.pooled], objectness, deltas


class FaceGraph(nn.Module):
    """A `FaceRCNN` in evaluation mode as a function of tensors alone.

    ``graph(images, score_threshold, nms_threshold)`` takes uint8 RGB (B, H, W, 3) with H and W
    multiples of 32 and two numbers from 0 to 1 (None: the network's own), and returns, over all
    images together, sorted by image and then by descending score:

        boxes   float32 (K, 4), ``x1 y1 x2 y2`` in pixels of the batch
        scores  float32 (K,)
        image   int64 (K,), the position 0..B-1 of the image in the batch
    """

    def __init__(self, model: FaceRCNN) -> None:
        super().__init__()
        model = copy.deepcopy(model).cpu().eval()
        rpn, roi = model.rpn, model.roi_heads
        self.dense: nn.Module = DenseLayers(model)
        # (levels, anchors, 4): the anchors of the place (0, 0)
        self.cells = nn.Buffer(torch.stack(list(rpn.anchor_generator.cell_anchors)))
        self.anchors = int(self.cells.shape[1])
        self.levels = int(self.cells.shape[0])
        self.per_level = int(rpn.pre_nms_top_n())
        self.per_image = int(rpn.post_nms_top_n())
        self.proposal_threshold = float(rpn.score_thresh)
        self.proposal_nms = float(rpn.nms_thresh)
        self.smallest_proposal = float(rpn.min_size)
        pool = roi.box_roi_pool
        self.pooled = len(pool.featmap_names)
        self.grid = int(pool.output_size[0])
        self.samples = int(pool.sampling_ratio)
        self.canonical_cell = float(pool.canonical_scale) / self.grid
        self.canonical_level = float(pool.canonical_level)
        self.context = float(getattr(pool, "context", 1.0))
        self.finest = 2 if self.pooled > 1 else 5  # log2 of the finest pooled stride
        self.objectness = float(roi.objectness)
        self.shift = float(roi.shift)
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
        features, objectness, deltas = self.dense(images)
        height, width = images.shape[1], images.shape[2]
        boxes, of_proposal, image = self.propose(objectness, deltas, height, width)
        pooled, order = self.pool(features, boxes, image, self.grid, self.context)
        boxes, of_proposal, image = boxes[order], of_proposal[order], image[order]
        logits, moves = self.predictor(self.head(pooled))
        face = torch.lerp(logits[:, 1] - logits[:, 0], of_proposal, self.objectness)
        scores = (face - self.shift).sigmoid()
        boxes, wide, high = _decode(boxes, moves[:, 4:8] / self.box_weights, height, width)
        good = (scores > score_threshold) & (torch.minimum(wide, high) >= 1e-2)
        found = good.nonzero().squeeze(1)
        boxes, scores, image = boxes[found], scores[found], image[found]
        kept = self.nms(boxes, scores, image, images.shape[0], nms_threshold, self.detections)
        return boxes[kept], scores[kept], image[kept], features

    def propose(
        self, objectness: list[Tensor], deltas: list[Tensor], height: int, width: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The proposals of all images: boxes (R, 4), objectness (R,), a logit, and image (R,)."""
        batch = objectness[0].shape[0]
        level_anchors, level_moves, level_logits, level_number = [], [], [], []
        for level, (logits, delta) in enumerate(zip(objectness, deltas)):  # noqa: B905 (TorchScript)
            rows, columns = logits.shape[2], logits.shape[3]
            flat = logits.permute(0, 2, 3, 1).flatten(1)
            best, index = flat.topk(_smaller(self.per_level, flat.shape[1]), dim=1)
            place = index // self.anchors
            row = place // columns  # no `%`: the ONNX exporter knows it for fixed numbers only
            x = (place - row * columns) * (width // columns)
            y = row * (height // rows)
            corner = torch.stack((x, y, x, y), dim=2)
            level_anchors.append(self.cells[level][index - place * self.anchors] + corner)
            moves = delta.permute(0, 2, 3, 1).reshape(batch, -1, 4)
            level_moves.append(moves.gather(1, index[:, :, None].expand(-1, -1, 4)))
            level_logits.append(best)
            level_number.append(torch.full_like(best[0], level, dtype=torch.int64))
        all_logits = torch.cat(level_logits, dim=1)
        scores = all_logits.sigmoid()
        boxes, wide, high = _decode(
            torch.cat(level_anchors, dim=1), torch.cat(level_moves, dim=1), height, width
        )
        good = scores >= self.proposal_threshold
        good = good & (torch.minimum(wide, high) >= self.smallest_proposal)
        where = good.flatten().nonzero().squeeze(1)
        boxes = boxes.reshape(-1, 4)
        groups = torch.arange(batch, device=where.device)[:, None] * self.levels
        groups = (groups + torch.cat(level_number)).flatten()[where]
        kept = where[
            self.nms(
                boxes[where], scores.flatten()[where], groups, batch * self.levels,
                self.proposal_nms, self.per_image,
            )
        ]  # fmt: skip
        # The best of each image, over its levels: back to one row an image, zero where dropped.
        left = torch.zeros_like(scores).flatten().scatter(0, kept, scores.flatten()[kept])
        left = left.reshape(batch, -1)
        limit = _smaller(self.per_image, left.shape[1])
        best, index = left.topk(limit, dim=1)
        index = index + torch.arange(batch, device=index.device)[:, None] * left.shape[1]
        some = (best.flatten() > 0).nonzero().squeeze(1)
        chosen = index.flatten()[some]
        return boxes[chosen], all_logits.flatten()[chosen], some // limit

    def pool(
        self, features: list[Tensor], boxes: Tensor, image: Tensor, grid: int, context: float
    ) -> tuple[Tensor, Tensor]:
        """RoIAlign from the level that suits each box (Lin et al. 2017, equation 1).

        Returns the boxes, ``context`` times as large, as maps (R, C, grid, grid), level by level,
        and which box each is.
        """
        boxes = enlarge(boxes, context)
        sides = ((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])).sqrt()
        wanted = torch.floor(
            self.canonical_level + torch.log2(sides / (self.canonical_cell * grid)) + 1e-6
        ).clamp(self.finest, self.finest + self.pooled - 1)
        rois = torch.cat((image[:, None].to(boxes.dtype), boxes), dim=1)
        order, pooled = [], []
        for level, feature in enumerate(features):
            here = (wanted == self.finest + level).nonzero().squeeze(1)
            order.append(here)
            pooled.append(
                roi_align(
                    feature,
                    rois[here],
                    [grid, grid],
                    0.5 ** (self.finest + level),
                    self.samples,
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

    def __init__(self, model: FaceRCNN) -> None:
        super().__init__(model)
        self.points = copy.deepcopy(model.roi_heads.points).cpu()

    def forward(  # type: ignore[override]
        self,
        images: Tensor,
        score_threshold: float | None = None,
        nms_threshold: float | None = None,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        boxes, scores, image, features = self.find(images, score_threshold, nms_threshold)
        pooled, order = self.pool(features, boxes, image, GRID, AROUND)
        points = points_in_pixels(self.points(pooled), boxes[order])
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


def _without_batch_norm(module: nn.Module) -> nn.Module:
    """``module`` with every batch norm folded into the convolution before it."""
    for parent in list(module.modules()):
        if not isinstance(parent, nn.Sequential):
            continue
        names = list(parent._modules)
        for first, second in itertools.pairwise(names):
            convolution, norm = parent[int(first)], parent[int(second)]
            if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                parent[int(first)] = fuse_conv_bn_eval(convolution, norm)
                parent[int(second)] = nn.Identity()
    return module


def _side_by_side(first: nn.Conv2d, second: nn.Conv2d) -> nn.Conv2d:
    """Two 1x1 convolutions of the same map as one.

    The output is padded with zeros to a multiple of four channels: ONNX Runtime's blocked
    convolutions need that, and would otherwise first rearrange the whole map.
    """
    used = first.out_channels + second.out_channels
    both = nn.Conv2d(first.in_channels, -(-used // 4) * 4, 1)
    with torch.no_grad():
        both.weight.zero_()
        assert both.bias is not None
        both.bias.zero_()
        both.weight[:used] = torch.cat((first.weight, second.weight))
        both.bias[:used] = torch.cat((first.bias, second.bias))  # type: ignore[arg-type]
    return both


def example_images() -> Tensor:
    """What the exporters trace with; the sizes are free in the result."""
    return torch.zeros(2, 128, 192, 3, dtype=torch.uint8)


def dynamic_shapes() -> dict[int, object]:
    """Any batch, any height and width that are multiples of 32, for `torch.export`."""
    batch = torch.export.Dim("batch", min=1, max=1024)
    rows = torch.export.Dim("rows", min=1, max=1024)
    columns = torch.export.Dim("columns", min=1, max=1024)
    return {0: batch, 1: 32 * rows, 2: 32 * columns}
