"""Which picture goes into which split, and with whose boxes."""

from __future__ import annotations

import base64
import shutil
from pathlib import Path

import pytest

from detector.data.formats.from_voc import read_sets
from detector.data.formats.load import load_dataset
from detector.data.formats.write import write_dataset
from detector.data.parts import Parts, find_parts, voc_sets
from detector.data.voc.annotation import VocAnnotation, VocObject, write_voc
from tests.detector.data.formats.exports import coco, load, only, picture, text, write_json

FACE = VocObject("face", (10.0, 10.0, 40.0, 40.0))


def labeled(image: Path, annotation: Path) -> None:
    picture(image)
    annotation.parent.mkdir(parents=True, exist_ok=True)
    write_voc(annotation, VocAnnotation(image.name, 200, 100, (FACE,)))


def names(parts: Parts) -> tuple[list[str], list[str]]:
    """The pictures to train on and to validate on."""
    return tuple(  # type: ignore[return-value]
        sorted(path.name for path in part.annotations.annotations) if part else []  # type: ignore[union-attr]
        for part in (parts.train, parts.valid)
    )


# -- a listed picture is not taken from the folder of another split


def test_a_picture_that_is_missing_is_not_that_of_another_split(tmp_path: Path) -> None:
    picture(tmp_path / "in/images/train2017/1.jpg")
    picture(tmp_path / "in/images/val2017/2.jpg")
    write_json(tmp_path / "in/annotations/instances_train2017.json", coco("1.jpg", "2.jpg"))
    dataset = load(tmp_path / "in")
    assert [image.path.name for image in dataset.splits["train"]] == ["1.jpg"]
    assert any("are not there, left out: 1 (2.jpg" in note for note in dataset.notes)


def test_a_folder_that_is_listed_but_says_no_split_does_not_count(tmp_path: Path) -> None:
    picture(tmp_path / "in/train/images/a.jpg")
    picture(tmp_path / "in/val/images/b.jpg")
    listed = coco("images/a.jpg", "images/b.jpg")
    write_json(tmp_path / "in/annotations/instances_train.json", listed)
    assert only(load(tmp_path / "in")).path.name == "a.jpg"


@pytest.mark.parametrize(
    ("file", "listed"), [("all.json", "2.jpg"), ("train.json", "val2017/2.jpg")]
)
def test_unless_the_file_names_no_split_or_its_folder(
    tmp_path: Path, file: str, listed: str
) -> None:
    picture(tmp_path / "in/images/val2017/2.jpg")
    write_json(tmp_path / "in" / file, coco(listed))
    assert only(load(tmp_path / "in")).path.name == "2.jpg"


def test_labelme_takes_the_picture_in_the_file_where_its_own_is_not_there(tmp_path: Path) -> None:
    """Another folder has one of that name."""
    other = picture(tmp_path / "in/a/1.jpg")
    write_json(tmp_path / "in/a/1.json", {"shapes": [], "imagePath": "1.jpg", "imageData": None})
    shape = {"label": "face", "points": [[10, 20], [40, 60]], "shape_type": "rectangle"}
    inside = base64.b64encode(other.read_bytes()).decode()
    data = {"shapes": [shape], "imagePath": "1.jpg", "imageData": inside}
    write_json(tmp_path / "in/b/1.json", data)
    images = load(tmp_path / "in").splits["train"]
    assert [len(image.objects) for image in images if image.path == other] == [0]
    assert [len(image.objects) for image in images if image.path != other] == [1]


@pytest.mark.parametrize("listed", ["1.jpg", "..\\images\\1.jpg", "C:\\me\\images\\1.jpg"])
def test_labelme_takes_the_picture_that_is_there(tmp_path: Path, listed: str) -> None:
    """LabelMe writes the picture into the file as well, unless that is switched off."""
    there = picture(tmp_path / "in/images/1.jpg")
    shape = {"label": "face", "points": [[10, 20], [40, 60]], "shape_type": "rectangle"}
    inside = base64.b64encode(there.read_bytes()).decode()
    data = {"shapes": [shape], "imagePath": listed, "imageData": inside}
    write_json(tmp_path / "in/labels/1.json", data)
    assert only(load_dataset(tmp_path / "in", None)).path == there


# -- the lists of PASCAL VOC


def voc_with_lists(folder: Path) -> Path:
    for name in ("a", "b", "c", "d"):
        labeled(folder / f"JPEGImages/{name}.jpg", folder / f"Annotations/{name}.xml")
    for split, listed in (("train", "a\n"), ("val", "b\n"), ("test", "c\n")):
        text(folder / f"ImageSets/Main/{split}.txt", listed)
    return folder


def test_training_goes_by_the_lists(tmp_path: Path) -> None:
    assert names(find_parts(voc_with_lists(tmp_path / "VOC2007"))) == (["a.jpg"], ["b.jpg"])


def test_lists_of_classes_will_do(tmp_path: Path) -> None:
    """VoTT writes no others; where there are others, as in PASCAL VOC, they are the ones."""
    root = voc_with_lists(tmp_path / "VOC2007")
    lists = root / "ImageSets/Main"
    text(lists / "face_train.txt", "d  1\n")
    assert names(find_parts(root)) == (["a.jpg"], ["b.jpg"])
    for path in lists.iterdir():
        path.unlink()
    for split, listed in (("train", "a  1\nb -1\n"), ("val", "c  1\n"), ("test", "d  1\n")):
        text(lists / f"face_{split}.txt", listed)
        text(lists / f"big_hat_{split}.txt", listed.replace("1", "0"))
    assert names(find_parts(root)) == (["a.jpg", "b.jpg"], ["c.jpg"])


def test_notes_are_no_list_of_a_class(tmp_path: Path) -> None:
    root = voc_with_lists(tmp_path / "VOC2007")
    shutil.rmtree(root / "ImageSets")
    text(root / "notes_train.txt", "a  1\n")
    text(root / "ImageSets/Main/blurry_train.txt", "a\nb\n")
    text(root / "ImageSets/Main/blurry_val.txt", "c\n")
    parts = find_parts(root)
    assert (parts.train.annotations, parts.valid) == (root / "Annotations", None)


@pytest.mark.parametrize(
    ("lists", "train", "valid"),
    [
        ({"trainval": "a b c", "test": "d"}, "abc", ""),
        ({"trainval": "a b c", "val": "c", "test": "d"}, "ab", "c"),
        ({"val": "a", "test": "b"}, "abcd", ""),  # no list says what to train on
    ],
)
def test_lists_that_other_tools_leave(
    tmp_path: Path, lists: dict[str, str], train: str, valid: str
) -> None:
    root = voc_with_lists(tmp_path / "VOC2007")
    for path in (root / "ImageSets/Main").iterdir():
        path.unlink()
    for split, listed in lists.items():
        text(root / f"ImageSets/Main/{split}.txt", "\n".join(listed.split()))
    parts = find_parts(root)
    if "trainval" in lists:
        assert names(parts) == ([f"{x}.jpg" for x in train], [f"{x}.jpg" for x in valid])
    else:
        assert parts.valid is None
        assert parts.train is not None
        assert parts.train.images == root / "JPEGImages"


def test_export_goes_by_the_lists(tmp_path: Path) -> None:
    dataset = read_sets(voc_sets(voc_with_lists(tmp_path / "VOC2007")))
    found = {split: [x.name for x in images] for split, images in dataset.splits.items()}
    assert found == {"train": ["a.jpg"], "val": ["b.jpg"], "test": ["c.jpg"]}
    assert dataset.notes == ("1 image left out, which no list of ImageSets names",)


def test_a_list_names_pictures_by_their_places(tmp_path: Path) -> None:
    root = tmp_path / "in"
    for name in ("a/1", "b/1", "photo 1", "photo 2", "only"):
        labeled(root / f"JPEGImages/{name}.jpg", root / f"Annotations/{name}.xml")
    text(root / "ImageSets/Main/train.txt", "a/1\nphoto 1\nphoto 2\n")
    text(root / "ImageSets/Main/val.txt", "JPEGImages\\b\\1.jpg\nonly  -1\n")
    dataset = load(root)
    found = {split: sorted(x.name for x in images) for split, images in dataset.splits.items()}
    assert found == {
        "train": ["a/1.jpg", "photo 1.jpg", "photo 2.jpg"],
        "val": ["b/1.jpg", "only.jpg"],
    }
    assert dataset.notes == ()


# -- one rule for training, export, check and points


@pytest.mark.parametrize("together", [True, False])
def test_sets_are_the_parts_that_training_knows(tmp_path: Path, together: bool) -> None:
    for part in ("train", "valid"):
        if together:
            labeled(tmp_path / part / f"{part}.jpg", tmp_path / part / f"{part}.xml")
        else:
            folders = tmp_path / "images" / part, tmp_path / "annotations" / part
            labeled(folders[0] / f"{part}.jpg", folders[1] / f"{part}.xml")
    sets = voc_sets(tmp_path)
    parts = find_parts(tmp_path)
    assert parts.train is not None
    assert parts.valid is not None
    assert [(one.name, one.images) for one in sets] == [
        ("train", parts.train.images),
        ("val", parts.valid.images),
    ]


def test_a_set_with_pictures_in_no_part_is_not_divided(tmp_path: Path) -> None:
    for name in ("train", "val", "extra"):
        place = f"{name}/{name}"
        labeled(tmp_path / f"images/{place}.jpg", tmp_path / f"annotations/{place}.xml")
    labeled(tmp_path / "together/x.jpg", tmp_path / "together/x.xml")
    labeled(tmp_path / "together/test/t.jpg", tmp_path / "together/test/t.xml")
    assert len(read_sets(voc_sets(tmp_path)).splits[""]) == 3
    assert len(read_sets(voc_sets(tmp_path / "together")).splits[""]) == 2


def test_a_data_set_that_is_replaced_leaves_none_of_its_splits(tmp_path: Path) -> None:
    for split in ("train", "val"):
        picture(tmp_path / f"old/{split}/{split}.jpg")
        write_json(tmp_path / f"old/{split}/a.json", coco(f"{split}.jpg"))
    picture(tmp_path / "new/x.jpg")
    write_json(tmp_path / "new/a.json", coco("x.jpg"))
    write_dataset(load(tmp_path / "old"), tmp_path / "out")
    write_dataset(load(tmp_path / "new"), tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").rglob("*.jpg")] == ["x.jpg"]
    assert find_parts(tmp_path / "out").valid is None


def test_labels_in_a_linked_folder_are_read(tmp_path: Path) -> None:
    picture(tmp_path / "in/images/a.jpg")
    write_json(tmp_path / "elsewhere/a.json", coco("a.jpg"))
    try:
        (tmp_path / "in/annotations").symlink_to(tmp_path / "elsewhere")
    except OSError:
        pytest.skip("this system lets nobody make links")
    assert len(load_dataset(tmp_path / "in", None).splits["train"]) == 1
