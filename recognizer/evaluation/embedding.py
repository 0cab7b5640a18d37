"""Vectors of photos by several contestants, from the same crops, remembered between runs.

The files of the cache hold vectors of faces, which are personal data as photos are: delete the
folder when it is no longer needed.
"""

from __future__ import annotations

import hashlib
import logging
import zipfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from faces.errors import UserError
from faces.files import atomic_write
from faces.images.read import read_image
from recognizer.evaluation.contestants import Contestant
from recognizer.evaluation.photos import FaceBox, Photos
from recognizer.types import Embedder

logger = logging.getLogger(__name__)

BATCH = 32


class VectorCache:
    """Vectors under the digests of their image files, in one file for each way of making them.

    Args:
        folder: None remembers nothing beyond this object.
        recipe: everything that decides about the vectors besides the image: crop, boxes, network.

    A file that cannot be read is passed over with a warning, and replaced.
    """

    def __init__(self, folder: Path | None, recipe: str) -> None:
        self.recipe = recipe
        name = hashlib.sha256(recipe.encode()).hexdigest()[:16]
        self.path = None if folder is None else folder / f"{name}.npz"
        self._vectors: dict[str, NDArray[np.float32] | None] = {}
        self._changed = False
        if self.path is not None and self.path.is_file():
            self._read(self.path)

    def __contains__(self, digest: str) -> bool:
        return digest in self._vectors

    def get(self, digest: str) -> NDArray[np.float32] | None:
        """A vector (D,), or None for an image without a face."""
        return self._vectors[digest]

    def put(self, digest: str, vector: NDArray[np.float32] | None) -> None:
        """Remember a vector, or None for an image without a face."""
        self._vectors[digest] = vector
        self._changed = True

    def save(self) -> None:
        """Write what is new."""
        if self.path is None or not self._changed:
            return
        known = {digest: vector for digest, vector in self._vectors.items() if vector is not None}
        failed = [digest for digest, vector in self._vectors.items() if vector is None]
        vectors = np.stack(list(known.values())) if known else np.zeros((0, 0), np.float32)
        with atomic_write(self.path) as file:
            np.savez(
                file,
                recipe=np.array(self.recipe),
                digests=np.array(list(known), "U64"),
                vectors=vectors,
                failed=np.array(failed, "U64"),
            )
        self._changed = False

    def _read(self, path: Path) -> None:
        try:
            with np.load(path, allow_pickle=False) as file:
                if str(file["recipe"]) != self.recipe:
                    raise ValueError("made in another way")
                vectors = np.asarray(file["vectors"], np.float32)
                digests, failed = file["digests"].tolist(), file["failed"].tolist()
            if vectors.ndim != 2 or len(vectors) != len(digests):
                raise ValueError("numbers that do not go together")
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            logger.warning("%s cannot be used and will be written anew: %s", path, error)
            return
        self._vectors.update(zip(digests, vectors, strict=True))
        self._vectors.update(dict.fromkeys(failed))


def embed_photos(
    photos: Photos,
    embedder: Embedder,
    contestants: Mapping[str, Contestant],
    find_face: FaceBox,
    boxes: str,
    cache: Path | None = None,
    progress: Callable[[Iterable[int]], Iterable[int]] = lambda rows: rows,
) -> tuple[dict[str, NDArray[np.float32]], NDArray[np.bool_]]:
    """The vectors of every photo by every contestant, and the photos without a face.

    Args:
        embedder: its recipe cuts the crops for all contestants; it is one of them only if named.
        contestants: by name.
        find_face: which face of a photo is meant.
        boxes: how it was found, in words that change when the answers would; part of the recipe.
        cache: folder for vectors; None keeps none.
        progress: wraps the numbers of the photos that are not known yet.

    Returns:
        Unit vectors float32 (N, D) for each contestant, zeros where no face was found; and where
        that was, bool (N,).

    Raises UserError, naming the file, for a photo that cannot be read; what has been embedded until
    then stays in the cache.
    """
    caches = {
        name: VectorCache(cache, f"{contestant.fingerprint}; {embedder.fingerprint}; {boxes}")
        for name, contestant in contestants.items()
    }
    digests = [_digest(path) for path in photos.paths]
    first = {digest: i for i, digest in reversed(list(enumerate(digests)))}
    missing = sorted(
        i for digest, i in first.items() if any(digest not in known for known in caches.values())
    )
    batch: list[tuple[str, NDArray[np.uint8]]] = []

    def flush() -> None:
        if not batch:
            return
        faces = np.concatenate([crop for _, crop in batch])
        for name, contestant in contestants.items():
            new = [k for k, (digest, _) in enumerate(batch) if digest not in caches[name]]
            if new:
                for k, vector in zip(new, contestant.embed(faces[new]), strict=True):
                    caches[name].put(batch[k][0], vector)
        batch.clear()

    try:
        for i in progress(missing):
            image = read_image(photos.paths[i])
            box = find_face(image)
            if not len(box):
                for known in caches.values():
                    known.put(digests[i], None)
                continue
            batch.append((digests[i], embedder.crop(image, box)))
            if len(batch) == BATCH:
                flush()
        flush()
    finally:
        for known in caches.values():
            known.save()
    failed = np.array([any(c.get(d) is None for c in caches.values()) for d in digests], bool)
    return {name: _stack(known, digests, failed) for name, known in caches.items()}, failed


def _stack(
    known: VectorCache, digests: list[str], failed: NDArray[np.bool_]
) -> NDArray[np.float32]:
    found = [known.get(d) for d, f in zip(digests, failed, strict=True) if not f]
    if not found:
        raise UserError("no face was found in any photo")
    rows = np.stack([cast("NDArray[np.float32]", vector) for vector in found])
    vectors = np.zeros((len(digests), rows.shape[1]), np.float32)
    vectors[~failed] = rows
    return vectors


def _digest(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise UserError(f"{path}: cannot read the image: {error}") from error
