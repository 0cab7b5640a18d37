"""Exports of other tools, as they look, with small pictures."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from PIL import Image

from detector.data.formats.dataset import Dataset, LabeledImage
from detector.data.formats.load import Format, load_dataset
from detector.data.voc.annotation import points_of

SIZE = (200, 100)  # width, height of every picture


def picture(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((SIZE[1], SIZE[0], 3), 90, np.uint8)).save(path)
    return path


def text(path: Path, content: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")
    return path


def write_json(path: Path, content: Any) -> Path:
    return text(path, json.dumps(content))


def load(path: Path, format: Format | None = None) -> Dataset:
    """Read with a folder for embedded images beside the one of the test."""
    scratch = path.parent / "scratch"
    scratch.mkdir(exist_ok=True)
    return load_dataset(path, scratch, format)


class Arrays(SimpleNamespace):
    """See `arrays`; as long as there are boxes."""

    def __len__(self) -> int:
        return len(self.names)


def arrays(image: LabeledImage) -> Arrays:
    """What is in an image, side by side."""
    boxes = image.objects
    return Arrays(
        path=image.path,
        name=image.name,
        width=image.width,
        height=image.height,
        xyxy=image.xyxy,
        names=tuple(box.name for box in boxes),
        difficult=np.array([box.difficult for box in boxes], bool),
        landmarks=points_of(boxes),
        attributes=tuple(box.attributes for box in boxes),
    )


def only(dataset: Dataset, split: str = "train") -> Arrays:
    [image] = dataset.splits[split]
    return arrays(image)


def coco(*names: str, **annotation: Any) -> dict[str, Any]:
    """A COCO file that lists these images; the first has one face."""
    width, height = SIZE
    images = [
        {"id": i, "file_name": name, "width": width, "height": height}
        for i, name in enumerate(names)
    ]
    face = {"id": 1, "image_id": 0, "category_id": 1, "bbox": [10.25, 20.5, 30.125, 40], "area": 9}
    return {
        "info": {},
        "images": images,
        "annotations": [{**face, "iscrowd": 0, **annotation}],
        "categories": [{"id": 0, "name": "faces"}, {"id": 1, "name": "face"}],
    }
