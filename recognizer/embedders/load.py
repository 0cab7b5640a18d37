"""`load_embedder`: one call opens any network that turns faces into vectors.

The shipped network is run by ONNX Runtime, which on a CPU is faster than torch (see
docs/recognizer-card.md) and saves importing it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from faces.errors import UserError
from recognizer.crop import CropRecipe, LandmarkFinder
from recognizer.landmarks import LandmarkNet
from recognizer.shipped import shipped_file
from recognizer.types import unit

Network = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
"""RGB uint8 (N, S, S, 3), N > 0 -> vectors float32 (N, D)."""

BATCH = 32
"""Faces that go through the network at once; more gain nothing on a CPU and take memory."""

AUTO, MINI, INCEPTION = "auto", "mini", "inception"
NAMES = (AUTO, MINI, INCEPTION)


class FaceEmbedder:
    """A network and its crop recipe; it is a `recognizer.types.Embedder`."""

    def __init__(
        self,
        network: Network,
        recipe: CropRecipe,
        identity: str,
        dimension: int,
        find_landmarks: LandmarkFinder | None = None,
    ) -> None:
        """``identity`` names the architecture and the digest of the weights."""
        self._network, self.recipe, self._dimension = network, recipe, dimension
        self._find_landmarks = find_landmarks
        self._contract = f"{identity}/{recipe.identity}"

    @property
    def contract(self) -> str:
        """Identity of the crop recipe and of the weights: vectors of two contracts never mix."""
        return self._contract

    @property
    def size(self) -> int:
        """Side of the square crops in pixels."""
        return self.recipe.size

    @property
    def dimension(self) -> int:
        """Length of the vectors."""
        return self._dimension

    def crop(self, image: NDArray[np.uint8], xyxy: NDArray[np.float32]) -> NDArray[np.uint8]:
        """RGB uint8 (H, W, 3) and boxes (N, 4) -> faces uint8 (N, S, S, 3); see `CropRecipe`."""
        return self.recipe(image, xyxy, self._find_landmarks)

    def embed(self, faces: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Crops uint8 (N, S, S, 3) -> unit vectors float32 (N, D); N may be 0."""
        expected = (self.size, self.size, 3)
        if faces.ndim != 4 or faces.shape[1:] != expected or faces.dtype != np.uint8:
            raise ValueError(f"expected uint8 (N, {expected}), got {faces.dtype} {faces.shape}")
        parts = [
            self._network(np.ascontiguousarray(faces[start : start + BATCH]))
            for start in range(0, len(faces), BATCH)
        ]
        return unit(np.concatenate(parts)) if parts else np.zeros((0, self.dimension), np.float32)


def load_embedder(
    name: str | Path = AUTO, weights: Path | None = None, *, threads: int | None = None
) -> FaceEmbedder:
    """Open a trained network.

    Args:
        name: ``mini``, the network that comes with the package; ``inception``, InceptionResnetV1
            of facenet-pytorch, whose weights are downloaded once; ``auto``, inception where its
            weights are given or already in the cache, else mini; or a file of ours, a checkpoint
            of `faces pretrain-embedder` or an ONNX file of `faces export-embedder`.
        weights: a state dict of InceptionResnetV1, in place of the download.
        threads: CPU threads; None leaves the choice to the runtime. With torch it holds for the
            whole process.

    Raises UserError for a network without trained weights, and for a file that is missing,
    damaged, foreign or of another version.
    """
    if threads is not None and threads < 1:
        raise UserError(f"threads must be at least 1, not {threads}")
    if str(name) in NAMES:  # also as a Path
        name = str(name)
    if name == AUTO:
        from recognizer.embedders.inception_weights import find_cached

        name = INCEPTION if weights is not None or find_cached() is not None else MINI
    if name == INCEPTION:
        from recognizer.embedders.inception import load_inception

        return load_inception(weights, threads)
    if weights is not None:
        raise UserError(
            f"weights ({weights}) are for the embedder inception, not for {name}; a file of our "
            "own is given as the embedder itself"
        )
    return open_embedder(shipped_file("mini.onnx") if name == MINI else Path(name), threads)


def open_embedder(path: Path, threads: int | None = None) -> FaceEmbedder:
    """Open a checkpoint or an ONNX file of ours, told apart by content; see `load_embedder`."""
    try:
        with path.open("rb") as file:
            head = file.read(4)
    except OSError as error:
        names = ", ".join(NAMES)
        raise UserError(
            f"there is no embedder {path}: take one of {names}, or a file ({error.strerror})"
        ) from error
    if head[:1] == b"\x08":  # protobuf field 1 of an ONNX ModelProto, its version
        from recognizer.embedders.onnx import open_onnx_embedder

        return open_onnx_embedder(path, threads)
    if head[:2] == b"PK":
        from recognizer.embedders.torch import open_torch_embedder

        return open_torch_embedder(path, threads)
    raise UserError(
        f"{path} holds no embedder: give a checkpoint of `faces pretrain-embedder` or a file made "
        "with `faces export-embedder`"
    )


def landmarks_for(recipe: CropRecipe, threads: int | None) -> LandmarkFinder | None:
    """What an embedder of this recipe finds landmarks with, if it needs them."""
    return LandmarkNet(threads=threads) if recipe.kind == "aligned" else None
