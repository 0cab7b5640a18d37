"""The order in which training pictures are drawn, by the seed alone, and their loader."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Sampler

from detector.training.dataset import FaceDataset, Key, collate
from faces.errors import UserError


class ShuffledBatches(Sampler[list[Key]]):
    """Batches of `Key` in an order that depends only on (seed, epoch).

    An epoch has as many crops as there are images. An image with n faces is drawn in proportion to
    the square root of n (at least 1), because a crop shows only a few faces of a crowd.

    Every ``large_every``-th batch (0: none) holds large crops of the first quarter of its images,
    each with four times the pixels; its other images are left out of this epoch. A process that
    takes fewer than four images at once gets no large crops, which would need more memory.

    With ``parts`` every batch comes as so many lists of keys, one after the other.

    Set ``epoch`` and ``start`` (batches to skip, for a run resumed within an epoch) before
    iterating. Every process takes its part of the same global batches; the images that do not fill
    the last batch are left out.
    """

    def __init__(
        self,
        faces: NDArray[np.int64],
        batch_size: int,
        seed: int,
        rank: int = 0,
        world: int = 1,
        large_every: int = 0,
        parts: int = 1,
    ) -> None:
        at_once = batch_size // parts
        if at_once % world:
            raise UserError(
                f"batch_size {at_once} cannot be shared by {world} processes: take a multiple"
            )
        self.length = len(faces)
        if self.length < batch_size:
            times = f"{parts} times " if parts > 1 else ""
            raise UserError(
                f"there are {self.length} training images, fewer than {times}batch_size {at_once}: "
                "lower it"
            )
        weights = np.sqrt(np.maximum(faces, 1))
        self._shares = np.cumsum(weights) / weights.sum()
        self.batch_size = batch_size
        self.seed = seed
        self.rank = rank
        self.world = world
        self.parts = parts
        self.large_every = large_every if at_once // world >= 4 else 0
        self.epoch = 0
        self.start = 0

    def __len__(self) -> int:
        return self.length // self.batch_size

    def __iter__(self) -> Iterator[list[Key]]:
        generator = torch.Generator().manual_seed(mix(self.seed, self.epoch))
        # Evenly spaced from a random start: every image as often as its share, rounded up or down.
        start = float(torch.rand((), generator=generator))
        drawn = np.searchsorted(self._shares, (np.arange(self.length) + start) / self.length)
        drawn = drawn.clip(max=self.length - 1)
        order = drawn[torch.randperm(self.length, generator=generator).numpy()].tolist()
        for batch in range(self.start, len(self)):
            large = self.large_every > 0 and batch % self.large_every == self.large_every - 1
            share = self.batch_size // self.world // (4 if large else 1)
            first = batch * self.batch_size + self.rank * share
            keys = [
                (i, mix(self.seed, self.epoch, first + k), large)
                for k, i in enumerate(order[first : first + share])
            ]
            for part in range(self.parts):
                yield keys[part * share // self.parts : (part + 1) * share // self.parts]


def mix(*numbers: int) -> int:
    """A 63-bit seed that depends on all ``numbers`` (SplitMix64, Steele et al. 2014)."""
    state = 0
    for number in numbers:
        state = (state + number + 0x9E3779B97F4A7C15) & (2**64 - 1)
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & (2**64 - 1)
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & (2**64 - 1)
        state ^= state >> 31
    return state >> 1


def make_loader(
    dataset: FaceDataset, batches: ShuffledBatches, num_workers: int, pin_memory: bool = False
) -> DataLoader:
    """A loader whose workers stay alive between epochs and leave signals to the main process."""
    return DataLoader(
        dataset,
        batch_sampler=batches,
        collate_fn=collate,
        num_workers=num_workers,
        persistent_workers=num_workers > 0,
        prefetch_factor=4 if num_workers else None,
        pin_memory=pin_memory,
        worker_init_fn=_leave_signals_to_main,
    )


def _leave_signals_to_main(worker: int) -> None:
    """A worker survives Ctrl-C and a `kill` of the process group.

    The main process needs it to finish the step, and ends it afterwards with SIGTERM, which it must
    therefore not ignore.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(os, "setpgid"):
        os.setpgid(0, 0)
