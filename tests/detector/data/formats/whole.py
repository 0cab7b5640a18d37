"""The same pictures and boxes as every tool exports them, each in the shapes that are about.

The layouts, keys and file names are those of public exports of Roboflow, CVAT, Label Studio,
LabelMe and RetinaFace's authors; the pictures are made here.
"""

from __future__ import annotations

import base64
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from detector.data.voc.annotation import VocAnnotation, VocObject, read_voc, write_voc
from tests.detector.data.formats.exports import text, write_json
from tests.tiny import make_voc

WIDTH, HEIGHT = 96, 80
Truth = Mapping[str, Mapping[Path, list[tuple[float, ...]]]]
"""Split -> image -> boxes."""


def make_truth(folder: Path) -> Truth:
    """Six pictures to train on, three to validate on; one of each part has no face."""
    truth: dict[str, dict[Path, list[tuple[float, ...]]]] = {}
    for seed, (split, count) in enumerate((("train", 6), ("val", 3))):
        made = make_voc(folder / split, count, seed, (HEIGHT, WIDTH))
        truth[split] = {
            shutil.move(path, path.with_name(f"{split}_{path.name}")): [
                item.xyxy for item in read_voc(made / f"annotations/{path.stem}.xml").objects
            ]
            for path in sorted((made / "images").iterdir())
        }
    return truth


def _copy(image: Path, target: Path) -> str:
    target.mkdir(parents=True, exist_ok=True)
    return shutil.copy(image, target / image.name).name


def _coco(files: Mapping[str, list[tuple[float, ...]]], **more: Any) -> dict[str, Any]:
    images, annotations = [], []
    for i, (name, boxes) in enumerate(files.items(), 1):
        images.append({"id": i, "file_name": name, "width": WIDTH, "height": HEIGHT})
        for x1, y1, x2, y2 in boxes:
            box = [x1, y1, x2 - x1, y2 - y1]
            about = {"id": len(annotations) + 1, "image_id": i, "category_id": 1, "bbox": box}
            area = box[2] * box[3]
            annotations.append({**about, "area": area, "segmentation": [], "iscrowd": 0, **more})
    none = {"id": 0, "name": "faces", "supercategory": "none"}
    face = {"id": 1, "name": "face", "supercategory": "faces"}
    return {
        "info": {"version": "2", "description": "Exported from roboflow.com"},
        "licenses": [{"id": 1, "url": "https://creativecommons.org/licenses/by/4.0/"}],
        "categories": [none, face],
        "images": images,
        "annotations": annotations,
    }


def coco_roboflow(truth: Truth, out: Path) -> Path:
    for split, images in truth.items():
        place = out / {"val": "valid"}.get(split, split)
        files = {_copy(image, place): boxes for image, boxes in images.items()}
        write_json(place / "_annotations.coco.json", _coco(files))
    text(out / "README.dataset.txt", "faces > 2023-12-04 4:17pm\nhttps://universe.roboflow.com\n")
    return out


def coco_cvat(truth: Truth, out: Path) -> Path:
    files = {}
    for split, images in truth.items():
        for image, boxes in images.items():
            files[f"{split}/{_copy(image, out / 'images' / split)}"] = boxes
    data = _coco(files, attributes={"occluded": False, "rotation": 0.0})
    return write_json(out / "annotations/instances_default.json", data)


def _yolo_lines(boxes: list[tuple[float, ...]]) -> str:
    rows = []
    for x1, y1, x2, y2 in boxes:
        center = (x1 + x2) / 2 / WIDTH, (y1 + y2) / 2 / HEIGHT
        rows.append(f"0 {center[0]} {center[1]} {(x2 - x1) / WIDTH} {(y2 - y1) / HEIGHT}\n")
    return "".join(rows)


def yolo_roboflow(truth: Truth, out: Path) -> Path:
    for split, images in truth.items():
        place = out / {"val": "valid"}.get(split, split)
        for image, boxes in images.items():
            _copy(image, place / "images")
            text(place / "labels" / f"{image.stem}.txt", _yolo_lines(boxes))
    return text(
        out / "data.yaml",
        "train: ../train/images\nval: ../valid/images\ntest: ../test/images\n\nnc: 1\n"
        "names: ['face']\n\nroboflow:\n  workspace: me\n  project: faces\n  version: 2\n",
    )


def yolo_label_studio(truth: Truth, out: Path) -> Path:
    for images in truth.values():
        for image, boxes in images.items():
            _copy(image, out / "images")
            text(out / "labels" / f"{image.stem}.txt", _yolo_lines(boxes))
    text(out / "classes.txt", "face\n")
    write_json(
        out / "notes.json",
        {"categories": [{"id": 0, "name": "face"}], "info": {"contributor": "Label Studio"}},
    )
    return out


def yolo_ultralytics(truth: Truth, out: Path) -> Path:
    """The pictures' folders are named from the yaml's own, as its tutorials have it."""
    for split, images in truth.items():
        for image, boxes in images.items():
            _copy(image, out / "images" / split)
            text(out / f"labels/{split}/{image.stem}.txt", _yolo_lines(boxes))
    rows = "path: ../datasets/faces\ntrain: images/train\nval: images/val\nnames:\n  0: face\n"
    return text(out / "faces.yaml", rows)


def cvat(truth: Truth, out: Path) -> Path:
    rows = []
    for split, images in truth.items():
        for image, boxes in images.items():
            name = _copy(image, out / "images" / split)
            shapes = "".join(
                f'<box label="face" source="manual" occluded="0" xtl="{x1:.2f}" ytl="{y1:.2f}" '
                f'xbr="{x2:.2f}" ybr="{y2:.2f}" z_order="0">\n</box>\n'
                for x1, y1, x2, y2 in boxes
            )
            rows.append(
                f'<image id="{len(rows)}" name="{name}" subset="{split}" task_id="1" '
                f'width="{WIDTH}" height="{HEIGHT}">\n{shapes}</image>\n'
            )
    head = '<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n<version>1.1</version>\n'
    text(out / "annotations.xml", f"{head}<meta>\n</meta>\n{''.join(rows)}</annotations>\n")
    return out


def cvat_task(truth: Truth, out: Path) -> Path:
    """Of one task: names with the folders of the upload, no subsets, boxes turned by nothing."""
    rows = []
    for images in truth.values():
        for image, boxes in images.items():
            name = _copy(image, out / "images/upload")
            shapes = "".join(
                f'    <box label="face" source="semi-auto" occluded="0" xtl="{x1}" ytl="{y1}" '
                f'xbr="{x2}" ybr="{y2}" rotation="0.0" z_order="0"></box>\n'
                for x1, y1, x2, y2 in boxes
            )
            size = f'width="{WIDTH}" height="{HEIGHT}"'
            rows.append(f'  <image id="{len(rows)}" name="upload/{name}" {size}>\n{shapes}</image>')
    text(
        out / "annotations.xml", f"<annotations><version>1.1</version>{''.join(rows)}</annotations>"
    )
    return out


def _labelme(image: Path, boxes: list[tuple[float, ...]], content: str | None) -> dict[str, Any]:
    shapes = [
        {
            "label": "face", "points": [[x1, y1], [x2, y2]], "group_id": None, "description": "",
            "shape_type": "rectangle", "flags": {}, "mask": None,
        }
        for x1, y1, x2, y2 in boxes
    ]  # fmt: skip
    return {
        "version": "5.4.1", "flags": {}, "shapes": shapes, "imagePath": image.name,
        "imageData": content, "imageHeight": HEIGHT, "imageWidth": WIDTH,
    }  # fmt: skip


def labelme(truth: Truth, out: Path) -> Path:
    for split, images in truth.items():
        for image, boxes in images.items():
            _copy(image, out / split)
            write_json(out / split / f"{image.stem}.json", _labelme(image, boxes, None))
    return out


def labelme_embedded(truth: Truth, out: Path) -> Path:
    for split, images in truth.items():
        for image, boxes in images.items():
            content = base64.b64encode(image.read_bytes()).decode()
            write_json(out / split / f"{image.stem}.json", _labelme(image, boxes, content))
    return out


def _rectangle(box: tuple[float, ...]) -> dict[str, Any]:
    x1, y1, x2, y2 = box
    return {
        "x": 100 * x1 / WIDTH, "y": 100 * y1 / HEIGHT, "width": 100 * (x2 - x1) / WIDTH,
        "height": 100 * (y2 - y1) / HEIGHT, "rotation": 0, "rectanglelabels": ["face"],
    }  # fmt: skip


def label_studio(truth: Truth, out: Path) -> Path:
    tasks = []
    size = {"original_width": WIDTH, "original_height": HEIGHT, "image_rotation": 0}
    for images in truth.values():
        for image, boxes in images.items():
            _copy(image, out / "images")
            results = [
                {
                    **size, "value": _rectangle(box), "id": f"r{i}", "from_name": "label",
                    "to_name": "image", "type": "rectanglelabels", "origin": "manual",
                }
                for i, box in enumerate(boxes)
            ]  # fmt: skip
            done = {"id": 1, "completed_by": 1, "result": results, "was_cancelled": False}
            url = f"/data/upload/1/0a1b2c3d-{image.name}"
            tasks.append({"id": len(tasks), "annotations": [done], "data": {"image": url}})
    write_json(out / "project-1-at-2024-05-10-12-00-abcdef01.json", tasks)
    return out


def label_studio_min(truth: Truth, out: Path) -> Path:
    tasks = []
    size = {"original_width": WIDTH, "original_height": HEIGHT}
    for images in truth.values():
        for image, boxes in images.items():
            _copy(image, out)
            about = {"id": len(tasks), "annotator": 1, "annotation_id": 1, "lead_time": 3.1}
            url = f"/data/local-files/?d=photos/{image.name}"
            task = {"image": url, **about}
            if boxes:
                task["label"] = [_rectangle(box) | size for box in boxes]
            tasks.append(task)
    write_json(out / "project-1-min.json", tasks)
    return out


def voc_roboflow(truth: Truth, out: Path) -> Path:
    for split, images in truth.items():
        place = out / {"val": "valid"}.get(split, split)
        for image, boxes in images.items():
            _copy(image, place)
            objects = tuple(VocObject("face", box, False, {"occluded": "0"}) for box in boxes)
            annotation = VocAnnotation(image.name, WIDTH, HEIGHT, objects)
            write_voc(place / f"{image.stem}.xml", annotation)
    return out


def voc_devkit(truth: Truth, out: Path) -> Path:
    root = out / "VOCdevkit/VOC2012"
    for split, images in truth.items():
        for image, boxes in images.items():
            _copy(image, root / "JPEGImages")
            objects = tuple(VocObject("face", box) for box in boxes)
            annotation = VocAnnotation(image.name, WIDTH, HEIGHT, objects)
            write_voc(root / f"Annotations/{image.stem}.xml", annotation)
        text(root / f"ImageSets/Main/{split}.txt", "".join(f"{x.stem}\n" for x in images))
    return out


def _retinaface(truth: Truth, out: Path, after: str) -> Path:
    for split, images in truth.items():
        rows = []
        for image, boxes in images.items():
            _copy(image, out / split / "images/0--Parade")
            rows.append(f"# 0--Parade/{image.name}\n")
            rows += [f"{x1} {y1} {x2 - x1} {y2 - y1}{after}\n" for x1, y1, x2, y2 in boxes]
        text(out / split / "label.txt", "".join(rows))
    return out


def retinaface(truth: Truth, out: Path) -> Path:
    return _retinaface(truth, out, f" {' '.join(['-1.0 -1.0 -1.0'] * 5)} 0.82")


def retinaface_boxes(truth: Truth, out: Path) -> Path:
    """As the authors' validation part."""
    return _retinaface(truth, out, "")


EXPORTS: dict[str, Callable[[Truth, Path], Path]] = {
    f.__name__: f
    for f in (
        coco_roboflow, coco_cvat, yolo_roboflow, yolo_label_studio, yolo_ultralytics, cvat,
        cvat_task, labelme, labelme_embedded, label_studio, label_studio_min, voc_roboflow,
        voc_devkit, retinaface, retinaface_boxes,
    )
}  # fmt: skip
