"""Data sets written for other tools are, read by the formats' own rules, the same boxes again."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from detector.data.formats.coco_write import write_coco
from detector.data.formats.dataset import Dataset, LabeledImage
from detector.data.formats.export import export_dataset
from detector.data.formats.from_voc import read_sets
from detector.data.voc.annotation import VocAnnotation, VocObject, read_voc, write_voc
from detector.data.voc.folder import find_sets
from faces.errors import UserError
from faces.images.read import image_size, read_image

WIDTH, HEIGHT = 90, 61
FLOATS = (0.1, 7.3, 33.40000000000001, 60.7)
WHOLE = (40.0, 5.0, 71.0, 44.0)


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def picture(path: Path, orientation: int = 1) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(path, exif=exif)
    return path


def add(folder: Path, name: str, *objects: VocObject, orientation: int = 1) -> None:
    path = picture(folder / "images" / name, orientation)
    height, width = image_size(path)
    target = folder / "annotations" / Path(name).with_suffix(".xml")
    write_voc(target, VocAnnotation(path.name, width, height, objects))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Train and val, as `faces prepare wider` leaves them."""
    root = tmp_path / "data"
    face = VocObject("face", FLOATS, False, {"blur": "2"})
    add(root / "train", "a/one.png", face, VocObject("head", WHOLE, True, {"blur": "0"}))
    add(root / "train", "images/two.jpg")
    add(root / "val", "three.png", VocObject("face", WHOLE))
    return root


def export(data: Path, out: Path, format: str, **options):
    return export_dataset(read_sets(find_sets(data)), out, format, **options)


def read_coco(out: Path, split: str) -> dict[str, list]:
    """Name -> (class, box, iscrowd, attributes), by the rules of cocodataset.org."""
    content = json.loads((out / f"annotations/instances_{split}.json").read_text())
    classes = {item["id"]: item["name"] for item in content["categories"]}
    found: dict[str, list] = {}
    names = {}
    for image in content["images"]:
        file = out / "images" / split / image["file_name"]
        assert image_size(file) == (image["height"], image["width"])
        names[image["id"]] = image["file_name"]
        found[image["file_name"]] = []
    assert len({item["id"] for item in content["annotations"]}) == len(content["annotations"])
    for item in content["annotations"]:
        x, y, width, height = item["bbox"]
        assert item["area"] == pytest.approx(width * height)
        row = (classes[item["category_id"]], (x, y, x + width, y + height), item["iscrowd"])
        found[names[item["image_id"]]].append((*row, item.get("attributes", {})))
    return found


def read_yolo(out: Path, split: str) -> dict[str, list]:
    """Name -> (class, box), as Ultralytics reads: the label is where /images/ is /labels/."""
    content = yaml.safe_load((out / "data.yaml").read_text(encoding="utf-8"))
    folder = out / content[split]
    found = {}
    for file in sorted(x for x in folder.rglob("*") if x.suffix in (".jpg", ".png")):
        height, width = image_size(file)
        before, after = str(file).rsplit("/images/", 1)
        label = Path(f"{before}/labels/{after}").with_suffix(".txt")
        rows = []
        for line in label.read_text().splitlines():
            number, *shares = line.split()
            assert "e" not in line
            x, y, w, h = (float(share) for share in shares)
            assert all(0 <= value <= 1 for value in (x, y, w, h))
            box = ((x - w / 2) * width, (y - h / 2) * height)
            box += ((x + w / 2) * width, (y + h / 2) * height)
            rows.append((content["names"][int(number)], box))
        found[file.relative_to(folder).as_posix()] = rows
    return found


def test_coco_holds_everything_to_the_last_digit(data, tmp_path):
    before = tree(data)
    written = export(data, tmp_path / "out", "coco")
    assert read_coco(tmp_path / "out", "train") == {
        "a/one.png": [("face", FLOATS, 0, {"blur": "2"}), ("head", WHOLE, 1, {"blur": "0"})],
        "images/two.jpg": [],
    }
    assert read_coco(tmp_path / "out", "val") == {"three.png": [("face", WHOLE, 0, {})]}
    assert written.images == {"train": 2, "val": 1}
    assert written.boxes == {"train": 2, "val": 1}
    assert {what: n for what, n in written.told.items() if n} == {
        "difficult faces written as iscrowd 1": 1
    }
    assert tree(data) == before


def test_any_floats_survive_coco(tmp_path):
    """Those of 32 bits exactly, others to the last digit of 64 bits, as x + width is rounded."""
    corners = np.sort(np.random.default_rng(0).uniform(0, 5000, (300, 2, 2)), axis=1)
    for boxes in (corners.astype(np.float32), corners.round(2), corners):
        exact = boxes.reshape(-1, 4).astype(np.float64)
        write_coco(tmp_path, {"x": [labeled(tmp_path / "a.png", exact)]}, Counter())
        rows = json.loads((tmp_path / "annotations/instances_x.json").read_text())["annotations"]
        read = np.array([row["bbox"] for row in rows])
        read[:, 2:] += read[:, :2]
        assert abs(read - exact).max() <= np.spacing(exact.max())
        if boxes.dtype == np.float32:
            assert np.array_equal(read, exact)


def test_landmarks_become_keypoints(tmp_path):
    points = ((1, 2), (3.5, 4), (5, 6), (7, 8), None)
    item = labeled(tmp_path / "a.png", [WHOLE, FLOATS], [points, ()])
    write_coco(tmp_path, {"": [item]}, Counter())
    content = json.loads((tmp_path / "annotations/instances_default.json").read_text())
    first, second = content["annotations"]
    assert first["keypoints"] == [1, 2, 2, 3.5, 4, 2, 5, 6, 2, 7, 8, 2, 0, 0, 0]
    assert first["num_keypoints"] == 4
    # pycocotools and datumaro want them of every object of a class that has them.
    assert (second["keypoints"], second["num_keypoints"]) == ([0] * 15, 0)
    assert len(content["categories"][0]["keypoints"]) == 5


def test_yolo_says_what_it_cannot_hold(data, tmp_path):
    written = export(data, tmp_path / "out", "yolo")
    found = read_yolo(tmp_path / "out", "train")
    assert found.keys() == {"a/one.png", "images/two.jpg"}
    assert found["images/two.jpg"] == []
    ((name, box),) = found["a/one.png"]
    assert name == "face"
    assert box == pytest.approx(FLOATS, abs=1e-9)
    assert read_yolo(tmp_path / "out", "val")["three.png"][0][1] == pytest.approx(WHOLE, abs=1e-9)
    assert written.boxes == {"train": 1, "val": 1}
    assert {what: n for what, n in written.told.items() if n} == {
        "difficult faces left out, which YOLO cannot mark": 1,
        "faces without their attributes, which YOLO cannot hold": 1,
    }
    assert yaml.safe_load((tmp_path / "out/data.yaml").read_text())["names"] == {0: "face"}


def test_class_names_are_yaml(tmp_path):
    names = ['a "b": c', "Gesicht ä 🙂", "yes"]
    add(tmp_path / "data", "a.png", *(VocObject(name, WHOLE) for name in names))
    export(tmp_path / "data", tmp_path / "out", "yolo")
    content = yaml.safe_load((tmp_path / "out/data.yaml").read_text(encoding="utf-8"))
    assert sorted(content["names"].values()) == sorted(names)
    assert content["train"] == "images"


def test_boxes_leave_as_training_sees_them(tmp_path):
    boxes = [(30, 40, 5, 6), (-4, -3, 20, 20), (9, 9, 9, 12), (200, 200, 220, 220)]
    add(tmp_path / "data", "a.png", *(VocObject("", box) for box in boxes))
    dataset = read_sets(find_sets(tmp_path / "data"))
    assert dataset.notes == (
        "1 box with swapped corners put right",
        "1 box cut off at the picture's edge",
        "1 box without area left out",
        "1 box outside the picture left out",
    )
    export_dataset(dataset, tmp_path / "out", "coco")
    content = json.loads((tmp_path / "out/annotations/instances_default.json").read_text())
    assert [item["bbox"] for item in content["annotations"]] == [[5, 6, 25, 34], [0, 0, 20, 20]]
    assert [item["name"] for item in content["categories"]] == ["face"]


def test_pictures_that_exif_turns_are_written_upright(tmp_path):
    add(tmp_path / "data", "a.jpg", VocObject("face", (1, 2, 50, 80)), orientation=6)
    written = export(tmp_path / "data", tmp_path / "out", "yolo", placement="link")
    path = tmp_path / "out/images/a.jpg"
    with Image.open(path) as image:
        assert image.size == (HEIGHT, WIDTH)
        assert image.getexif().get(0x0112, 1) == 1
    assert not path.is_symlink()
    assert written.told["pictures turned upright, as EXIF says, and encoded again"] == 1
    ((_, box),) = read_yolo(tmp_path / "out", "train")["a.jpg"]
    assert box == pytest.approx((1, 2, 50, 80), abs=1e-9)


def test_copies_are_the_same_bytes_and_links_lead_to_the_originals(data, tmp_path):
    export(data, tmp_path / "copied", "coco")
    export(data, tmp_path / "linked", "coco", placement="link")
    for name in ("train/a/one.png", "train/images/two.jpg", "val/three.png"):
        split, _, rest = name.partition("/")
        original = data / split / "images" / rest
        assert (tmp_path / "copied/images" / name).read_bytes() == original.read_bytes()
        assert (tmp_path / "linked/images" / name).resolve() == original.resolve()


def labeled(path: Path, boxes, landmarks=None) -> LabeledImage:
    every = landmarks or [()] * len(boxes)
    objects = tuple(
        VocObject("face", tuple(map(float, box)), landmarks=points)
        for box, points in zip(boxes, every, strict=True)
    )
    return LabeledImage(path, path.name, WIDTH, HEIGHT, objects)


@pytest.mark.parametrize("format", ["voc", "coco", "yolo"])
def test_names_that_differ_in_the_suffix_or_case_stay_apart(tmp_path, format):
    """As on phones: IMG_1.HEIC beside IMG_1.JPG."""
    files = [picture(tmp_path / "in" / name) for name in ("a.png", "a.jpg", "A.gif")]
    items = tuple(labeled(path, [(i, 0, i + 9, 9)]) for i, path in enumerate(files))
    written = export_dataset(Dataset("x", {"": items}), tmp_path / "out", format)
    names = sorted(path.name for path in (tmp_path / "out/images").iterdir())
    assert names == ["A-3.png", "a-2.jpg", "a.png"]  # what is no common kind is PNG
    assert sum(written.told.values()) == 3  # two renamed, one encoded again
    if format == "voc":
        found = read_voc(tmp_path / "out/annotations/A-3.xml")
        assert (found.filename, found.objects[0].xyxy[0]) == ("A-3.png", 2)
    elif format == "yolo":
        assert read_yolo(tmp_path / "out", "train")["A-3.png"][0][1][0] == pytest.approx(2)
    assert read_image(tmp_path / "out/images/A-3.png").shape == (HEIGHT, WIDTH, 3)


def test_nothing_is_overwritten_and_nothing_is_half_there(data, tmp_path):
    out = tmp_path / "out"
    export(data, out, "coco")
    before = tree(out)
    with pytest.raises(UserError, match="is not empty, and nothing is overwritten"):
        export(data, out, "yolo")
    assert tree(out) == before
    broken = labeled(tmp_path / "missing.png", [WHOLE])
    with pytest.raises(UserError, match=r"missing\.png"):
        export_dataset(Dataset("x", {"": (broken,)}), tmp_path / "half", "coco")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "out"]


def test_what_makes_boxes_doubtful_is_refused_with_its_file_and_remedy(data, tmp_path):
    xml = data / "val/annotations/three.xml"
    xml.write_text(xml.read_text().replace("<xmin>40<", "<xmin>forty<"))
    with pytest.raises(UserError, match=r"three\.xml, line \d+: .*prepare check --fix"):
        export(data, tmp_path / "out", "coco")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("format", ["voc", "coco", "yolo"])
def test_a_card_with_the_head_that_hubs_read_lies_beside_it(data, tmp_path, format):
    dataset = read_sets(find_sets(data))
    written = export_dataset(dataset, tmp_path / "[my] faces", format)
    text = (tmp_path / "[my] faces/README.md").read_text(encoding="utf-8")
    _, head, body = text.split("---\n", 2)
    head = yaml.safe_load(head)
    assert head["pretty_name"] == "[my] faces"
    assert head["license"] == "unknown"
    assert head["task_categories"] == ["object-detection"]
    assert head["size_categories"] == ["n<1K"]
    for split, count in written.images.items():
        assert f"| {split or 'all'} | {count} | {written.boxes[split]} |" in body
    for what, count in written.told.items():
        assert (f"- {what}: {count}" in body) == (count > 0)
