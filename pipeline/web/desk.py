"""What somebody does on the page besides the picture: people, review, photos. No transport here."""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from detector.types import Detector
from faces.errors import UserError
from faces.text import counted
from pipeline.analyzer import FaceAnalyzer
from pipeline.enroll.photos import Refused, sample_of
from pipeline.library.search import largest_face
from pipeline.library.who.grouping import group_faces
from pipeline.review.groups import alike, chosen, denying, naming, review
from pipeline.review.memory import NO_FACE, Memory
from pipeline.service.errors import ServiceError
from pipeline.service.images import check_image, decode_image
from pipeline.service.runtime.limits import Limits
from pipeline.teaching.corrections import AlreadyKnown, point_out_another
from pipeline.teaching.session import LiveTeaching
from recognizer.names import clean_name
from recognizer.rule import SAME_SHARE
from recognizer.sample_rule import decide, unlike
from recognizer.store.journal import Doing
from recognizer.store.unknown import Verdict, clear, count, judge
from recognizer.store.write import Change, NewSample

if TYPE_CHECKING:
    from pipeline.library.page.shelf import Shelf

logger = logging.getLogger(__name__)

LIMITS = Limits(max_bytes=25 * 2**20, max_pixels=50_000_000)
"""Of a photo that is dropped on the page."""

MOST_PHOTOS = 200
PHOTO_SECONDS = 900.0
"""Photos that were looked at and wait for a name: how many, and for how long."""

GROUPS = 50
"""Groups of unknown faces that are told at once; those that were met most often."""

SHOWN = 12
"""Faces of a group that are shown."""


class Desk:
    """Any thread may call any method.

    Args:
        memory: keeps unknown faces; None where it is not asked for.
        open_detector: opens what finds faces in photos, when the first one comes.
        shelf: a library of `faces index`; None where there is none.
    """

    def __init__(
        self,
        live: LiveTeaching,
        memory: Memory | None,
        open_detector: Callable[[], Detector],
        shelf: Shelf | None = None,
    ) -> None:
        self.live, self.store, self.memory, self.shelf = live, live.store, memory, shelf
        self._open_detector = open_detector
        self._lock = threading.Lock()
        self._photos: OrderedDict[str, tuple[float, NewSample]] = OrderedDict()

    @cached_property
    def _detector(self) -> Detector:
        return self._open_detector()

    # -- what is there

    def status(self) -> dict[str, Any]:
        """What can be undone, how many unknown faces are kept for how long, and the library."""
        acts = self.store.acts()
        kept = self.memory.kept if self.memory is not None else None
        return {
            "undo": asdict(acts[0]) if acts else None,
            "unknown": count(self.store),
            "remember": None if kept is None else kept.total_seconds(),
            "library": None if self.shelf is None else self.shelf.status(),
        }

    def person(self, name: str) -> dict[str, Any] | None:
        """A person's page; None for nobody, who may have been forgotten this very moment."""
        try:
            samples, denied = self.store.samples(name), self.store.samples(name, denied=True)
        except UserError:
            return None
        info = next((one for one in self.store.people() if one.name == name), None)
        if info is None:
            return None
        snapshot = self.store.snapshot()
        vectors = np.stack([sample.embedding for sample in samples])
        least = SAME_SHARE * snapshot.same
        odd = unlike(vectors[:0], vectors, least)
        groups = group_faces(vectors, np.arange(len(vectors)), snapshot.same).group
        return {
            **asdict(info),
            "samples": [
                {
                    "id": sample.id, "source": sample.source, "created": sample.created,
                    "picture": sample.picture is not None, "outlier": cosine, "part": int(part),
                }
                for sample, cosine, part in zip(samples, odd, groups, strict=True)
            ],
            "denied": [
                {"id": d.id, "created": d.created, "picture": d.picture is not None}
                for d in denied
            ],
        }  # fmt: skip

    def review(self) -> dict[str, Any]:
        """The groups of unknown faces."""
        groups = review(self.store)
        return {
            "total": len(groups),
            "groups": [
                {
                    "ids": [face.id for face in group.faces],
                    "shown": [face.id for face in group.faces[:SHOWN] if face.picture],
                    "guess": group.guess,
                    "first": group.seen[0],
                    "last": group.seen[1],
                    "sources": sorted({face.source for face in group.faces} - {""}),
                }
                for group in groups[:GROUPS]
            ],
        }

    def picture(self, sample: int | None, unknown: int | None) -> bytes | None:
        """The PNG of a sample or of an unknown face; None where there is none."""
        if sample is not None:
            return self.store.picture("sample", sample)
        return None if unknown is None else self.store.picture("unknown", unknown)

    # -- people

    def remove_samples(self, name: str, ids: Sequence[int]) -> None:
        """These samples go; who has none left is forgotten, until it is undone."""
        doing = Doing(f"{counted(len(ids), 'sample')} of {name} removed", head=True)
        self.live.apply(Change(remove=ids, doing=doing))

    def split(self, name: str, ids: Sequence[int], new: str) -> None:
        """These samples of one person are another's."""
        new = clean_name(new)
        if new == name:
            raise UserError("that is the same name")
        doing = Doing(f"{counted(len(ids), 'sample')} of {name} given to {new}", head=True)
        self.live.apply(Change(move=(new, ids), doing=doing))

    # -- unknown faces

    def name_unknown(self, ids: Sequence[int], name: str, sure: bool) -> None:
        """See `pipeline.review.groups.naming`."""
        change = naming(self.store, ids, name, self.live.options.gates, sure=sure)
        if self.live.options.pictures != "all":
            change = replace(change, add={n: _one_picture(s) for n, s in change.add.items()})
        self.live.apply(change)

    def deny_unknown(self, ids: Sequence[int], name: str) -> None:
        """These unknown faces are not this person."""
        self.live.apply(denying(self.store, ids, name))

    def judge(self, ids: Sequence[int], verdict: Verdict) -> None:
        """Ignore them for ever, or note that they are no faces."""
        faces = chosen(self.store, ids)
        what = "ignored for ever" if verdict == "ignored" else "said to be no face"
        bar = self.store.snapshot().same if verdict == "ignored" else NO_FACE
        numbers = alike(self.store, faces, bar)
        judge(self.store, numbers, verdict, f"{counted(len(numbers), 'picture')} {what}")

    def clear_unknown(self) -> None:
        """Delete all unknown faces that are kept."""
        clear(self.store)

    def undo(self, act: int | None) -> None:
        """See `LiveTeaching.undo`."""
        self.live.undo(act)

    # -- photos

    def look(self, data: bytes, source: str) -> dict[str, Any]:
        """Look at a photo that may be used later: its number, or why it cannot be used."""
        try:
            check_image(data, LIMITS)
            image = decode_image(data, LIMITS)
            sample = sample_of(
                image, self._detector, self.live.embedder, self.live.options.gates, False, True,
                f"photo {source}"[:200],
            )  # fmt: skip
        except Refused as refused:
            return {"id": None, "reasons": list(refused.reasons)}
        except ServiceError as error:
            return {"id": None, "reasons": [str(error)]}
        key = secrets.token_urlsafe(12)
        now = time.monotonic()
        with self._lock:
            self._photos[key] = (now, sample)
            for old, (when, _) in list(self._photos.items()):
                if now - when > PHOTO_SECONDS or len(self._photos) > MOST_PHOTOS:
                    del self._photos[old]
        return {"id": key, "reasons": []}

    def search(self, data: bytes) -> dict[str, Any]:
        """Search the library for the largest face of a photo: the key of `Shelf.found`, and how
        many faces the photo has.

        Raises ServiceError for a photo that cannot be used, UserError for one without a face.
        """
        assert self.shelf is not None
        check_image(data, LIMITS)
        image = decode_image(data, LIMITS)
        analyzer = FaceAnalyzer(self._detector, self.live.embedder)
        vector, faces = largest_face(image, analyzer, self.shelf.library.manifest, "the photo")
        return {"key": self.shelf.search(vector), "faces": faces}

    def enroll(self, name: str, photos: Sequence[str], sure: bool) -> dict[str, str]:
        """Make samples of photos that were looked at; why some could not be used, by number.

        Raises AlreadyKnown unless ``sure`` when they look like somebody else, UserError when none
        of them is of use.
        """
        name = clean_name(name)
        with self._lock:
            found = {key: self._photos[key][1] for key in photos if key in self._photos}
        if not found:
            raise UserError("these photos have waited too long: drop them again")
        snapshot = self.store.snapshot()
        vectors = np.stack([sample.embedding for sample in found.values()])
        decisions = decide(snapshot, name, vectors, self.live.options.gates, force=sure)
        point_out_another(decisions, name)
        used, reasons = [], {}
        for (key, sample), decision in zip(found.items(), decisions, strict=True):
            if decision.why is not None:
                reasons[key] = decision.reason
            elif decision.looks_like is not None and not sure:
                other, cosine = decision.looks_like
                raise AlreadyKnown(
                    f"a photo looks like {other} ({cosine:.2f}), who is known already",
                    other, cosine,
                )  # fmt: skip
            else:
                used.append(sample)
        if used:
            doing = Doing(f"{counted(len(used), 'photo')} added: {name}", head=True)
            if self.live.options.pictures != "all":
                used = _one_picture(used)
            self.live.apply(Change(add={name: used}, doing=doing))
            with self._lock:
                for key in found:
                    self._photos.pop(key, None)
        return reasons


def _one_picture(samples: Sequence[NewSample]) -> list[NewSample]:
    """Only the first keeps its picture, which stands for the person."""
    return [sample if i == 0 else replace(sample, picture=None) for i, sample in enumerate(samples)]
