"""`MiniResNet`: a small residual network from a face to a vector, written to be read.

uint8 (N, 112, 112, 3)
  -> stem            one convolution, stride 2              (N, 32, 56, 56)
  -> four stages     residual blocks, the first with stride (N, 256, 7, 7)
  -> global pooling  a learned weight for every channel at every place
  -> embedding       one linear layer, unit length          (N, 128)
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class MiniConfig:
    """Shape of the network; part of its checkpoint."""

    size: int = 112  # side of the crops in pixels, a multiple of 16
    # channels of the four stages; the stem has those of the first
    widths: tuple[int, ...] = (32, 64, 128, 256)
    depths: tuple[int, ...] = (1, 2, 2, 1)  # residual blocks in each stage
    dimension: int = 128  # length of the vectors

    def __post_init__(self) -> None:
        object.__setattr__(self, "widths", tuple(self.widths))  # JSON makes lists of tuples
        object.__setattr__(self, "depths", tuple(self.depths))
        if len(self.widths) != 4 or len(self.depths) != 4:
            raise ValueError("widths and depths need a number for each of the four stages")
        if min(*self.widths, *self.depths[1:], self.dimension) < 1 or self.depths[0] < 0:
            raise ValueError("widths, depths and dimension must be at least 1")
        if self.size < 32 or self.size % 16:
            raise ValueError(f"size must be a multiple of 16 from 32 on, not {self.size}")


class Block(nn.Module):
    """Two 3 x 3 convolutions and a path around them (He et al., CVPR 2016).

    Where the resolution is halved, the path around averages 2 x 2 pixels before its 1 x 1
    convolution ("ResNet-D", He et al., CVPR 2019), so that no pixel is skipped.
    """

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(after)
        self.around: nn.Module = nn.Identity()
        if stride > 1 or before != after:
            self.around = nn.Sequential(
                nn.AvgPool2d(stride) if stride > 1 else nn.Identity(),
                nn.Conv2d(before, after, 1, bias=False),
                nn.BatchNorm2d(after),
            )
        nn.init.zeros_(self.norm2.weight)  # at first a block changes nothing

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.norm1(self.conv1(x)), inplace=True)
        return F.relu(self.norm2(self.conv2(y)).add_(self.around(x)), inplace=True)


class PlacePool(nn.Module):
    """(N, C, S, S) -> (N, C): a learned weight for each channel at each place, then the sum.

    In an aligned face a place means something (here is the mouth), which a plain average forgets:
    "global depthwise convolution" of MobileFaceNets (Chen et al., 2018).
    """

    def __init__(self, channels: int, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((channels, size, size), 1.0 / size**2))

    def forward(self, x: Tensor) -> Tensor:
        return (x * self.weight).sum(dim=(2, 3))


class MiniResNet(nn.Module):
    """Faces uint8 RGB (N, size, size, 3) -> unit vectors float32 (N, dimension)."""

    def __init__(self, config: MiniConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or MiniConfig()
        first, last = config.widths[0], config.widths[-1]
        self.stem = nn.Sequential(
            nn.Conv2d(3, first, 3, 2, padding=1, bias=False),
            nn.BatchNorm2d(first),
            nn.ReLU(inplace=True),
        )
        stages, channels = [], first
        for number, (width, depth) in enumerate(zip(config.widths, config.depths, strict=True)):
            blocks = []
            for position in range(depth):
                stride = 2 if number and not position else 1
                blocks.append(Block(channels, width, stride))
                channels = width
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.Sequential(*stages)
        self.pool = PlacePool(last, config.size // 16)
        self.norm = nn.BatchNorm1d(last)
        self.embedding = nn.Linear(last, config.dimension)

    def features(self, faces: Tensor) -> Tensor:
        """Vectors (N, dimension) before they are brought to unit length."""
        x = (faces.permute(0, 3, 1, 2).to(self.embedding.weight.dtype) - 127.5) / 128
        x = self.stages(self.stem(x))
        return self.embedding(self.norm(self.pool(x)))

    def forward(self, faces: Tensor) -> Tensor:
        return F.normalize(self.features(faces).float(), dim=1)
