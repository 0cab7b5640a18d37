"""What runs at every place of the image, arranged so that a runtime has little to do.

Batch norm and the division by the standard deviation are folded into the convolutions, the two
output convolutions of the proposal network are one, channels that nothing is made of are left out,
and the widest maps are never whole in memory.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torchvision.models.mobilenetv2 import InvertedResidual

from detector.backbone import TAPS
from detector.model import MEAN, STD, FaceRCNN

GROUP = 32
"""Channels that `InGroups` computes at a time: whole vectors of every processor, and few enough."""

BLOCK = 16
"""Channels that ONNX Runtime computes at once at most (NCHWc with AVX-512)."""


class DenseLayers(nn.Module):
    """Everything that runs at every place of the image: backbone, pyramid and proposal network.

    uint8 RGB (B, H, W, 3) -> the maps that proposals are pooled from, and for every level the
    objectness and box deltas of its A anchors: (B, h, w, 5 A or more), A objectness first.

    Args:
        model: in evaluation mode; its own layers are changed.
        grouped: compute the blocks at half and a quarter of the resolution `InGroups`.
    """

    def __init__(self, model: FaceRCNN, grouped: bool) -> None:
        super().__init__()
        self.mean = nn.Buffer(torch.tensor(MEAN).view(1, 3, 1, 1) * 255)
        self.backbone = _without_batch_norm(model.backbone)
        first = next(m for m in self.backbone.modules() if isinstance(m, nn.Conv2d))
        first.weight.data /= torch.tensor(STD).view(1, 3, 1, 1) * 255
        blocks = model.backbone_blocks
        for block in blocks:
            if isinstance(block, InvertedResidual) and len(_convolutions(block)) == 3:
                _leave_out_unused(block)
        for i in range(TAPS[0] + 1) if grouped else ():
            block = blocks[i]
            if isinstance(block, InvertedResidual) and len(_convolutions(block)) == 3:
                blocks[i] = InGroups(block)
        self.tower = _without_batch_norm(model.rpn.head.conv)
        self.outputs = _side_by_side(model.rpn.head.cls_logits, model.rpn.head.bbox_pred)
        self.pooled = len(model.roi_heads.box_roi_pool.featmap_names)

    def forward(self, images: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        maps = self.backbone(images.permute(0, 3, 1, 2).float() - self.mean)
        levels = list(maps.values()) if isinstance(maps, dict) else [maps]
        found = [self.outputs(self.tower(level)).permute(0, 2, 3, 1) for level in levels]
        return levels[: self.pooled], found


def unused_channels(model: FaceRCNN, pictures: Iterable[NDArray[np.uint8]]) -> dict[str, Tensor]:
    """The expanded channels of the backbone's blocks that are zero everywhere in all ``pictures``.

    Args:
        model: `fpn`; is left as it is.
        pictures: uint8 RGB (H, W, 3), H and W multiples of 32.

    Returns the name of every projection's weight in ``model`` -> bool (channels,). With zeros there
    the network gives the same for these pictures, and its exported files are without the channels.
    """
    dense = DenseLayers(copy.deepcopy(model).cpu().eval(), grouped=False)
    largest: dict[str, Tensor] = {}
    for name, block in dense.backbone.named_modules():
        if isinstance(block, InvertedResidual) and len(convolutions := _convolutions(block)) == 3:
            key = f"backbone.{name}.conv.2.weight"
            wide = model.get_parameter(key).shape[1]
            if convolutions[-1].in_channels < wide:
                continue  # it has zeros there already
            largest[key] = torch.zeros(wide)

            def look(_: nn.Module, given: tuple[Tensor], key: str = key) -> None:
                torch.maximum(largest[key], given[0].amax(dim=(0, 2, 3)), out=largest[key])

            convolutions[-1].register_forward_pre_hook(look)
    with torch.inference_mode():
        for picture in pictures:
            dense(torch.from_numpy(picture)[None])
    return {key: most <= 0 for key, most in largest.items()}


def _leave_out_unused(block: InvertedResidual) -> None:
    """Leaves out the expanded channels that the projection takes nothing of, 0 times their value.

    A multiple of `BLOCK` stays: ONNX Runtime would fill the last vector up in every call.
    """
    expand, depthwise, project = _convolutions(block)
    used = (project.weight != 0).flatten(2).any(dim=2).any(dim=0)
    count = min(-(-int(used.sum()) // BLOCK) * BLOCK, len(used))
    # The used ones, and as many others as fill the vector, in their order.
    kept = used.int().argsort(descending=True, stable=True)[:count].sort().values
    if count < len(used):
        block.conv[0][0] = _part(expand, kept, slice(None))  # type: ignore[index]
        block.conv[1][0] = _part(depthwise, kept, slice(None), groups=count)  # type: ignore[index]
        block.conv[2] = _part(project, slice(None), kept)


class InGroups(nn.Module):
    """MobileNetV2's inverted residual without batch norm, `GROUP` expanded channels at a time.

    Every expanded channel goes its own way until the projection adds them up, so the sum over
    groups is the same. But the maps between, 27 MB for 96 channels of 224x320, then fit into a
    processor's cache instead of going to memory and back twice: a fifth of the time of these blocks
    (docs/benchmarks.md).
    """

    def __init__(self, block: InvertedResidual) -> None:
        super().__init__()
        expand, depthwise, project = _convolutions(block)
        self.residual = block.use_res_connect
        wide = expand.out_channels
        # The last group takes what is left, so that none is narrower.
        edges = [*range(0, max(wide - GROUP, 0) + 1, GROUP), wide]
        self.groups = nn.ModuleList(
            nn.Sequential(
                _part(expand, slice(a, b), slice(None)),
                nn.ReLU6(),
                _part(depthwise, slice(a, b), slice(None), groups=b - a),
                nn.ReLU6(),
                _part(project, slice(None), slice(a, b), bias=a == 0),
            )
            for a, b in itertools.pairwise(edges)
        )

    def forward(self, x: Tensor) -> Tensor:
        total: Tensor | None = x if self.residual else None
        for group in self.groups:
            part = group(x)
            total = part if total is None else total + part
        assert total is not None
        return total


def _part(
    whole: nn.Conv2d,
    made: slice | Tensor,
    given: slice | Tensor,
    groups: int = 1,
    bias: bool = True,
) -> nn.Conv2d:
    """The part of a convolution that makes some channels from some of the given ones."""
    weight = whole.weight.data[made, given].clone()
    part = nn.Conv2d(weight.shape[1] * groups, len(weight), 1, groups=groups, bias=bias)
    part.kernel_size, part.stride, part.padding = whole.kernel_size, whole.stride, whole.padding
    part.weight.data = weight
    if part.bias is not None:
        assert whole.bias is not None
        part.bias.data = whole.bias.data[made].clone()
    return part


def _convolutions(block: nn.Module) -> list[nn.Conv2d]:
    return [module for module in block.modules() if isinstance(module, nn.Conv2d)]


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
