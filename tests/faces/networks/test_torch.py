from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from faces.networks import torch as networks


@pytest.fixture(autouse=True)
def _measured_anew() -> Iterator[None]:
    networks.cpu_gains_by_bf16.cache_clear()
    yield
    networks.cpu_gains_by_bf16.cache_clear()


@pytest.mark.parametrize(
    ("instructions", "share", "gains"),
    [(True, 0.5, True), (True, 1.0, False), (True, 1.9, False), (False, 0.5, False)],
)
def test_bfloat16_is_chosen_where_it_is_faster(
    monkeypatch: pytest.MonkeyPatch, instructions: bool, share: float, gains: bool
) -> None:
    """A processor can have the instructions and take twice as long with them."""
    for check in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.setattr(torch.cpu, check, lambda: instructions, raising=False)
    seconds = {torch.float32: 0.001, torch.bfloat16: 0.001 * share}
    monkeypatch.setattr(networks, "_product_seconds", seconds.__getitem__)
    assert networks.cpu_gains_by_bf16() is gains
