"""The networks: torchvision's Faster R-CNN with a MobileNetV2 backbone, in two arrangements.

`fpn` is ours: a light pyramid on strides 4..64 whose anchors follow the sizes of faces.
`reference` is the recipe that most people copy, kept to compare with.

Both take a uint8 batch (B, 3, H, W) of plain RGB; normalization happens inside.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models import MobileNet_V2_Weights, mobilenet_v2
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.generalized_rcnn import GeneralizedRCNN
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.models.detection.rpn import RegionProposalNetwork, RPNHead
from torchvision.models.mobilenetv2 import InvertedResidual
from torchvision.ops import (
    Conv2dNormActivation,
    MultiScaleRoIAlign,
    batched_nms,
    box_iou,
    clip_boxes_to_image,
)

from detector.config import ModelConfig
from detector.losses import assign_anchors, detection_losses
from detector.points import PointsHead, points_in_pixels, points_loss
from faces.errors import UserError

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
"""torchvision's ImageNet statistics, which MobileNet_V2_Weights were trained with."""

TAPS = (3, 6, 13, 17)
"""Blocks of mobilenet_v2.features that end the strides 4, 8, 16 and 32."""

CONTEXT = 1.5
"""Side of the region that a proposal of `fpn` is classified from, in sides of the proposal."""

REFERENCE_HEAD = 1024
"""Width of the head of `reference`."""

Targets = list[dict[str, Tensor]]


class Normalize(nn.Module):
    """Takes the place of torchvision's transform: all images of a batch already have one size."""

    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1) * 255, persistent=False)
        self.register_buffer("std", torch.tensor(STD).view(1, 3, 1, 1) * 255, persistent=False)

    def forward(
        self, images: Tensor, targets: Targets | None = None
    ) -> tuple[ImageList, Targets | None]:
        """uint8 (B, 3, H, W) -> normalized float images; targets pass through."""
        pixels = (images.to(self.mean.dtype) - self.mean) / self.std
        if pixels.device.type == "cpu":
            pixels = pixels.contiguous(memory_format=torch.channels_last)
        size = (int(images.shape[-2]), int(images.shape[-1]))
        return ImageList(pixels, [size] * len(images)), targets

    def postprocess(
        self, result: Targets, image_shapes: list[tuple[int, int]], originals: list[tuple[int, int]]
    ) -> Targets:
        """Boxes stay in the network's pixels; `detector.inference.resize` brings them back."""
        return result


def _covered(boxes: Tensor, regions: Tensor) -> Tensor:
    """Which of ``boxes`` (N, 4) lie at least half inside one of ``regions`` (M, 4): bool (N,)."""
    corner = torch.maximum(boxes[:, None, :2], regions[None, :, :2])
    other = torch.minimum(boxes[:, None, 2:], regions[None, :, 2:])
    inside = (other - corner).clamp(min=0).prod(dim=2)
    area = (boxes[:, 2:] - boxes[:, :2]).prod(dim=1, keepdim=True).clamp(min=1e-6)
    return (inside / area).amax(dim=1) >= 0.5


class IgnoringRPN(RegionProposalNetwork):
    """Anchors that mostly lie in an ignored face are neither positive nor negative.

    A target may have ``ignore``: float (M, 4), boxes of faces that are invalid, too small or mostly
    cut off.
    """

    score_thresh: float
    counted = 0
    """Anchors that the last losses are means over."""

    def assign_targets_to_anchors(
        self, anchors: list[Tensor], targets: Targets
    ) -> tuple[list[Tensor], list[Tensor]]:
        labels, matched = super().assign_targets_to_anchors(anchors, targets)
        for label, boxes, target in zip(labels, anchors, targets, strict=True):
            if len(target.get("ignore", ())):
                negative = (label == 0).nonzero().squeeze(1)
                label[negative[_covered(boxes[negative], target["ignore"])]] = -1
        return labels, matched

    def compute_loss(
        self,
        objectness: Tensor,
        pred_bbox_deltas: Tensor,
        labels: list[Tensor],
        regression_targets: list[Tensor],
    ) -> tuple[Tensor, Tensor]:
        sampler = self.fg_bg_sampler
        most = sampler.batch_size_per_image
        self.counted = 0
        for label in labels:
            faces = min(int((label >= 1).sum()), int(most * sampler.positive_fraction))
            self.counted += faces + min(int((label == 0).sum()), most - faces)
        return super().compute_loss(objectness, pred_bbox_deltas, labels, regression_targets)

    def filter_proposals(
        self,
        proposals: Tensor,
        objectness: Tensor,
        image_shapes: list[tuple[int, int]],
        num_anchors_per_level: list[int],
    ) -> tuple[list[Tensor], list[Tensor]]:
        """As in torchvision, but a proposal has a fifth column: its objectness, a logit.

        ``score_thresh`` applies in evaluation only: in training the head needs weak proposals too.
        """
        logits = objectness.detach().reshape(len(image_shapes), -1)
        best = self._get_top_n_idx(logits, num_anchors_per_level)
        levels = torch.arange(len(num_anchors_per_level), device=logits.device)
        level = levels.repeat_interleave(torch.tensor(num_anchors_per_level, device=logits.device))
        threshold = 0.0 if self.training else self.score_thresh
        kept_proposals, kept_scores = [], []
        for i, size in enumerate(image_shapes):
            boxes = clip_boxes_to_image(proposals[i, best[i]], size)
            logit = logits[i, best[i]]
            scores = logit.sigmoid()
            small = (boxes[:, 2:] - boxes[:, :2]).amin(dim=1) < self.min_size
            good = ((scores >= threshold) & ~small).nonzero().squeeze(1)
            kept = batched_nms(boxes[good], scores[good], level[best[i]][good], self.nms_thresh)
            kept = good[kept[: self.post_nms_top_n()]]
            kept_proposals.append(torch.cat((boxes[kept], logit[kept, None]), dim=1))
            kept_scores.append(scores[kept])
        return kept_proposals, kept_scores


class QualityRPN(IgnoringRPN):
    """All anchors are trained; the target of a score is the IoU of its own box with its face."""

    _per_level: list[int] | None = None

    def filter_proposals(
        self,
        proposals: Tensor,
        objectness: Tensor,
        image_shapes: list[tuple[int, int]],
        num_anchors_per_level: list[int],
    ) -> tuple[list[Tensor], list[Tensor]]:
        self._per_level = num_anchors_per_level
        return super().filter_proposals(proposals, objectness, image_shapes, num_anchors_per_level)

    def assign_targets_to_anchors(
        self, anchors: list[Tensor], targets: Targets
    ) -> tuple[list[Tensor], list[Tensor]]:
        """For every image: 1 for an anchor on a face, 0 beside, -1 ignored; and the face's box."""
        labels, matched = [], []
        for boxes, target in zip(anchors, targets, strict=True):
            faces = target["boxes"]
            face = assign_anchors(boxes, self._per_level or [len(boxes)], faces)
            label = (face >= 0).float()
            if len(target.get("ignore", ())):
                negative = (face < 0).nonzero().squeeze(1)
                label[negative[_covered(boxes[negative], target["ignore"])]] = -1
            labels.append(label)
            matched.append(faces[face.clamp(min=0)] if len(faces) else boxes)
        return labels, matched

    def compute_loss(
        self,
        objectness: Tensor,
        pred_bbox_deltas: Tensor,
        labels: list[Tensor],
        regression_targets: list[Tensor],
    ) -> tuple[Tensor, Tensor]:
        label = torch.cat(labels)
        used = (label >= 0).nonzero().squeeze(1)
        on_face = (label > 0).nonzero().squeeze(1)
        self.counted = len(on_face)
        return detection_losses(
            objectness.flatten()[used],
            pred_bbox_deltas[on_face],
            torch.cat(regression_targets)[on_face],
            self.box_coder.weights,
            (label[used] > 0).nonzero().squeeze(1),
        )


class IgnoringRoIHeads(RoIHeads):
    """Proposals that mostly lie in an ignored face, and on no true one, are not sampled.

    With ``quality`` the target of a score is the IoU of its box with a face (`detector.losses`),
    and both losses are means over the proposals on faces. torchvision's means over all sampled
    proposals grow as the proposals get better, so that they cannot serve as validation loss.

    In evaluation a face's logit is the mean of the head's and the proposal network's, which has the
    weight ``objectness``, minus ``shift``.

    With ``points`` every face has five of them, found from its final box.
    """

    quality = False
    objectness = 0.0
    shift = 0.0
    points: PointsHead | None
    counted = 0
    """Proposals that the last losses are means over."""
    counted_points = 0

    def forward(self, features, proposals, image_shapes, targets=None):  # type: ignore[no-untyped-def]
        if self.training or not self.objectness:
            proposals = [boxes[:, :4] for boxes in proposals]
        if self.training and self.quality:
            return [], self._quality_losses(features, proposals, image_shapes, targets)
        results, losses = super().forward(features, proposals, image_shapes, targets)
        if self.points is not None and not self.training:
            self._find_points(features, results, image_shapes)
        if self.training and not self.counted:
            # Ignored faces fill all pictures of the batch: means over no proposals are NaN.
            losses = {name: torch.nan_to_num(loss) for name, loss in losses.items()}
        return results, losses

    def _find_points(self, features, results, image_shapes) -> None:  # type: ignore[no-untyped-def]
        assert self.points is not None
        boxes = [result["boxes"] for result in results]
        relative = self.points(self.box_roi_pool(features, boxes, image_shapes)).float()
        for result, own in zip(results, relative.split([len(b) for b in boxes]), strict=True):
            result["landmarks"] = points_in_pixels(own, result["boxes"])

    def _quality_losses(self, features, proposals, image_shapes, targets) -> dict[str, Tensor]:  # type: ignore[no-untyped-def]
        proposals, matched, labels, wanted = self.select_training_samples(proposals, targets)
        pooled = self.box_roi_pool(features, proposals, image_shapes)
        logits, deltas = self.box_predictor(self.box_head(pooled))
        on_face = (torch.cat(labels) > 0).nonzero().squeeze(1)
        self.counted = len(on_face)
        classifier, boxes = detection_losses(
            logits[:, 1] - logits[:, 0],
            deltas[on_face, 4:8],
            torch.cat(wanted)[on_face],
            self.box_coder.weights,
            on_face,
        )
        losses = {"loss_classifier": classifier, "loss_box_reg": boxes}
        if self.points is not None:
            points = [
                target["points"][of].to(boxes.dtype)
                if len(target["points"])
                else of.new_full((len(of), 5, 2), math.nan, dtype=boxes.dtype)
                for target, of in zip(targets, matched, strict=True)
            ]
            losses["loss_points"], self.counted_points = points_loss(
                self.points(pooled[on_face]),
                torch.cat(proposals)[on_face],
                torch.cat(points)[on_face],
            )
        return losses

    def postprocess_detections(
        self,
        class_logits: Tensor,
        box_regression: Tensor,
        proposals: list[Tensor],
        image_shapes: list[tuple[int, int]],
    ) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        face = class_logits[:, 1] - class_logits[:, 0]
        if self.objectness:
            of_proposal = torch.cat([boxes[:, 4] for boxes in proposals])
            face = torch.lerp(face, of_proposal, self.objectness)
            proposals = [boxes[:, :4] for boxes in proposals]
        if self.objectness or self.shift:
            face = face - self.shift
            class_logits = torch.stack((torch.zeros_like(face), face), dim=1)
        return super().postprocess_detections(class_logits, box_regression, proposals, image_shapes)

    def select_training_samples(self, proposals: list[Tensor], targets: Targets | None):  # type: ignore[no-untyped-def]
        kept = []
        for boxes, target in zip(proposals, targets or [], strict=True):
            if len(target.get("ignore", ())):
                keep = ~_covered(boxes, target["ignore"])
                if len(target["boxes"]):
                    keep |= box_iou(boxes, target["boxes"]).amax(dim=1) >= 0.5
                boxes = boxes[keep]
            kept.append(boxes)
        samples = super().select_training_samples(kept, targets)
        self.counted = len(torch.cat(samples[2]))
        return samples


class ContextRoIAlign(MultiScaleRoIAlign):
    """Pools from boxes made ``context`` times as large around their centers.

    Hair and shoulders distinguish a face from a hand or a ball, and the surroundings show where the
    face ends.
    """

    def __init__(self, levels: list[str], size: int, sampling_ratio: int, context: float) -> None:
        # A grid over a region of s pixels has cells of s / size: with stride 32 for 32 * size
        # pixels every region is pooled from the level whose stride is nearest below its cell.
        super().__init__(levels, size, sampling_ratio, canonical_scale=32 * size, canonical_level=5)
        self.context = context

    def forward(
        self, x: dict[str, Tensor], boxes: list[Tensor], image_shapes: list[tuple[int, int]]
    ) -> Tensor:
        """Boxes [(N, 4 or more)] of every image -> (sum of N, C, size, size)."""
        return super().forward(x, [enlarge(b[:, :4], self.context) for b in boxes], image_shapes)


def enlarge(boxes: Tensor, factor: float) -> Tensor:
    """Boxes (N, 4) made ``factor`` times as wide and high around their centers."""
    center = (boxes[:, :2] + boxes[:, 2:]) / 2
    half = (boxes[:, 2:] - boxes[:, :2]) * (factor / 2)
    return torch.cat((center - half, center + half), dim=1)


def normed(module: nn.Module, x: Tensor) -> Tensor:
    """``module(x)`` with every batch norm in evaluation mode folded into the convolution before it.

    So it costs nothing in training, forward or backward, while its scale and bias still learn.
    """
    if isinstance(module, InvertedResidual):
        out = normed(module.conv, x)
        return x + out if module.use_res_connect else out
    if isinstance(module, Separable) or not isinstance(module, nn.Sequential):
        return module(x)
    before: nn.Conv2d | None = None
    for child in module:
        if before is not None:
            if isinstance(child, nn.BatchNorm2d) and not child.training:
                x = _normed_convolution(before, child, x)
                before = None
                continue
            x = before(x)
            before = None
        if isinstance(child, nn.Conv2d):
            before = child
        else:
            x = normed(child, x)
    return x if before is None else before(x)


def _normed_convolution(convolution: nn.Conv2d, norm: nn.BatchNorm2d, x: Tensor) -> Tensor:
    assert norm.running_var is not None
    assert norm.running_mean is not None
    scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
    bias = norm.bias - norm.running_mean * scale
    if convolution.bias is not None:
        bias = bias + convolution.bias * scale
    weight = convolution.weight * scale[:, None, None, None]
    return functional.conv2d(
        x, weight, bias, convolution.stride, convolution.padding, convolution.dilation,
        convolution.groups,
    )  # fmt: skip


class Separable(nn.Sequential):
    """A depthwise 3x3 and a pointwise convolution: an eighth of a plain 3x3's work."""

    def __init__(self, channels: int) -> None:
        super().__init__(
            nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False),
            Conv2dNormActivation(channels, channels, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return normed(self[1], self[0](x))


class Pyramid(nn.Module):
    """MobileNetV2 up to stride 32 with a top-down pyramid (Lin et al. 2017) on strides 4..64.

    (B, 3, H, W) with H and W multiples of 32 -> five maps "0".."4" of ``channels`` channels.
    """

    def __init__(self, blocks: nn.Sequential, channels: int) -> None:
        super().__init__()
        self.body = blocks[: TAPS[-1] + 1]  # torchvision's name for it, and that of stored weights
        self.out_channels = channels
        widths = [_out_channels(blocks[tap]) for tap in TAPS]
        self.lateral = nn.ModuleList(
            Conv2dNormActivation(width, channels, 1, activation_layer=None) for width in widths
        )
        # At stride 4 a plain convolution would cost more than all other levels together.
        self.smooth = nn.ModuleList(
            Separable(channels) if i == 0 else Conv2dNormActivation(channels, channels, 3)
            for i in range(len(widths))
        )

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        taps = []
        x = images
        for i, block in enumerate(self.body):
            x = normed(block, x)
            if i in TAPS:
                taps.append(x)
        levels: list[Tensor] = []
        above: Tensor | None = None
        for i in range(len(taps) - 1, -1, -1):
            level = normed(self.lateral[i], taps[i])
            if above is not None:
                level = level + functional.interpolate(above, scale_factor=2.0, mode="nearest")
            above = level
            levels.insert(0, normed(self.smooth[i], level))
        levels.append(functional.max_pool2d(levels[-1], kernel_size=1, stride=2))
        return OrderedDict((str(i), level) for i, level in enumerate(levels))


class SingleMap(nn.Sequential):
    """`reference`: all of mobilenet_v2.features, one 1280-channel map at stride 32."""

    def __init__(self, blocks: nn.Sequential) -> None:
        super().__init__(*blocks)
        self.out_channels = _out_channels(blocks[-1])


class ExactAnchors(AnchorGenerator):
    """Anchors are float32 whatever the network computes in.

    Torchvision gives them the type of the maps: in bfloat16 they are whole pixels off.
    """

    def set_cell_anchors(self, dtype: torch.dtype, device: torch.device) -> None:
        super().set_cell_anchors(torch.float32, device)


class ExactRPNHead(RPNHead):
    """torchvision's RPN head, whose results are float32 whatever it computes in.

    `BoxCoder.decode` takes their type for the boxes too.
    """

    def forward(self, x: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        logits, deltas = super().forward(x)
        return [level.float() for level in logits], [level.float() for level in deltas]


class LightRPNHead(ExactRPNHead):
    """The same with a separable tower; shared by all levels."""

    def __init__(self, channels: int, anchors: int) -> None:
        super().__init__(channels, anchors)
        self.conv = Separable(channels)


class FaceRCNN(GeneralizedRCNN):
    """A Faster R-CNN for one class.

    In training mode ``model(images, targets)`` returns the four losses; in evaluation mode
    ``model(images)`` returns ``boxes``, ``scores`` and ``labels`` for every image, in the pixels of
    the batch, and ``landmarks`` (N, 5, 2) with ``config.points``. ``targets`` are dicts of
    ``boxes`` (N, 4), ``labels`` (N,) ones and, optionally, ``ignore`` (M, 4); with
    ``config.points`` also of ``points`` (N, 5, 2), NaN where it is not known, for a fifth loss.
    """

    def __init__(
        self,
        backbone: nn.Module,
        rpn: IgnoringRPN,
        roi_heads: IgnoringRoIHeads,
        config: ModelConfig,
    ) -> None:
        super().__init__(backbone, rpn, roi_heads, Normalize())
        self.config = config

    def eager_outputs(
        self, losses: dict[str, Tensor], detections: Targets
    ) -> dict[str, Tensor] | Targets:
        """In training mode the losses, the two of box regression weighted by ``box_loss``."""
        if not self.training:
            return detections
        weight = self.config.box_loss
        return {k: v * weight if k.endswith("box_reg") else v for k, v in losses.items()}

    def counted(self) -> dict[tuple[str, ...], int]:
        """How many things the last losses of training mode are means over, by their names."""
        heads = self.roi_heads
        return {
            ("loss_objectness", "loss_rpn_box_reg"): self.rpn.counted,
            ("loss_classifier", "loss_box_reg"): heads.counted,
            **({("loss_points",): heads.counted_points} if heads.points is not None else {}),
        }

    @property
    def backbone_blocks(self) -> nn.Sequential:
        """The MobileNetV2 blocks, from the stem on."""
        return self.backbone.body if self.config.arch == "fpn" else self.backbone


def build_model(config: ModelConfig, *, pretrained: bool = True) -> FaceRCNN:
    """Build the network that ``config`` describes.

    Args:
        config: see `detector.config.ModelConfig`.
        pretrained: load ``config.backbone_weights``; False when a checkpoint is loaded next.

    Raises UserError when the weights cannot be had, with the ways out.
    """
    network = mobilenet_v2(width_mult=config.width)
    if pretrained:
        _load_backbone(network, config.backbone_weights)
    return (
        _fpn(network.features, config)
        if config.arch == "fpn"
        else _reference(network.features, config)
    )


def _fpn(blocks: nn.Sequential, config: ModelConfig) -> FaceRCNN:
    backbone = Pyramid(blocks, config.channels)
    ratios = ((config.anchor_ratio,),) * len(config.anchors)
    rpn = QualityRPN(
        ExactAnchors(config.anchors, ratios),
        LightRPNHead(config.channels, len(config.anchors[0])),
        fg_iou_thresh=0.5,
        bg_iou_thresh=0.35,
        batch_size_per_image=256,
        positive_fraction=0.5,
        pre_nms_top_n={"training": 700, "testing": 1000},
        # Few in training, so that the head learns from the best proposals, as it sees them in use;
        # but not so few that all of them are faces in a crowd.
        post_nms_top_n={"training": 500, "testing": 1000},
        nms_thresh=0.7,
        # Evaluation only: what is left out is most of the head's time (docs/export.md).
        score_thresh=config.min_objectness,
    )
    pool = ContextRoIAlign(
        ["0", "1", "2", "3"],
        size=7,
        sampling_ratio=1,  # a cell is about as large as a stride: one sample sees it all
        context=CONTEXT,
    )
    roi_heads = IgnoringRoIHeads(
        pool,
        TwoMLPHead(config.channels * 7 * 7, config.head_width),
        FastRCNNPredictor(config.head_width, 2),
        # A proposal that overlaps a small face by 0.4 is a pixel off: it can still be put right.
        fg_iou_thresh=0.4,
        bg_iou_thresh=0.4,
        # Up to 48 samples on faces, for crowds, and many beside them: hands and hair look alike.
        batch_size_per_image=192,
        positive_fraction=0.25,
        bbox_reg_weights=None,
        score_thresh=0.005,
        nms_thresh=0.5,
        detections_per_img=750,  # 100, torchvision's default, drops 21.7 % of WIDER's val faces
    )
    # Nearly all anchors and proposals show no face: scores start low, so that their loss does not
    # drown that of the faces (Lin et al. 2017, https://arxiv.org/abs/1708.02002, section 4.1).
    nn.init.constant_(rpn.head.cls_logits.bias, -math.log(99.0))
    nn.init.constant_(roi_heads.box_predictor.cls_score.bias[1:], -2.0)
    roi_heads.points = (
        PointsHead(config.channels, 7, config.head_width // 2) if config.points else None
    )
    roi_heads.quality = True
    roi_heads.objectness = config.objectness
    roi_heads.shift = math.log(config.score_calibration / (1 - config.score_calibration))
    return FaceRCNN(backbone, rpn, roi_heads, config)


def _reference(blocks: nn.Sequential, config: ModelConfig) -> FaceRCNN:
    """The published recipe: every number that is not given is torchvision's FasterRCNN default."""
    backbone = SingleMap(blocks)
    sizes = ((32.0, 64.0, 128.0, 256.0, 512.0),)
    anchors = ExactAnchors(sizes, ((0.5, 1.0, 2.0),))
    channels = backbone.out_channels
    rpn = IgnoringRPN(
        anchors,
        ExactRPNHead(channels, anchors.num_anchors_per_location()[0]),
        fg_iou_thresh=0.7,
        bg_iou_thresh=0.3,
        batch_size_per_image=256,
        positive_fraction=0.5,
        pre_nms_top_n={"training": 2000, "testing": 1000},
        post_nms_top_n={"training": 2000, "testing": 1000},
        nms_thresh=0.7,
    )
    roi_heads = IgnoringRoIHeads(
        MultiScaleRoIAlign(["0"], output_size=7, sampling_ratio=2),
        TwoMLPHead(channels * 7 * 7, REFERENCE_HEAD),
        FastRCNNPredictor(REFERENCE_HEAD, 2),
        fg_iou_thresh=0.5,
        bg_iou_thresh=0.5,
        batch_size_per_image=512,
        positive_fraction=0.25,
        bbox_reg_weights=None,
        score_thresh=0.05,
        nms_thresh=0.5,
        detections_per_img=100,
    )
    roi_heads.points = None
    return FaceRCNN(backbone, rpn, roi_heads, config)


def _load_backbone(network: nn.Module, weights: str) -> None:
    ways_out = (
        "set backbone_weights to a local file (the state dict of torchvision's mobilenet_v2), or "
        "to none to train from scratch"
    )
    if weights == "none":
        return
    if weights == "imagenet":
        try:
            state = MobileNet_V2_Weights.IMAGENET1K_V1.get_state_dict(
                progress=True, check_hash=True
            )
        except (OSError, RuntimeError) as error:
            raise UserError(
                f"torchvision's ImageNet weights cannot be downloaded ({error}): connect to the "
                f"network once, {ways_out}"
            ) from error
    else:
        path = Path(weights)
        if not path.is_file():
            raise UserError(f"backbone_weights {path}: there is no such file: {ways_out}")
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # torch raises many kinds for a file that is not one of its own
            raise UserError(f"{path} is not a file of weights ({error}): {ways_out}") from error
    try:
        network.load_state_dict(state)
    except (RuntimeError, TypeError, AttributeError) as error:
        raise UserError(
            f"{weights} does not hold the weights of torchvision's mobilenet_v2: {ways_out}"
        ) from error


def _out_channels(block: nn.Module) -> int:
    return [m for m in block.modules() if isinstance(m, nn.Conv2d)][-1].out_channels
