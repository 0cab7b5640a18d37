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

from faces.errors import UserError
from faces.files import atomic_write, refuse_pipe
from faces.images.read import read_image
from pipeline.enroll.photo_sample import Refused, one_face
from recognizer.evaluation.photos import FaceBox, center_box, main_face
from recognizer.quality import Gates
from recognizer.training.fit_samples import stack
from recognizer.types import Embedder

log = logging.getLogger(__name__)

Where = Literal["centre", "detect"]

Answer = NDArray[np.uint8] | tuple[str, ...]
"""What a photo gave: a crop (S, S, 3), or why it cannot be used."""


def face_finder(
    where: Where,
    detector: Path | None,
    threads: int | None,
    gates: Gates | None = None,
    largest: bool = False,
) -> tuple[FaceBox, str]:
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
        return (lambda image: main_face(find(image), *image.shape[:2])), words.format("main")

    def find_good(image: NDArray[np.uint8]) -> NDArray[np.float32]:
        return one_face(image, find(image), gates, largest)[None]

    which = "largest" if largest else "only"
    return find_good, f"{words.format(which)}; {gates}"


def _faces_finder(where: Where, detector: Path | None, threads: int | None) -> tuple[FaceBox, str]:
    """All faces of a photo, (N, 4); the words say for "{}" which of them is meant."""
    if where == "centre":
        return center_box, "known place in the center of LFW's images"
    from detector.inference.load import load_detector
    from detector.shipped import SHIPPED, find_model

    path = find_model(detector or SHIPPED)
    network = load_detector(path, threads=threads)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    name = path.name.replace("{", "{{").replace("}", "}}")
    return lambda image: network.detect(image).xyxy, f"the {{}} one found by {name} ({digest})"


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
        find_face: which face of a photo is meant; it may raise `Refused`.
        recipe: how it is found, in words; part of the cache's identity, as is the crop recipe.
        cache: a file that keeps the crops for the next time; None keeps none. It holds faces:
            whoever deletes the photos deletes it too.
        progress: called with the number of photos done since the last call.
        stop: asked after each photo; True ends early, with what there is in the cache.

    Returns:
        Crops uint8 (K, S, S, 3) of the photos that could be used, which those are, bool (N,), and a
        sentence for each reason why one could not.
    """
    # Networks that cut in the same way share the crops.
    cut = getattr(embedder, "recipe", None)
    identity = f"2; {cut.identity if cut is not None else embedder.fingerprint}; {recipe}"
    known: dict[str, Answer] = {}
    if cache is not None:
        known = _read(cache, identity, embedder.size)
    crops: list[NDArray[np.uint8]] = []
    usable, refusals = np.zeros(len(paths), bool), []
    used: dict[str, Answer] = {}
    new = 0
    try:
        for i, path in enumerate(paths):
            try:
                refuse_pipe(path)
                digest = hashlib.sha256(path.read_bytes()).hexdigest()
            except UserError as error:
                refusals.append(str(error))
                continue
            except OSError as error:
                refusals.append(f"{path}: cannot be read: {error.strerror}")
                continue
            if digest not in known:
                try:
                    image = read_image(path)
                except UserError as error:
                    refusals.append(str(error))
                    continue
                known[digest] = _answer(image, embedder, find_face)
                new += 1
            used[digest] = answer = known[digest]
            if isinstance(answer, tuple):
                refusals += [f"{path}: {reason}" for reason in answer]
            else:
                usable[i] = True
                crops.append(answer)
            progress(1)
            if stop():
                break
    finally:
        if cache is not None and new:
            _write(cache, identity, used, embedder.size)
    return stack(crops, embedder.size), usable, refusals


def _answer(image: NDArray[np.uint8], embedder: Embedder, find_face: FaceBox) -> Answer:
    try:
        found = embedder.crop(image, find_face(image))
    except Refused as refused:
        return refused.reasons
    return found[0] if len(found) else ("no face was found",)


def _read(path: Path, identity: str, size: int) -> dict[str, Answer]:
    if not path.is_file():
        return {}
    try:
        with np.load(path, allow_pickle=False) as file:
            if str(file["identity"]) != identity:
                return {}
            digests, reasons, crops = file["digests"], file["reasons"], file["crops"]
        found = reasons == ""
        if len(digests) != len(found) or crops.shape != (int(found.sum()), size, size, 3):
            raise ValueError("numbers that do not go together")
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        log.warning("%s cannot be used and will be written anew: %s", path, error)
        return {}
    place = np.cumsum(found) - 1
    return {
        str(digest): crops[place[i]] if found[i] else tuple(str(reasons[i]).split("\n"))
        for i, digest in enumerate(digests)
    }


def _write(path: Path, identity: str, known: dict[str, Answer], size: int) -> None:
    crops = [answer for answer in known.values() if not isinstance(answer, tuple)]
    reasons = ["\n".join(answer) if isinstance(answer, tuple) else "" for answer in known.values()]
    with atomic_write(path) as file:
        np.savez(
            file,
            identity=np.array(identity),
            digests=np.array(list(known), "U64"),
            reasons=np.array(reasons, np.str_),
            crops=stack(crops, size),
        )
