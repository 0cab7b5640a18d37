"""What the models found, as responses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.types import Detections
from pipeline.service import types as t
from pipeline.service.handlers.enrolling import Photo
from recognizer.types import Match

Liveness = Sequence[Sequence[float | None]]


def detected(found: Sequence[Detections], alive: Liveness) -> list[t.Detected]:
    """For each image its faces, and the scores of their liveness."""
    return [
        t.Detected(**_size(faces), faces=[t.Face(**face) for face in _fields(faces, live)])
        for faces, live in zip(found, alive, strict=True)
    ]


def embedded(
    found: Sequence[Detections], alive: Liveness, vectors: Sequence[NDArray[np.float32]]
) -> list[t.Embedded]:
    """With the vectors (n, D) of each image's faces."""
    return [
        t.Embedded(
            **_size(faces),
            faces=[
                t.EmbeddedFace(**face, embedding=vector.tolist())
                for face, vector in zip(_fields(faces, live), rows, strict=True)
            ],
        )
        for faces, live, rows in zip(found, alive, vectors, strict=True)
    ]


def recognized(
    found: Sequence[Detections], alive: Liveness, matches: Sequence[Sequence[Match]]
) -> list[t.Recognized]:
    """With what is known about each image's faces."""
    return [
        t.Recognized(
            **_size(faces),
            faces=[
                t.NamedFace(**face, **name_fields(match))
                for face, match in zip(_fields(faces, live), named, strict=True)
            ],
        )
        for faces, live, named in zip(found, alive, matches, strict=True)
    ]


def refused(photos: Sequence[Photo]) -> list[t.RefusedPhoto]:
    """Those photos that were not used, and why."""
    return [
        t.RefusedPhoto(image=i, code=photo.refusal.code, message=photo.refusal.message)
        for i, photo in enumerate(photos)
        if photo.refusal is not None
    ]


def _size(faces: Detections) -> dict[str, Any]:
    height, width = faces.image_size
    return {"width": width, "height": height}


def _fields(faces: Detections, liveness: Sequence[float | None]) -> list[dict[str, Any]]:
    return [
        {
            "box": tuple(round(x, 2) for x in box),
            "score": round(score, 6),
            "liveness": None if live is None else round(live, 6),
        }
        for box, score, live in zip(
            faces.xyxy.tolist(), faces.score.tolist(), liveness, strict=True
        )
    ]


def name_fields(match: Match) -> dict[str, Any]:
    """The fields of `types.Identity`."""
    return {
        "name": match.name,
        "similarity": match.similarity,
        "confidence": match.confidence,
        "source": match.source,
    }
