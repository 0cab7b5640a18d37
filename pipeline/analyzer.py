"""Find the faces of a photo and name them, in one call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.types import Detections, Detector
from faces.closing import Closing
from faces.errors import UserError
from faces.images.read import as_image, as_images
from pipeline.enroll.photos import Refused, one_face
from pipeline.gallery import Gallery, open_detector, open_embedder
from pipeline.types import Face
from recognizer.rule import default_thresholds
from recognizer.store.address import PostgresAddress, place
from recognizer.store.people import Store
from recognizer.types import UNKNOWN, Embedder, Match, Recognizer, cosines_of


@dataclass(frozen=True)
class Verification:
    """Whether two faces are one person's, see `FaceAnalyzer.verify`."""

    same: bool
    similarity: float
    """Cosine (-1..1) of the two embeddings."""
    threshold: float
    """The similarity above which they are the same."""
    faces: tuple[Face, Face]
    """That of the first photo and that of the second."""

    def __repr__(self) -> str:
        same = "same" if self.same else "different"
        return (
            f"Verification({same}, similarity {self.similarity:.2f}, "
            f"threshold {self.threshold:.2f})"
        )


class FaceAnalyzer(Closing):
    """Finds the faces of photos, describes and names them as `faces run` and `faces serve` do.

    Args:
        detector: a file as `faces.load_detector` takes it, or one that is open; None is the
            shipped one.
        embedder: a name or file as `faces.load_embedder` takes it, or one that is open; None is
            that of ``gallery``, or the one that all commands take unless told otherwise.
        gallery: who is known: a file of people or address that is there, a `faces.Gallery`, or any
            `recognizer.types.Recognizer`; None names nobody. What other programs change in the
            file holds from the next call on.
        min_face: faces narrower or lower than this many pixels are left out.
        score_threshold, max_side, device: see `faces.load_detector`; for one that is opened here.
        threads: CPU threads of each network that is opened here; None leaves it to the runtimes.

    Raises UserError for files that are missing, damaged, or of another embedder than the gallery.

    >>> import faces
    >>> from skimage.data import astronaut
    >>> with faces.Gallery.open("people.db") as gallery:
    ...     gallery.add("Eileen Collins", astronaut())
    True
    >>> with faces.FaceAnalyzer(gallery="people.db") as analyzer:
    ...     [face] = analyzer(astronaut())  # or a path, or a Pillow image
    >>> face.name, round(face.similarity, 2), face.embedding.shape
    ('Eileen Collins', 1.0, (128,))
    """

    def __init__(
        self,
        detector: Detector | str | Path | None = None,
        embedder: Embedder | str | Path | None = None,
        gallery: Gallery | Recognizer | str | Path | None = None,
        *,
        min_face: int = 20,
        score_threshold: float = 0.5,
        max_side: int | None = None,
        device: str = "auto",
        threads: int | None = None,
    ) -> None:
        if embedder is None and isinstance(gallery, Gallery):
            embedder = gallery.embedder
        self.embedder = open_embedder(embedder, threads)
        self.detector = open_detector(
            detector, score_threshold=score_threshold, max_side=max_side, device=device,
            threads=threads,
        )  # fmt: skip
        self.min_face = min_face
        self._opened: Gallery | None = None
        if isinstance(gallery, str | Path):
            gallery = self._opened = open_existing(gallery, self.embedder)
        self.gallery = gallery
        fingerprint = getattr(current(gallery), "fingerprint", self.embedder.fingerprint)
        if fingerprint != self.embedder.fingerprint:
            raise UserError(
                f"the gallery holds vectors of {fingerprint}, the embedder makes those of "
                f"{self.embedder.fingerprint}: choose the gallery's"
            )

    def analyze(self, image: Any) -> list[Face]:
        """The faces of one image, best score first; an empty list where there is none.

        Args:
            image: a path, a Pillow image or an RGB array; see `faces.images.read.as_image`.

        Raises UserError for what is no image.

        >>> import faces
        >>> from skimage.data import astronaut
        >>> analyzer = faces.FaceAnalyzer()
        >>> analyzer.analyze(astronaut())
        [Face(unknown, box [177 61 270 176], score 0.95)]
        """
        image = as_image(image)
        return self.describe([image], [self.detector.detect(image)])[0]

    __call__ = analyze

    def analyze_batch(self, images: Sequence[Any]) -> list[list[Face]]:
        """The faces of several images, one list each, in order; quicker than one after the other.

        Raises UserError, naming the image's place, for what is no image.

        >>> import faces
        >>> from skimage.data import astronaut, coffee
        >>> analyzer = faces.FaceAnalyzer()
        >>> [len(found) for found in analyzer.analyze_batch([astronaut(), coffee()])]
        [1, 0]
        """
        pictures = as_images(images)
        return self.describe(pictures, self.detector.detect_batch(pictures))

    def verify(self, first: Any, second: Any, *, largest: bool = False) -> Verification:
        """Whether two photos show the same person.

        Args:
            first, second: as for `analyze`; one face on each.
            largest: of several faces take the largest instead of refusing the photo.

        Same is what the gallery's threshold says, and without a gallery that of the embedder, which
        a false match exceeds once in 10,000 pairs for the shipped one. Raises UserError for a photo
        without a face or with several.

        >>> import faces
        >>> from skimage.data import astronaut
        >>> faces.FaceAnalyzer().verify(astronaut(), astronaut()[:, ::-1])
        Verification(same, similarity 0.94, threshold 0.43)
        """
        images = as_images([first, second])
        found = []
        rest = zip(("first", "second"), images, self.detector.detect_batch(images), strict=True)
        for which, image, detections in rest:
            large = _at_least(detections, self.min_face)
            try:
                row = one_face(image, large.xyxy, None, largest, large.landmarks)
            except Refused as refused:
                raise UserError(f"the {which} photo: {'; '.join(refused.reasons)}") from refused
            found.append(large[[row]])
        [[one], [other]] = self.describe(images, found)
        assert one.embedding is not None
        assert other.embedding is not None
        similarity = float(cosines_of(one.embedding, other.embedding))
        thresholds = getattr(current(self.gallery), "thresholds", None)
        if thresholds is None:
            thresholds = default_thresholds(self.embedder.fingerprint)
        same = similarity > thresholds.gallery
        return Verification(same, similarity, thresholds.gallery, (one, other))

    def close(self) -> None:
        """Let go of the gallery's file, if it was opened here."""
        if self._opened is not None:
            self._opened.close()

    def __repr__(self) -> str:
        return f"FaceAnalyzer({'nobody is known' if self.gallery is None else self.gallery})"

    def describe(
        self, images: Sequence[NDArray[np.uint8]], found: Sequence[Detections]
    ) -> list[list[Face]]:
        """As `analyze_batch`, of faces that were found already: ``found`` has those of each image.

        One batch for the embedder, and one question to the gallery, for all images.
        """
        found = [_at_least(detections, self.min_face) for detections in found]
        crops = [
            self.embedder.crop(image, detections.xyxy, detections.landmarks)
            for image, detections in zip(images, found, strict=True)
        ]
        if not crops:
            return []
        vectors = self.embedder.embed(np.concatenate(crops))
        vectors.flags.writeable = False
        recognizer = current(self.gallery)
        matches: Sequence[Match] = [UNKNOWN] * len(vectors)
        if recognizer is not None:
            matches = recognizer.identify(vectors)
        rest = zip(vectors, matches, strict=True)
        return [
            [
                Face(
                    (float(x1), float(y1), float(x2), float(y2)),
                    detection.score,
                    match=match,
                    landmarks=detection.landmarks,
                    embedding=vector,
                )
                for detection, (vector, match) in zip(detections, rest)  # noqa: B905 (rest goes on)
                for x1, y1, x2, y2 in [detection.box]
            ]
            for detections in found
        ]


def open_existing(path: str | Path | PostgresAddress, embedder: Embedder) -> Gallery:
    """A gallery whose file must be there. Raises UserError also as `Gallery.open` does."""
    where = place(path)
    if not Store.exists(where):
        raise UserError(
            f"there is no gallery {where}: make it with `faces enroll`, or with "
            "faces.Gallery.open(path).add(name, photo)"
        )
    # Not Gallery.open, which may change the file.
    return Gallery(Store.open(where, embedder.fingerprint, embedder.dimension), embedder, "shipped")


def current(gallery: Gallery | Recognizer | None) -> Recognizer | None:
    """Who names faces just now."""
    return gallery.snapshot() if isinstance(gallery, Gallery) else gallery


def _at_least(found: Detections, side: int) -> Detections:
    width, height = (found.xyxy[:, 2:] - found.xyxy[:, :2]).T
    return found[np.minimum(width, height) >= side]
