"""The WIDER FACE protocol: hand-made cases, a slow second implementation, the official files."""

from __future__ import annotations

import time
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.evaluation import wider
from faces.errors import UserError
from tests.detector.evaluation.cases import faces, found, random_set, write_ground_truth, zip_lists
from tests.detector.evaluation.slow import wider_ap

ALL = {"easy": [0], "medium": [0, 1], "hard": [0, 1, 2]}
THREE = [[0, 0, 20, 20], [100, 0, 120, 20], [200, 0, 220, 20]]


def aps(truth, detections):
    return {name: result.ap for name, result in wider.evaluate(truth, detections).items()}


def test_all_found_and_nothing_else():
    rows = found(*([*box, score] for box, score in zip(THREE, [0.9, 0.5, 0.1], strict=True)))
    assert aps([faces("a", THREE, listed=ALL)], {"a": rows}) == pytest.approx(
        {"easy": 1, "medium": 1, "hard": 1}
    )


def test_hand_made_precision_and_recall():
    # By falling score: face 0, a false positive, face 1; face 2 is never found.
    rows = found([*THREE[0], 0.9], [300, 0, 320, 20, 0.6], [*THREE[1], 0.1])
    curves = wider.evaluate([faces("a", THREE, listed=ALL)], {"a": rows})
    # easy: 1/1 at recall 1. Face 1 does not count there, so its detection counts neither way.
    assert curves["easy"].ap == pytest.approx(1.0)
    assert curves["easy"].precision[-1] == pytest.approx(1 / 2)
    # medium: precision 1 up to recall 1/2, then 2/3.
    assert curves["medium"].ap == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    # hard: 1 to 1/3, 2/3 to 2/3, nothing beyond.
    assert curves["hard"].ap == pytest.approx(1 / 3 + 1 / 3 * 2 / 3)
    assert [curves[name].faces for name in wider.SETTINGS] == [1, 2, 3]


def test_scores_are_brought_to_0_1_over_the_whole_set_and_cut_at_1000_thresholds():
    rows = found([*THREE[0], 30], [*THREE[1], 10], [300, 0, 320, 20, 20])
    curves = wider.evaluate([faces("a", THREE, listed=ALL)], {"a": rows})
    found_at = curves["medium"].recall * 2
    # 30 -> 1, 20 -> 0.5, 10 -> 0; the thresholds are 0.999 (position 0) to 0 (position 999).
    assert found_at[0] == 1
    assert found_at[998] == 1
    assert found_at[999] == 2
    assert curves["medium"].precision[498] == 1
    assert curves["medium"].precision[499] == 1 / 2


def test_scores_closer_than_a_thousandth_enter_together_as_in_the_official_tool():
    wrong_first = found([300, 0, 320, 20, 0.90001], [*THREE[0], 0.9], [*THREE[1], 0.1])
    # Both enter at 0.999 of the range, so the false positive above does not show as precision 0.
    assert aps([faces("a", THREE, listed=ALL)], {"a": wrong_first})["easy"] == pytest.approx(0.5)


def test_a_second_detection_of_a_face_is_a_false_positive():
    rows = found([*THREE[0], 0.9], [0, 0, 20, 19, 0.5], [*THREE[1], 0.1])
    assert aps([faces("a", THREE, listed=ALL)], {"a": rows})["medium"] == pytest.approx(
        0.5 + 0.5 * 2 / 3
    )


def test_boxes_cover_one_pixel_more():
    truth = [faces("a", [[0, 0, 10, 10], [50, 0, 60, 10]], listed={"hard": [0, 1]})]
    # 9x6 of 10x10 pixels is IoU 0.54; with the pixel 10x7 of 11x11 = 0.579. 8x6: 0.48 and 0.521.
    rows = found([0, 0, 8, 6, 0.9], [50, 0, 60, 10, 0.1])
    assert aps(truth, {"a": rows})["hard"] == pytest.approx(1.0)
    # 8x5: 0.4 and 54/121 = 0.446.
    rows = found([0, 0, 8, 5, 0.9], [50, 0, 60, 10, 0.1])
    assert aps(truth, {"a": rows})["hard"] == pytest.approx(0.5 * 0.5)


def test_false_positives_on_an_image_without_any_face_are_left_out_as_officially():
    truth = [faces("a", THREE, listed=ALL), faces("b", [], listed={})]
    rows = found(*([*box, score] for box, score in zip(THREE, [0.9, 0.5, 0.1], strict=True)))
    alarms = found([0, 0, 20, 20, 0.95])
    assert aps(truth, {"a": rows, "b": alarms})["hard"] == pytest.approx(1.0)
    # On an image whose faces merely do not count in the setting they count.
    truth[1] = faces("b", [[300, 300, 320, 320]], listed={})
    assert aps(truth, {"a": rows, "b": alarms})["hard"] == pytest.approx(3 / 4)


def test_no_detections_at_all():
    assert aps([faces("a", THREE, listed=ALL)], {}) == {"easy": 0, "medium": 0, "hard": 0}
    assert aps([faces("a", THREE, listed=ALL)], {"a": found()})["hard"] == 0


def test_a_setting_without_a_face_has_no_ap():
    assert aps([faces("a", THREE, listed={"hard": [0]})], {"a": found([*THREE[0], 1])}) == {
        "easy": None,
        "medium": None,
        "hard": 1.0,
    }
    assert aps([], {}) == {"easy": None, "medium": None, "hard": None}


@pytest.mark.parametrize("score", [0.0, 0.7, 1.0, -3.0])
def test_equal_scores_do_not_make_a_perfect_detector_worthless(score, caplog):
    rows = found(*([*box, score] for box in THREE))
    assert aps([faces("a", THREE, listed=ALL)], {"a": rows})["hard"] == pytest.approx(1.0)


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.booleans())
def test_the_same_as_the_slow_implementation(seed, ties):
    truth, detections = random_set(seed, ties=ties)
    scores = {float(row[4]) for rows in detections.values() for row in rows}
    if len(scores) == 1:
        return  # there the official tool divides 0 by 0
    for setting, ap in aps(truth, detections).items():
        expected = wider_ap(truth, detections, setting)
        assert ap == (None if expected is None else pytest.approx(expected, abs=1e-9)), setting


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_the_order_of_detections_and_images_does_not_matter(seed):
    truth, detections = random_set(seed, ties=True)
    random = np.random.default_rng(seed)
    mixed = {name: random.permutation(rows) for name, rows in reversed(detections.items())}
    assert aps(truth, detections) == aps(list(reversed(truth)), mixed)


def test_the_files_give_back_boxes_lists_and_labels(tmp_path):
    truth = [
        faces("0--A/one", THREE, ignored=[2], listed=ALL, labels={"blur": ["clear"] * 3}),
        faces("0--A/two", [[5, 6, 15, 26]], listed={"hard": [0]}, labels={"pose": ["atypical"]}),
        faces("1--B/zero", [[0, 0, 0, 0]], listed={}),
    ]
    read = wider.read_ground_truth(write_ground_truth(tmp_path / "gt", truth))
    assert [image.name for image in read] == ["0--A/one", "0--A/two", "1--B/zero"]
    for image, before in zip(read, truth, strict=True):
        np.testing.assert_array_equal(image.xyxy, before.xyxy)
        for setting in wider.SETTINGS:
            np.testing.assert_array_equal(image.listed[setting], before.listed[setting])
    assert read[0].ignored.tolist() == [False, False, True]
    assert read[1].labels["pose"] == ["atypical"]
    # The row of zeros stays, as the official tool counts false positives there, but is no face.
    assert read[2].ignored.tolist() == [True]


@pytest.mark.parametrize("where", ["eval_ground_truth", "eval_tools/ground_truth", "."])
def test_the_ground_truth_is_found_in_its_usual_places(tmp_path, where):
    write_ground_truth(tmp_path / where, [faces("0--A/one", THREE, listed=ALL)])
    assert wider.find_ground_truth(tmp_path) == tmp_path / where


def test_the_ground_truth_is_read_from_the_official_zip_file(tmp_path):
    folder = write_ground_truth(tmp_path / "gt", [faces("0--A/one", THREE, listed=ALL)])
    [before] = wider.read_ground_truth(folder)
    archive = zip_lists(folder, tmp_path / "eval_tools.zip")
    assert wider.find_ground_truth(tmp_path) == archive
    [image] = wider.read_ground_truth(archive)
    np.testing.assert_array_equal(image.xyxy, before.xyxy)
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("eval_tools/readme.txt", "nothing")
    with pytest.raises(UserError, match=r"eval_tools\.zip: there is no wider_face_val\.mat"):
        wider.read_ground_truth(archive)


def test_missing_or_foreign_ground_truth_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"wider_hard_val\.mat"):
        wider.find_ground_truth(tmp_path)
    folder = write_ground_truth(tmp_path / "gt", [faces("0--A/one", THREE, listed=ALL)])
    (folder / "wider_easy_val.mat").unlink()
    with pytest.raises(UserError, match=r"wider_easy_val\.mat: cannot be read"):
        wider.read_ground_truth(folder)
    (folder / "wider_easy_val.mat").write_bytes(b"MATLAB 5.0 MAT-file, but cut off")
    with pytest.raises(UserError, match=r"wider_easy_val\.mat: not a MATLAB file"):
        wider.read_ground_truth(folder)


def test_files_of_different_releases_are_refused(tmp_path):
    more = [faces("0--A/one", THREE, listed=ALL), faces("0--A/two", THREE, listed=ALL)]
    folder = write_ground_truth(tmp_path / "gt", more)
    other = write_ground_truth(tmp_path / "other", more[:1])
    (folder / "wider_hard_val.mat").write_bytes((other / "wider_hard_val.mat").read_bytes())
    with pytest.raises(UserError, match="not of one release"):
        wider.read_ground_truth(folder)
    fewer = write_ground_truth(tmp_path / "fewer", [faces("0--A/one", THREE[:1], listed=ALL)])
    (fewer / "wider_hard_val.mat").write_bytes((other / "wider_hard_val.mat").read_bytes())
    with pytest.raises(UserError, match="not of one release"):
        wider.read_ground_truth(fewer)


def test_a_part_of_the_set_is_judged_and_strangers_are_refused():
    truth = [faces("0--A/one", THREE, listed=ALL), faces("0--A/two", THREE, listed=ALL)]
    assert [image.name for image in wider.restrict(truth, ["0--A/two"])] == ["0--A/two"]
    with pytest.raises(UserError, match=r"1 of 2 images .* first '0--A/three'"):
        wider.restrict(truth, ["0--A/two", "0--A/three"])
    with pytest.raises(UserError, match="no image"):
        wider.restrict(truth, [])


def test_rescaled_images_are_refused():
    truth = [faces(f"e/{i}", [[900, 600, 1025, 680]], listed=ALL) for i in range(3)]
    original = {image.name: (683, 1024) for image in truth}
    wider.check_sizes(truth, original)
    with pytest.raises(UserError, match=r"3 of 3 .* 832x555 pixels instead of 1024"):
        wider.check_sizes(truth, dict.fromkeys(original, (555, 832)))
    with pytest.raises(UserError, match="2048x1366"):  # enlarged: every box is inside
        wider.check_sizes(truth, dict.fromkeys(original, (1366, 2048)))
    with pytest.raises(UserError, match=r"1 of 3 .*'e/1'"):
        wider.check_sizes(truth, {**original, "e/1": (683, 980)})
    wider.check_sizes(truth, {})  # no image at hand, nothing to check


@pytest.mark.data
def test_the_official_ground_truth_has_the_published_numbers(shared_data):
    truth = wider.read_ground_truth(wider.find_ground_truth(shared_data / "widerface"))
    assert len(truth) == 3226
    assert sum(map(len, truth)) == 39708
    counts = {s: sum(int(image.listed[s].sum()) for image in truth) for s in wider.SETTINGS}
    assert counts == {"easy": 7211, "medium": 13319, "hard": 31958}


@pytest.mark.data
def test_the_whole_set_takes_less_than_ten_seconds_on_one_core(shared_data):
    truth = wider.read_ground_truth(wider.find_ground_truth(shared_data / "widerface"))
    random = np.random.default_rng(0)
    detections = {}
    for image in truth:
        boxes = image.xyxy[random.integers(0, len(image), 400)] + random.normal(0, 3, (400, 4))
        detections[image.name] = np.column_stack([boxes, random.random(400)])
    start = time.process_time()
    wider.evaluate(truth, detections)
    assert time.process_time() - start < 10
