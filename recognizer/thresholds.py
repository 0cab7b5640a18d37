"""From when on a face is somebody: numbers that belong to an embedder, never to a program.

A cosine that means "the same" in one network is chance in another. So nothing that names faces can
be opened without thresholds: those not given are those that were measured for the embedder.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from faces.errors import UserError
from recognizer.shipped import FOLDER

log = logging.getLogger(__name__)

DEFAULTS = FOLDER / "thresholds.json"
"""Thresholds of the shipped embedders, written by `faces calibrate`."""

FORMAT = "faces-thresholds"


@dataclass(frozen=True)
class Thresholds:
    """From when on a face is somebody.

    Args:
        head: a class of the head must be more probable than this (0..1).
        gallery: the cosine with the nearest prototype must be more than this (-1..1).

    0.7 is the rule's habit; each embedder has its own, see `default_thresholds`.
    """

    head: float = 0.7
    gallery: float = 0.7


def default_thresholds(fingerprint: str, path: Path = DEFAULTS) -> Thresholds:
    """The calibrated thresholds of an embedder; the rule's 0.7, with a warning, for an unknown one.

    Raises UserError when the file of the shipped ones is damaged.
    """
    entry = read_defaults(path).get(fingerprint)
    if entry is None:
        log.warning(
            "no thresholds are known for this embedder (%s): 0.7 is only a habit; measure them "
            "with `faces calibrate`",
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
