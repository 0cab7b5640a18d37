"""Pictures of a folder to measure or calibrate with."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from detector.benchmark.pictures import some_pictures
from faces.errors import UserError


def test_pictures_that_cannot_be_read_are_named_counted_and_left_out(
    tmp_path: Path, caplog
) -> None:
    for i in range(3):
        Image.new("RGB", (30 + i, 20)).save(tmp_path / f"{i}.png")
    (tmp_path / "1b.jpg").write_bytes(b"no image")
    Image.new("RGB", (900, 900), "red").save(tmp_path / "whole.jpg")
    whole = (tmp_path / "whole.jpg").read_bytes()
    (tmp_path / "whole.jpg").write_bytes(whole[: len(whole) // 3])
    assert [picture.shape[1] for picture in some_pictures(tmp_path)] == [30, 31, 32]
    assert "1b.jpg" in caplog.text
    assert "whole.jpg" in caplog.text
    assert "2 of 5 pictures were left out" in caplog.text


def test_a_folder_of_which_nothing_can_be_read_is_refused(tmp_path: Path) -> None:
    for name in ("a.jpg", "b.png"):
        (tmp_path / name).write_bytes(b"no image")
    with pytest.raises(UserError, match=r"none of 2 pictures can be read; the last: .*b\.png"):
        some_pictures(tmp_path)
