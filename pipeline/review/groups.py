"""Unknown faces as groups of people, and what somebody says of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np

from faces.errors import UserError
from faces.text import counted
from pipeline.library.who.grouping import group_faces
from pipeline.teaching.corrections import AlreadyKnown, point_out_another
from recognizer.names import clean_name
from recognizer.quality import Gates
from recognizer.sample_rule import decide, somebody_else
from recognizer.store.journal import Doing
from recognizer.store.people import Store
from recognizer.store.unknown import UnknownFace, unknown_faces
from recognizer.store.write import Change, NewSample
from recognizer.types import unit

MOST = 20
"""Samples that naming a group gives a person at most: good and varied ones are enough."""


@dataclass(frozen=True, eq=False)
class Group:
    """Faces that are one person's."""

    faces: tuple[UnknownFace, ...]  # the best to see first
    guess: str | None  # who it may be; None where nobody is like it

    @property
    def seen(self) -> tuple[str, str]:
        """First and last; UTC, ISO 8601."""
        times = [face.seen for face in self.faces]
        return min(times), max(times)


def review(store: Store) -> list[Group]:
    """The groups that wait for a name, those that were met most often first."""
    faces = unknown_faces(store)
    if not faces:
        return []
    snapshot = store.snapshot()
    passes: dict[str, list[UnknownFace]] = {}
    for face in faces:
        passes.setdefault(face.look, []).append(face)
    of_pass = [sorted(some, key=lambda face: -face.quality) for some in passes.values()]
    means = np.stack([unit(np.sum([f.embedding for f in some], axis=0)) for some in of_pass])
    times = np.array([datetime.fromisoformat(some[0].seen).timestamp() for some in of_pass])
    found = group_faces(means, np.arange(len(of_pass)), snapshot.same, time=times)
    groups = []
    for number in range(len(found)):
        mine = [of_pass[i] for i in np.flatnonzero(found.group == number)]
        together = sorted((face for some in mine for face in some), key=lambda f: -f.quality)
        guesses = [
            f.guess for f in together if f.guess and not snapshot.denies(f.embedding, f.guess)
        ]
        guess = max(set(guesses), key=guesses.count) if guesses else None
        groups.append(Group(tuple(together), guess))
    return groups


def naming(
    store: Store, ids: Sequence[int], name: str, gates: Gates, *, sure: bool = False
) -> Change:
    """What naming these unknown faces changes: their good and varied ones become samples.

    Left out is what the one rule refuses, and what looks like somebody else.

    Args:
        ids: numbers of unknown faces, see `UnknownFace`.
        sure: do it although `AlreadyKnown` was raised.

    Raises AlreadyKnown when they look like somebody else, or not like the person of this name;
    UserError when none of them is there any more, or for a name that cannot be.
    """
    name = clean_name(name)
    faces = chosen(store, ids)
    snapshot = store.snapshot()
    best = faces[0]
    other = somebody_else(snapshot, name, best.embedding)
    if other is not None and not sure:
        raise AlreadyKnown(
            f"this looks like {other[0]} ({other[1]:.2f}), who is known already", *other
        )
    vectors = np.stack([face.embedding for face in faces])
    decisions = decide(snapshot, name, vectors, gates, force=sure)
    point_out_another(decisions, name)
    if all(decision.why == "poor_photo" for decision in decisions):
        raise UserError(f"none of these faces can be learned from: {decisions[0].reason}")
    samples = [
        NewSample(face.embedding, face.picture, f"review {face.source}".strip(), face.seen)
        for face, decision in zip(faces, decisions, strict=True)
        if decision.why is None and (sure or decision.looks_like is None)
    ][:MOST]
    doing = Doing(f"{counted(len(faces), 'face')} named {name}", head=True)
    add = {name: samples} if samples else {}  # all may be near-duplicates of what is known
    known = [face.id for face in faces]
    if samples:  # those that came meanwhile, and that are no question any more
        vectors = np.stack([sample.embedding for sample in samples])
        after = replace(snapshot, gallery=snapshot.gallery.add(name, vectors), head=None)
        rest = [f for f in unknown_faces(store) if f.guess is None and f.id not in set(known)]
        if rest:
            matches = after.identify(np.stack([face.embedding for face in rest]))
            known += [f.id for f, match in zip(rest, matches, strict=True) if match.name == name]
    return Change(add=add, known=known, doing=doing)


def alike(store: Store, faces: Sequence[UnknownFace], bar: float) -> list[int]:
    """Numbers of these and of all unknown faces that are like one of them."""
    vectors = np.stack([face.embedding for face in faces])
    return [f.id for f in unknown_faces(store) if float((vectors @ f.embedding).max()) > bar]


def denying(store: Store, ids: Sequence[int], name: str) -> Change:
    """What it changes to say of these unknown faces that they are not this person."""
    faces = chosen(store, ids)
    samples = [NewSample(f.embedding, f.picture, "review", f.seen) for f in faces]
    return Change(deny={name: samples}, doing=Doing(f"this is not {name}", head=True))


def chosen(store: Store, ids: Sequence[int]) -> list[UnknownFace]:
    """Those of these that still wait for a name, best first. Raises UserError when none does."""
    wanted = set(ids)
    found = [face for face in unknown_faces(store) if face.id in wanted]
    if not found:
        raise UserError("these faces are gone: their time is over, or somebody has named them")
    return sorted(found, key=lambda face: -face.quality)
