"""Training without its pictures, which would take half of each short run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from detector.training import show


@pytest.fixture
def draws() -> None:
    """A test that names it has its runs draw for real, as the runs of longer-lived fixtures do."""


@pytest.fixture(autouse=True)
def _empty_pictures(request: pytest.FixtureRequest) -> Iterator[None]:
    def save(figure: Any, path: Path) -> None:
        path.touch()

    def draw_samples(*arguments: Any) -> None:
        arguments[-1].touch()

    with pytest.MonkeyPatch.context() as patch:
        if "draws" not in request.fixturenames:
            patch.setattr(show, "plot_histories", lambda histories: None)
            patch.setattr(show, "save_figure", save)
            patch.setattr(show, "draw_samples", draw_samples)
        yield
