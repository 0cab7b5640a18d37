"""The one face of each photo, as a crop, read once and remembered."""

from __future__ import annotations

import hashlib
import logging
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from common.errors import UserError
from common.files import atomic_write
from common.images import read_image
from recognizer.evaluation.photos import FaceBox, centre_box, main_face
from recognizer.types import Embedder

log = logging.getLogger(__name__)

Where = Literal["centre", "detect"]


def face_finder(where: Where, detector: Path | None, threads: int | None) -> tuple[FaceBox, str]:
    """The function that says where the face is, and words that change when its answers would.

    Args:
        where: ``centre``, where LFW's images have it, or ``detect``.
        detector: the detector's file; None is the shipped one.
        threads: CPU threads of the detector.

    Raises UserError as `detector.load.load_detector` does.
    """
    if where == "centre":
        return centre_box, "known place in the centre of LFW's images"
    from detector.load import load_detector
    from detector.shipped import SHIPPED, find_model

    path = find_model(detector or SHIPPED)
    network = load_detector(path, threads=threads)

    def find(image: NDArray[np.uint8]) -> NDArray[np.float32]:
        return main_face(network.detect(image).xyxy, *image.shape[:2])

    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    return find, f"the main one found by {path.name} ({digest})"


def crop_photos(
    paths: Sequence[Path],
    embedder: Embedder,
    find_face: FaceBox,
    recipe: str,
    cache: Path | None,
    progress: Callable[[int], object] = lambda count: None,
    stop: Callable[[], bool] = lambda: False,
) -> tuple[NDArray[np.uint8], NDArray[np.bool_], list[str]]:
    """A crop of each photo.

    Args:
        paths: the photos.
        embedder: cuts the crops.
        find_face: which face of a photo is meant.
        recipe: how it is found, in words; part of the cache's identity, as is the crop recipe.
        cache: a file that keeps the crops for the next time; None keeps none. It holds faces:
            whoever deletes the photos deletes it too.
        progress: called with the number of photos done since the last call.
        stop: asked after each photo; True ends early, with what there is in the cache.

    Returns:
        Crops uint8 (K, S, S, 3) of the photos that could be used, which those are, bool (N,), and a
        sentence for each that could not.
    """
    # Networks that cut in the same way share the crops.
    cut = getattr(embedder, "recipe", None)
    identity = f"{cut.identity if cut is not None else embedder.contract}; {recipe}"
    known = _read(cache, identity, embedder.size) if cache is not None else {}
    crops: list[NDArray[np.uint8]] = []
    usable, refusals = np.zeros(len(paths), bool), []
    used: dict[str, NDArray[np.uint8]] = {}
    new = 0
    try:
        for i, path in enumerate(paths):
            try:
                digest = hashlib.sha256(path.read_bytes()).hexdigest()
            except OSError as error:
                refusals.append(f"{path}: cannot be read: {error.strerror}")
                continue
            if digest not in known:
                try:
                    image = read_image(path)
                except UserError as error:
                    refusals.append(str(error))
                    continue
                known[digest] = embedder.crop(image, find_face(image))
                new += 1
            used[digest] = known[digest]
            if len(known[digest]):
                usable[i] = True
                crops.append(known[digest][0])
            else:
                refusals.append(f"{path}: no face was found")
            progress(1)
            if stop():
                break
    finally:
        if cache is not None and new:
            _write(cache, identity, used, embedder.size)
    size = embedder.size
    stacked = np.stack(crops) if crops else np.zeros((0, size, size, 3), np.uint8)
    return stacked, usable, refusals


def _read(path: Path, identity: str, size: int) -> dict[str, NDArray[np.uint8]]:
    if not path.is_file():
        return {}
    try:
        with np.load(path, allow_pickle=False) as file:
            if str(file["identity"]) != identity:
                return {}
            digests, found, crops = file["digests"].tolist(), file["found"], file["crops"]
        if len(digests) != len(found) or crops.shape != (int(found.sum()), size, size, 3):
            raise ValueError("numbers that do not go together")
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        log.warning("%s cannot be used and will be written anew: %s", path, error)
        return {}
    place = np.cumsum(found) - 1
    return {
        digest: crops[place[i] : place[i] + 1] if found[i] else crops[:0]
        for i, digest in enumerate(digests)
    }


def _write(path: Path, identity: str, known: dict[str, NDArray[np.uint8]], size: int) -> None:
    none = np.zeros((0, size, size, 3), np.uint8)
    with atomic_write(path) as file:
        np.savez(
            file,
            identity=np.array(identity),
            digests=np.array(list(known), "U64"),
            found=np.array([len(crop) > 0 for crop in known.values()], bool),
            crops=np.concatenate([none, *known.values()]),
        )
