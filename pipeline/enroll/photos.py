"""From photos of a person to samples in the store.

Which face of a photo is meant, and whether it is good enough, is asked before it has a vector;
whether the vector then becomes a sample is decided by `recognizer.sample_rule`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from detector.types import Detections, Detector
from faces.errors import UserError
from faces.images.find import (
    IMAGE_SUFFIXES,
    find_images,
    is_system_folder,
    tell_passed_over,
    tell_system_folders,
)
from faces.images.read import read_image
from faces.text import counted
from recognizer.names import clean_name
from recognizer.quality import Gates, measure
from recognizer.sample_rule import decide
from recognizer.store.face_picture import FacePicture
from recognizer.store.people import Store
from recognizer.store.write import NewSample
from recognizer.types import Embedder

Why = Literal["no_face", "several_faces", "poor_photo"]
"""Why a photo cannot be used; the service's codes."""


class Refused(Exception):
    """A photo that cannot be used."""

    def __init__(self, *reasons: str, why: Why = "poor_photo", faces: int = 1) -> None:
        super().__init__(*reasons)
        self.reasons, self.why, self.faces = reasons, why, faces


def one_face(
    image: NDArray[np.uint8],
    boxes: NDArray[np.float32],
    gates: Gates | None,
    largest: bool,
    landmarks: NDArray[np.float32] | None = None,
) -> int:
    """The position of the one face that is good enough.

    Args:
        image: RGB uint8 (H, W, 3).
        boxes: all faces on it, float32 (N, 4).
        gates: what the face must have; None takes every face.
        largest: of several take the largest instead of refusing the photo.
        landmarks: the five points of each, (N, 5, 2), if the detector finds them.

    Raises Refused.
    """
    if not len(boxes):
        raise Refused("no face was found, exactly one is needed", why="no_face", faces=0)
    if len(boxes) > 1 and not largest:
        raise Refused(
            f"{len(boxes)} faces were found, exactly one is needed (or the largest: `largest`)",
            why="several_faces",
            faces=len(boxes),
        )
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    row = int(areas.argmax())
    points = None if landmarks is None else landmarks[row]
    if gates is not None and (refusals := gates.refusals(measure(image, boxes[row], points))):
        raise Refused(*refusals, faces=len(boxes))
    return row


def sample_of(
    image: NDArray[np.uint8],
    detector: Detector,
    embedder: Embedder,
    gates: Gates | None,
    largest: bool,
    keep_crop: bool,
    source: str,
) -> NewSample:
    """What a photo adds to a person, if `recognizer.sample_rule` finds nothing against it.

    Args:
        image: RGB uint8 (H, W, 3).
        keep_crop: with the picture of the face, so that another embedder can use it later.
        source: where the photo comes from.

    Raises Refused.
    """
    found = detector.detect(image)
    chosen = found[[one_face(image, found.xyxy, gates, largest, found.landmarks)]]
    vector = embedder.embed(embedder.crop(image, chosen.xyxy, chosen.landmarks))[0]
    return NewSample(vector, picture_of(image, chosen) if keep_crop else None, source)


def picture_of(image: NDArray[np.uint8], face: Detections) -> FacePicture:
    """What is kept of a photo (H, W, 3) and the one face that is chosen in it."""
    points = None if face.landmarks is None else face.landmarks[0]
    return FacePicture.of(image, face.xyxy[0], points)


log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PhotoResult:
    """What became of one photo."""

    path: Path  # the photo
    refusals: tuple[str, ...] = ()  # why it was not used, a sentence each; empty when it was
    duplicate: bool = False  # it shows nothing new, which is no fault of the photo
    # somebody else in the store whom the face resembles enough to be named so, and the cosine; the
    # photo is used all the same
    looks_like: tuple[str, float] | None = None
    # it does not look like the other photos of the person; `Enroller.force` takes it
    another: bool = False

    @property
    def enrolled(self) -> bool:
        """Whether it gave a sample."""
        return not self.refusals


@dataclass(frozen=True)
class Enroller:
    """Puts people into a store."""

    store: Store  # of the embedder's fingerprint
    # detector, embedder: what finds and what describes the faces
    detector: Detector
    embedder: Embedder
    gates: Gates = field(default_factory=Gates)  # what a face must have
    largest: bool = False  # of several faces take the largest instead of refusing the photo
    keep_crops: bool = False  # also store the pictures, so that another embedder can use them later
    force: bool = False  # take photos that do not look like the other ones of the person

    def enroll(
        self,
        name: str,
        photos: Iterable[Path | str],
        report: Callable[[PhotoResult], object] = lambda result: None,
        read: Callable[[Path], object] = lambda path: None,
    ) -> list[PhotoResult]:
        """Add the photos that pass to a new or known person, in one step after the last one.

        ``read`` is called when a photo has been looked at, ``report`` with each result, in order,
        when all have: whether a photo shows somebody else is seen from the others. A photo that
        cannot be used stops nothing; when none can, nothing is stored. Raises UserError for a name
        that cannot be and for what can happen to the store's file.
        """
        name = clean_name(name)
        looked: list[PhotoResult | NewSample] = []
        paths = []
        for path in map(Path, photos):
            looked.append(self._look(path))
            paths.append(path)
            read(path)
        fine = [found for found in looked if isinstance(found, NewSample)]
        vectors = np.array([sample.embedding for sample in fine], np.float32)
        vectors = vectors.reshape(-1, self.embedder.dimension)
        decisions = iter(decide(self.store.snapshot(), name, vectors, self.gates, force=self.force))
        samples: list[NewSample] = []
        results = []
        for path, found in zip(paths, looked, strict=True):
            if isinstance(found, NewSample):
                decision = next(decisions)
                if decision.why is None:
                    samples.append(found)
                    result = PhotoResult(path, looks_like=decision.looks_like)
                else:
                    duplicate = decision.why == "duplicate_photo"
                    another = decision.why == "another_face"
                    result = PhotoResult(path, (decision.reason,), duplicate, None, another)
            else:
                result = found
            report(result)
            results.append(result)
        if samples:
            self.store.add_samples({name: samples})
        return results

    def _look(self, path: Path) -> PhotoResult | NewSample:
        """A sample, if the photo itself is good enough for one."""
        try:
            return sample_of(
                read_image(path), self.detector, self.embedder, self.gates, self.largest,
                self.keep_crops, f"photo {path.name}",
            )  # fmt: skip
        except Refused as refused:
            return PhotoResult(path, refused.reasons)
        except UserError as error:  # it names the file itself
            return PhotoResult(path, (str(error).removeprefix(f"{path}: "),))


def people_folders(folder: Path, closed: list[str] | None = None) -> dict[str, list[Path]]:
    """The photos of each sub-folder, by the sub-folder's name, sorted; deeper folders belong to it.

    ``closed`` gets the folders that cannot be read. Raises UserError when there is no such folder,
    or no sub-folder with photos in it.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder")
    try:
        inside = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise UserError(f"{folder}: the folder cannot be read: {error.strerror}") from error
    system = [path for path in inside if is_system_folder(path.name)]
    tell_system_folders(str(folder), [path.name for path in system])
    inside = [path for path in inside if path not in system]
    people = {path.name: find_images(path, closed=closed) for path in inside if path.is_dir()}
    loose = [path for path in inside if not path.is_dir()]
    photos = [path for path in loose if path.suffix.lower() in IMAGE_SUFFIXES]
    if photos:
        names = ", ".join(path.name for path in photos[:3])
        more = f" and {len(photos) - 3:,} more" if len(photos) > 3 else ""
        log.warning(
            "%s: passed over %s beside the people's folders: %s%s",
            folder, counted(len(photos), "photo"), names, more,
        )  # fmt: skip
    tell_passed_over(str(folder), sorted(set(loose) - set(photos)))
    if not any(people.values()):
        raise UserError(
            f"{folder} has no folders with photos in it: expected {folder / 'NAME' / 'photo.jpg'}"
        )
    return people
