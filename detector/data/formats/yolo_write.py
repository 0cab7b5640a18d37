"""YOLO's text labels, as Ultralytics reads them (https://docs.ultralytics.com/datasets/detect/).

A line is ``class x_center y_center width height``, as shares of the picture's sides. The label of
``images/.../NAME.jpg`` is ``labels/.../NAME.txt``; one without lines is a picture without a face.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from detector.data.formats.dataset import LabeledImage
from detector.data.voc.annotation import VocObject


def write_yolo(
    out: Path,
    splits: Mapping[str, Sequence[LabeledImage]],
    told: Counter[str],
    pose: bool = False,
) -> dict[str, int]:
    """Write ``data.yaml`` and a label file for each picture; the number of boxes in each split.

    The lines have fifteen decimals, so that boxes are the same again to far less than a thousandth
    of a pixel. YOLO has no place for difficult faces, attributes and, in a set for detection,
    landmarks: they are left out, and counted in ``told``. With ``pose`` each box has its five
    landmarks after it, with 2 where one is known and 0 0 0 where not.
    """
    every = [box for items in splits.values() for item in items for box in item.objects]
    names = sorted({box.name for box in every if not box.difficult})
    ids = {name: number for number, name in enumerate(names)}
    written = {}
    for split, items in splits.items():
        count = 0
        for item in items:
            kept = [box for box in item.objects if not box.difficult]
            lines = [_line(box, item, ids, pose) for box in kept]
            path = out / label_place(PurePosixPath("images", split, item.name))
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("".join(line + "\n" for line in lines), encoding="ascii")
            count += len(lines)
            told["difficult faces left out, which YOLO cannot mark"] += len(item.objects) - len(
                kept
            )
            told["faces without their attributes, which YOLO cannot hold"] += sum(
                bool(box.attributes) for box in kept
            )
            if pose:
                known = [point for box in kept for point in box.landmarks if point is not None]
                told["landmarks outside of the picture left out, which YOLO refuses"] += sum(
                    not _inside(point, item) for point in known
                )
            else:
                told["faces without their landmarks, which `--format yolo-pose` keeps"] += sum(
                    bool(box.landmarks) for box in kept
                )
        written[split] = count
    rows = []
    for split in splits:
        key = json.dumps(split) if "/" in split else split or "train"
        rows.append(f"{key}: {json.dumps(f'images/{split}'.rstrip('/'))}")
    # JSON's strings are YAML's, too, as long as characters beyond ASCII stand for themselves.
    rows += [
        "names:",
        *(f"  {i}: {json.dumps(name, ensure_ascii=False)}" for name, i in ids.items()),
    ]
    if not ids:
        rows[-1] = "names: {}"
    if pose:
        # What changes places when a picture is mirrored: the eyes, the corners of the mouth.
        rows += ["kpt_shape: [5, 3]", "flip_idx: [1, 0, 2, 4, 3]"]
    (out / "data.yaml").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return written


def label_place(image: PurePosixPath) -> PurePosixPath:
    """Where the label of a picture is looked for: the last folder "images" becomes "labels"."""
    parts = list(image.parts)
    last = max(i for i, part in enumerate(parts[:-1]) if part == "images")
    parts[last] = "labels"
    return PurePosixPath(*parts).with_suffix(".txt")


def _inside(point: tuple[float, float], image: LabeledImage) -> bool:
    return 0 <= point[0] <= image.width and 0 <= point[1] <= image.height


def _line(box: VocObject, image: LabeledImage, ids: Mapping[str, int], pose: bool) -> str:
    x1, y1, x2, y2 = box.xyxy
    width, height = image.width, image.height
    shares = [(x1 + x2) / 2 / width, (y1 + y2) / 2 / height, (x2 - x1) / width, (y2 - y1) / height]
    for point in (box.landmarks or (None,) * 5) if pose else ():
        seen = point is not None and _inside(point, image)
        shares += [point[0] / width, point[1] / height, 2] if point and seen else [0, 0, 0]
    # Never 1e-05, which not every reader of such files takes for a number.
    texts = [f"{share:.15f}".rstrip("0").rstrip(".") for share in shares]
    return " ".join([str(ids[box.name]), *texts])
