"""Several machines, each with its own copy of the pictures: whether the copies are the same."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from detector.data.division import picture_name
from detector.training.dataset import FaceIndex
from detector.training.distributed import World
from detector.training_pictures import file_key
from faces.errors import UserError


def check_copies(parts: Mapping[str, FaceIndex], world: World) -> None:
    """See to it that every machine trains and validates on the same pictures and boxes.

    First only a digest of the list goes round, and the list itself where that differs. Of large
    files length, beginning, middle and end are compared. Raises UserError, on all ranks, that names
    the first picture that differs.
    """
    if world.machines == 1:
        return
    for name, index in parts.items():
        rows = _rows(index) if world.local == 0 else None
        whole = hashlib.sha256(repr(rows).encode()).hexdigest() if rows is not None else None
        digests = world.gather(whole)
        if len({digest for digest in digests if digest is not None}) == 1:
            continue
        first, *others = [
            (machine, each)
            for machine, each in world.gather((f"{world.machine} ({platform.node()})", rows))
            if each is not None
        ]
        for other in others:
            if other[1] != first[1]:
                which = f"{name} pictures" if name else "pictures"
                raise UserError(
                    f"the {which} of machine {first[0]} and machine {other[0]} differ: "
                    f"{_difference(first[1], other[1])}. Every machine needs the same pictures "
                    "and annotations: copy those of one to the others"
                )


def _rows(index: FaceIndex) -> list[tuple[str, str]]:
    """Name and digest of every picture with its annotation, in their order."""
    with ThreadPoolExecutor(8) as pool:
        keys = list(pool.map(file_key, index.paths()))
    return [
        (picture_name(path, index.image_dir), hashlib.sha256(key + index.record(i)).hexdigest())
        for i, (path, key) in enumerate(zip(index.paths(), keys, strict=True))
    ]


def _difference(first: list[tuple[str, str]], other: list[tuple[str, str]]) -> str:
    ours, theirs = dict(first), dict(other)
    for name in sorted(ours.keys() | theirs.keys()):
        if name not in theirs:
            return f"{name} is on the first only"
        if name not in ours:
            return f"{name} is on the second only"
        if ours[name] != theirs[name]:
            return f"{name}, or its annotation, is not the same"
    return f"they come in another order, {first[0][0]} or {other[0][0]} first"
