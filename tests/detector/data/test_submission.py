"""The official submission format, written and read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.data.submission import (
    find_submissions,
    image_name,
    read_submission,
    scored_boxes,
    write_submission,
)
from detector.types import Detections
from faces.errors import UserError

NAME = "0--Parade/0_Parade_marchingband_1_465"


def detections(boxes, scores) -> Detections:
    return Detections.from_raw(boxes, scores, (500, 1000))


def test_the_file_is_the_official_one(tmp_path):
    path = write_submission(tmp_path, NAME, detections([[10, 20, 40.5, 60]], [0.75]))
    assert path == tmp_path / f"{NAME}.txt"
    assert path.read_bytes() == f"{NAME}\n1\n10.0000 20.0000 30.5000 40.0000 0.75\n".encode()


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_reading_gives_back_what_was_written(tmp_path_factory, seed):
    random = np.random.default_rng(seed)
    boxes = random.uniform(0, 400, (20, 4))
    boxes[:, 2:] = boxes[:, :2] + random.uniform(0.5, 100, (20, 2))
    before = detections(boxes, random.random(20) ** 8)
    folder = tmp_path_factory.mktemp("submission")
    rows = read_submission(write_submission(folder, "a", before))
    np.testing.assert_allclose(rows[:, :4], before.xyxy, atol=2e-4)
    np.testing.assert_array_equal(rows[:, 4], before.score.astype(np.float64))


def test_no_face_is_an_empty_file_of_the_format(tmp_path):
    path = write_submission(tmp_path, "a", Detections.empty((10, 10)))
    assert path.read_text(encoding="utf-8") == "a\n0\n"
    assert read_submission(path).shape == (0, 5)


def test_a_name_that_is_no_utf_8_is_written(tmp_path):
    path = write_submission(tmp_path / "caf\udce9", "a\udce9", Detections.empty((10, 10)))
    assert path.read_bytes() == b"a\\udce9\n0\n"
    assert read_submission(path).shape == (0, 5)


def test_a_point_in_the_name_is_not_taken_for_a_suffix(tmp_path):
    write_submission(tmp_path, "photo.v2", Detections.empty((10, 10)))
    write_submission(tmp_path, "photo.v3", Detections.empty((10, 10)))
    assert list(find_submissions(tmp_path)) == ["photo.v2", "photo.v3"]
    assert image_name(tmp_path / "x" / "photo.v2.jpg", tmp_path) == "x/photo.v2"


@pytest.mark.parametrize("name", ["", "../a", "x/../../a", "/etc/a", "a\\b", "a\nb"])
def test_names_that_leave_the_folder_are_refused(tmp_path, name):
    with pytest.raises(UserError, match="rename the image"):
        write_submission(tmp_path, name, Detections.empty((10, 10)))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "text",
    [
        "n\n2\n1 2 3 4 0.5\n5 6 7 8 0.9\n",
        "n\r\n2\r\n1 2 3 4 0.5\r\n5 6 7 8 0.9\r\n",
        "\ufeffn\n2\n1,2,3,4,0.5\n5.0, 6.0, 7.0, 8.0, 9e-1\n\n\n",
    ],
)
def test_what_others_write_is_read_sorted_and_unrounded(tmp_path, text):
    path = tmp_path / "a.txt"
    path.write_bytes(text.encode())
    assert read_submission(path).tolist() == [[5, 6, 12, 14, 0.9], [1, 2, 4, 6, 0.5]]


def test_nothing_is_clipped_or_rounded(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("a\n1\n-3.25 -1 10.5 0 17\n", encoding="utf-8")
    assert read_submission(path).tolist() == [[-3.25, -1, 7.25, -1, 17]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "expected the image's name"),
        (b"a\n", "expected the image's name"),
        (b"1 2 3 4 0.5\n1 2 3 4 0.5\n", "line 2: expected the number of faces"),
        (b"a\n2\n1 2 3 4 0.5\n", "line 2: says 2 faces, but 1 lines follow"),
        (b"a\n0\n1 2 3 4 0.5\n", "line 2: says 0 faces, but 1 lines follow"),
        (b"a\n1\n1 2 3 4\n", "line 3: expected 'x y width height score'"),
        (b"a\n1\n1 2 3 4 0.5 1\n", "line 3"),
        (b"a\n2\n1 2 3 4 0.5\n1 2 3 x 0.5\n", "line 4"),
        (b"a\n1\n1 2 3 4 nan\n", "line 3"),
        (b"a\n1\n1 2 inf 4 0.5\n", "line 3"),
        (b"\xff\xfe\x00", "UTF-8"),
    ],
)
def test_broken_files_are_refused_with_their_line(tmp_path, text, message):
    path = tmp_path / "a.txt"
    path.write_bytes(text)
    with pytest.raises(UserError, match=message) as caught:
        read_submission(path)
    assert str(path) in str(caught.value)


def test_missing_and_huge_files_are_refused(tmp_path, monkeypatch):
    with pytest.raises(UserError, match="cannot be read"):
        read_submission(tmp_path / "none.txt")
    monkeypatch.setattr("detector.data.submission.MAX_BYTES", 10)
    path = tmp_path / "a.txt"
    path.write_text("a\n1\n1 2 3 4 0.5\n", encoding="utf-8")
    with pytest.raises(UserError, match="larger than"):
        read_submission(path)


def test_a_folder_without_detections_is_refused(tmp_path):
    (tmp_path / "._a.txt").write_text("macOS", encoding="utf-8")
    with pytest.raises(UserError, match="no detections found"):
        find_submissions(tmp_path)
    with pytest.raises(UserError, match="not a folder"):
        find_submissions(tmp_path / "none")


def test_scored_boxes_keep_every_bit():
    before = detections([[0.1, 0.2, 30.3, 40.4]], [0.7])
    rows = scored_boxes(before)
    assert rows.dtype == np.float64
    np.testing.assert_array_equal(rows[:, :4].astype(np.float32), before.xyxy)


def test_paths_are_names_with_forward_slashes_everywhere():
    folder = Path("a")
    assert image_name(folder / "b" / "c.jpg", folder) == "b/c"
