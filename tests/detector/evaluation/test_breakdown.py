"""Recall by group, and how sure one may be of it."""

from __future__ import annotations

import numpy as np
import pytest

from detector.evaluation.breakdown import attribute_groups, crowd_groups, height_groups, recall_by
from detector.evaluation.matching import Matches, match
from tests.detector.evaluation.cases import faces, found


def crowd(images: int, rate: dict[str, float], seed: int = 0) -> tuple[Matches, list[str]]:
    """One face of each group an image, found with the group's probability."""
    random = np.random.default_rng(seed)
    truth, detections, values = [], {}, []
    for i in range(images):
        boxes = [[100 * k, 0, 100 * k + 20, 20] for k in range(len(rate))]
        hit = random.random(len(rate)) < list(rate.values())
        truth.append(faces(f"i{i}", boxes))
        detections[f"i{i}"] = found(*([*b, 0.9] for b, h in zip(boxes, hit, strict=True) if h))
        values += list(rate)
    return match(truth, detections), values


def test_counts_recall_and_gap():
    truth = [
        faces("a", [[0, 0, 20, 20], [50, 0, 70, 20], [90, 0, 99, 9]], ignored=[2]),
        faces("b", [[0, 0, 20, 20]]),
    ]
    matches = match(truth, {"a": found([0, 0, 20, 20, 0.9], [50, 0, 70, 20, 0.4])})
    old, young = recall_by(matches, ["young", "old", "old", "young"], 0.5)
    assert (old["group"], old["images"], old["faces"], old["found"], old["recall"]) == (
        "old",
        1,
        1,
        0,
        0.0,
    )
    assert (young["images"], young["faces"], young["found"], young["recall"]) == (2, 2, 1, 0.5)
    assert old["gap"] == -0.5
    assert young["gap"] == 0.5
    assert old["interval"] is None  # a single image says nothing about others
    assert young["interval"] is not None
    lower = recall_by(matches, ["young", "old", "old", "young"], 0.4)
    assert [group["recall"] for group in lower] == [1.0, 0.5]


def test_faces_without_a_value_are_left_out_and_a_lone_group_has_no_gap():
    truth = [faces(name, [[0, 0, 20, 20], [50, 0, 70, 20]]) for name in "ab"]
    groups = recall_by(match(truth, {}), ["x", "", "x", ""], 0.5)
    assert [(group["group"], group["faces"], group["gap"]) for group in groups] == [("x", 2, None)]
    assert recall_by(match(truth, {}), [""] * 4, 0.5) == []


def test_groups_come_in_the_order_asked_for():
    truth = [faces("a", [[0, 0, 9, 9]] * 4)]
    groups = recall_by(match(truth, {}), ["z", "a", "heavy", "light"], 0.5, order=["light", "none"])
    assert [group["group"] for group in groups] == ["light", "a", "heavy", "z"]


def test_the_same_seed_gives_the_same_intervals():
    matches, values = crowd(30, {"a": 0.5, "b": 0.7})
    one = recall_by(matches, values, 0.5, seed=3)
    assert one == recall_by(matches, values, 0.5, seed=3)
    assert one != recall_by(matches, values, 0.5, seed=4)


def test_the_intervals_hold_the_truth_about_as_often_as_they_say():
    rate = {"a": 0.5, "b": 0.7}
    inside = gaps = 0
    for seed in range(60):
        matches, values = crowd(60, rate, seed)
        a, _ = recall_by(matches, values, 0.5, resamples=200)
        inside += a["interval"][0] <= 0.5 <= a["interval"][1]
        gaps += a["gap_interval"][0] <= -0.2 <= a["gap_interval"][1]
    # 95 % of 60 are 57; 50 or fewer would come once in 10,000 times.
    assert inside >= 51
    assert gaps >= 51


def test_images_are_drawn_not_faces():
    # Ten faces of an image are all found or all missed: the interval is that of 20 images, which
    # is wider by the square root of ten than that of 200 faces.
    truth = [faces(f"i{i}", [[30 * k, 0, 30 * k + 20, 20] for k in range(10)]) for i in range(20)]
    rows = {
        image.name: found(*([*box, 0.9] for box in image.xyxy.tolist())) for image in truth[:10]
    }
    (group,) = recall_by(match(truth, rows), ["x"] * 200, 0.5)
    assert group["recall"] == 0.5
    assert group["interval"][1] - group["interval"][0] == pytest.approx(2 * 1.96 * 0.112, abs=0.06)


def test_all_or_none_found_is_not_certainty():
    matches, values = crowd(10, {"all": 1.0, "none": 0.0})
    everything, nothing = recall_by(matches, values, 0.5)
    # 1 - 0.025 ** (1 / 10): with a recall of 0.69, ten images out of ten come 1 time in 40.
    assert everything["interval"] == pytest.approx((0.6915, 1.0), abs=1e-4)
    assert nothing["interval"] == pytest.approx((0.0, 0.3085), abs=1e-4)


def test_heights():
    boxes = [[0, 0, 50, height] for height in (7.9, 8, 31, 32, 256, 1000)]
    values, order = height_groups(match([faces("a", boxes)], {}))
    assert values == [
        "below 8 px",
        "8-16 px",
        "16-32 px",
        "32-64 px",
        "256 px and more",
        "256 px and more",
    ]
    assert order[:3] == ["below 8 px", "8-16 px", "16-32 px"]
    assert len(order) == 7
    assert order[-1] == "256 px and more"


def test_attributes_that_say_nothing_are_left_out():
    many = [[0, 0, 9, 9]] * 20
    truth = [
        faces(
            "a",
            many,
            ignored=[0],
            labels={
                "constant": ["1"] * 20,
                "id": [str(i) for i in range(20)],
                "invalid": ["1"] + ["0"] * 19,  # only the ignored face differs
                "blur": ["clear"] * 10 + ["heavy"] * 10,
            },
        ),
        faces("b", [[0, 0, 9, 9]]),  # an image whose annotation lacks the attribute
    ]
    assert attribute_groups(truth) == {"blur": ["clear"] * 10 + ["heavy"] * 10 + [""]}


def test_crowds():
    def picture(name, count, ignored=0):
        boxes = [[10 * i, 0, 10 * i + 9, 9] for i in range(count + ignored)]
        return faces(name, boxes, ignored=range(count, count + ignored))

    truth = [picture("a", 2, ignored=9), picture("b", 3), picture("c", 100), picture("d", 29)]
    values, order = crowd_groups(match(truth, {}))
    assert values == (
        ["1-2 faces"] * 11 + ["3-5 faces"] * 3 + ["100 faces and more"] * 100 + ["12-29 faces"] * 29
    )
    assert order == ["1-2 faces", "3-5 faces", "6-11 faces", "12-29 faces", "30-99 faces",
                     "100 faces and more"]  # fmt: skip
