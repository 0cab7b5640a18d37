"""YOLO's text labels, as Ultralytics reads them (https://docs.ultralytics.com/datasets/detect/).

A line is ``class x_center y_center width height``, as shares of the picture's sides. The label of
``images/.../NAME.jpg`` is ``labels/.../NAME.txt``; one without lines is a picture without a face.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from detector.data.formats.dataset import LabeledImage


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
    wanted = {
        name
        for items in splits.values()
        for item in items
        for name, difficult in zip(item.names, item.difficult, strict=True)
        if not difficult
    }
    names = sorted(wanted)
    ids = {name: number for number, name in enumerate(names)}
    written = {}
    for split, items in splits.items():
        count = 0
        for item in items:
            lines = _lines(item, ids, pose)
            path = out / label_place(PurePosixPath("images", split, item.name))
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("".join(line + "\n" for line in lines), encoding="ascii")
            count += len(lines)
            kept = np.flatnonzero(~item.difficult)
            told["difficult faces left out, which YOLO cannot mark"] += len(item) - len(kept)
            told["faces without their attributes, which YOLO cannot hold"] += sum(
                bool(item.attributes and item.attributes[i]) for i in kept
            )
            known = np.all(np.isfinite(item.landmarks[kept]), axis=2)
            if pose:
                told["landmarks outside of the picture left out, which YOLO refuses"] += int(
                    known.sum() - _inside(item)[kept].sum()
                )
            else:
                told["faces without their landmarks, which `--format yolo-pose` keeps"] += int(
                    known.any(axis=1).sum()
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


def _inside(item: LabeledImage) -> NDArray[np.bool_]:
    """Which landmarks are known and in the picture: bool (N, 5)."""
    found = (item.landmarks >= 0) & (item.landmarks <= [item.width, item.height])
    return np.all(found, axis=2)


def _lines(item: LabeledImage, ids: Mapping[str, int], pose: bool) -> list[str]:
    lines = []
    sides = np.array([item.width, item.height], np.float64)
    inside = _inside(item)
    for i in np.flatnonzero(~item.difficult):
        x1, y1, x2, y2 = item.xyxy[i].tolist()
        shares = [
            (x1 + x2) / 2 / item.width,
            (y1 + y2) / 2 / item.height,
            (x2 - x1) / item.width,
            (y2 - y1) / item.height,
        ]
        for point, seen in zip(item.landmarks[i], inside[i], strict=True) if pose else ():
            shares += [*(point / sides).tolist(), 2] if seen else [0, 0, 0]
        # Never 1e-05, which not every reader of such files takes for a number.
        texts = [f"{share:.15f}".rstrip("0").rstrip(".") for share in shares]
        lines.append(" ".join([str(ids[item.names[i]]), *texts]))
    return lines
