"""MiniFASNet, two small networks that tell faces from pictures of faces, in torch.

Minivision, Silent-Face-Anti-Spoofing (https://github.com/minivision-ai/Silent-Face-Anti-Spoofing,
Apache-2.0), `src/model_lib/MiniFASNet.py`. The names of the parts are those of the published
weights, so that these load without a table. Nothing here is needed to serve: see `export`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from faces.errors import UserError
from pipeline.liveness.crops import SIZE, scale_in_name

CLASSES = 3  # `LIVE` is a face: `test.py` there calls label 1 real; 0 and 2 are attacks

STEM, WIDE, DEEP, EMBEDDING = 32, 512, 128, 128


@dataclass(frozen=True)
class Widths:
    """Channels inside the residual blocks, what their pruning left (``keep_dict`` there)."""

    third: tuple[int, ...]
    fourth: tuple[int, ...]
    fifth: tuple[int, ...] = (26, 26)
    excite: bool = False  # squeeze and excitation in the last block of each stage


ARCHITECTURES = {
    "MiniFASNetV2": Widths((13, 13, 13, 13), (231, 52, 26, 77, 26, 26)),
    "MiniFASNetV1SE": Widths((13, 26, 13, 52), (154, 52, 26, 52, 26, 26), excite=True),
}


class Unit(nn.Module):
    """Convolution, batch norm and, unless linear, PReLU."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int = 1,
        stride: int = 1,
        groups: int = 1,
        linear: bool = False,
        padded: bool = True,
    ) -> None:
        super().__init__()
        padding = kernel // 2 if padded else 0
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(outputs)
        if not linear:
            self.prelu = nn.PReLU(outputs)
        self.linear = linear

    def forward(self, x: Tensor) -> Tensor:
        x = self.bn(self.conv(x))
        return x if self.linear else self.prelu(x)


class Excite(nn.Module):
    """Squeeze and excitation (Hu et al., CVPR 2018)."""

    def __init__(self, channels: int, reduction: int = 4) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, channels // reduction, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels // reduction)
        self.fc2 = nn.Conv2d(channels // reduction, channels, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        weight = self.bn1(self.fc1(x.mean(dim=(2, 3), keepdim=True))).relu()
        return x * self.bn2(self.fc2(weight)).sigmoid()


class Block(nn.Module):
    """1x1 to ``inner`` channels, depthwise 3x3, 1x1 to ``outputs``; residual without a stride."""

    def __init__(
        self, inputs: int, inner: int, outputs: int, stride: int = 1, excite: bool = False
    ) -> None:
        super().__init__()
        self.conv = Unit(inputs, inner)
        self.conv_dw = Unit(inner, inner, 3, stride, groups=inner)
        self.project = Unit(inner, outputs, linear=True)
        if excite:
            self.se_module = Excite(outputs)
        self.excite, self.residual = excite, stride == 1

    def forward(self, x: Tensor) -> Tensor:
        out = self.project(self.conv_dw(self.conv(x)))
        if self.excite:
            out = self.se_module(out)
        return x + out if self.residual else out


class Stage(nn.Module):
    """Residual blocks of one width."""

    def __init__(self, channels: int, inner: tuple[int, ...], excite: bool) -> None:
        super().__init__()
        blocks = [Block(channels, width, channels) for width in inner[:-1]]
        self.model = nn.Sequential(*blocks, Block(channels, inner[-1], channels, excite=excite))

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)


class MiniFASNet(nn.Module):
    """BGR float (N, 3, 80, 80), 0..255, not normalized -> logits of three classes (N, 3)."""

    def __init__(self, widths: Widths) -> None:
        super().__init__()
        self.conv1 = Unit(3, STEM, 3, 2)
        self.conv2_dw = Unit(STEM, STEM, 3, groups=STEM)
        self.conv_23 = Block(STEM, 103, 64, stride=2)
        self.conv_3 = Stage(64, widths.third, widths.excite)
        self.conv_34 = Block(64, 231, DEEP, stride=2)
        self.conv_4 = Stage(DEEP, widths.fourth, widths.excite)
        self.conv_45 = Block(DEEP, 308, DEEP, stride=2)
        self.conv_5 = Stage(DEEP, widths.fifth, widths.excite)
        self.conv_6_sep = Unit(DEEP, WIDE)
        self.conv_6_dw = Unit(WIDE, WIDE, SIZE // 16, groups=WIDE, linear=True, padded=False)
        self.linear = nn.Linear(WIDE, EMBEDDING, bias=False)
        self.bn = nn.BatchNorm1d(EMBEDDING)
        self.prob = nn.Linear(EMBEDDING, CLASSES, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv_23(self.conv2_dw(self.conv1(x)))
        x = self.conv_34(self.conv_3(x))
        x = self.conv_45(self.conv_4(x))
        x = self.conv_6_dw(self.conv_6_sep(self.conv_5(x)))
        return self.prob(self.bn(self.linear(x.flatten(1))))


def load_minifas(path: Path) -> tuple[MiniFASNet, float]:
    """A published file of weights -> the network in eval mode, and the scale of its crop.

    The scale is the first part of the file's name, as published: ``2.7_80x80_MiniFASNetV2.pth``,
    ``4_0_0_80x80_MiniFASNetV1SE.pth``. The network is told by the weights.

    Raises UserError for a file that is missing, damaged or holds anything else.
    """
    if not path.is_file():
        raise UserError(f"{path}: there is no such file")
    scale = scale_in_name(path)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for damaged and for unsafe files
        raise UserError(f"{path} is damaged or no file of weights: {error}") from error
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise UserError(f"{path} holds no weights by name")
    plain = {str(name).removeprefix("module."): value for name, value in state.items()}
    excite = any("se_module" in name for name in plain)
    network = MiniFASNet(ARCHITECTURES["MiniFASNetV1SE" if excite else "MiniFASNetV2"])
    try:
        network.load_state_dict(plain, strict=True)
    except RuntimeError as error:
        raise UserError(
            f"{path} holds other weights than those of MiniFASNetV2 or MiniFASNetV1SE: "
            f"{str(error).splitlines()[-1].strip()}"
        ) from error
    return network.eval(), scale
