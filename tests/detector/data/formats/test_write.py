"""From a read data set to the folders that `faces train` reads."""

from __future__ import annotations

from pathlib import Path

import pytest

from detector.data.formats.load import choose_classes, load_dataset
from detector.data.formats.write import check_out, write_dataset
from detector.data.voc.annotation import read_voc
from detector.data.voc.folder import find_sets, pair
from faces.errors import UserError
from tests.detector.data.formats.exports import arrays, coco, load, only, picture, text, write_json
from tests.detector.data.formats.test_other_formats import FIVE


def two_classes(folder: Path) -> None:
    picture(folder / "a.jpg")
    picture(folder / "b.jpg")
    data = coco("a.jpg", "b.jpg")
    face = data["annotations"][0]
    data["annotations"].append({**face, "id": 2, "category_id": 0, "iscrowd": 1})
    write_json(folder / "_annotations.coco.json", data)


@pytest.mark.parametrize("placement", ["link", "copy"])
def test_boxes_stay_as_they_are(tmp_path: Path, placement: str) -> None:
    two_classes(tmp_path / "in/valid")
    ways = write_dataset(load(tmp_path / "in"), tmp_path / "out", placement=placement)
    [folder] = find_sets(tmp_path / "out")
    assert folder.name == "val"
    [(image, path), (_, empty)] = pair(folder).pairs
    annotation = read_voc(path)
    assert (annotation.filename, annotation.width, annotation.height) == ("a.jpg", 200, 100)
    face, crowd = annotation.objects
    assert face.xyxy == crowd.xyxy == (10.25, 20.5, 40.375, 60.5)
    assert (face.name, face.difficult) == ("face", False)
    assert (crowd.name, crowd.difficult) == ("faces", True)
    assert read_voc(empty).objects == ()
    assert image.read_bytes() == (tmp_path / "in/valid/a.jpg").read_bytes()
    assert image.is_symlink() == (placement == "link" and "linked" in ways)


def test_classes_are_chosen(tmp_path: Path) -> None:
    two_classes(tmp_path / "in")
    dataset = load(tmp_path / "in")
    chosen = choose_classes(dataset, ["face"])
    assert [arrays(image).names for image in chosen.splits["train"]] == [("face",), ()]
    assert chosen.notes[-1] == "boxes of other classes, left out: faces (1)"
    with pytest.raises(UserError, match=r"no class 'Face'; the data set has face, faces"):
        choose_classes(dataset, ["Face"])


def test_ignored_regions_stay_when_classes_are_chosen(tmp_path: Path) -> None:
    picture(tmp_path / "in/a.jpg")
    data = coco("a.jpg")
    data["categories"][0]["name"] = "Ignored_Regions"
    data["annotations"].append({**data["annotations"][0], "id": 2, "category_id": 0})
    write_json(tmp_path / "in/a.json", data)
    image = only(choose_classes(load(tmp_path / "in"), ["face"]))
    assert image.names == ("face", "face")
    assert image.difficult.tolist() == [False, True]


def test_landmarks_are_written(tmp_path: Path) -> None:
    picture(tmp_path / "in/images/a.png")
    text(tmp_path / "in/label.txt", f"# a.png\n10 20 30 40 {FIVE} 0.5\n")
    write_dataset(load(tmp_path / "in"), tmp_path / "out")
    [face] = read_voc(tmp_path / "out/train/annotations/a.xml").objects
    assert face.landmarks == ((20, 30), (30, 30), (25, 40), (20, 50), (30, 50))
    assert face.attributes == {"blur": "0.5"}


def test_images_that_would_share_an_annotation_get_different_names(tmp_path: Path) -> None:
    names = ["a.jpg", "a.png", "images/A.jpg"]
    for name in names:
        picture(tmp_path / "in" / name)
    write_json(tmp_path / "in/a.json", coco(*names))
    write_dataset(load(tmp_path / "in"), tmp_path / "out")
    found = sorted(path.name for path in (tmp_path / "out/train/images").iterdir())
    assert found == ["A-3.jpg", "a-2.png", "a.jpg"]
    assert len(list((tmp_path / "out/train/annotations").iterdir())) == 3


@pytest.mark.parametrize("out", ["in/mine", "in", "."])
def test_a_label_file_and_the_new_data_set_may_lie_in_one_folder(tmp_path: Path, out: str) -> None:
    two_classes(tmp_path / "in")
    picture(tmp_path / "in/photos/b.png")
    write_json(tmp_path / "in/b.json", coco("b.png"))
    for _ in range(2):  # what the first time has written is not read the second time
        check_out(tmp_path / "in/b.json", tmp_path / out, overwrite=True)
        data = load_dataset(tmp_path / "in/b.json", None, out=tmp_path / out)
        assert write_dataset(data, tmp_path / out, placement="copy") == {"copied": 1}
    [image] = data.splits["train"]
    assert image.path == tmp_path / "in/photos/b.png"
    assert list((tmp_path / out / "train/images").rglob("b.png"))


def test_images_that_are_read_are_never_replaced(tmp_path: Path) -> None:
    picture(tmp_path / "train/images/b.png")
    write_json(tmp_path / "b.json", coco("b.png"))
    data = load_dataset(tmp_path / "b.json", None, out=tmp_path)
    with pytest.raises(UserError, match=r"b\.png is read, and .*images would be replaced"):
        write_dataset(data, tmp_path)
    assert (tmp_path / "train/images/b.png").is_file()


def test_nothing_is_overwritten_unasked(tmp_path: Path) -> None:
    two_classes(tmp_path / "in")
    write_dataset(load(tmp_path / "in"), tmp_path / "out")
    with pytest.raises(UserError, match=r"images is there already; .*--overwrite"):
        check_out(tmp_path / "in", tmp_path / "out")
    check_out(tmp_path / "in", tmp_path / "out", overwrite=True)
    for out in (tmp_path, tmp_path / "in", tmp_path / "in/out"):
        with pytest.raises(UserError, match="lie in one another"):
            check_out(tmp_path / "in", out, overwrite=True)
    text(tmp_path / "out/train/annotations/a.json", "{}")
    with pytest.raises(UserError, match=r"a\.json is read, and .*annotations would be replaced"):
        check_out(tmp_path / "out/train/annotations/a.json", tmp_path / "out", overwrite=True)
    with pytest.raises(UserError, match="missing: there is no such file"):
        check_out(tmp_path / "missing", tmp_path / "other")


@pytest.mark.parametrize("name", ["M\udcfcller.jpg", "bell\x07.jpg"])
def test_a_name_that_xml_cannot_hold_ends_no_import(tmp_path: Path, name: str) -> None:
    """As old archives and Latin-1 systems leave them."""
    try:
        picture(tmp_path / "in/images" / name)
    except OSError:
        pytest.skip("no such names here")
    (tmp_path / "in/labels").mkdir()
    (tmp_path / "in/labels" / name).with_suffix(".txt").write_text("0 0.5 0.5 0.5 0.5\n")
    text(tmp_path / "in/classes.txt", "face\n")
    write_dataset(load(tmp_path / "in"), tmp_path / "out", placement="copy")
    assert (tmp_path / "out/train/images" / name).is_file()
    annotation = read_voc((tmp_path / "out/train/annotations" / name).with_suffix(".xml"))
    assert annotation.filename == name.translate({0xDCFC: "?", 7: "?"})
    assert len(annotation.objects) == 1
