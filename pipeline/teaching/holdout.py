"""A new snapshot is evaluated on held-out vectors before it is used."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recognizer.acceptance import HeldBack, compare_snapshots, held_back
from recognizer.gallery import Gallery, Head
from recognizer.snapshot import Snapshot
from recognizer.training.fit import FIRST_BAR, SCALE

MORE_NAMED = 0.01
"""Share of unknown people that a new snapshot may name beyond those that the old one names."""


@dataclass(frozen=True, eq=False)
class Split:
    """Everybody's vectors, those to train on and those to evaluate on."""

    taught: Gallery
    held_out: HeldBack

    @classmethod
    def of(cls, gallery: Gallery) -> Split:
        """About a fifth of everybody with five vectors or more is held out.

        Who has fewer is evaluated on what was trained on: at least that must not get worse.
        """
        names = np.array(gallery.names)
        out = held_back(gallery.names, gallery.embeddings)
        spare = np.isin(names, names[~out])  # nobody is held out altogether
        out &= spare
        held_out = out | ~np.isin(names, names[out])
        return cls(
            Gallery(gallery.fingerprint, tuple(names[~out].tolist()), gallery.embeddings[~out]),
            HeldBack(tuple(names[held_out].tolist()), gallery.embeddings[held_out]),
        )


def first_head(old: Head | None, gallery: Gallery) -> Head | None:
    """The old head with rows for newcomers (their means) and without those who are gone.

    What it knows beyond the vectors, such as masks, is kept that way. None without an old head, or
    with one that has no class of strangers.
    """
    if old is None or None not in old.names:
        return None
    rows = {name: i for i, name in enumerate(old.names)}
    means = gallery.prototypes * SCALE
    weight, bias = [], []
    for name, mean in zip(gallery.people, means, strict=True):
        weight.append(old.weight[rows[name]] if name in rows else mean)
        # A newcomer begins level with the strangers' class, as `fit_head` would begin.
        level = old.bias[rows[None]] - FIRST_BAR * SCALE
        bias.append(old.bias[rows[name]] if name in rows else level)
    weight.append(old.weight[rows[None]])
    bias.append(old.bias[rows[None]])
    return Head(old.fingerprint, (*gallery.people, None), np.stack(weight), np.array(bias))


def problems(
    old: Snapshot, new: Snapshot, split: Split, background: NDArray[np.float32]
) -> list[str]:
    """What the new snapshot does worse; both must be without the vectors held back."""
    found = list(compare_snapshots(old, new, split.held_out).problems)
    before, after = (
        sum(match.name is not None for match in snapshot.identify(background))
        for snapshot in (old, new)
    )
    if after > before + MORE_NAMED * len(background):
        found.append(f"{after} of {len(background)} made strangers named, {before} before")
    return found
