"""What needs torch: reading its files (tensors and plain values, nothing is unpickled), the running
average of weights, and whether this processor computes in bfloat16."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from faces.errors import UserError


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


def cpu_has_bf16() -> bool:
    """Whether it has instructions for bfloat16; without them that is slower than float32."""
    # Private names, which another release of torch may not have.
    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, name, bool)() for name in checks)
