"""Whether this processor computes in bfloat16."""

from __future__ import annotations

import torch


def cpu_has_bf16() -> bool:
    """Whether it has instructions for bfloat16; without them that is slower than float32."""
    # Private names, which another release of torch may not have.
    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, name, bool)() for name in checks)
