"""Training without its pictures, which would take half of each short run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from detector.training.train import fit
from tests.detector.training.runs import without_pictures
from tests.tiny import make_data, tiny_config


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures for `tiny_config`, to be read only."""
    return make_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="session")
def finished(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was never interrupted, to be read only."""
    run = tmp_path_factory.mktemp("runs") / "whole"
    fit(tiny_config(data, run))
    return run


@pytest.fixture
def draws() -> None:
    """A test that names it has its runs draw for real, as the runs of longer-lived fixtures do."""


@pytest.fixture(autouse=True)
def _empty_pictures(request: pytest.FixtureRequest) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        if "draws" not in request.fixturenames:
            without_pictures(patch.setattr)
        yield
