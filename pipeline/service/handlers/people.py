"""The operations on people: enroll, list, rename, forget."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydantic import BaseModel

from pipeline.enroll.photo_sample import judge
from pipeline.service import answers
from pipeline.service import types as t
from pipeline.service.errors import ServiceError
from pipeline.service.handlers.enrolling import judge_photos, take_photos
from pipeline.service.handlers.faces import need_people
from pipeline.service.people import People
from pipeline.service.runtime.batching import Call
from pipeline.service.vision import Vision
from recognizer.quality import Gates
from recognizer.store.cutout import Cutout


class PeopleOperations:
    """Changes who is known, and says who is.

    Args:
        vision: the models.
        people: None where nobody is known.
        gates: what a photo must be to be enrolled; None takes every photo with one face.
        keep_crops: also store a picture of each enrolled face, for another embedder later.
    """

    def __init__(
        self, vision: Vision, people: People | None, gates: Gates | None, keep_crops: bool
    ) -> None:
        self._vision, self._people = vision, people
        self._gates, self._keep_crops = gates, keep_crops

    def enroll(self, request: t.EnrollRequest, images: Sequence[bytes], call: Call) -> BaseModel:
        """Learn a person."""
        people = self._need()
        with self._vision.opened(images, call) as pictures:
            photos = take_photos(self._vision, pictures, call, request.largest, self._gates)
            good = [
                (picture, photo.face.xyxy)
                for picture, photo in zip(pictures, photos, strict=True)
                if photo.refusal is None
            ]
            if not good:
                first = next(photo.refusal for photo in photos if photo.refusal is not None)
                refused = [refusal.model_dump() for refusal in answers.refused(photos)]
                raise ServiceError(first.code, first.message, {"refused": refused})
            vectors = self._vision.embed(good, call)
            crops = None
            if self._keep_crops:
                crops = [Cutout.of(picture, xyxy[0]) for picture, xyxy in good]
        snapshot = people.refresh()
        judged = judge(snapshot, request.name, vectors, self._gates, request.force)
        photos, keep = judge_photos(photos, judged)
        if all(verdict.why == "another_face" for verdict in judged):
            first = next(
                p.refusal for p in photos if p.refusal and p.refusal.code == "another_face"
            )
            refused = [refusal.model_dump() for refusal in answers.refused(photos)]
            raise ServiceError(first.code, first.message, {"refused": refused})
        others = [verdict.looks_like[0] for verdict in judged if verdict.looks_like]
        number = snapshot.version
        if keep.any():
            if crops is not None:
                crops = [crop for crop, kept in zip(crops, keep, strict=True) if kept]
            number = people.enroll(request.name, vectors[keep], crops, call.caller, call)
        return t.EnrollResponse(
            name=request.name,
            added=int(keep.sum()),
            refused=answers.refused(photos),
            looks_like=next(iter(others), None),
            version=number,
        )

    def people(self, request: t.PeopleRequest, images: Sequence[bytes], call: Call) -> BaseModel:
        """Who is known."""
        snapshot = self._need().snapshot
        names, counts = np.unique(np.array(snapshot.gallery.names, object), return_counts=True)
        part = slice(request.offset, request.offset + request.limit)
        return t.PeopleResponse(
            version=snapshot.version,
            total=len(names),
            people=[
                t.Person(name=name, photos=int(count))
                for name, count in zip(names[part], counts[part], strict=True)
            ],
        )

    def rename(self, request: t.RenameRequest, images: Sequence[bytes], call: Call) -> BaseModel:
        """Give a person another name."""
        people = self._need()
        number = people.rename(request.name, request.new_name, call.caller, call)
        return t.ChangedResponse(version=number)

    def forget(self, request: t.ForgetRequest, images: Sequence[bytes], call: Call) -> BaseModel:
        """Remove a person."""
        return t.ChangedResponse(version=self._need().forget(request.name, call.caller, call))

    def _need(self) -> People:
        return need_people(self._people)
