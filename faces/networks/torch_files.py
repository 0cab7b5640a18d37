"""Reading files that torch wrote: tensors and plain values only, nothing is unpickled."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from faces.errors import UserError


def read_checkpoint(
    path: Path, format: str, version: int, what: str, command: str
) -> dict[str, Any]:
    """Read a checkpoint of this program onto the CPU.

    Args:
        path: the file.
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
