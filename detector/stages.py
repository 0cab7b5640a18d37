"""The two stages of the detector: proposals from anchors, and boxes from proposals.

Torchvision's, with what training on faces needs: regions to ignore, scores that learn the overlap
of their own box (`detector.losses`), a look around each proposal, and exact boxes in bfloat16.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.models.detection.rpn import RegionProposalNetwork, RPNHead
from torchvision.ops import MultiScaleRoIAlign, batched_nms, box_iou, clip_boxes_to_image

from detector.backbone import Separable
from detector.losses import assign_anchors, detection_losses, face_weights
from detector.points import PointsHead, points_in_pixels, points_loss, shaken

Targets = list[dict[str, Tensor]]

TRAINING_OVERLAP = 0.7
"""Proposals that overlap a better one by more (IoU) are left out in training: torchvision's 0.7."""


def _leave_out(label: Tensor, boxes: Tensor, target: dict[str, Tensor]) -> None:
    """Label anchors that are beside all faces (0) and in a region to ignore -1, which counts not.

    Args:
        label: (N,), changed in place.
        boxes: the anchors (N, 4), xyxy in pixels.
        target: of the image; ``ignore`` (M, 4) may be missing.
    """
    if len(target.get("ignore", ())):
        negative = (label == 0).nonzero().squeeze(1)
        label[negative[_covered(boxes[negative], target["ignore"])]] = -1


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
    counted = 0.0
    """Anchors that the last losses are means over, `QualityRPN`: the weights of those."""

    def assign_targets_to_anchors(
        self, anchors: list[Tensor], targets: Targets
    ) -> tuple[list[Tensor], list[Tensor]]:
        labels, matched = super().assign_targets_to_anchors(anchors, targets)
        for label, boxes, target in zip(labels, anchors, targets, strict=True):
            _leave_out(label, boxes, target)
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

        ``score_thresh`` and ``nms_thresh`` apply in evaluation only: in training the head needs
        weak proposals too, and more than one or two for a face (`TRAINING_OVERLAP`).
        """
        logits = objectness.detach().reshape(len(image_shapes), -1)
        best = self._get_top_n_idx(logits, num_anchors_per_level)
        levels = torch.arange(len(num_anchors_per_level), device=logits.device)
        level = levels.repeat_interleave(torch.tensor(num_anchors_per_level, device=logits.device))
        threshold = 0.0 if self.training else self.score_thresh
        overlap = TRAINING_OVERLAP if self.training else self.nms_thresh
        kept_proposals, kept_scores = [], []
        for i, size in enumerate(image_shapes):
            boxes = clip_boxes_to_image(proposals[i, best[i]], size)
            logit = logits[i, best[i]]
            scores = logit.sigmoid()
            small = (boxes[:, 2:] - boxes[:, :2]).amin(dim=1) < self.min_size
            good = ((scores >= threshold) & ~small).nonzero().squeeze(1)
            kept = batched_nms(boxes[good], scores[good], level[best[i]][good], overlap)
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
        """Of every anchor: what its face weighs, or 0 beside, -1 ignored; and the face's box."""
        labels, matched = [], []
        for boxes, target in zip(anchors, targets, strict=True):
            faces = target["boxes"]
            face = assign_anchors(boxes, self._per_level or [len(boxes)], faces)
            its = faces[face.clamp(min=0)] if len(faces) else boxes
            label = torch.where(face >= 0, face_weights(its), 0.0)
            _leave_out(label, boxes, target)
            labels.append(label)
            matched.append(its)
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
        self.counted = float(label[on_face].sum())
        return detection_losses(
            objectness.flatten()[used],
            pred_bbox_deltas[on_face],
            torch.cat(regression_targets)[on_face],
            self.box_coder.weights,
            (label[used] > 0).nonzero().squeeze(1),
            label[on_face],
        )


class IgnoringRoIHeads(RoIHeads):
    """Proposals that mostly lie in an ignored face, and on no true one, are not sampled.

    With ``quality`` the target of a score is the IoU of its box with a face (`detector.losses`),
    and both losses are means over the proposals on faces. torchvision's means over all sampled
    proposals grow as the proposals get better, so that they cannot serve as validation loss.

    In evaluation a face's logit is the mean of the head's and the proposal network's, which has the
    weight ``objectness``, minus ``shift`` and divided by ``temperature``.

    With ``points`` every face has five of them, found from its final box.
    """

    quality = False
    objectness = 0.0
    shift = 0.0
    temperature = 1.0
    points: PointsHead | None
    points_pool: ContextRoIAlign
    counted = 0.0
    """Proposals that the last losses are means over, with ``quality`` the weights of those."""
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
        relative = self.points(self.points_pool(features, boxes, image_shapes))
        for result, own in zip(results, relative.split([len(b) for b in boxes]), strict=True):
            result["landmarks"] = points_in_pixels(own, result["boxes"])

    def _quality_losses(self, features, proposals, image_shapes, targets) -> dict[str, Tensor]:  # type: ignore[no-untyped-def]
        proposals, face, labels, wanted = self.select_training_samples(proposals, targets)
        pooled = self.box_roi_pool(features, proposals, image_shapes)
        logits, deltas = self.box_predictor(self.box_head(pooled))
        on_face = (torch.cat(labels) > 0).nonzero().squeeze(1)
        weights = torch.cat(
            [
                face_weights(target["boxes"][its[label > 0]])
                for target, its, label in zip(targets, face, labels, strict=True)
            ]
        )
        self.counted = float(weights.sum())
        classifier, boxes = detection_losses(
            logits[:, 1] - logits[:, 0],
            deltas[on_face, 4:8],
            torch.cat(wanted)[on_face],
            self.box_coder.weights,
            on_face,
            weights,
        )
        losses = {"loss_classifier": classifier, "loss_box_reg": boxes}
        if self.points is not None:
            losses |= self.points_losses(features, image_shapes, targets)
        return losses

    def points_losses(
        self, features: dict[str, Tensor], image_shapes: list[tuple[int, int]], targets: Targets
    ) -> dict[str, Tensor]:
        """``loss_points``, from the true boxes of the faces with points, shaken.

        So they are learned from where boxes will be in use, not from proposals, which the loss then
        does not need.
        """
        assert self.points is not None
        known = [target["points"].isfinite().all(dim=2).any(dim=1) for target in targets]
        boxes = [shaken(t["boxes"][of].float()) for t, of in zip(targets, known, strict=True)]
        points = [t["points"][of] for t, of in zip(targets, known, strict=True)]
        relative = self.points(self.points_pool(features, boxes, image_shapes))
        loss, self.counted_points = points_loss(relative, torch.cat(boxes), torch.cat(points))
        return {"loss_points": loss}

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
        if self.objectness or self.shift or self.temperature != 1:
            face = (face - self.shift) / self.temperature
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
        # The samples of a region of s pixels are s / (size * sampling_ratio) apart: with stride 32
        # for 32 times as many pixels, it is pooled from the level whose stride is nearest below.
        scale = 32 * size * sampling_ratio
        super().__init__(levels, size, sampling_ratio, canonical_scale=scale, canonical_level=5)
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
