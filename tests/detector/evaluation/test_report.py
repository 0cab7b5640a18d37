"""The report: every figure with its protocol, scale and number of images."""

from __future__ import annotations

import json

import pytest

from detector.evaluation.report import Evaluation, Setup, evaluate_detections, format_report
from tests.detector.evaluation.cases import faces, found

SECTIONS = {"voc", "coco", "at_threshold", "at_false_alarms", "recall_by", "worst_errors"}
FACES = [[0, 0, 20, 20], [100, 0, 160, 70], [200, 0, 210, 10]]


def evaluated(listed: bool = True, **setup) -> Evaluation:
    lists = {"easy": [1], "medium": [0, 1], "hard": [0, 1]} if listed else None
    truth = [
        faces("e/a", FACES, ignored=[2], listed=lists, labels={"blur": ["clear", "heavy", ""]}),
        faces("e/b", FACES[:1], listed=lists, labels={"blur": ["clear"]}),
    ]
    rows = {"e/a": found([*FACES[0], 0.9], [300, 0, 320, 20, 0.7]), "e/b": found([*FACES[0], 0.3])}
    details = Setup("model.onnx", "longest side 640 px", 640, **setup)
    return evaluate_detections(truth, rows, details, {"skin": ["light", "dark", "", "dark"]})


def test_no_figure_travels_without_its_protocol():
    report = evaluated(of_images=3226).report
    sections = {name: value for name, value in report.items() if isinstance(value, dict)}
    assert set(sections) == SECTIONS | {"wider_face", "recall_by_file"}
    for section in sections.values():
        assert section["protocol"]
        assert section["scale"] == "longest side 640 px"
        assert section["max_side"] == 640
        assert section["images"] == 2
        assert section["of_images"] == 3226


def test_the_figures():
    report = evaluated().report
    assert (report["faces"], report["ignored_faces"], report["detections"]) == (3, 1, 3)
    assert report["wider_face"]["easy"] == {"ap": 0.0, "faces": 1}
    assert report["wider_face"]["medium"]["faces"] == 3
    assert report["voc"]["ap50"] == pytest.approx(1 / 3 + 1 / 3 * 2 / 3)
    assert report["coco"]["ap50"] == pytest.approx(1 / 3 + 1 / 3 * 2 / 3, abs=0.01)
    at = report["at_threshold"]
    assert (at["found"], at["false_alarms"], at["precision"]) == (1, 1, 0.5)
    assert at["recall"] == pytest.approx(1 / 3)
    assert at["false_alarms_per_image"] == 0.5
    blur = {group["group"]: group for group in report["recall_by"]["groups"]["blur"]}
    assert blur["clear"]["recall"] == 0.5
    assert blur["heavy"]["recall"] == 0.0
    skin = {group["group"]: group for group in report["recall_by_file"]["groups"]["skin"]}
    assert skin["light"]["recall"] == 1.0
    assert (skin["dark"]["faces"], skin["dark"]["recall"]) == (2, 0.0)
    errors = report["worst_errors"]["errors"]
    assert [error["kind"] for error in errors] == ["missed", "missed", "false alarm"]
    assert errors[0]["image"] == "e/a"
    assert errors[0]["xyxy"] == (100.0, 0.0, 160.0, 70.0)


def test_the_threshold_moves_what_depends_on_it_and_nothing_else():
    high, low = evaluated().report, evaluated(threshold=0.3).report
    assert low["at_threshold"]["found"] == 2
    assert low["recall_by"]["threshold"] == 0.3
    for same in ("wider_face", "voc", "coco", "at_false_alarms"):
        assert high[same] == low[same]


def test_a_voc_folder_has_no_wider_figures():
    result = evaluated(listed=False)
    assert "wider_face" not in result.report
    assert set(result.curves) == {"VOC"}
    assert "WIDER" not in format_report(result.report)


def test_it_is_plain_json():
    report = evaluated().report
    again = json.loads(json.dumps(report, allow_nan=False))
    assert again["voc"] == report["voc"]


def test_the_table_says_all_of_it_in_words():
    text = format_report(evaluated(of_images=3226).report)
    lines = text.splitlines()
    assert lines[0] == "model.onnx"
    assert "2 of 3,226 images, longest side 640 px, 3 faces (and 1 ignored)" in lines[1]
    for heading in (
        "WIDER FACE (",
        "PASCAL VOC 2010 (",
        "COCO (",
        "Faces found",
        "Recall by size",
    ):
        (line,) = [line for line in lines if line.startswith(heading)][:1]
        assert line.endswith("longest side 640 px, 2 of 3,226 images")
    (easy,) = [line for line in lines if line.strip().startswith("easy")]
    assert easy.split() == ["easy", "0.0000", "1"]
    (row,) = [line for line in lines if line.strip().startswith("score >= 0.5 ")]
    assert row.split()[-3:] == ["0.5000", "0.3333", "0.500"]
    # One heading for all attributes, one table each; the file's own breakdown comes last.
    order = [line.split()[0] for line in lines if "gap" in line]
    assert order == ["height", "in", "blur", "skin"]


def test_nothing_found_and_nothing_to_find():
    report = evaluate_detections([faces("a", [])], {}, Setup("m", "original size", None)).report
    assert report["voc"]["ap50"] is None
    assert report["at_threshold"]["recall"] is None
    assert "-" in format_report(report)
