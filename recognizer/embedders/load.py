"""`load_embedder`: one call opens any network that turns faces into vectors.

The shipped network is run by ONNX Runtime, which on a CPU is faster than torch (see
docs/recognizer-card.md) and saves importing it.
"""

from __future__ import annotations

from pathlib import Path

from faces.errors import UserError
from recognizer.embedders.embedder import FaceEmbedder
from recognizer.shipped import shipped_file

AUTO, MINI, INCEPTION = "auto", "mini", "inception"
NAMES = (AUTO, MINI, INCEPTION)


def load_embedder(
    name: str | Path = AUTO,
    weights: Path | None = None,
    *,
    threads: int | None = None,
    flip: bool = False,
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
        flip: look at the mirror image of each face, too, see `FaceEmbedder`.

    Raises UserError for a network without trained weights, and for a file that is missing,
    damaged, foreign or of another version.

    >>> import faces
    >>> from skimage.data import astronaut
    >>> embedder = faces.load_embedder("mini")
    >>> found = faces.load_detector().detect(astronaut())
    >>> crops = embedder.crop(astronaut(), found.xyxy)
    >>> embedder.embed(crops).shape
    (1, 128)
    """
    embedder = _open(name, weights, threads)
    embedder.flip = flip
    return embedder


def _open(name: str | Path, weights: Path | None, threads: int | None) -> FaceEmbedder:
    if threads is not None and threads < 1:
        raise UserError(f"threads must be at least 1, not {threads}")
    if str(name) in NAMES:  # also as a Path
        name = str(name)
    if name == AUTO:
        from recognizer.embedders.inception_weights import find_cached

        weights = weights or find_cached()
        name = MINI if weights is None else INCEPTION
    if name == INCEPTION:
        from recognizer.embedders.inception_load import load_inception

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
        from recognizer.embedders.embedder import open_onnx_embedder

        return open_onnx_embedder(path, threads)
    if head[:2] == b"PK":
        from recognizer.embedders.checkpoint import open_torch_embedder

        return open_torch_embedder(path, threads)
    raise UserError(
        f"{path} holds no embedder: give a checkpoint of `faces pretrain-embedder` or a file made "
        "with `faces export-embedder`"
    )
