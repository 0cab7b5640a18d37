"""Pictures and faces in which nothing can be seen, as a cache of thumbnails has them."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from detector.data.check import check_set
from detector.data.formats.from_voc import read_sets
from detector.data.voc.folder import find_sets
from faces.errors import UserError


def make(root: Path, side: int, face: float, count: int = 3) -> Path:
    """A set of square pictures with a square face each."""
    for folder in ("images", "annotations"):
        (root / folder).mkdir(parents=True)
    for i in range(count):
        Image.fromarray(np.full((side, side, 3), 40 * i, np.uint8)).save(root / f"images/{i}.png")
        (root / f"annotations/{i}.xml").write_text(
            f"<annotation><filename>{i}.png</filename><size><width>{side}</width>"
            f"<height>{side}</height></size><object><name>face</name><bndbox><xmin>0</xmin>"
            f"<ymin>0</ymin><xmax>{face}</xmax><ymax>{face}</ymax></bndbox></object></annotation>"
        )
    return root


@pytest.mark.parametrize(("side", "face"), [(1, 1), (3, 3), (100, 3.9)])
def test_a_set_of_faces_too_small_to_be_seen_is_refused(
    tmp_path: Path, side: int, face: float
) -> None:
    [folder] = find_sets(make(tmp_path / "set", side, face))
    with pytest.raises(UserError, match=rf"nothing can be seen.* the largest has {face:.1f}"):
        read_sets([folder])
    assert check_set(folder).counts()["no face"] == 1


def test_one_face_of_four_pixels_is_enough(tmp_path: Path) -> None:
    [folder] = find_sets(make(tmp_path / "set", 100, 4))
    assert len(read_sets([folder]).splits[""]) == 3
    assert check_set(folder).counts()["no face"] == 0


def test_tiny_pictures_are_told_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        read_sets(find_sets(make(tmp_path / "tiny", 15, 9)))
    assert "3 pictures with fewer than 16 pixels a side" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        read_sets(find_sets(make(tmp_path / "small", 16, 9)))
    assert not caplog.text


def test_fractions_are_named_as_such_and_not_as_tiny_faces(tmp_path: Path) -> None:
    [folder] = find_sets(make(tmp_path / "set", 100, 0.5))
    counts = check_set(folder).counts()
    assert counts["fractions"] == 3
    assert counts["no face"] == 0
