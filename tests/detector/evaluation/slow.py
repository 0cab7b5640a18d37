"""The protocols written a second time, box by box in plain Python, to compare with.

Nothing is shared with the package: these sort the detections and walk through them, as the
published tools do, where the package counts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from detector.evaluation.matching import ImageFaces


def overlap(a: Sequence[float], b: Sequence[float], pixel: float) -> float:
    """Intersection over union, with ``pixel`` added to every side."""
    width = min(a[2], b[2]) - max(a[0], b[0]) + pixel
    height = min(a[3], b[3]) - max(a[1], b[1]) + pixel
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    area_a = (a[2] - a[0] + pixel) * (a[3] - a[1] + pixel)
    area_b = (b[2] - b[0] + pixel) * (b[3] - b[1] + pixel)
    return shared / (area_a + area_b - shared)


def area(recall: Sequence[float], precision: Sequence[float]) -> float:
    """VOCap.m: sentinels, the envelope from the right, the sum over steps of recall."""
    recall = [0.0, *recall, 1.0]
    precision = [0.0, *precision, 0.0]
    for i in range(len(precision) - 2, -1, -1):
        # max(NaN, x) is x in MATLAB.
        both = [p for p in precision[i : i + 2] if not math.isnan(p)]
        precision[i] = max(both) if both else math.nan
    total = 0.0
    for i in range(1, len(recall)):
        if recall[i] != recall[i - 1]:
            total += (recall[i] - recall[i - 1]) * precision[i]
    return total


def wider_ap(truth: Sequence[ImageFaces], detections: Mapping, setting: str) -> float | None:
    """``evaluation.m`` of the WIDER FACE tools, one threshold after the other."""
    scores = [float(row[4]) for boxes in detections.values() for row in boxes]
    low, high = min(scores, default=0.0), max([1.1754943508222875e-38, *scores])
    proposals, hits, faces = [0] * 1000, [0] * 1000, 0
    for image in truth:
        faces += int(image.listed[setting].sum())
        boxes = [[float(v) for v in row] for row in detections.get(image.name, [])]
        if not boxes or not len(image):
            continue
        boxes.sort(key=lambda row: -row[4])
        kind, seen, sums = [], set(), []
        for row in boxes:
            values = [overlap(row, face, 1) for face in image.xyxy.tolist()]
            best = max(range(len(values)), key=lambda k: values[k])
            kind.append(1)
            if values[best] >= 0.5:
                if not image.listed[setting][best]:
                    kind[-1] = -1
                else:
                    seen.add(best)
            sums.append(len(seen))
        normal = [(row[4] - low) / (high - low) for row in boxes]
        for t in range(1000):
            inside = [k for k, value in enumerate(normal) if value >= 1 - (t + 1) / 1000]
            if inside:
                proposals[t] += sum(k == 1 for k in kind[: inside[-1] + 1])
                hits[t] += sums[inside[-1]]
    if not faces:
        return None
    precision = [h / p if p else math.nan for h, p in zip(hits, proposals, strict=True)]
    return area([h / faces for h in hits], precision)


def voc_ap(truth: Sequence[ImageFaces], detections: Mapping) -> float | None:
    """``VOCevaldet.m``: all detections by score; exact only while no two scores are equal."""
    rows = [(image, row) for image in truth for row in detections.get(image.name, [])]
    rows.sort(key=lambda pair: -pair[1][4])
    taken: set[tuple[str, int]] = set()
    right = wrong = 0
    recall, precision = [], []
    faces = sum(int((~image.ignored).sum()) for image in truth)
    if not faces:
        return None
    for image, row in rows:
        values = [overlap(row, face, 0) for face in image.xyxy.tolist()]
        best = max(range(len(values)), key=lambda k: values[k]) if values else -1
        if best >= 0 and values[best] >= 0.5:
            if image.ignored[best]:
                continue
            if (image.name, best) in taken:
                wrong += 1
            else:
                right += 1
                taken.add((image.name, best))
        else:
            wrong += 1
        recall.append(right / faces)
        precision.append(right / (right + wrong))
    return area(recall, precision)
