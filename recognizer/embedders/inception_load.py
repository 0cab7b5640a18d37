"""InceptionResnetV1 as an embedder: its weights found or fetched, converted to ONNX once."""

from __future__ import annotations

import logging
from pathlib import Path

import torch

from faces.errors import UserError
from faces.files import file_digest
from recognizer.embedders.checkpoint import TorchNetwork
from recognizer.embedders.embedder import FaceEmbedder, open_onnx_embedder
from recognizer.embedders.export import export_embedder, open_network
from recognizer.embedders.inception import (
    DIMENSION,
    RECIPE,
    InceptionFaces,
    identity_of,
    open_inception,
)
from recognizer.embedders.inception_weights import cache_folder, find_or_fetch

log = logging.getLogger(__name__)


def load_inception(weights: Path | None = None, threads: int | None = None) -> FaceEmbedder:
    """The network with trained weights: the file given, else the cache's, else downloaded.

    It runs with ONNX Runtime, which is 1.7 to 2.2 times as fast as torch on a CPU: the first call
    writes an ONNX file into the cache, after comparing the two.

    Raises UserError when there are no weights to be had, or the file does not hold them.
    """
    source = find_or_fetch() if weights is None else weights
    if not source.is_file():
        raise UserError(f"there are no weights {source}")
    name = f"faces-inception-{file_digest(source)[:16]}-{RECIPE.identity}.onnx"
    converted = cache_folder() / name
    if not converted.is_file():
        log.info("converting %s to ONNX, once, into %s", source, converted)
        try:
            export_embedder(open_network("inception", source), converted)
        except OSError as error:
            log.warning("%s cannot be written (%s): running with torch", converted, error)
            return with_torch(open_inception(source), threads)
    return open_onnx_embedder(converted, threads)


def with_torch(network: InceptionFaces, threads: int | None = None) -> FaceEmbedder:
    """The network, run with torch."""
    if threads is not None:
        torch.set_num_threads(threads)
    return FaceEmbedder(TorchNetwork(network), RECIPE, identity_of(network), DIMENSION)
