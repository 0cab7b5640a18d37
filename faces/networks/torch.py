"""What needs torch: reading its files (tensors and plain values, nothing is unpickled), the running
average of weights, and whether bfloat16 is faster on this processor."""

from __future__ import annotations

import timeit
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import nn

from faces.errors import UserError

WORTH_BF16 = 0.8
"""The most of float32's time that bfloat16 may take to be worth its rounding: where it pays it is
0.2 to 0.6 of it, elsewhere 1.9 (an Intel Xeon without AMX)."""


EXPORTED = (".onnx", ".torchscript", ".xml")
"""How names of files end that are made of checkpoints."""


def read_checkpoint(
    path: Path, format: str, version: int, what: str, command: str
) -> dict[str, Any]:
    """Read a checkpoint of this program onto the CPU.

    Args:
        format: what its ``format`` must be.
        version: what its ``version`` must be.
        what: such a file holds: "detector".
        command: that writes such files: "faces train".

    Raises UserError with one clear line for a file that is missing, damaged, foreign or of another
    version.
    """
    if not path.is_file():
        raise UserError(f"there is no {what} {path}")
    try:
        payload = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for a file that it cannot read
        if path.suffix.lower() in EXPORTED:
            raise UserError(
                f"{path} looks like an exported file: give the checkpoint (.pt) that it was made of"
            ) from error
        raise UserError(
            f"{path} is not a checkpoint of this program, or it is damaged or cut short"
        ) from error
    if not isinstance(payload, dict) or payload.get("format") != format:
        raise UserError(f"{path} holds no {what} (`{command}` writes them)")
    if payload.get("version") != version:
        raise UserError(
            f"{path} has version {payload.get('version')}, this program reads version {version}: "
            "use the release that wrote it"
        )
    return payload


@torch.no_grad()
def update_average(average: nn.Module, network: nn.Module, decay: float, step: int) -> None:
    """Move ``average`` towards ``network``, of the same class; faster in the first steps."""
    decay = min(decay, (1 + step) / (10 + step))
    new = network.state_dict().values()
    for kept, current in zip(average.state_dict().values(), new, strict=True):
        if kept.is_floating_point():
            kept.lerp_(current, 1 - decay)
        else:
            kept.copy_(current)


@cache
def cpu_gains_by_bf16() -> bool:
    """Whether this processor computes in bfloat16 faster than in float32: measured, once.

    Its flags do not tell: of those with AVX-512 BF16 and without AMX some take half of the time,
    others twice as long. Takes 30 ms; without any instructions for it nothing is measured.
    """
    # Private names, which another release of torch may not have.
    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    if not any(getattr(torch.cpu, name, bool)() for name in checks):
        return False
    return _product_seconds(torch.bfloat16) < WORTH_BF16 * _product_seconds(torch.float32)


def _product_seconds(dtype: torch.dtype) -> float:
    """The shortest time of a matrix product, which convolutions consist of."""
    matrix = torch.ones(512, 512, dtype=dtype)
    return min(timeit.repeat(lambda: matrix @ matrix, number=1, repeat=8))
