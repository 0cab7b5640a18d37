"""The faces of a VOC folder, and finding images by name."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from detector.data.voc.annotation import VocAnnotation, VocObject, write_voc
from detector.evaluation.truth import Names, read_voc_truth
from faces.errors import UserError


def annotate(path: Path, *objects: VocObject, size: tuple[int, int] = (100, 80)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_voc(path, VocAnnotation(f"{path.stem}.png", *size, objects))


def picture(path: Path, size: tuple[int, int] = (100, 80)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size).save(path)


FACE = VocObject("face", (10, 10, 30, 40))


def test_boxes_attributes_and_what_is_ignored(tmp_path):
    annotate(
        tmp_path / "xml" / "a.xml",
        VocObject("with_mask", (10, 10, 30, 40), False, {"blur": "2", "pose": "Frontal"}),
        VocObject("face", (90, 70, 120, 90), True, {"occlusion": "0"}),
        VocObject("face", (20, 20, 20, 30)),
    )
    (image,), files = read_voc_truth(tmp_path / "xml")
    assert files == {}
    assert image.name == "a"
    # Clipped to the image; the empty and the difficult one are ignored.
    np.testing.assert_array_equal(
        image.xyxy, [[10, 10, 30, 40], [90, 70, 100, 80], [20, 20, 20, 30]]
    )
    assert image.ignored.tolist() == [False, True, True]
    assert image.labels["blur"] == ["heavy blur", "", ""]
    assert image.labels["occlusion"] == ["", "none", ""]
    assert image.labels["pose"] == ["Frontal", "", ""]
    assert image.labels["class"] == ["with_mask", "face", "face"]


def test_only_the_classes_asked_for_are_faces(tmp_path):
    annotate(tmp_path / "a.xml", FACE, VocObject("dog", (1, 1, 9, 9)))
    (image,), _ = read_voc_truth(tmp_path, classes=("face",))
    assert image.labels["class"] == ["face"]


@pytest.mark.parametrize("where", ["e/a.xml", "a.xml", "other/a.xml"])
def test_annotations_mirror_the_images_or_are_found_by_stem(tmp_path, where):
    picture(tmp_path / "images" / "e" / "a.png")
    annotate(tmp_path / "xml" / where, FACE)
    (image,), files = read_voc_truth(tmp_path / "xml", tmp_path / "images")
    assert image.name == "e/a"
    assert files == {"e/a": tmp_path / "images" / "e" / "a.png"}


def test_images_without_annotation_are_left_out_aloud(tmp_path, caplog):
    for name in ("a", "b"):
        picture(tmp_path / "images" / f"{name}.png")
    annotate(tmp_path / "xml" / "a.xml", FACE)
    annotate(tmp_path / "xml" / "c.xml", FACE)
    with caplog.at_level(logging.WARNING):
        truth, _ = read_voc_truth(tmp_path / "xml", tmp_path / "images")
    assert [(image.name, len(image)) for image in truth] == [("a", 1)]
    assert "1 of 2 images have no annotation" in caplog.text
    assert "b.png" in caplog.text
    assert "1 of 2 annotations have no image" in caplog.text


def test_refusals(tmp_path):
    images, xml = tmp_path / "images", tmp_path / "xml"
    xml.mkdir()
    with pytest.raises(UserError, match="no annotations"):
        read_voc_truth(xml)
    annotate(xml / "a.xml", FACE)
    with pytest.raises(UserError, match="does not exist"):
        read_voc_truth(xml, images)
    images.mkdir()
    with pytest.raises(UserError, match="there are no images"):
        read_voc_truth(xml, images)
    picture(images / "b.png")
    with pytest.raises(UserError, match=r"no image in .* has an annotation"):
        read_voc_truth(xml, images)
    picture(images / "a.png", size=(50, 40))
    with pytest.raises(UserError, match=r"a\.xml is for an image of 100x80 .* has 50x40"):
        read_voc_truth(xml, images)
    picture(images / "a.png")
    Image.new("RGB", (100, 80)).save(images / "a.jpg")
    _, files = read_voc_truth(xml, images)  # the annotation says which of the two it means
    assert [path.suffix for path in files.values()] == [".png"]


def test_images_that_differ_in_their_suffix_alone_are_two(tmp_path):
    """As they are in training."""
    for name in ("a.jpg", "a.png", "b.png"):
        picture(tmp_path / "images" / name)
        annotation = VocAnnotation(name, 100, 80, (VocObject("face", (10.0, 10.0, 40.0, 40.0)),))
        write_voc(tmp_path / f"xml/{name}.xml", annotation)
    truth, files = read_voc_truth(tmp_path / "xml", tmp_path / "images")
    assert sorted(item.name for item in truth) == ["a.jpg", "a.png", "b"]
    assert {name: path.name for name, path in files.items()} == {
        "a.jpg": "a.jpg", "a.png": "a.png", "b": "b.png",
    }  # fmt: skip


def test_names():
    names = Names(["e/a", "e/b", "f/b", "photo.v2"])
    assert names.find("e/a") == "e/a"
    assert names.find("e/a.jpg") == "e/a"
    assert names.find("e\\a.jpg") == "e/a"
    assert names.find("a.png") == "e/a"
    assert names.find("f/b") == "f/b"
    assert names.find("photo.v2") == "photo.v2"
    assert names.find("photo.v2.jpg") == "photo.v2"
    assert names.find("g/a") is None
    assert names.find("photo") is None
    with pytest.raises(UserError, match="'e/b' or 'f/b'"):
        names.find("b.jpg")
