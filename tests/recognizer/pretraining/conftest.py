"""What the tests of pretraining share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.recognizer.pretraining.made import Opener, cached


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("faces")


@pytest.fixture(scope="module")
def made(folder: Path) -> Any:
    return cached(folder)


@pytest.fixture
def opener(folder: Path, made: Any) -> Opener:
    return Opener(folder / "teacher.onnx")
