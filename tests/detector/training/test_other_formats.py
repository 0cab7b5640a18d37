"""Exports of other tools, trained on as they lie and after `faces prepare import`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from detector.config import DataConfig
from detector.data.parts import find_parts
from detector.evaluation.truth import read_part
from detector.training.dataset import FaceIndex
from detector.training.distributed import World
from detector.training.setup import open_index
from faces.errors import UserError
from scripts.main import main
from tests.detector.data.formats.exports import coco, picture, text, write_json
from tests.detector.data.formats.whole import EXPORTS, Truth, make_truth

SMALL = (
    "--backbone-weights", "none", "--width", "0.1", "--channels", "8", "--head-width", "8",
    "--image-size", "128", "--max-side", "96", "--epochs", "1", "--batch-size", "2",
    "--num-workers", "0", "--device", "cpu", "--threads", "1", "--face-sizes", "16", "50",
)  # fmt: skip


@pytest.fixture
def truth(tmp_path: Path) -> Truth:
    return make_truth(tmp_path / "made")


def read(path: Path) -> dict[str, list[list[float]]]:
    """Every picture of a data set by its file's name, with its boxes."""
    parts = find_parts(path)
    found = {}
    for part in (parts.train, parts.valid):
        if part is not None:
            index = FaceIndex(part.images, part.annotations)
            for i, file in enumerate(index.paths()):
                found[file.name] = index.boxes(i).tolist()
    return found


@pytest.mark.parametrize("kind", EXPORTS)
def test_an_export_is_the_same_as_it_lies_and_imported(
    kind: str, truth: Truth, tmp_path: Path
) -> None:
    export = EXPORTS[kind](truth, tmp_path / "datasets/faces")
    images = [item for several in truth.values() for item in several.items()]
    wanted = {image.name: boxes for image, boxes in images}
    assert main(["prepare", "import", str(export), "--out", str(tmp_path / "data")]) in (0, 1)
    sources = [tmp_path / "data", export]
    if kind == "labelme_embedded":
        with pytest.raises(UserError, match=r"scene_00\.json: the image is inside of the file"):
            read(export)
        sources.pop()
    elif kind == "voc_devkit":  # divided by lists of names, which only the import reads
        sources.pop()
    for source in sources:
        found = read(source)
        assert found.keys() == wanted.keys()
        for name, boxes in wanted.items():
            assert len(found[name]) == len(boxes)
            np.testing.assert_allclose(found[name], boxes, atol=0.005)


@pytest.mark.parametrize("kind", ["yolo_roboflow", "coco_roboflow", "yolo_ultralytics", "cvat"])
def test_parts_are_kept_and_images_stay_where_they_are(
    kind: str, truth: Truth, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    export = EXPORTS[kind](truth, Path("../datasets/faces"))
    before = sorted(tmp_path.rglob("*"))
    train, valid, division = open_index(DataConfig(data_dir=export), World())
    assert division is None
    for index, split in ((train, "train"), (valid, "val")):
        assert {path.name for path in index.paths()} == {image.name for image in truth[split]}
    faces, files = read_part(export, (), None, None)
    assert {path.name for path in files.values()} == {image.name for image in truth["val"]}
    wanted = {f"{image.stem}": boxes for image, boxes in truth["val"].items()}
    for item in faces:
        boxes = np.reshape(wanted[item.name.rpartition("/")[2]], (-1, 4))
        np.testing.assert_allclose(item.xyxy, boxes, atol=0.005)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind",
    ["coco_cvat", "yolo_label_studio", "cvat", "labelme_embedded", "label_studio", "voc_roboflow",
     "retinaface"],
)  # fmt: skip
def test_every_kind_trains_as_it_is_typed(
    kind: str, truth: Truth, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    export = EXPORTS[kind](truth, tmp_path / "export")
    data, run = tmp_path / "data", tmp_path / "run"
    assert main(["prepare", "import", str(export), "--out", str(data)]) == 0
    assert main(["train", "--data", str(data), "--run", str(run), *SMALL]) == 0
    assert (run / "last.pt").is_file()
    assert main(["evaluate", str(run / "last.pt"), "--data", str(data)]) == 0
    assert "AP" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["yolo_roboflow", "coco_cvat"])
def test_data_yaml_and_coco_train_and_are_resumed_as_they_lie(
    kind: str, truth: Truth, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    export = EXPORTS[kind](truth, tmp_path / "export")
    run = tmp_path / "run"
    assert main(["train", "--data", str(export), "--run", str(run), *SMALL]) == 0
    assert main(["train", "--resume", str(run), "--epochs", "2"]) == 0
    assert main(["evaluate", str(run / "best.pt"), "--data", str(export)]) == 0
    assert main(["calibrate", str(run / "best.pt"), "--data", str(export)]) in (0, 2)
    assert "AP" in capsys.readouterr().out


def test_regions_to_be_ignored_stay_whatever_the_classes(tmp_path: Path) -> None:
    picture(tmp_path / "in/a.jpg")
    data = coco("a.jpg")
    data["categories"].append({"id": 2, "name": "ignored region"})
    data["annotations"].append({**data["annotations"][0], "id": 2, "category_id": 2})
    data["annotations"].append({**data["annotations"][0], "id": 3, "category_id": 0})
    write_json(tmp_path / "in/train.json", data)
    for source in (tmp_path / "in", tmp_path / "data"):
        part = find_parts(source).train
        assert part is not None
        index = FaceIndex(part.images, part.annotations, ("face",))
        assert index.labels(0).tolist() == [1, -1]
        if source == tmp_path / "in":
            arguments = ["prepare", "import", str(source), "--out", str(tmp_path / "data")]
            assert main(arguments) == 0


def test_labels_for_images_of_another_size_are_refused_with_the_way_on(tmp_path: Path) -> None:
    picture(tmp_path / "in/a.jpg")
    data = coco("a.jpg")
    data["images"][0]["width"] = 100
    path = write_json(tmp_path / "in/train.json", data)
    with pytest.raises(UserError, match=r"train\.json is for an image of 100x100 .*prepare import"):
        open_index(DataConfig(data_dir=path), World())


def test_only_a_test_part_and_a_part_that_is_not_there(tmp_path: Path) -> None:
    picture(tmp_path / "in/images/a.jpg")
    text(tmp_path / "in/labels/a.txt", "0 0.5 0.5 0.2 0.2\n")
    path = text(tmp_path / "in/data.yaml", "test: images\nnames: [face]\n")
    with pytest.raises(UserError, match="has only a part to test"):
        find_parts(path)
    text(path, "train: images\nval: images\nnames: [face]\n")  # the same for both
    parts = find_parts(path)
    assert parts.valid is None
    assert parts.train is not None
    text(path, "train: nowhere\nnames: [face]\n")
    with pytest.raises(UserError, match=r"data=.*data\.yaml: none of train, val and test is there"):
        find_parts(path)
