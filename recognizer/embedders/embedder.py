"""A network and its crop recipe as one `recognizer.types.Embedder`, and opening one from an ONNX
file, which says in its metadata what it is. No torch here."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from faces.errors import UserError
from faces.images.read import as_image
from faces.networks.onnx_session import onnxruntime, open_session
from recognizer.crop import CropRecipe, LandmarkFinder
from recognizer.landmarks import LandmarkNet, found_before
from recognizer.types import unit

Network = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
"""RGB uint8 (N, S, S, 3), N > 0 -> vectors float32 (N, D)."""

BATCH = 32
"""Faces that go through the network at once; more gain nothing on a CPU and take memory."""


class FaceEmbedder:
    """A network and its crop recipe; it is a `recognizer.types.Embedder`.

    With ``flip``, which may be set at any time, a face's vector is the mean of its own and its
    mirror image's: better, in twice the time, and comparable with vectors made without.
    """

    def __init__(
        self,
        network: Network,
        recipe: CropRecipe,
        identity: str,
        dimension: int,
        find_landmarks: LandmarkFinder | None = None,
        *,
        flip: bool = False,
    ) -> None:
        """``identity`` names the architecture and the digest of the weights."""
        self._network, self.recipe, self._dimension = network, recipe, dimension
        self._find_landmarks = find_landmarks
        self.flip = flip
        self._fingerprint = f"{identity}/{recipe.identity}"

    @property
    def fingerprint(self) -> str:
        """Identity of the crop recipe and of the weights: vectors of two fingerprints never mix."""
        return self._fingerprint

    def __repr__(self) -> str:
        return f"FaceEmbedder({self.fingerprint}, {self.dimension} numbers a face)"

    @property
    def size(self) -> int:
        """Side of the square crops in pixels."""
        return self.recipe.size

    @property
    def dimension(self) -> int:
        """Length of the vectors."""
        return self._dimension

    def crop(
        self,
        image: Any,
        xyxy: NDArray[np.float32],
        landmarks: NDArray[np.float32] | None = None,
    ) -> NDArray[np.uint8]:
        """An RGB image and boxes (N, 4) -> faces uint8 (N, S, S, 3); see `CropRecipe`.

        Faces are aligned by the detector's ``landmarks`` (N, 5, 2); without them (None) they are
        looked for.

        The image may be whatever `faces.images.read.as_image` takes, but not OpenCV's BGR. Raises
        UserError for what is no image.
        """
        finder = self._find_landmarks if landmarks is None else found_before(landmarks)
        return self.recipe(as_image(image), xyxy, finder)

    def crop_with_points(
        self,
        image: NDArray[np.uint8],
        xyxy: NDArray[np.float32],
        landmarks: NDArray[np.float32] | None = None,
    ) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """As `crop`, and the five points by which each face was turned, float32 (N, 5, 2).

        NaN where none were looked for, or where they are not to be trusted.
        """
        points = np.full((len(xyxy), 5, 2), np.nan, np.float32)
        find = self._find_landmarks if landmarks is None else found_before(landmarks)

        def keep(
            image: NDArray[np.uint8], xyxy: NDArray[np.float32]
        ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
            assert find is not None
            found, trusted = find(image, xyxy)
            points[trusted] = found[trusted]
            return found, trusted

        return self.recipe(image, xyxy, None if find is None else keep), points

    def embed(self, faces: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Crops uint8 (N, S, S, 3) -> unit vectors float32 (N, D); N may be 0."""
        expected = (self.size, self.size, 3)
        if faces.ndim != 4 or faces.shape[1:] != expected or faces.dtype != np.uint8:
            raise ValueError(f"expected uint8 (N, {expected}), got {faces.dtype} {faces.shape}")
        if not len(faces):
            return np.zeros((0, self.dimension), np.float32)
        vectors = self._vectors(faces)
        return unit(vectors + self._vectors(faces[:, :, ::-1])) if self.flip else vectors

    def _vectors(self, faces: NDArray[np.uint8]) -> NDArray[np.float32]:
        parts = [
            self._network(np.ascontiguousarray(faces[start : start + BATCH]))
            for start in range(0, len(faces), BATCH)
        ]
        return unit(np.concatenate(parts))


def landmarks_for(recipe: CropRecipe, threads: int | None) -> LandmarkFinder | None:
    """What an embedder of this recipe finds landmarks with, if it needs them."""
    return LandmarkNet(threads=threads) if recipe.kind == "aligned" else None


FORMAT = "faces-embedder"
VERSION = "1"


class OnnxNetwork:
    """Faces uint8 (N, S, S, 3) -> vectors float32 (N, D), by ONNX Runtime."""

    def __init__(self, session: onnxruntime.InferenceSession) -> None:
        self._session = session
        given = session.get_inputs()[0]
        self._input = given.name
        self._batch = given.shape[0] if given.shape and isinstance(given.shape[0], int) else None

    def __call__(self, faces: NDArray[np.uint8]) -> NDArray[np.float32]:
        if self._batch is None:
            return self._session.run(None, {self._input: faces})[0]
        parts = []
        for start in range(0, len(faces), self._batch):
            part = faces[start : start + self._batch]
            missing = ((0, self._batch - len(part)), (0, 0), (0, 0), (0, 0))
            found = self._session.run(None, {self._input: np.pad(part, missing)})[0]
            parts.append(found[: len(part)])
        return np.concatenate(parts).astype(np.float32)


def open_onnx_embedder(path: Path, threads: int | None = None) -> FaceEmbedder:
    """Open it. Raises UserError for a damaged or foreign file, or one of another version."""
    session = open_session(path, "cpu", threads=threads)
    values = session.get_modelmeta().custom_metadata_map
    if values.get("format") != FORMAT:
        raise UserError(
            f"{path} holds no embedder of this program: `faces export-embedder {path.name}` makes "
            "one of somebody else's network"
        )
    if values.get("version") != VERSION:
        raise UserError(
            f"{path} has version {values.get('version')}, this program reads version {VERSION}: "
            "export it again"
        )
    recipe = CropRecipe(**json.loads(values["recipe"]))
    dimension = int(values["dimension"])
    landmarks = landmarks_for(recipe, threads)
    return FaceEmbedder(OnnxNetwork(session), recipe, values["identity"], dimension, landmarks)


def metadata(recipe: CropRecipe, identity: str, dimension: int) -> dict[str, str]:
    """What a file says of itself."""
    fields = {"size": recipe.size, "margin": recipe.margin, "kind": recipe.kind}
    return {
        "format": FORMAT,
        "version": VERSION,
        "identity": identity,
        "dimension": str(dimension),
        "recipe": json.dumps(fields),
    }
