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
from recognizer.gallery import Gallery
from recognizer.head import Head
from recognizer.shipped import FOLDER
from recognizer.types import Match

log = logging.getLogger(__name__)

DEFAULTS = FOLDER / "thresholds.json"
"""Thresholds of the shipped embedders, written by `faces calibrate`."""

FORMAT = "faces-thresholds"


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
    embeddings: NDArray[np.float32], gallery: Gallery, head: Head | None, thresholds: Thresholds
) -> list[Match]:
    """One `Match` for each unit vector float32 (N, D).

    The head's best class if it is confident and not "unknown"; else the gallery's nearest person
    if close; else unknown.
    """
    if not len(embeddings):
        return []
    nearest, cosines = gallery.nearest(embeddings)
    classes: list[str | None] = [None] * len(embeddings)
    confidences: list[float | None] = [None] * len(embeddings)
    if head is not None:
        probabilities = head.probabilities(embeddings)
        classes = [head.names[i] for i in probabilities.argmax(axis=1)]
        confidences = probabilities.max(axis=1).tolist()
    found = []
    for row, cosine, name, confidence in zip(nearest, cosines, classes, confidences, strict=True):
        person = gallery.people[row] if row >= 0 else None
        similarity = float(cosine) if row >= 0 else None
        if name is not None and confidence is not None and confidence > thresholds.head:
            found.append(Match(name, similarity, confidence, "head", person))
        elif similarity is not None and similarity > thresholds.gallery:
            found.append(Match(person, similarity, confidence, "gallery", person))
        else:
            found.append(Match(None, similarity, confidence, "none", person))
    return found


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
