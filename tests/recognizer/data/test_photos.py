"""Which photos, and where the face is."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from faces.errors import UserError
from recognizer.data.photos import (
    Located,
    bordered,
    center_box,
    limit,
    main_face,
    read_folders,
    read_strangers,
)


def save(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8)).save(path)


def test_a_folder_for_each_person(tmp_path):
    for name in ("Bob/1.png", "Ann/b/2.png", "Ann/a.png"):
        save(tmp_path / name)
    photos = read_folders(tmp_path)
    assert photos.names == ("Ann/a.png", "Ann/b/2.png", "Bob/1.png")
    assert photos.people == ("Ann", "Ann", "Bob")
    assert photos.person.tolist() == [0, 0, 1]
    assert photos[np.array([2])].names == ("Bob/1.png",)


def test_loose_photos_and_empty_folders_are_refused(tmp_path):
    with pytest.raises(UserError, match="there is no image"):
        read_folders(tmp_path)
    save(tmp_path / "Ann" / "1.png")
    save(tmp_path / "group.png")
    with pytest.raises(UserError, match=r"group\.png lies beside them"):
        read_folders(tmp_path)


def test_too_many_photos_leave_out_whole_people():
    person = np.repeat(np.arange(50), 4)
    kept = limit(person, 60, seed=1)
    assert 56 <= len(kept) <= 60
    assert set(np.bincount(person[kept])) == {0, 4}
    assert limit(person, 60, seed=1).tolist() == kept.tolist()
    assert limit(person, 200).tolist() == list(range(200))
    assert len(set(person[limit(person, 2)])) == 2  # two people at least, or nothing to compare


def test_the_known_place_of_the_face():
    center = center_box(np.zeros((150, 150, 3), np.uint8))
    assert center.tolist() == [[28, 12, 123, 141]]
    whole = center_box(np.zeros((250, 250, 3), np.uint8))
    assert whole.tolist() == [[78, 62, 173, 191]]
    half = center_box(np.zeros((75, 75, 3), np.uint8))
    assert half.tolist() == [[14, 6, 61.5, 70.5]]


def test_the_main_face_is_large_and_central():
    boxes = np.array([[0, 0, 30, 30], [40, 40, 60, 60], [45, 30, 65, 60]], np.float32)
    assert boxes[main_face(boxes, 100, 100)].tolist() == [[45, 30, 65, 60]]
    assert boxes[main_face(boxes[:1], 100, 100)].tolist() == [[0, 0, 30, 30]]
    assert main_face(boxes[:0], 100, 100).shape == (0,)


def test_photos_of_strangers_are_named_with_and_without_the_folder(tmp_path):
    for name in ("1.png", "sub/2.png"):
        (tmp_path / "val" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "val" / name).write_bytes(b"")
    found = read_strangers(tmp_path / "val")
    assert found.names == ("1.png", "sub/2.png")
    assert found.people == ("val/1.png", "val/sub/2.png")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="there is no image"):
        read_strangers(tmp_path / "empty")


@pytest.mark.parametrize("points_too", [True, False])
def test_a_face_is_looked_for_in_a_border_and_found_in_the_photo(points_too):
    seen = []

    def find(image):
        seen.append(image)
        points = np.full((1, 5, 2), 20, np.float32) if points_too else None
        return Located(np.array([[10, 12, 30, 40]], np.float32), points)

    found = bordered(find, 0.125)(np.full((80, 40, 3), 9, np.uint8))
    assert found.xyxy.tolist() == [[0, 2, 20, 30]]
    assert (found.landmarks == 10).all() if points_too else found.landmarks is None
    assert seen[0].shape == (100, 60, 3)
    assert seen[0][0].max() == 0
    assert bordered(find, 0.0) is find
