"""The operations on people: enroll, list, rename, forget, deny, undo."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack, suppress

import numpy as np
from pydantic import BaseModel

from faces.text import counted
from pipeline.enroll.photos import picture_of
from pipeline.service import types as t
from pipeline.service.errors import ServiceError
from pipeline.service.handlers.enrolling import (
    Photo,
    faces_of,
    no_photo,
    refuse,
    refused,
    take_photos,
)
from pipeline.service.people import People, need_people, stored
from pipeline.service.runtime.batching import Call
from pipeline.service.vision import Vision
from recognizer.quality import Gates
from recognizer.sample_rule import decide
from recognizer.store.journal import Doing
from recognizer.store.people import StoreChanged
from recognizer.store.write import Change, NewSample


class PeopleOperations:
    """Changes who is known, and says who is.

    Args:
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
        people = need_people(self._people)
        with self._vision.opened(images, call) as pictures:
            photos = take_photos(self._vision, pictures, call, request.largest, self._gates)
            good = [
                (picture, photo)
                for picture, photo in zip(pictures, photos, strict=True)
                if not isinstance(photo, ServiceError)
            ]
            if not good:
                raise no_photo(photos)
            vectors = self._vision.embed(good, call)
            crops = [picture_of(picture, face) for picture, face in good if self._keep_crops]
        new = [
            NewSample(vector, crops[i] if crops else None, "service")
            for i, vector in enumerate(vectors)
        ]
        with people.changing:
            while True:
                with suppress(StoreChanged):  # by another program, since we looked
                    return self._learn(people, request, photos, new, call)

    def _learn(
        self,
        people: People,
        request: t.EnrollRequest,
        photos: Sequence[Photo],
        new: Sequence[NewSample],
        call: Call,
    ) -> BaseModel:
        """Decide what becomes a sample, and store it.

        Args:
            new: of the photos that are not refused yet, in their order.

        Raises StoreChanged when the people are not those any more for whom it was decided.
        """
        snapshot = people.refresh()
        vectors = np.stack([sample.embedding for sample in new])
        decisions = decide(snapshot, request.name, vectors, self._gates, force=request.force)
        photos = refuse(photos, decisions)
        reasons = {decision.why for decision in decisions}
        if reasons <= {"another_face", "poor_photo"}:  # duplicates do no harm
            raise no_photo(photos, "another_face" if "another_face" in reasons else None)
        kept = [
            sample for sample, decision in zip(new, decisions, strict=True) if decision.why is None
        ]
        version = snapshot.version
        if kept:
            doing = Doing(f"{counted(len(kept), 'sample')} added: {request.name}")
            change = Change(add={request.name: kept}, expected=version, doing=doing)
            with people.change("enroll", request.name, call, photos=len(kept)) as store:
                store.apply(change)
            version = people.refresh().version
        return t.EnrollResponse(
            name=request.name,
            added=len(kept),
            refused=refused(photos),
            looks_like=next((v.looks_like[0] for v in decisions if v.looks_like), None),
            version=version,
        )

    def people(self, request: t.PeopleRequest, images: Sequence[bytes], call: Call) -> BaseModel:
        """Who is known."""
        snapshot = need_people(self._people).snapshot
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
        people, old, new = need_people(self._people), request.name, request.new_name
        with people.changing:
            known = people.must_know(old)
            if new != old:
                if new in known:
                    raise ServiceError("conflict", "there is already somebody of the new name")
                gone, come = ("rename_from", old, call), ("rename_to", new, call)
                with people.change(*gone) as store, people.change(*come):
                    store.rename(old, new)
            return t.ChangedResponse(version=people.refresh().version)

    def forget(self, request: t.ForgetRequest, images: Sequence[bytes], call: Call) -> BaseModel:
        """Remove a person."""
        people = need_people(self._people)
        with people.changing:
            people.must_know(request.name)
            with people.change("forget", request.name, call) as store:
                store.remove(request.name)
            return t.ChangedResponse(version=people.refresh().version)

    def deny(self, request: t.DenyRequest, images: Sequence[bytes], call: Call) -> BaseModel:
        """A face is not this person."""
        people = need_people(self._people)
        with self._vision.opened(images, call) as pictures:
            [face] = faces_of(take_photos(self._vision, pictures, call, request.largest, None))
            [vector] = self._vision.embed([(pictures[0], face)], call)
            picture = picture_of(pictures[0], face) if self._keep_crops else None
        with people.changing:
            people.must_know(request.name)
            with people.change("deny", request.name, call) as store:
                store.deny(request.name, [NewSample(vector, picture, "service")])
            return t.ChangedResponse(version=people.refresh().version)

    def undo(self, request: t.UndoRequest, images: Sequence[bytes], call: Call) -> BaseModel:
        """Take back the last change."""
        people = need_people(self._people)
        with people.changing:
            with stored():
                acts = people.store.acts()
                touched = people.store.touched(acts[0].id) if acts else []
            if not acts:
                raise ServiceError("not_found", "there is nothing to undo")
            if request.act not in (None, acts[0].id):
                last = {"act": acts[0].id, "what": acts[0].what}
                raise ServiceError("conflict", "something else was done since", last)
            with ExitStack() as changes:
                names: list[str | None] = [*touched] or [None]
                for name in names:
                    changes.enter_context(people.change("undo", name, call, act=acts[0].id))
                act = people.store.undo(acts[0].id)
            return t.UndoneResponse(what=act.what, act=act.id, version=people.refresh().version)
