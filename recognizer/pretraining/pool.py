"""Variants of faces with the teacher's vectors: made here or aside, and used a few times."""

from __future__ import annotations

import multiprocessing
import signal
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recognizer.pretraining.config import PretrainConfig
from recognizer.pretraining.teacher import Teacher
from recognizer.pretraining.variants import Varied

Made = tuple[NDArray[np.uint8], NDArray[np.float32]]
"""Crops (N, S, S, 3) and the teacher's unit vectors (N, D)."""

PART = 8  # crops that go through the teacher at once: more leave the processor's cache
AHEAD = 3  # numbers for which other processes make variants before they are asked for


@dataclass(frozen=True, eq=False)
class Maker:
    """Makes variants; which ones follows from the seed and the two numbers alone."""

    varied: Varied
    teacher: Teacher
    seed: int

    def __call__(self, number: int, count: int) -> Made:
        """``count`` variants of that number."""
        made = [self._part(number, range(i, min(i + PART, count))) for i in range(0, count, PART)]
        faces, vectors = zip(*made, strict=True)
        return np.concatenate(faces), np.concatenate(vectors)

    def _part(self, number: int, places: range) -> Made:
        start = (self.seed << 48) + (number << 24)
        faces = np.stack([self.varied(start + place) for place in places])
        return faces, self.teacher(faces)


_maker: Maker | None = None  # of a worker process, whose only job it is


def _start_worker(varied: Varied, teacher: Path, seed: int) -> None:
    global _maker
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that trains
    cv2.setNumThreads(1)
    _maker = Maker(varied, Teacher(teacher, 1), seed)


def _work(number: int, count: int) -> Made:
    assert _maker is not None
    return _maker(number, count)


@contextmanager
def variants(
    varied: Varied, teacher: Path, config: PretrainConfig
) -> Iterator[Callable[[int], Made]]:
    """A function from a number to ``config.fresh`` variants; the next numbers must follow in order.

    With workers, other processes make them ahead; they are the same.
    """
    if not config.workers:
        maker = Maker(varied, Teacher(teacher, 1), config.seed)
        yield lambda number: maker(number, config.fresh)
        return
    with ProcessPoolExecutor(
        config.workers,
        multiprocessing.get_context("spawn"),
        _start_worker,
        (varied, teacher, config.seed),
    ) as pool:
        queue: deque[Future[Made]] = deque()

        def following(number: int) -> Made:
            while len(queue) <= AHEAD * config.workers:
                queue.append(pool.submit(_work, number + len(queue), config.fresh))
            return queue.popleft().result()

        try:
            yield following
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


class Pool:
    """The latest variants: each is used a few times."""

    def __init__(self, config: PretrainConfig) -> None:
        self._config = config
        self._faces: NDArray[np.uint8] | None = None
        self._vectors: NDArray[np.float32] | None = None
        self.made = 0

    @property
    def full(self) -> bool:
        """Whether there is no room but that of the oldest."""
        return self.made >= self._config.pool

    def add(self, made: Made) -> None:
        """Take in variants, in place of the oldest."""
        faces, vectors = made
        if self._faces is None or self._vectors is None:
            self._faces = np.zeros((self._config.pool, *faces.shape[1:]), np.uint8)
            self._vectors = np.zeros((self._config.pool, vectors.shape[1]), np.float32)
        rows = np.arange(self.made, self.made + len(faces)) % self._config.pool
        self._faces[rows], self._vectors[rows] = faces, vectors
        self.made += len(faces)

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """Crops uint8 (B, S, S, 3) and the teacher's vectors (B, D)."""
        assert self._faces is not None
        assert self._vectors is not None
        random = np.random.default_rng([self._config.seed, step])
        rows = random.integers(0, min(self.made, self._config.pool), self._config.batch_size)
        return torch.from_numpy(self._faces[rows]), torch.from_numpy(self._vectors[rows])
