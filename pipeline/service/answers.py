"""What the models found, as fields of responses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from detector.types import Detection, Detections
from recognizer.types import Match

Liveness = Sequence[Sequence[float | None]]
More = Sequence[Sequence[dict[str, Any]]]


def images(
    found: Sequence[Detections], alive: Liveness, more: More | None = None
) -> list[dict[str, Any]]:
    """For each image the fields of `types.Detected`.

    Args:
        found: faces of each image.
        alive: liveness of each of them.
        more: further fields of each of them.
    """
    return [
        {
            "width": faces.image_size[1],
            "height": faces.image_size[0],
            "faces": [
                _face(face, live) | fields
                for face, live, fields in zip(
                    faces, alive[i], [{}] * len(faces) if more is None else more[i], strict=True
                )
            ],
        }
        for i, faces in enumerate(found)
    ]  # fmt: skip


def _face(face: Detection, live: float | None) -> dict[str, Any]:
    points = None if face.landmarks is None else face.landmarks.tolist()
    return {
        "box": tuple(round(x, 2) for x in face.box.tolist()),
        "score": round(face.score, 6),
        "liveness": None if live is None else round(live, 6),
        "landmarks": points and [(round(x, 2), round(y, 2)) for x, y in points],
    }


def identity(match: Match) -> dict[str, Any]:
    """The fields of `types.Identity`."""
    return {
        "name": match.name,
        "similarity": match.similarity,
        "confidence": match.confidence,
        "source": match.source,
    }
