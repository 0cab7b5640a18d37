"""The detector that comes with the package: whole, small, and it finds faces."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from detector import load_detector, shipped
from detector.data.portraits import PORTRAIT_FACES, portraits
from faces.errors import UserError
from scripts.main import main


@pytest.mark.slow
def test_it_finds_the_face_in_each_portrait_and_nothing_else_with_confidence() -> None:
    detector = load_detector()
    for name, image in portraits().items():
        found = detector.detect(image).above(0.9)
        assert len(found) == 1, name
        x1, y1, x2, y2 = found.xyxy[0]
        a1, b1, a2, b2 = PORTRAIT_FACES[name]
        shared = max(0, min(x2, a2) - max(x1, a1)) * max(0, min(y2, b2) - max(y1, b1))
        union = (x2 - x1) * (y2 - y1) + (a2 - a1) * (b2 - b1) - shared
        assert shared / union > 0.5, name


def test_it_is_small_and_says_where_it_comes_from() -> None:
    from detector.checkpoint import load_checkpoint

    assert all(path.stat().st_size < 8 * 2**20 for path in shipped.FOLDER.iterdir())
    payload = load_checkpoint(shipped.find_checkpoint("shipped"))
    assert "training" not in payload
    assert payload["provenance"]["training_images"] > 0
    assert payload["config"]["data"]["image_path"] is None


@pytest.mark.slow
def test_both_files_find_the_same() -> None:
    network, checkpoint = (
        load_detector(path)
        for path in (shipped.find_model("shipped"), shipped.find_checkpoint("shipped"))
    )
    for image in portraits().values():
        a, b = (detector.detect(image).above(0.8) for detector in (network, checkpoint))
        assert len(a) == len(b) > 0
        np.testing.assert_allclose(a.xyxy, b.xyxy, atol=0.5)
        np.testing.assert_allclose(a.score, b.score, atol=0.02)


def test_a_flat_picture_has_no_face() -> None:
    assert len(load_detector().detect(np.full((300, 400, 3), 128, np.uint8))) == 0


@pytest.mark.parametrize("find", [shipped.find_model, shipped.find_checkpoint])
def test_a_damaged_or_missing_file_is_refused(
    find: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(shipped.FOLDER, tmp_path / "weights")
    monkeypatch.setattr(shipped, "FOLDER", tmp_path / "weights")
    path = find("shipped")
    assert path.parent == tmp_path / "weights"
    with path.open("r+b") as file:
        file.seek(1000)
        file.write(b"x")
    with pytest.raises(UserError, match="is damaged"):
        find("shipped")
    path.unlink()
    with pytest.raises(UserError, match="cannot be read"):
        find("shipped")
    assert find("mine.pt") == Path("mine.pt")


@pytest.mark.slow
def test_detect_needs_no_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from PIL import Image

    monkeypatch.chdir(tmp_path)
    name, image = next(iter(portraits().items()))
    Image.fromarray(image).save(f"{name}.png")
    assert main(["detect", f"{name}.png", "--threshold", "0.9"]) == 0
    assert (tmp_path / "detected" / f"{name}.png").is_file()
    assert "faces:       1 " in capsys.readouterr().out
