"""Small truths, detections and ground-truth files that several tests judge."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from detector.evaluation.matching import ImageFaces
from detector.evaluation.wider import LABELS, SETTINGS

Found = dict[str, NDArray[np.float64]]


def faces(
    name: str,
    boxes: Sequence[Sequence[float]],
    ignored: Sequence[int] = (),
    listed: Mapping[str, Sequence[int]] | None = None,
    labels: Mapping[str, Sequence[str]] | None = None,
) -> ImageFaces:
    """One image's truth: boxes x1 y1 x2 y2; positions of faces to ignore or that settings list."""

    def mask(positions: Sequence[int]) -> NDArray[np.bool_]:
        return np.isin(np.arange(len(boxes)), list(positions))

    settings = {} if listed is None else {s: mask(listed.get(s, ())) for s in SETTINGS}
    xyxy = np.array(boxes, np.float64).reshape(-1, 4)
    return ImageFaces(name, xyxy, mask(ignored), labels or {}, settings)


def found(*rows: Sequence[float]) -> NDArray[np.float64]:
    """Detections: rows x1 y1 x2 y2 score."""
    return np.array(rows, np.float64).reshape(-1, 5)


def random_set(seed: int, images: int = 6, ties: bool = False) -> tuple[list[ImageFaces], Found]:
    """Faces in crowds, with near hits, duplicates, far misses; some images without either."""
    random = np.random.default_rng(seed)
    truth: list[ImageFaces] = []
    detections: Found = {}
    for i in range(images):
        count = int(random.integers(0, 7))
        corner = random.integers(0, 60, (count, 2)).astype(float)
        boxes = np.hstack([corner, corner + random.integers(0, 30, (count, 2))])
        listed = {s: random.random(count) < 0.6 for s in SETTINGS}
        ignored = random.random(count) < 0.3
        truth.append(ImageFaces(f"e{i % 2}/i{i}", boxes, ignored, {}, listed))
        hits = boxes[random.integers(0, count, count * 2)] if count else boxes
        stray = random.uniform(0, 60, (int(random.integers(0, 5)), 2))
        boxes = np.vstack([hits, np.hstack([stray, stray + random.uniform(1, 30, stray.shape)])])
        boxes = boxes + random.normal(0, 1.5, boxes.shape)
        boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2] + 1)
        score = random.uniform(-2, 3, len(boxes))
        if ties:
            score = np.round(score)
        if random.random() < 0.9:
            detections[truth[-1].name] = np.column_stack([boxes, score])
    return truth, detections


def zip_lists(folder: Path, archive: Path) -> Path:
    """Move the files of a folder into a zip file like the official ``eval_tools.zip``."""
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted(folder.iterdir()):
            file.write(path, f"eval_tools/ground_truth/{path.name}")
            path.unlink()
    folder.rmdir()
    return archive


def write_ground_truth(folder: Path, truth: Sequence[ImageFaces]) -> Path:
    """The four ``.mat`` files as the official ones are built: cells of events of images."""
    from scipy.io import savemat

    events: dict[str, list[ImageFaces]] = {}
    for image in truth:
        events.setdefault(image.name.partition("/")[0], []).append(image)

    def cell(values: Sequence) -> NDArray:
        column = np.empty((len(values), 1), object)
        column[:, 0] = values
        return column

    def nested(value) -> NDArray:
        return cell([cell([value(image) for image in event]) for event in events.values()])

    def xywh(image: ImageFaces) -> NDArray:
        return np.hstack([image.xyxy[:, :2], image.xyxy[:, 2:] - image.xyxy[:, :2]]).astype(int)

    def numbers(key: str, image: ImageFaces) -> NDArray:
        values = image.labels.get(key, [LABELS[key][0]] * len(image))
        return np.array([[LABELS[key].index(v)] for v in values], np.uint8).reshape(-1, 1)

    everything = {
        "event_list": cell(list(events)),
        "file_list": nested(lambda image: image.name.partition("/")[2]),
        "face_bbx_list": nested(xywh),
        "invalid_label_list": nested(lambda image: image.ignored.astype(np.uint8)[:, None]),
        **{f"{key}_label_list": nested(lambda i, key=key: numbers(key, i)) for key in LABELS},
    }
    folder.mkdir(parents=True, exist_ok=True)
    savemat(folder / "wider_face_val.mat", everything)
    for setting in SETTINGS:
        lists = nested(lambda i, s=setting: (np.flatnonzero(i.listed[s]) + 1)[:, None])
        savemat(folder / f"wider_{setting}_val.mat", {"gt_list": lists, **everything})
    return folder
