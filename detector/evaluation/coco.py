"""Average precision as COCO measures it, through torchmetrics and faster-coco-eval."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from detector.evaluation.matching import ImageFaces

# COCO's usual 100 detections an image would drop a fifth of the faces of WIDER FACE.
MAX_DETECTIONS = 1000
PROTOCOL = (
    "COCO (mean AP at IoU 0.50:0.95, 101 recall points, ignored faces as crowd, "
    f"at most {MAX_DETECTIONS:,} detections an image)"
)


def coco_ap(
    truth: Sequence[ImageFaces], detections: Mapping[str, NDArray[np.float64]]
) -> dict[str, float | None]:
    """COCO's figures, by name; None for one that has no face.

    ``ap`` (IoU 0.50:0.95), ``ap50``, ``ap75``, ``ap_small`` (area below 32x32 pixels),
    ``ap_medium``, ``ap_large`` (above 96x96), and ``ar``, the recall averaged over the IoUs at
    `MAX_DETECTIONS`. Arguments as for `matching.match`. Ignored faces become COCO's crowds: a
    detection on one counts neither way, by its overlap relative to the *detection's* area.
    """
    # Slow to import, and needed by nothing else here.
    import torch
    from torchmetrics.detection import MeanAveragePrecision

    metric = MeanAveragePrecision(
        backend="faster_coco_eval", max_detection_thresholds=[1, 100, MAX_DETECTIONS]
    )
    metric.warn_on_many_detections = False  # it means its default limit of 100
    empty = np.zeros((0, 5))
    for image in truth:
        boxes = detections.get(image.name, empty)
        metric.update(
            [
                {
                    "boxes": torch.from_numpy(boxes[:, :4].astype(np.float32)),
                    "scores": torch.from_numpy(boxes[:, 4].astype(np.float32)),
                    "labels": torch.zeros(len(boxes), dtype=torch.long),
                }
            ],
            [
                {
                    "boxes": torch.from_numpy(image.xyxy.astype(np.float32)),
                    "labels": torch.zeros(len(image), dtype=torch.long),
                    "iscrowd": torch.from_numpy(image.ignored.astype(np.int64)),
                }
            ],
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        values = metric.compute()
    names = {
        "ap": "map",
        "ap50": "map_50",
        "ap75": "map_75",
        "ap_small": "map_small",
        "ap_medium": "map_medium",
        "ap_large": "map_large",
        "ar": f"mar_{MAX_DETECTIONS}",
    }
    # COCO writes -1 for "no face of this kind".
    return {
        name: None if float(values[key]) < 0 else float(values[key]) for name, key in names.items()
    }
