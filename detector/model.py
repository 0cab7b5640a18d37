"""The networks: torchvision's Faster R-CNN with a MobileNetV2 backbone, in two arrangements.

`fpn` is ours: a light pyramid on strides 4..64 whose anchors follow the sizes of faces.
`reference` is the recipe that most people copy, kept to compare with.

Both take a uint8 batch (B, 3, H, W) of plain RGB; normalization happens inside.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torchvision.models import mobilenet_v2
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.generalized_rcnn import GeneralizedRCNN
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import MultiScaleRoIAlign

from detector.backbone import Pyramid, SingleMap, load_backbone
from detector.config import ModelConfig
from detector.points import AROUND, GRID, SAMPLES, PointsHead
from detector.stages import (
    ContextRoIAlign,
    ExactAnchors,
    ExactRPNHead,
    IgnoringRoIHeads,
    IgnoringRPN,
    LightRPNHead,
    QualityRPN,
    Targets,
)

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
"""torchvision's ImageNet statistics, which MobileNet_V2_Weights were trained with."""

CONTEXT = 1.5
"""Side of the region that a proposal of `fpn` is classified from, in sides of the proposal."""

REFERENCE_HEAD = 1024
"""Width of the head of `reference`."""


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


class FaceRCNN(GeneralizedRCNN):
    """A Faster R-CNN for one class.

    In training mode ``model(images, targets)`` returns the four losses; in evaluation mode
    ``model(images)`` returns ``boxes``, ``scores`` and ``labels`` for every image, in the pixels of
    the batch, and ``landmarks`` (N, 5, 2) with ``config.points``. ``targets`` are dicts of
    ``boxes`` (N, 4), ``labels`` (N,) ones and, optionally, ``ignore`` (M, 4); with
    ``config.points`` also of ``points`` (N, 5, 2), NaN where it is not known, for a fifth loss.
    With ``only_points`` that is the only one, and neither proposals nor heads are run for it.
    """

    only_points = False

    def __init__(
        self,
        backbone: nn.Module,
        rpn: IgnoringRPN,
        roi_heads: IgnoringRoIHeads,
        config: ModelConfig,
    ) -> None:
        super().__init__(backbone, rpn, roi_heads, Normalize())
        self.config = config

    def forward(self, images: Tensor, targets: Targets | None = None):  # type: ignore[no-untyped-def]
        if not (self.training and self.only_points):
            return super().forward(images, targets)
        pictures, _ = self.transform(images, targets)
        features = self.backbone(pictures.tensors)
        return self.roi_heads.points_losses(features, pictures.image_sizes, targets)

    def eager_outputs(
        self, losses: dict[str, Tensor], detections: Targets
    ) -> dict[str, Tensor] | Targets:
        """In training mode the losses, the two of box regression weighted by ``box_loss``."""
        if not self.training:
            return detections
        weight = self.config.box_loss
        return {k: v * weight if k.endswith("box_reg") else v for k, v in losses.items()}

    def counted(self) -> dict[tuple[str, ...], float]:
        """What the last losses of training mode are means over, by their names: how many things, or
        their weights together."""
        heads = self.roi_heads
        if self.only_points:
            return {("loss_points",): heads.counted_points}
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
        load_backbone(network, config.backbone_weights)
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
        # A third fewer proposals than with torchvision's 0.7, and none that a face needs
        # (docs/experiments.md, 32).
        nms_thresh=0.6,
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
    roi_heads.points = PointsHead(config.channels) if config.points else None
    roi_heads.points_pool = ContextRoIAlign(["0", "1", "2", "3"], GRID, SAMPLES, AROUND)
    roi_heads.quality = True
    roi_heads.objectness = config.objectness
    roi_heads.shift = math.log(config.score_calibration / (1 - config.score_calibration))
    roi_heads.temperature = config.temperature
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
