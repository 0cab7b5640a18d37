"""The one face of each photo, as a crop, read once and remembered."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from faces.errors import UserError
from faces.files import file_digest
from faces.images.read import read_image
from pipeline.enroll.photos import Refused, one_face
from recognizer.data.photo_cache import Answer, PhotoCache
from recognizer.data.photos import FaceFinder, Located, center_face, main_face
from recognizer.quality import Gates
from recognizer.training.head_samples import stack
from recognizer.types import Embedder

Where = Literal["center", "centre", "detect"]
"""Both spellings are one place: files and scripts of earlier releases have the second."""


def face_finder(
    where: Where,
    detector: Path | None,
    threads: int | None,
    gates: Gates | None = None,
    largest: bool = False,
) -> tuple[FaceFinder, str]:
    """The function that says where the face is, and words that change when its answers would.

    Args:
        where: ``center``, where LFW's images have it, or ``detect``.
        detector: the detector's file; None is the shipped one.
        threads: CPU threads of the detector.
        gates: take only photos by which somebody could be enrolled: the function raises `Refused`
            for all others. None takes the main face of any photo.
        largest: with gates, of several faces take the largest instead of refusing the photo.

    Raises UserError as `detector.inference.load.load_detector` does.
    """
    find, words = _faces_finder(where, detector, threads)
    if gates is None:

        def find_main(image: NDArray[np.uint8]) -> Located:
            found = find(image)
            return found[main_face(found.xyxy, *image.shape[:2])]

        return find_main, words.format("main")

    def find_good(image: NDArray[np.uint8]) -> Located:
        found = find(image)
        row = one_face(image, found.xyxy, gates, largest, found.landmarks)
        return found[np.array([row])]

    which = "largest" if largest else "only"
    return find_good, f"{words.format(which)}; {gates}"


def _faces_finder(
    where: Where, detector: Path | None, threads: int | None
) -> tuple[FaceFinder, str]:
    """All faces of a photo; the words say for "{}" which of them is meant."""
    if where != "detect":
        return center_face, "known place in the center of LFW's images"
    from detector.inference.load import load_detector
    from detector.shipped import SHIPPED, find_model

    path = find_model(detector or SHIPPED)
    network = load_detector(path, threads=threads)
    digest = file_digest(path)[:16]
    name = path.name.replace("{", "{{").replace("}", "}}")

    def find(image: NDArray[np.uint8]) -> Located:
        found = network.detect(image)
        return Located(found.xyxy, found.landmarks)

    return find, f"the {{}} one found by {name} ({digest}), with its points"


def crop_photos(
    paths: Sequence[Path],
    embedder: Embedder,
    find_face: FaceFinder,
    recipe: str,
    cache: Path | None,
    progress: Callable[[int], object] = lambda count: None,
) -> tuple[NDArray[np.uint8], NDArray[np.bool_], list[str]]:
    """A crop of each photo.

    Args:
        find_face: which face of a photo is meant; it may raise `Refused`.
        recipe: how it is found, in words; part of the cache's identity, as is the crop recipe.
        cache: a file that keeps the crops for the next time; None keeps none. It holds faces:
            whoever deletes the photos deletes it too.
        progress: called with the number of photos done since the last call.

    Returns:
        Crops uint8 (K, S, S, 3) of the photos that could be used, which those are, bool (N,), and a
        sentence for each reason why one could not.
    """
    # Networks that cut in the same way share the crops.
    cut = getattr(embedder, "recipe", None)
    identity = f"3; {cut.identity if cut is not None else embedder.fingerprint}; {recipe}"
    known = PhotoCache(cache, identity)
    crops: list[NDArray[np.uint8]] = []
    usable, refusals = np.zeros(len(paths), bool), []
    used: set[str] = set()
    try:
        for i, path in enumerate(paths):
            try:
                digest = file_digest(path)
                if digest not in known:
                    known[digest] = _answer(read_image(path), embedder, find_face)
            except UserError as error:
                refusals.append(str(error))
                continue
            used.add(digest)
            answer = known[digest]
            if isinstance(answer, tuple):
                refusals += [f"{path}: {reason}" for reason in answer]
            else:
                usable[i] = True
                crops.append(answer)
            progress(1)
    finally:
        known.save(used)
    return stack(crops, embedder.size), usable, refusals


def _answer(image: NDArray[np.uint8], embedder: Embedder, find_face: FaceFinder) -> Answer:
    try:
        face = find_face(image)
    except Refused as refused:
        return refused.reasons
    return (
        embedder.crop(image, face.xyxy, face.landmarks)[0] if len(face) else ("no face was found",)
    )
