"""Vectors of photos by several contestants, from the same crops, remembered between runs."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from faces.errors import UserError
from faces.files import file_digest
from faces.images.read import read_image
from recognizer.data.photo_cache import PhotoCache
from recognizer.data.photos import FaceFinder, Photos
from recognizer.evaluation.contestants import Contestant
from recognizer.types import Embedder

logger = logging.getLogger(__name__)

BATCH = 32
NO_FACE = ("no face was found",)


def embed_photos(
    photos: Photos,
    embedder: Embedder,
    contestants: Mapping[str, Contestant],
    find_face: FaceFinder,
    boxes: str,
    cache: Path | None = None,
    progress: Callable[[Iterable[int]], Iterable[int]] = lambda rows: rows,
) -> tuple[dict[str, NDArray[np.float32]], NDArray[np.bool_]]:
    """The vectors of every photo by every contestant, and the photos without a face.

    One that cannot be read is named in the log, and is a photo without a face this time.

    Args:
        embedder: its recipe cuts the crops for all contestants; it is one of them only if named.
        boxes: how it was found, in words that change when the answers would; part of the recipe.
        cache: folder for vectors; None keeps none.
        progress: wraps the numbers of the photos that are not known yet.

    Returns:
        Unit vectors float32 (N, D) for each contestant, zeros where no face was found; and where
        that was, bool (N,).

    Raises UserError when there is no face on any. What was embedded stays in the cache, whatever
    is raised.
    """
    caches = {
        name: _cache(cache, f"{contestant.fingerprint}; {embedder.fingerprint}; {boxes}{flip}")
        for name, contestant in contestants.items()
        for flip in ["; flip" if getattr(contestant, "flip", False) else ""]
    }
    digests = [_digest(path) for path in photos.paths]
    unread: set[str] = set()
    first = {digest: i for i, digest in reversed(list(enumerate(digests))) if digest is not None}
    missing = sorted(
        i for digest, i in first.items() if any(digest not in known for known in caches.values())
    )
    batch: dict[str, NDArray[np.uint8]] = {}

    def flush() -> None:
        for name, contestant in contestants.items():
            new = [digest for digest in batch if digest not in caches[name]]
            if new:
                vectors = contestant.embed(np.concatenate([batch[digest] for digest in new]))
                caches[name].update(zip(new, vectors, strict=True))
        batch.clear()

    try:
        for i in progress(missing):
            digest = digests[i]
            assert digest is not None
            try:
                image = read_image(photos.paths[i])
            except UserError as error:
                logger.warning("%s; it is left out", error)
                unread.add(digest)
                continue
            face = find_face(image)
            if len(face):
                batch[digest] = embedder.crop(image, face.xyxy, face.landmarks)
            else:
                for known in caches.values():
                    known[digest] = NO_FACE
            if len(batch) == BATCH:
                flush()
        flush()
    finally:
        for known in caches.values():
            known.save()
    failed = np.array(
        [
            d is None or d in unread or any(isinstance(c[d], tuple) for c in caches.values())
            for d in digests
        ]
    )
    if failed.all():
        raise UserError("no face was found in any photo")
    found = {}
    for name, known in caches.items():
        rows = np.stack(
            [np.asarray(known[d]) for d, no in zip(digests, failed, strict=True) if d and not no]
        )
        found[name] = np.zeros((len(digests), rows.shape[1]), np.float32)
        found[name][~failed] = rows
    return found, failed


def _digest(path: Path) -> str | None:
    """None for a file that cannot be read, which is named in the log."""
    try:
        return file_digest(path)
    except UserError as error:
        logger.warning("%s; it is left out", error)
        return None


def _cache(folder: Path | None, identity: str) -> PhotoCache:
    """In a file of its own for each way of making vectors."""
    name = hashlib.sha256(identity.encode()).hexdigest()[:16]
    return PhotoCache(None if folder is None else folder / f"{name}.npz", identity)
