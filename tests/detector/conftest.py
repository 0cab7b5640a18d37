"""What makes tests of the networks quick where their size is not the point."""

from __future__ import annotations

import pytest


@pytest.fixture
def small_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    """`reference` with a head of 16 instead of 1024 units: 2 M parameters in all, not 82 M."""
    from detector import model

    monkeypatch.setattr(model, "REFERENCE_HEAD", 16)
