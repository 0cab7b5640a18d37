"""An embedder from an ONNX file of ours, which says in its metadata what it is. No torch here."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from faces.errors import UserError
from faces.networks.onnx_session import onnxruntime, open_session
from recognizer.crop import CropRecipe
from recognizer.embedders.embedder import FaceEmbedder, landmarks_for

FORMAT = "faces-embedder"
VERSION = "1"


class OnnxNetwork:
    """Faces uint8 (N, S, S, 3) -> vectors float32 (N, D), by ONNX Runtime."""

    def __init__(self, session: onnxruntime.InferenceSession) -> None:
        self._session = session
        self._input = session.get_inputs()[0].name

    def __call__(self, faces: NDArray[np.uint8]) -> NDArray[np.float32]:
        return self._session.run(None, {self._input: faces})[0]


def open_onnx_embedder(path: Path, threads: int | None = None) -> FaceEmbedder:
    """Open it. Raises UserError for a damaged or foreign file, or one of another version."""
    session = open_session(path, "cpu", threads=threads)
    values = session.get_modelmeta().custom_metadata_map
    if values.get("format") != FORMAT:
        raise UserError(f"{path} holds no embedder (`faces export-embedder` writes them)")
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
