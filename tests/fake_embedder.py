"""A deterministic stand-in for a trained embedder, in milliseconds and without weights."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from recognizer.types import unit


class FakeEmbedder:
    """Similar pictures get similar vectors: a fixed random projection of an 8x8 thumbnail.

    It keeps the promises of `recognizer.types.Embedder`: crops are square, vectors have length 1,
    equal crops give equal vectors on every machine, and those of another ``seed`` do not mix.
    """

    def __init__(self, size: int = 32, dimension: int = 64, seed: int = 0) -> None:
        self.fingerprint = f"fake-{size}-{dimension}-{seed}"
        self.size = size
        self.dimension = dimension
        thumbnail = 8 * 8 * 3
        # Legacy generator: its numbers are promised to stay the same in every release of NumPy.
        random = np.random.RandomState(seed)
        self._projection = random.normal(size=(thumbnail + 1, dimension)).astype(np.float32)

    def crop(
        self,
        image: NDArray[np.uint8],
        xyxy: NDArray[np.float32],
        landmarks: NDArray[np.float32] | None = None,
    ) -> NDArray[np.uint8]:
        """The square around each box (N, 4), black outside of the image: (N, S, S, 3)."""
        picture = Image.fromarray(image)
        faces = np.zeros((len(xyxy), self.size, self.size, 3), np.uint8)
        for face, (x1, y1, x2, y2) in zip(faces, np.asarray(xyxy, np.float64), strict=True):
            half = max(x2 - x1, y2 - y1) * 0.55
            x, y = (x1 + x2) / 2, (y1 + y2) / 2
            corners = [round(v) for v in (x - half, y - half, x + half, y + half)]
            square = picture.crop((corners[0], corners[1], corners[2], corners[3]))
            face[:] = np.asarray(square.resize((self.size, self.size), Image.Resampling.BOX))
        return faces

    def embed(self, faces: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Crops (N, S, S, 3) -> unit vectors (N, D)."""
        expected = (self.size, self.size, 3)
        if faces.dtype != np.uint8 or faces.shape[1:] != expected:
            raise ValueError(f"expected uint8 (N, {expected}), got {faces.dtype} {faces.shape}")
        if not len(faces):
            return np.zeros((0, self.dimension), np.float32)
        step = self.size // 8
        blocks = faces[:, : step * 8, : step * 8].astype(np.float32)
        thumbnails = blocks.reshape(-1, 8, step, 8, step, 3).mean(axis=(2, 4)).reshape(-1, 192)
        contrast = (thumbnails - thumbnails.mean(axis=1, keepdims=True)) / 64
        one = np.ones((len(faces), 1), np.float32)  # a picture of one color has a direction too
        return unit(np.concatenate([contrast, one], axis=1) @ self._projection)
