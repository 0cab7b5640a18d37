"""The backbones: MobileNetV2 with a pyramid (`fpn`), or whole with one map (`reference`)."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models import MobileNet_V2_Weights
from torchvision.models.mobilenetv2 import InvertedResidual
from torchvision.ops import Conv2dNormActivation

from faces.errors import UserError

TAPS = (3, 6, 13, 17)
"""Blocks of mobilenet_v2.features that end the strides 4, 8, 16 and 32."""


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


def load_backbone(network: nn.Module, weights: str) -> None:
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
