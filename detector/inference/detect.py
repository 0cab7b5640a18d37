"""From pictures of any size to `Detections`: resize in, run a network, scale back.

The network is a function of a uint8 batch, so this file serves PyTorch, TorchScript and ONNX
Runtime alike, and imports none of them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from detector.inference.resize import Resize, Resized
from detector.types import Detections, Detector
from faces.images.read import as_image, as_images

if TYPE_CHECKING:
    from detector.inference.metadata import Artifact

Network = Callable[[NDArray[np.uint8]], Sequence[tuple[NDArray[np.float32], ...]]]
"""uint8 RGB (B, H, W, 3), H and W multiples of 32 -> for each image boxes (N, 4) in its pixels,
scores (N,) and, from a network that finds them, five points each (N, 5, 2)."""


Speed = Literal["normal", "fast"]
Arithmetic = Literal["float32", "int8", "bfloat16"]

BATCH = 4
"""Images that go through a GPU together."""


def batches_for(detector: Detector, batch_size: int | None) -> tuple[int, int]:
    """How many images should go through a detector together, and how many such batches at once.

    None leaves it to the detector: on a CPU an image on each core gets the most done
    (`faces.networks.onnx_session.SharedSession`), elsewhere a batch.
    """
    if batch_size is not None:
        return batch_size, 1
    lanes = getattr(detector, "lanes", 1)
    return (1, lanes) if lanes > 1 else (BATCH, 1)


class FaceDetector:
    """The `detector.types.Detector` around any network.

    Args:
        score_threshold: faces below this score (0..1) are left out.
        batch_size: pictures that go through the network at once, at most.
        arithmetic: what it computes in: not float32 at speed "fast", see
            `detector.inference.load.load_detector`.
        artifact: what its file says of itself; None for a network that comes from no file.
    """

    def __init__(
        self,
        network: Network,
        resize: Resize,
        score_threshold: float = 0.5,
        batch_size: int = 8,
        arithmetic: Arithmetic = "float32",
        artifact: Artifact | None = None,
    ) -> None:
        self.network = network
        self.resize = resize
        self.score_threshold = score_threshold
        self.batch_size = batch_size
        self.arithmetic: Arithmetic = arithmetic
        self.artifact = artifact

    def __repr__(self) -> str:
        return f"FaceDetector(faces that score {self.score_threshold:g} or more, {self.resize})"

    @property
    def speed(self) -> Speed:
        """At which it runs, whatever was asked for."""
        return "normal" if self.arithmetic == "float32" else "fast"

    @property
    def lanes(self) -> int:
        """How many threads should call this at once to get the most done: 1 for most networks."""
        return getattr(self.network, "lanes", 1)

    def detect(self, image: Any) -> Detections:
        """Find the faces of one image, in RGB: turn OpenCV's BGR around with ``image[..., ::-1]``.

        Args:
            image: of any size: a path, a Pillow image, or an array; see `faces.images.read`
                for all that is taken. Boxes are in pixels of the upright image.

        Raises UserError, saying what is wanted, for what is no image.
        """
        ready = image if isinstance(image, Resized) else as_image(image)
        return self.detect_batch([ready])[0]

    def detect_batch(self, images: Iterable[Any]) -> list[Detections]:
        """Find the faces of several images, in RGB as for `detect`, one result each, in order.

        Images that have the same size once they are resized and padded share a batch. Those that
        went through ``self.resize`` already, in another thread say, are taken as they are. Raises
        UserError, naming the place of the image.
        """
        resized = [
            image if isinstance(image, Resized) else self.resize(image)
            for image in as_images(images, ready=Resized)
        ]
        groups: dict[tuple[int, ...], list[int]] = defaultdict(list)
        for i, picture in enumerate(resized):
            groups[picture.pixels.shape].append(i)
        results: list[Detections | None] = [None] * len(resized)
        for members in groups.values():
            for first in range(0, len(members), self.batch_size):
                part = members[first : first + self.batch_size]
                pixels = [resized[i].pixels for i in part]
                # One alone, the most usual, is not copied.
                outputs = self.network(np.stack(pixels) if len(part) > 1 else pixels[0][None])
                for i, (boxes, scores, *points) in zip(part, outputs, strict=True):
                    keep = scores >= self.score_threshold
                    results[i] = Detections.from_raw(
                        resized[i].boxes_back(boxes[keep]),
                        scores[keep],
                        resized[i].image_size,
                        resized[i].points_back(points[0][keep]) if points else None,
                    )
        return [result for result in results if result is not None]
