"""The hybrid rule, which puts a name to a face, and the thresholds that it asks.

A cosine that means "the same person" in one network is chance in another: thresholds belong to an
embedder. So nothing that names faces can be opened without them: those not given are those that
were measured for the embedder.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from faces.errors import UserError
from recognizer.gallery import Gallery, Head
from recognizer.shipped import FOLDER
from recognizer.types import Match

log = logging.getLogger(__name__)

DEFAULTS = FOLDER / "thresholds.json"
"""Thresholds of the shipped embedders, written by `faces calibrate`."""

FORMAT = "faces-thresholds"

SAME_SHARE = 0.6
"""Part of the gallery's threshold up to which a face is unlike the others of a person. Naming asks
for more, as there are many people it could be; here somebody has said who it is, or who it is not,
and a photo may be bad. Shipped embedder, 60 people of LFW: of the true photos 6 % are refused when
there is one other photo and none when there are three; 2 % of other people's are taken."""

HEAD_SHARE = 0.7
"""Part of the gallery's threshold that a face must exceed with somebody's photos to get their name
from the head. Tiny, blurred and dark faces of strangers look alike, and a head is sure of some that
look like nobody: without this it named 10 % of strangers whose face has 12 pixels, with it 2 %
(docs/recognition.md)."""


@dataclass(frozen=True)
class Thresholds:
    """What a face must exceed to get a name.

    Args:
        head: a class of the head must be more probable than this (0..1).
        gallery: the cosine with the nearest prototype must be more than this (-1..1).

    0.7 is only a convention; each embedder has its own, see `default_thresholds`.
    """

    head: float = 0.7
    gallery: float = 0.7


def identify(
    embeddings: NDArray[np.float32],
    gallery: Gallery,
    head: Head | None,
    thresholds: Thresholds,
    denied: Gallery | None = None,
) -> list[Match]:
    """One `Match` for each unit vector float32 (N, D).

    The head's best class if it is confident, not "unknown" and somebody whom the face is at all
    like (see `HEAD_SHARE`); else the gallery's nearest person if close; else unknown. The gallery
    comes first where its nearest person is close, nearer than the head's, and unknown to the head,
    which takes a look-alike of later for the one whom it learned. Never a person whom this face is
    not: ``denied`` holds the faces of which somebody has said so, under the name that they do not
    have, see `is_denied`.
    """
    if not len(embeddings):
        return []
    nearest, cosines = gallery.nearest(embeddings)
    classes: list[str | None] = [None] * len(embeddings)
    confidences: list[float | None] = [None] * len(embeddings)
    learned: frozenset[str | None] = frozenset(() if head is None else head.names)
    if head is not None:
        probabilities = head.probabilities(embeddings)
        classes = [head.names[i] for i in probabilities.argmax(axis=1)]
        confidences = probabilities.max(axis=1).tolist()
    found = []
    for vector, person, cosine, name, confidence in zip(
        embeddings, nearest, cosines, classes, confidences, strict=True
    ):
        if denied is not None and len(denied):

            def barred(who: str, face: NDArray[np.float32] = vector) -> bool:
                assert denied is not None
                return is_denied(face, who, gallery, denied, thresholds)

            if name is not None and barred(name):
                name, confidence = None, None
            others: set[str] = set()
            while person is not None and barred(person):
                others.add(person)
                [person], [cosine] = gallery.nearest(vector[None], without=others)
        similarity = None if person is None else float(cosine)
        close = similarity is not None and similarity > thresholds.gallery
        if (
            name is not None
            and confidence is not None
            and confidence > thresholds.head
            and (likeness := _likeness(vector, name, gallery)) > HEAD_SHARE * thresholds.gallery
            and not (close and person not in learned and cosine > likeness)
        ):
            found.append(Match(name, similarity, confidence, "head", person))
        elif close:
            found.append(Match(person, similarity, confidence, "gallery", person))
        else:
            found.append(Match(None, similarity, confidence, "none", person))
    return found


def _likeness(face: NDArray[np.float32], name: str, gallery: Gallery) -> float:
    """The cosine with somebody's prototype; 1 where the gallery has none, as nobody can say."""
    prototype = gallery.prototype(name)
    return 1.0 if prototype is None else float(prototype @ face)


def is_denied(
    face: NDArray[np.float32],
    name: str,
    gallery: Gallery,
    denied: Gallery,
    thresholds: Thresholds,
) -> bool:
    """Whether somebody has said of this face, float32 (D,), that it is not this person.

    It is one of those in ``denied`` when it is like one (see `SAME_SHARE`), and no less than it is
    like the person. So a fact about one face takes nothing from the person's own faces, nor from
    anybody else's.
    """
    no = denied.of(name)
    if not len(no):
        return False
    near = float((no @ face).max())
    own = float((gallery.of(name) @ face).max(initial=-1.0))
    return near > SAME_SHARE * thresholds.gallery and near >= own


def default_thresholds(fingerprint: str, path: Path = DEFAULTS) -> Thresholds:
    """The calibrated thresholds of an embedder; 0.7, with a warning, for an unknown one.

    Raises UserError when the file of the shipped ones is damaged.
    """
    entry = read_defaults(path).get(fingerprint)
    if entry is None:
        log.warning(
            "no thresholds are known for this embedder (%s): 0.7 is only a convention; measure "
            "them with `faces calibrate`",
            fingerprint,
        )
        return Thresholds()
    return Thresholds(head=entry["head"], gallery=entry["gallery"])


def read_defaults(path: Path = DEFAULTS) -> dict[str, dict[str, Any]]:
    """Fingerprint -> thresholds and what they were measured on; empty without such a file.

    Raises UserError when it is damaged.
    """
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] != FORMAT or content["version"] != 1:
            raise ValueError("another format")
        entries: dict[str, dict[str, Any]] = content["embedders"]
        for entry in entries.values():
            _ = float(entry["head"]), float(entry["gallery"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path} is no file of thresholds, or it is damaged: {error}") from error
    return entries
