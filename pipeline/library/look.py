"""One look at photos and films: what becomes of each in the library. Runs wherever work is done."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detector.inference.load import load_detector
from detector.shipped import find_model
from detector.types import Detector
from faces.errors import UserError
from faces.files import file_digest
from faces.images.read import image_size, read_dated
from faces.prefetch import PIXELS, read_ahead
from faces.video.kinds import is_film
from pipeline.library.schema import MISSING, Manifest, on_disk, path_on_disk
from pipeline.live.tasks import box_of, face_quality, sharpness
from pipeline.sources.addresses import is_address
from pipeline.stream import WEAK, stream
from pipeline.types import Box
from recognizer.embedders.embedder import FaceEmbedder
from recognizer.embedders.load import load_embedder

log = logging.getLogger(__name__)

AHEAD = 2
"""Threads that read and decode ahead; they wait for the disk or a server most of the time."""

UNKNOWN_PIXELS = PIXELS // 4
"""What a picture that has to be fetched first counts as."""

KNOWN = "known"
"""Key of the only row of a file whose content needs no look."""

Row = dict[str, Any]
"""Values by the names of `schema.COLUMNS`; those left out are null."""


class Item(NamedTuple):
    """A file to look at."""

    path: str  # as `schema.stored_path` has it
    size: int  # bytes; `scan.MISSING` for a file that is not there
    modified: float  # seconds since 1970
    # digests of contents that need no look: the library has their rows
    twins: frozenset[str] = frozenset()


@dataclass(frozen=True)
class LookSettings:
    """What decides about the rows."""

    # a file as `load_detector` takes it; every machine needs the same one
    detector: str = "shipped"
    embedder: str = "auto"  # a name or file as `load_embedder` takes it
    embedder_weights: str | None = None  # see `load_embedder`
    threshold: float = 0.5  # lowest score of a face, 0 to 1
    max_side: int | None = None  # see `load_detector`
    min_face: int = 20  # faces narrower or lower than this many pixels are left out
    flip: bool = False  # see `load_embedder`


class Looker:
    """The two networks, on one thread each, and what they make of files.

    Raises UserError as `load_detector` and `load_embedder` do.
    """

    def __init__(self, settings: LookSettings) -> None:
        self.settings = settings
        self.detector: Detector = self._detector(settings.threshold)
        weights = settings.embedder_weights
        self.embedder: FaceEmbedder = load_embedder(
            settings.embedder, None if weights is None else Path(weights), threads=1,
            flip=settings.flip,
        )  # fmt: skip

    def _detector(self, threshold: float) -> Detector:
        s = self.settings
        return load_detector(
            s.detector, score_threshold=threshold, max_side=s.max_side, device="cpu", threads=1
        )

    @cached_property
    def manifest(self) -> Manifest:
        """What a library made with these networks says."""
        path = find_model(self.settings.detector)
        settings = {
            name: value
            for name, value in asdict(self.settings).items()
            if name in ("threshold", "max_side", "min_face") or (name == "flip" and value)
        }
        digest = file_digest(path)[:16]
        embedder = self.embedder
        return Manifest(f"{path.name}-{digest}", embedder.fingerprint, embedder.dimension, settings)

    @cached_property
    def _film_detector(self) -> Detector:
        """Weak detections continue tracks."""
        return self._detector(max(0.05, self.settings.threshold - WEAK))

    def look(self, items: Sequence[Item]) -> list[list[Row]]:
        """The rows of each file, at least one: one whose ``error`` says why it has no others."""
        calls = (
            (partial(_load, item), 0 if seen is None else seen)
            for item in items
            for seen in [_pixels(item)]
        )
        seen: dict[str, list[Row]] = {}
        found = []
        with closing(read_ahead(calls, threads=AHEAD)) as loaded:
            for item, one in zip(items, loaded, strict=True):
                rows = self._rows(item, one, seen)
                if one.digest is not None and KNOWN not in rows[0]:
                    seen[one.digest] = rows
                found.append(rows)
        return found

    def _rows(self, item: Item, loaded: _Loaded, seen: dict[str, list[Row]]) -> list[Row]:
        base = file_row(item) | {"digest": loaded.digest, "taken": loaded.taken}
        if loaded.digest in item.twins:
            return [base | {KNOWN: True}]
        if loaded.digest in seen:  # a copy among the files of this call
            return [row | file_row(item) for row in seen[loaded.digest]]
        try:
            if loaded.error is not None:
                raise UserError(loaded.error)
            if loaded.image is not None:
                return self._photo(base, loaded.image)
            return list(self._film(base, item))
        except UserError as error:
            return [base | {"error": str(error)}]
        except Exception as error:  # a fault of ours or of a library: it costs this file only
            log.exception("%s", item.path)
            return [base | {"error": f"{type(error).__name__}: {error}"}]

    def _photo(self, base: Row, image: NDArray[np.uint8]) -> list[Row]:
        base = base | _size(image)
        found = self.detector.detect(image)
        sides = found.xyxy[:, 2:] - found.xyxy[:, :2]
        found = found[sides.min(axis=1, initial=np.inf) >= self.settings.min_face]
        crops, points = self.embedder.crop_with_points(image, found.xyxy, found.landmarks)
        if found.landmarks is not None:
            unknown = np.isnan(points).any(axis=(1, 2))
            points[unknown] = found.landmarks[unknown]
        vectors = self.embedder.embed(crops)
        rows = []
        for n, (xyxy, score) in enumerate(zip(found.xyxy, found.score.tolist(), strict=True)):
            box = box_of(xyxy)
            quality = face_quality(box, score, sharpness(image, box))
            rows.append(base | _face(base, n, box, score, quality, points[n], vectors[n]))
        return rows or [base]

    def _film(self, base: Row, item: Item) -> Iterator[Row]:
        """What went wrong, then the sharpest look of each track."""
        best: dict[int, _Best] = {}
        error: Row = {}
        with on_disk(item.path) as path:
            try:
                with stream(
                    path, self._film_detector, self.embedder,
                    min_face=self.settings.min_face, threshold=self.settings.threshold,
                ) as ticks:  # fmt: skip
                    for tick in ticks:
                        base = base | _size(tick.picture.image)
                        for look in tick.looks:
                            for sighting in look.sightings:
                                old = best.get(sighting.track or 0)
                                worth = not sighting.crossing, sighting.quality
                                if sighting.track is None or (old and worth <= old.worth):
                                    continue
                                own = sighting.landmarks
                                crops, points = self.embedder.crop_with_points(
                                    look.picture.image,
                                    np.array([sighting.box], np.float32),
                                    None if own is None else own[None],
                                )
                                best[sighting.track] = _Best(
                                    worth, look.picture.time, sighting.box, sighting.score,
                                    crops[0], points[0],
                                )  # fmt: skip
            except UserError as failed:  # what was seen until then is kept
                error = {"error": _reason(failed, path)}
        tracks = sorted(best)
        if error or not tracks:
            yield base | error
        size = self.embedder.size
        crops = np.zeros((len(tracks), size, size, 3), np.uint8)
        for crop, track in zip(crops, tracks, strict=True):
            crop[:] = best[track].crop
        for track, vector in zip(tracks, self.embedder.embed(crops), strict=True):
            one = best[track]
            face = _face(base, track, one.box, one.score, one.worth[1], one.points, vector)
            yield base | {"seconds": one.time} | face


class _Best(NamedTuple):
    """The best look at a track."""

    worth: tuple[bool, float]
    time: float
    box: Box
    score: float
    crop: NDArray[np.uint8]
    points: NDArray[np.float32]


class _Loaded(NamedTuple):
    """A file that was read: a photo's image; None for a film and for what has an error."""

    digest: str | None = None
    image: NDArray[np.uint8] | None = None
    taken: datetime | None = None
    error: str | None = None


def failed_row(item: Item, reason: str) -> Row:
    """The row of a file that could not be read at all, which is tried again the next time."""
    return file_row(item) | {"error": reason}


def _load(item: Item) -> _Loaded:
    digest = None
    try:
        if item.size == MISSING and not is_address(item.path):
            where = Path(path_on_disk(item.path))
            what = "is no ordinary file" if where.exists() else "there is no such file"
            return _Loaded(error=what)
        with on_disk(item.path) as path:
            try:
                digest = file_digest(path)
                if digest in item.twins or is_film(path):
                    return _Loaded(digest)
                return _Loaded(digest, *read_dated(path))
            except UserError as error:
                return _Loaded(digest, error=_reason(error, path))
    except UserError as error:
        return _Loaded(digest, error=str(error))
    except OSError as error:
        return _Loaded(digest, error=error.strerror or str(error))
    except Exception as error:  # MemoryError, or a fault of a decoder
        log.exception("%s", item.path)
        return _Loaded(digest, error=f"{type(error).__name__}: {error}")


def _pixels(item: Item) -> int | None:
    if is_address(item.path):
        return UNKNOWN_PIXELS
    if item.size == MISSING:
        return None
    try:
        height, width = image_size(Path(path_on_disk(item.path)))
    except (UserError, OSError):  # a film, or said when it is read
        return None
    return height * width


def _reason(error: UserError, path: Path) -> str:
    """Without the file's name: the row has it, and copies share the reason."""
    return str(error).removeprefix(f"{path}: ").replace(str(path), "the file")


def file_row(item: Item) -> Row:
    """What a row says of the file."""
    facts = {"size": item.size, "modified": item.modified}
    return {"path": item.path} | {name: value for name, value in facts.items() if value >= 0}


def _size(image: NDArray[np.uint8]) -> Row:
    return {"width": image.shape[1], "height": image.shape[0]}


def _face(
    base: Row, number: int, box: Box, score: float, quality: float,
    points: NDArray[np.float32], vector: NDArray[np.float32],
) -> Row:  # fmt: skip
    return {
        "face": f"{base['digest'][:16]}-{number}",
        **dict(zip(("x1", "y1", "x2", "y2"), box, strict=True)),
        "score": score,
        "points": None if np.isnan(points).any() else points.ravel(),
        "quality": quality,
        "embedding": vector,
    }
