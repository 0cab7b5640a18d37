"""Find the faces of a photo and name them, in one call."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.types import Detections, Detector
from faces.closing import Closing
from faces.errors import UserError
from faces.images.read import as_image, as_images
from pipeline.gallery import Gallery, open_detector, open_embedder
from pipeline.types import Face
from recognizer.store.address import place
from recognizer.store.people import Store
from recognizer.types import UNKNOWN, Embedder, Match, Recognizer


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
        return self._named([image], [self.detector.detect(image)])[0]

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
        return self._named(pictures, self.detector.detect_batch(pictures))

    def close(self) -> None:
        """Let go of the gallery's file, if it was opened here."""
        if self._opened is not None:
            self._opened.close()

    def __repr__(self) -> str:
        return f"FaceAnalyzer({'nobody is known' if self.gallery is None else self.gallery})"

    def _named(
        self, images: Sequence[NDArray[np.uint8]], found: Sequence[Detections]
    ) -> list[list[Face]]:
        """One batch for the embedder, and one question to the gallery, for all images."""
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


def open_existing(path: str | Path, embedder: Embedder) -> Gallery:
    """A gallery whose file must be there. Raises UserError also as `Gallery.open` does."""
    where = place(path)
    if not Store.exists(where):
        raise UserError(
            f"there is no gallery {where}: make it with `faces enroll`, or with "
            "faces.Gallery.open(path).add(name, photo)"
        )
    return Gallery.open(where, embedder)


def current(gallery: Gallery | Recognizer | None) -> Recognizer | None:
    """Who names faces just now."""
    return gallery.snapshot() if isinstance(gallery, Gallery) else gallery


def _at_least(found: Detections, side: int) -> Detections:
    width, height = (found.xyxy[:, 2:] - found.xyxy[:, :2]).T
    return found[np.minimum(width, height) >= side]
