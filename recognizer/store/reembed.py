"""The people of one embedder, made over for another from the pictures that were kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from faces.errors import UserError
from recognizer.store.people import Store
from recognizer.store.unknown import judged, waiting
from recognizer.types import Embedder

BATCH = 32


@dataclass(frozen=True)
class Reembedded:
    """What came of it."""

    samples: int  # vectors made again
    lost_samples: int  # those without a picture, which are gone
    lost_people: tuple[str, ...]  # who had no picture at all and is gone
    # faces of the review that waited for a name or were to be ignored, which are gone
    lost_unknown: int = 0


def reembed(
    store: Store,
    embedder: Embedder,
    *,
    drop_missing: bool = False,
    progress: Callable[[int], object] = lambda count: None,
) -> Reembedded:
    """Replace every vector by the one that ``embedder`` makes of the sample's picture.

    Args:
        store: opened with `Store.open_existing`; it is bound to ``embedder`` afterwards. The
            classifier head and the thresholds belonged to the old one and are dropped, as are
            unknown and ignored faces and what could be undone.
        drop_missing: go on although some samples have no picture; they are lost.
        progress: called with the number of samples done since the last call.

    The file changes in one step at the end, so it can be stopped at any time. Raises UserError when
    pictures are missing (see ``drop_missing``), when none is left, and when another program changes
    the file meanwhile.
    """
    seen = store.version()
    people = store.people()
    denied = {p.name: store.samples(p.name, denied=True) for p in people if p.denied}
    missing = {p.name: p.samples - p.crops for p in people if p.crops < p.samples}
    for name, faces in denied.items():
        if without := sum(face.picture is None for face in faces):
            missing[name] = missing.get(name, 0) + without
    lost = tuple(p.name for p in people if not p.crops)
    if people and len(lost) == len(people):
        raise UserError(
            f"{store.path} has no stored pictures, so no vector can be made again: enroll "
            "everybody again from the photos into another file; `faces enroll --keep-crops` "
            "keeps the pictures for the next time"
        )
    if missing and not drop_missing:
        raise UserError(
            f"{sum(missing.values())} samples of {len(missing)} people ({_some(missing)}) have no "
            "stored picture: enroll those again from the photos, or drop_missing=True loses them"
            + (f"; {len(lost)} people would be forgotten: {_some(lost)}" if lost else "")
        )
    vectors: dict[int, NDArray[np.float32]] = {}
    for person in people:
        everything = [*store.samples(person.name), *denied.get(person.name, ())]
        samples = [sample for sample in everything if sample.picture is not None]
        for start in range(0, len(samples), BATCH):
            batch = samples[start : start + BATCH]
            crops = [
                sample.picture.crop(embedder) for sample in batch if sample.picture is not None
            ]
            for sample, vector in zip(batch, embedder.embed(np.stack(crops)), strict=True):
                vectors[sample.id] = vector
            progress(len(batch))
    unknown = len(waiting(store)) + sum(map(len, judged(store).values()))
    store.rebind(embedder.fingerprint, embedder.dimension, vectors, seen)
    return Reembedded(len(vectors), sum(missing.values()), lost, unknown)


def _some(names: dict[str, int] | tuple[str, ...]) -> str:
    shown = list(names)[:5]
    return ", ".join(shown) + (", ..." if len(names) > len(shown) else "")
