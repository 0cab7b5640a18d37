"""The operations on photos: detect, embed, recognize, verify."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from detector.types import Detection, Detections
from pipeline.service import types as t
from pipeline.service.errors import ServiceError
from pipeline.service.handlers.enrolling import faces_of, take_photos
from pipeline.service.people import People, need_people
from pipeline.service.runtime.batching import Call
from pipeline.service.runtime.metrics import Metrics
from pipeline.service.vision import Image, Vision
from recognizer.types import Match, cosines_of

Liveness = Sequence[Sequence[float | None]]
More = Sequence[Sequence[dict[str, Any]]]


class FaceOperations:
    """Looks at photos and changes nothing."""

    def __init__(self, vision: Vision, people: People | None, metrics: Metrics) -> None:
        self._vision, self._people, self._metrics = vision, people, metrics

    def detect(self, request: t.FacesRequest, images: Sequence[bytes], call: Call) -> BaseModel:
        """Where the faces are."""
        with self._vision.opened(images, call) as pictures:
            found, alive = self._faces(pictures, call, request.min_score)
        return t.DetectResponse.model_validate({"images": _images(found, alive)})

    def embed(self, request: t.FacesRequest, images: Sequence[bytes], call: Call) -> BaseModel:
        """The faces and their vectors."""
        embedder = self._vision.models.embedder
        if embedder is None:
            raise ServiceError("unavailable", "this server only detects: it has no embedder")
        with self._vision.opened(images, call) as pictures:
            found, alive = self._faces(pictures, call, request.min_score)
            vectors = self._vectors(pictures, found, call)
        more = [[{"embedding": vector.tolist()} for vector in part] for part in vectors]
        return t.EmbedResponse.model_validate(
            {"contract": embedder.fingerprint, "images": _images(found, alive, more)}
        )

    def recognize(self, request: t.FacesRequest, images: Sequence[bytes], call: Call) -> BaseModel:
        """The faces and their names."""
        people = need_people(self._people)
        with self._vision.opened(images, call) as pictures:
            found, alive = self._faces(pictures, call, request.min_score)
            vectors = self._vectors(pictures, found, call)
        snapshot = people.snapshot  # once, so that all faces are named by the same knowledge
        more = [[identity(match) for match in snapshot.identify(part)] for part in vectors]
        for fields in (fields for part in more for fields in part):
            self._metrics.identified.labels("unknown" if fields["name"] is None else "known").inc()
        return t.RecognizeResponse.model_validate(
            {"version": snapshot.version, "images": _images(found, alive, more)}
        )

    def verify(self, request: t.VerifyRequest, images: Sequence[bytes], call: Call) -> BaseModel:
        """Whether two photos show one person."""
        people = need_people(self._people)
        with self._vision.opened(images, call) as pictures:
            faces = faces_of(take_photos(self._vision, pictures, call, request.largest, None))
            pairs = list(zip(pictures, faces, strict=True))
            alive = self._vision.liveness(pairs, call)
            first, second = self._vision.embed(pairs, call)
        similarity = float(cosines_of(first, second))
        threshold = people.snapshot.thresholds.gallery
        return t.VerifyResponse.model_validate(
            {
                "same": similarity > threshold,
                "similarity": similarity,
                "threshold": threshold,
                "faces": [image["faces"][0] for image in _images(faces, alive)],
            }
        )

    def _faces(
        self, pictures: Sequence[Image], call: Call, min_score: float
    ) -> tuple[list[Detections], list[list[float | None]]]:
        found = self._vision.detect(pictures, call, min_score)
        self._metrics.faces.inc(sum(map(len, found)))
        return found, self._vision.liveness(list(zip(pictures, found, strict=True)), call)

    def _vectors(
        self, pictures: Sequence[Image], found: Sequence[Detections], call: Call
    ) -> list[NDArray[np.float32]]:
        """For each picture the vectors (n, D) of its faces."""
        vectors = self._vision.embed(list(zip(pictures, found, strict=True)), call)
        return np.split(vectors, np.cumsum([len(faces) for faces in found])[:-1])


def _images(
    found: Sequence[Detections], alive: Liveness, more: More | None = None
) -> list[dict[str, Any]]:
    """For each image the fields of `types.Detected`."""
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
