"""Whose a face is: pointing out who is known already, and moving samples to another person."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from faces.errors import UserError
from recognizer.gallery import Head
from recognizer.sample_rule import Decision, decide
from recognizer.snapshot import Snapshot
from recognizer.store.journal import Doing
from recognizer.store.people import Store
from recognizer.store.read import Sample
from recognizer.store.write import Change, NewSample
from recognizer.types import unit

SOURCE = "live"
"""Begins the source of every sample that was taught here; the rest tells one teaching from others.
"""

WHOLE = 0.5
"""How near the mean of an earlier teaching must be to a face for `correct` to move it, as a part of
the way from the threshold of names to 1."""


class AlreadyKnown(UserError):
    """The face looks like somebody known under another name; or the name is somebody else's."""

    def __init__(self, message: str, name: str, similarity: float) -> None:
        super().__init__(message)
        self.name, self.similarity = name, similarity


def point_out(snapshot: Snapshot, vector: NDArray[np.float32], name: str) -> None:
    """Raise AlreadyKnown for a face under another name, or a name with another face."""
    [decision] = decide(snapshot, name, vector[None], None)
    other = decision.looks_like
    if other is not None:
        raise AlreadyKnown(
            f"this looks like {other[0]} ({other[1]:.2f}), who is known already", *other
        )
    if decision.similarity is not None:
        point_out_another([decision], name)


def point_out_another(decisions: Sequence[Decision], name: str) -> None:
    """Raise AlreadyKnown when none of these faces is taken for the known ``name``."""
    decisions = [decision for decision in decisions if decision.why != "poor_photo"]
    if not decisions or any(decision.why != "another_face" for decision in decisions):
        return
    cosine, reason = decisions[0].similarity, decisions[0].reason
    if cosine is not None:
        reason = f"there is somebody called {name} already, who looks different ({cosine:.2f})"
    raise AlreadyKnown(reason, name, cosine or 0.0)


def agrees(snapshot: Snapshot, vector: NDArray[np.float32], name: str) -> bool:
    """Whether the head, if it has a say, calls this face by its name."""
    [match] = snapshot.identify(vector[None])
    return match.source != "head" or match.name == name


def without(head: Head | None, name: str) -> Head | None:
    """The head without a class; None when no person is left in it."""
    if head is None or name not in head.names:
        return head
    keep = [i for i, other in enumerate(head.names) if other != name]
    names = tuple(head.names[i] for i in keep)
    if all(other is None for other in names):
        return None
    return Head(head.fingerprint, names, head.weight[keep], head.bias[keep])


def taught_as(store: Store, source: str, name: str) -> str | None:
    """What somebody who was taught as ``name`` is called by now; None when they were forgotten.

    Another program may have changed the people. ``source`` is that of the teaching.
    """
    names = store.snapshot().gallery.people
    for other in sorted(names, key=lambda other: other != name):
        with suppress(UserError):  # gone since
            if any(sample.source == source for sample in store.samples(other)):
                return other
    return None


def samples_of_face(
    store: Store, face: NDArray[np.float32], wrong: str, source: str | None, stricter: float
) -> list[int]:  # fmt: skip
    """Numbers of the samples of ``wrong`` that show this face.

    Those of the teaching ``source``, those of earlier teachings whose mean is near to the face, and
    single ones nearer to it than to the rest of the person (very near, when there is no rest).

    Args:
        face: its vector, float32 (D,).
        source: of the teaching that its track was part of, if any.
        stricter: see `pipeline.teaching.gathering.TeachOptions`.
    """
    named = store.snapshot().thresholds.gallery
    bar = named + stricter * (1 - named)
    whole = named + WHOLE * (1 - named)
    teachings: dict[str, list[Sample]] = {}
    for sample in store.samples(wrong):
        batch = sample.source if sample.source.startswith(f"{SOURCE} ") else str(sample.id)
        teachings.setdefault(batch, []).append(sample)
    moved: list[int] = []
    rest: list[list[Sample]] = []
    for batch, samples in teachings.items():
        mean = unit(np.sum([sample.embedding for sample in samples], axis=0))
        if batch == source or (len(samples) > 1 and float(mean @ face) > whole):
            moved += [sample.id for sample in samples]
        else:
            rest.append(samples)
    far = [s.embedding for group in rest for s in group if float(s.embedding @ face) <= bar]
    center = unit(np.sum(far, axis=0)) if far else None
    for group in rest:
        if len(group) > 1:
            continue
        [sample] = group
        # Nobody to compare with: the face must be as near as the mean of a teaching must.
        nearest = whole if center is None else max(bar, float(sample.embedding @ center))
        if float(sample.embedding @ face) > nearest:
            moved.append(sample.id)
    return moved


def move(
    store: Store, ids: Sequence[int], wrong: str, name: str, vector: NDArray[np.float32]
) -> None:  # fmt: skip
    """Move samples of ``wrong`` to ``name``; the head's class that was taught with them goes.

    The whole head goes when it would still not call the face in ``vector`` (float32 (D,)) by its
    new name.
    """
    snapshot = store.snapshot()
    head = without(snapshot.head, wrong)
    gallery = snapshot.gallery.add(name, vector[None])
    if not agrees(replace(snapshot, gallery=gallery, head=head), vector, name):
        head = None
    store.apply(
        Change(
            move=(name, ids),
            new_head=head is not snapshot.head,
            head=head,
            provenance=store.head_provenance() or {},
            doing=Doing(f"{wrong} was corrected to {name}", head=True),
        )
    )


def deny(
    store: Store,
    wrong: str,
    faces: Sequence[NewSample],
    source: str | None,
    stricter: float,
) -> None:
    """These faces of one person are not ``wrong``; samples of ``wrong`` that show them go.

    Args:
        faces: the clearest first; all of one source, to which more may be added later.
        source, stricter: see `samples_of_face`.
    """
    own = store.samples(wrong)
    ids = samples_of_face(store, faces[0].embedding, wrong, source, stricter)
    if len(ids) == len(own) and not any(sample.source == source for sample in own):
        ids = []  # all that is known of them: somebody may look like their only photo
    doing = Doing(f"this is not {wrong}", head=True, more=faces[0].source)
    store.apply(Change(remove=ids, deny={wrong: faces}, doing=doing))
