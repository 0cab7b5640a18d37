"""Detections: validated together, filtered together, never changed behind one's back."""

from __future__ import annotations

import copy
import dataclasses
import json
import pickle
import sys
import types

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from detector.types import Detections
from faces.errors import UserError

SIZE = (60, 100)  # height, width
BOXES = [[0, 0, 100, 60], [10, 10, 20, 20], [5, 40, 6, 60]]
SCORES = [0.9, 0.5, 0.5]


@pytest.fixture
def three() -> Detections:
    return Detections(np.array(BOXES), np.array(SCORES), SIZE)


def test_the_arrays_are_float32_whatever_came(three):
    assert three.xyxy.dtype == three.score.dtype == np.float32
    assert three.xyxy.shape == (3, 4)
    assert len(three) == 3


def test_the_arrays_cannot_be_written(three):
    with pytest.raises(ValueError, match="read-only"):
        three.xyxy[0, 0] = 1
    with pytest.raises(ValueError, match="read-only"):
        three.score[:] = 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        three.score = np.zeros(3)


@pytest.mark.parametrize("again", [lambda x: pickle.loads(pickle.dumps(x)), copy.deepcopy])
def test_what_comes_from_another_process_cannot_be_written_either(again):
    found = Detections.from_raw(BOXES, SCORES, SIZE, POINTS)
    for one in (again(found), again(found[:2])):
        assert not any(a.flags.writeable for a in (one.xyxy, one.score, one.landmarks))
    assert repr(again(found)) == repr(found)
    assert not any(a.flags.writeable for a in (again(found[0]).box, again(found[0]).landmarks))
    assert copy.copy(found).above(0.6).image_size == SIZE


def test_the_callers_arrays_are_copied_and_stay_writable():
    boxes, scores = np.array(BOXES, np.float32), np.array(SCORES, np.float32)
    found = Detections(boxes, scores, SIZE)
    boxes += 1
    scores[0] = 0
    np.testing.assert_array_equal(found.xyxy, BOXES)
    assert found.score[0] == np.float32(0.9)


@pytest.mark.parametrize(
    ("boxes", "scores", "message"),
    [
        ([0, 0, 1, 1], [1], r"xyxy must have the shape \(N, 4\), got \(4,\)"),
        ([[0, 0, 1]], [1], r"xyxy must have the shape \(N, 4\), got \(1, 3\)"),
        (BOXES, [0.5], r"score must have the shape \(3,\), got \(1,\)"),
        (BOXES, [[0.9], [0.5], [0.5]], r"score must have the shape \(3,\), got \(3, 1\)"),
        (BOXES, [0.9, 0.5, 0.6], "score 2 is larger than the one before"),
        (BOXES, [0.9, np.nan, 0.5], "must be finite"),
        ([[0, 0, np.inf, 1]], [1], "must be finite"),
        ([BOXES[0], [3, 3, 3, 9]], [1, 1], r"box 1 is \[3.0, 3.0, 3.0, 9.0\], which is empty"),
        ([BOXES[0], [9, 3, 8, 9]], [1, 1], "box 1 .* empty"),
        ([[-1, 0, 5, 5]], [1], "box 0 .* outside the image of 100x60"),
        ([[0, 0, 101, 5]], [1], "box 0 .* outside"),
        ([[0, 0, 5, 61]], [1], "box 0 .* outside"),
    ],
)
def test_arrays_that_break_the_rules_are_refused_with_the_index(boxes, scores, message):
    with pytest.raises(ValueError, match=message):
        Detections(np.array(boxes, float), np.array(scores, float), SIZE)


@pytest.mark.parametrize("score", [7.0, -0.5])
def test_a_score_that_is_none_is_refused(score):
    with pytest.raises(ValueError, match=f"score 0 is {score:g}, and scores are 0..1"):
        Detections([[0, 0, 1, 1]], [score], SIZE)


def test_lists_may_be_empty():
    found = Detections([], [], SIZE, [])
    assert (found.xyxy.shape, found.landmarks.shape, len(found)) == ((0, 4), (0, 5, 2), 0)


def test_true_is_no_number_of_a_face(three):
    with pytest.raises(TypeError, match="by their numbers or a mask, not by True"):
        three[True]


def test_no_face_is_an_empty_result():
    none = Detections.empty(SIZE)
    assert len(none) == 0
    assert none.xyxy.shape == (0, 4)
    assert none.image_size == SIZE
    for again in (none[:], none[[]], none[none.score > 0], none.above(0.5)):
        assert again.xyxy.shape == (0, 4)
        assert again.image_size == SIZE


@pytest.mark.parametrize(
    ("index", "kept"),
    [
        (slice(1, None), [1, 2]),
        (slice(0, 0), []),
        ([0, 2], [0, 2]),
        (np.array([2]), [2]),
        (np.array([True, False, True]), [0, 2]),
        ([False, True, False], [1]),
        ([], []),
    ],
    ids=str,
)
def test_a_selection_filters_boxes_and_scores_together(three, index, kept):
    some = three[index]
    np.testing.assert_array_equal(some.xyxy, np.array(BOXES, np.float32)[kept].reshape(-1, 4))
    np.testing.assert_array_equal(some.score, np.array(SCORES, np.float32)[kept])
    assert some.image_size == SIZE


def test_an_index_and_iteration_give_single_faces(three):
    for index in (1, np.int64(1), -2):
        np.testing.assert_array_equal(three[index].box, np.float32(BOXES[1]))
        assert three[index].score == pytest.approx(SCORES[1])
    assert [face.score for face in three] == pytest.approx(SCORES)
    with pytest.raises(IndexError):
        three[3]


POINTS = np.arange(30, dtype=np.float32).reshape(3, 5, 2)


def test_landmarks_are_filtered_and_sorted_with_their_boxes():
    boxes, scores = np.array(BOXES, float), np.array([0.9, 0.6, 0.3])
    found = Detections.from_raw(boxes[::-1], scores[::-1], SIZE, POINTS[::-1])
    np.testing.assert_array_equal(found.landmarks, POINTS)
    np.testing.assert_array_equal(found[[0, 2]].landmarks, POINTS[[0, 2]])
    np.testing.assert_array_equal(found[1].landmarks, POINTS[1])
    with pytest.raises(ValueError, match=r"landmarks must have the shape \(3, 5, 2\)"):
        Detections(boxes, scores, SIZE, POINTS[:2])


def test_parts_may_come_one_by_one(three):
    assert len(Detections.merge(part for part in [three, three])) == 6


def test_parts_of_one_image_are_merged_in_the_order_of_their_scores(three):
    whole = Detections.merge([three[[1]], Detections.empty(SIZE), three[[0, 2]]])
    np.testing.assert_array_equal(whole.score, three.score)
    assert len(Detections.merge([Detections.empty(SIZE)])) == 0
    for parts in ([], [three, Detections.empty((1, 1))]):
        with pytest.raises(UserError, match="of one image"):
            Detections.merge(parts)


def test_a_result_prints_as_something_to_read(three):
    assert repr(Detections.empty((60, 100))) == "Detections(no faces in 100x60)"
    assert repr(three[:1]).startswith("Detections(1 face in 100x60: [")
    assert repr(Detections.merge([three, three])).endswith("and 3 more)")


def test_crops_and_plots_are_of_the_same_image_only(three):
    image = np.random.default_rng(0).integers(0, 255, (60, 100, 3), dtype=np.uint8)
    before = image.copy()
    for crop, box in zip(three.crops(image), BOXES, strict=True):
        x1, y1, x2, y2 = np.int64([*np.floor(box[:2]), *np.ceil(box[2:])])
        np.testing.assert_array_equal(crop, image[y1:y2, x1:x2])
        crop[:] = 0
    assert (three.plot(image) != image).any()
    np.testing.assert_array_equal(image, before)
    for use in (three.crops, three.plot):
        with pytest.raises(UserError, match="100x60 pixels, this one has 100x50"):
            use(image[:50])


def test_saving_writes_json_or_a_picture(three, tmp_path):
    path = three.save(tmp_path / "a.json")
    assert json.loads(path.read_text(encoding="utf-8")) == three.to_json()
    image = np.zeros((60, 100, 3), np.uint8)
    assert Image.open(three.save(tmp_path / "a.png", image)).size == (100, 60)
    with pytest.raises(UserError, match="give the image as well"):
        three.save(tmp_path / "b.png")


def test_the_image_of_detections_may_be_a_path_or_a_pillow_image(three, tmp_path):
    array = np.random.default_rng(0).integers(0, 256, (60, 100, 3)).astype(np.uint8)
    file = tmp_path / "a.png"
    Image.fromarray(array).save(file)
    for image in (file, str(file), Image.fromarray(array)):
        np.testing.assert_array_equal(three.plot(image), three.plot(array))
        for crop, same in zip(three.crops(image), three.crops(array), strict=True):
            np.testing.assert_array_equal(crop, same)
        assert Image.open(three.save(tmp_path / "b.png", image)).size == (100, 60)
    with pytest.raises(UserError, match="an image is a path"):
        three.plot(None)


def test_coco_boxes_are_corner_and_size(three):
    x1, y1, x2, y2 = BOXES[0]
    [first, *_] = three.to_coco("a.jpg")
    assert first["bbox"] == pytest.approx([x1, y1, x2 - x1, y2 - y1])
    assert (first["image_id"], first["category_id"]) == ("a.jpg", 1)


def test_supervision_is_imported_only_when_asked_for(three, monkeypatch):
    made = types.SimpleNamespace(Detections=lambda **values: values)
    monkeypatch.setitem(sys.modules, "supervision", made)
    values = three.to_supervision()
    np.testing.assert_array_equal(values["xyxy"], three.xyxy)
    np.testing.assert_array_equal(values["confidence"], three.score)
    assert values["class_id"].tolist() == [0, 0, 0]


def test_a_selection_out_of_order_is_refused(three):
    with pytest.raises(ValueError, match="must descend"):
        three[[2, 0]]


@pytest.mark.parametrize(("score", "count"), [(0.0, 3), (0.5, 3), (0.51, 1), (0.95, 0)])
def test_above_keeps_the_threshold_itself(three, score, count):
    assert len(three.above(score)) == count


def test_from_raw_clips_drops_and_sorts():
    found = Detections.from_raw(
        [[-5, -5, 10, 10], [90, 50, 120, 90], [-9, 0, -1, 5], [4, 4, 4, 9], [1, 1, 2, 2]],
        [0.2, 0.7, 0.9, 0.8, 0.7],
        SIZE,
    )
    np.testing.assert_array_equal(found.xyxy, [[90, 50, 100, 60], [1, 1, 2, 2], [0, 0, 10, 10]])
    np.testing.assert_array_equal(found.score, np.float32([0.7, 0.7, 0.2]))


def test_from_raw_of_nothing():
    assert len(Detections.from_raw([], [], SIZE)) == 0


def test_from_raw_leaves_the_callers_arrays_alone():
    boxes = np.array([[-5, -5, 200, 200]], np.float32)
    Detections.from_raw(boxes, np.ones(1, np.float32), SIZE)
    np.testing.assert_array_equal(boxes, [[-5, -5, 200, 200]])


@given(
    hnp.arrays(np.float32, st.tuples(st.integers(0, 8), st.just(5)), elements=st.floats(-9, 9)),
    st.tuples(st.integers(1, 8), st.integers(1, 8)),
)
def test_from_raw_always_gives_a_valid_container(rows, size):
    scores = np.abs(rows[:, 4]) / 9
    found = Detections.from_raw(rows[:, :4], scores, size)
    assert len(found) <= len(rows)
    assert set(found.score.tolist()) <= set(scores.tolist())
