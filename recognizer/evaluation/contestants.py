"""What is evaluated beside the embedder: a baseline of bare pixels, and other people's networks.

All see the very same crops, cut by the embedder's own recipe.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from faces.errors import UserError
from faces.files import file_digest
from recognizer.types import unit

IMAGENET_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
IMAGENET_STD = np.array([0.229, 0.224, 0.225], np.float32)
"""Of RGB in 0..1, as in torchvision's documentation; MobileFaceNet was trained with them."""


class Contestant(Protocol):
    """Whatever turns crops into vectors; a `recognizer.types.Embedder` is one."""

    @property
    def fingerprint(self) -> str:
        """Differs between two that could give different vectors."""

    def embed(self, faces: NDArray[np.uint8]) -> NDArray[np.float32]:
        """RGB uint8 (N, S, S, 3) -> unit vectors float32 (N, D)."""


class PixelBaseline:
    """The crop itself, gray and small: what any face recognizer must beat.

    The cosine of two such vectors is the correlation of the two pictures.
    """

    def __init__(self, side: int = 32) -> None:
        self.side = side
        self.fingerprint = f"pixels-{side}"

    def embed(self, faces: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Less its mean brightness; a crop of one shade only has the same vector as any other."""
        small = _resized(faces, self.side)
        gray = small @ np.array([0.299, 0.587, 0.114], np.float32)  # luma of ITU-R BT.601
        flat = gray.reshape(len(faces), -1)
        flat = flat - flat.mean(axis=1, keepdims=True)
        flat[np.linalg.norm(flat, axis=1) < 1e-3] = 1
        return unit(flat)


class OnnxPeer:
    """A network in an ONNX file: RGB (1 or N, 3, S, S), ImageNet mean and deviation -> (N, D).

    Raises UserError when the file cannot be opened or takes something else.
    """

    def __init__(self, path: Path, threads: int | None = None) -> None:
        from faces.networks.onnx_session import open_session

        digest = file_digest(path)
        self.path = path
        self._session = open_session(path, "cpu", threads=threads)
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        shape = inputs[0].shape
        fits = len(inputs) == 1 and len(shape) == 4 and shape[1] == 3 and shape[2] == shape[3]
        if not (fits and isinstance(shape[2], int) and len(outputs[0].shape) == 2):
            raise UserError(
                f"{path} takes {[i.shape for i in inputs]} and gives {outputs[0].shape}; to be "
                "compared it must take one input (N, 3, S, S) of fixed S and give (N, D)"
            )
        self._side = shape[2]
        self._most = shape[0] if isinstance(shape[0], int) else 64
        self._input = inputs[0].name
        self.fingerprint = f"onnx-{digest[:16]}"

    def embed(self, faces: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Crops of another size are scaled to the network's."""
        pictures = (_resized(faces, self._side) / np.float32(255) - IMAGENET_MEAN) / IMAGENET_STD
        batch = np.ascontiguousarray(pictures.transpose(0, 3, 1, 2))
        parts = [
            self._session.run(None, {self._input: batch[i : i + self._most]})[0]
            for i in range(0, len(batch), self._most)
        ]
        return unit(np.concatenate(parts))


def _resized(faces: NDArray[np.uint8], side: int) -> NDArray[np.float32]:
    """Crops (N, S, S, 3) at another size, 0..255."""
    if faces.shape[1:3] == (side, side):
        return faces.astype(np.float32)
    pictures = [
        np.asarray(Image.fromarray(face).resize((side, side), Image.Resampling.BILINEAR))
        for face in faces
    ]
    return np.stack(pictures).astype(np.float32)
