"""facenet-pytorch's MTCNN as a detector, for comparison with ours: ``--detector mtcnn``."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from detector.inference.resize import Resize
from detector.types import Detections


class MtcnnDetector:
    """The `detector.types.Detector` of MTCNN (Zhang et al. 2016), whose weights come with its
    package.

    Args:
        max_side: images are shrunk until their longest side has this many pixels; 0 never.
        min_face: the smallest face in pixels of the shrunk image; its pyramid begins there.
        score_threshold: faces below this score (0..1) are left out. The cascade's own thresholds,
            0.6, 0.7 and 0.7, stay as they are.
        device: as torch names it.
    """

    def __init__(
        self,
        max_side: int = 0,
        min_face: int = 20,
        score_threshold: float = 0.0,
        device: str = "cpu",
    ) -> None:
        import torch
        from facenet_pytorch import MTCNN

        self.score_threshold = score_threshold
        self.resize = Resize("fit", max_side, multiple=1)
        self.model = MTCNN(
            keep_all=True, min_face_size=min_face, device=torch.device(device)
        ).eval()

    def detect(self, image: NDArray[np.uint8]) -> Detections:
        """Find the faces of an RGB uint8 (H, W, 3) image."""
        resized = self.resize(image)
        size = resized.image_size
        if min(resized.pixels.shape[:2]) < self.model.min_face_size:
            # Its pyramid would have no level, which facenet-pytorch does not expect.
            return Detections.empty(size)
        boxes, scores = self.model.detect(resized.pixels)
        if boxes is None:
            return Detections.empty(size)
        xyxy = np.array(boxes.tolist(), np.float32)  # it gives arrays of Python objects
        found = Detections.from_raw(resized.boxes_back(xyxy), scores.tolist(), size)
        return found.above(self.score_threshold)

    def detect_batch(self, images: Sequence[NDArray[np.uint8]]) -> list[Detections]:
        """Find the faces of several images, one after the other."""
        return [self.detect(image) for image in images]
