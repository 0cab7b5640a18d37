"""A detector that is none, and pictures for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from faces.errors import UserError
from faces.images.write import save_image
from tests.scripts.detecting import FakeDetector, picture


@pytest.fixture
def opened(monkeypatch):
    """Puts the fake in place of every model; gives what it was opened with."""
    calls: list[tuple[Path, dict[str, Any]]] = []

    def load_detector(path: str | Path, **options: Any) -> FakeDetector:
        calls.append((Path(path), options))
        if Path(path).name == "damaged.onnx":
            raise UserError(f"{path} is damaged")
        return FakeDetector(options.get("score_threshold", 0.5))

    monkeypatch.setattr("detector.inference.load.load_detector", load_detector)
    return calls


@pytest.fixture
def photos(tmp_path, monkeypatch, opened):
    """Three pictures in the current folder's photos; in b.png there is no face."""
    monkeypatch.chdir(tmp_path)
    save_image(Path("photos/a.png"), picture(40))
    save_image(Path("photos/b.png"), picture(-1))
    save_image(Path("photos/trip/c.jpg"), picture(80))
    return tmp_path
