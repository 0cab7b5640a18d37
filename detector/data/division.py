"""Dividing one set of pictures into a part to train on and a part to validate on.

Pictures that show nearly the same stay in one part, or the validation would ask what was learned by
heart; so do those that the network has learned from in an earlier run. The rest is drawn from the
names of the pictures and a seed alone, and the division is kept in the run folder and in the
checkpoints.
"""

from __future__ import annotations

import json
import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from faces.errors import UserError
from faces.filenames import nfc
from faces.files import atomic_write_text
from faces.text import counted

log = logging.getLogger(__name__)

FILE = "split.json"
"""In the run folder."""
LEAST = 10
"""So many pictures to validate on are wanted where the share is less, and a fifth of all is not."""


@dataclass(frozen=True)
class Division:
    """Which pictures are for what, by their paths below the image folder, with their bytes."""

    train: Mapping[str, int]
    valid: Mapping[str, int]

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for JSON and checkpoints."""
        return {"train": dict(self.train), "valid": dict(self.valid)}

    @classmethod
    def from_dict(cls, values: Any, where: str) -> Division:
        """The inverse of `to_dict`. Raises UserError, naming ``where``, for other values."""
        try:
            parts = [{str(k): int(v) for k, v in values[p].items()} for p in ("train", "valid")]
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UserError(f"{where} holds no division of pictures: {error!r}") from error
        return cls(*parts)

    def write(self, folder: Path) -> Path:
        """Write it into a run folder; returns the file."""
        atomic_write_text(folder / FILE, json.dumps(self.to_dict(), indent=0) + "\n")
        return folder / FILE

    def rows(self, names: Sequence[str], images: Path) -> tuple[list[int], list[int]]:
        """Which of the pictures ``names`` are to train and which to validate on.

        Those that came later are in neither, which is logged. Raises UserError when a part is gone.
        """
        train = [i for i, name in enumerate(names) if name in self.train]
        valid = [i for i, name in enumerate(names) if name in self.valid]
        for what, rows in (("train", train), ("validate", valid)):
            if not rows:
                raise UserError(
                    f"{images} has none of the pictures that the run is to {what} on: give the "
                    "folder that it was begun with, or start a new run"
                )
        if len(train) + len(valid) < len(names):
            new = next(n for n in names if n not in self.train and n not in self.valid)
            log.warning(
                "%s of %s came after the division into parts and are left out, the first is %s: "
                "a new run takes them",
                counted(len(names) - len(train) - len(valid), "picture"), images, new,
            )  # fmt: skip
        return train, valid

    def is_of(self, files: Mapping[str, Path]) -> bool:
        """Whether it is about these pictures: most of those with known names have their bytes."""
        known = {**self.train, **self.valid}
        same = [path.stat().st_size == known[n] for n, path in files.items() if n in known]
        return bool(same) and sum(same) * 2 > len(same)


def read_division(path: Path) -> Division:
    """The division in a file, or in a run folder. Raises UserError when there is none."""
    path = path / FILE if path.is_dir() else path
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"{path}: there is no such file") from error
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is damaged: {error}") from error
    return Division.from_dict(values, str(path))


def picture_name(path: Path, folder: Path) -> str:
    """What a division calls the picture ``path`` below ``folder``."""
    return nfc(path.relative_to(folder).as_posix())


def divide(
    files: Sequence[tuple[str, Path]],
    faces: Sequence[int],
    share: float,
    seed: int,
    groups_of: Callable[[Sequence[Path]], Iterable[int]],
    learned: Sequence[bool] = (),
) -> Division:
    """Divide pictures: about ``share`` of them to validate on, groups whole.

    Args:
        share: wanted part (0..1) to validate on; see also `LEAST`.
        groups_of: the group of each picture; those of one stay together.
        learned: which pictures the network has learned from before: their groups are to train,
            unless too few others show faces.

    Raises UserError when too few pictures differ.
    """
    total = len(files)
    remedy = "give pictures to validate on: a folder val beside train, or valid_path"
    if total < 2:
        raise UserError(f"a single picture cannot be divided to train and to validate on: {remedy}")
    members: defaultdict[int, list[int]] = defaultdict(list)
    for i, number in enumerate(groups_of([path for _, path in files])):
        members[int(number)].append(i)
    groups = sorted(  # drawn by the first name of each, whatever the others are
        members.values(),
        key=lambda group: sha256(f"{seed}/{min(files[i][0] for i in group)}".encode()).digest(),
    )
    shown = [group for group in groups if any(faces[i] for i in group)]
    if len(shown) < 2:
        count = sum(1 for number in faces if number)
        raise UserError(
            f"all {counted(count, 'picture')} with faces show nearly the same, so none can be "
            f"kept to validate on: {remedy}"
        )
    wanted = max(round(share * total), min(LEAST, total // 5), 1)
    # The first that fits shows a face, without which nothing could be measured.
    known = {i for i, seen in enumerate(learned) if seen}
    able = [group for group in shown if known.isdisjoint(group)]
    if not able or 2 * min(map(len, able)) > total:
        known, able = set(), shown
    first = next((g for g in able if len(g) <= wanted), min(able, key=len))
    chosen, count = [first], len(first)
    keep = next(group for group in reversed(shown) if group is not first)  # to train on faces
    for group in groups:
        free = group is not first and group is not keep and known.isdisjoint(group)
        if free and count + len(group) <= wanted:
            chosen.append(group)
            count += len(group)
    valid = sorted(i for group in chosen for i in group)
    if count * 2 > total:
        raise UserError(
            f"the {total} pictures are {len(groups)} groups that show nearly the same, the "
            f"smallest with {count}, more than half of all: {remedy}"
        )
    alike = sum(len(group) for group in groups if len(group) > 1)
    log.info(
        "%s to train and %d to validate on; %s, each much like another, kept with it",
        counted(total - count, "picture"), count, counted(alike, "picture"),
    )  # fmt: skip
    if count < LEAST or not 0.5 <= count / wanted <= 2:
        log.warning(
            "validating on %s of %d (%d wanted): the figures of such a run say little",
            counted(count, "picture"), total, wanted,
        )  # fmt: skip
    sizes = [(name, path.stat().st_size) for name, path in files]
    kept = set(valid)
    return Division(
        dict(item for i, item in enumerate(sizes) if i not in kept),
        dict(item for i, item in enumerate(sizes) if i in kept),
    )
