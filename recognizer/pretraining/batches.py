"""Batches of varied faces with the teacher's vectors; each follows from the seed and its number."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recognizer.crop import CropRecipe, landmarks_in
from recognizer.pretraining.cache import RIM, Faces, Maker, Teach, processes, start_worker
from recognizer.pretraining.config import PretrainConfig
from recognizer.pretraining.variants import merge, vary
from recognizer.types import unit

AHEAD = 3  # batches that other processes make before they are asked for

UNNAMED = -1


@dataclass(frozen=True, eq=False)
class Batch:
    """What a step learns from."""

    crops: NDArray[np.uint8]  # uint8 (B, S, S, 3)
    vectors: NDArray[np.float32]  # the teacher's unit vectors, float32 (B, D)
    # the number of the person on each, int64 (B,); `UNNAMED` where there is no name
    person: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Material:
    """What batches are drawn from."""

    faces: Faces  # all of them
    used: NDArray[np.int64]  # those to learn from, positions in ``faces``
    # the number of the person on each of ``faces``, `UNNAMED` without a name, (N,)
    person: NDArray[np.int64]
    recipe: CropRecipe | None = None  # by which the crops are cut; None: aligned

    @property
    def people(self) -> int:
        """How many people there are to learn."""
        return int(self.person[self.used].max(initial=UNNAMED)) + 1

    @property
    def identity(self) -> str:
        """Digest of what there is to learn: another one makes another run."""
        digest = hashlib.sha256(
            self.faces.vectors.data
        )  # not the files' times, which a copy changes
        digest.update(self.used.tobytes() + self.person.tobytes())
        return digest.hexdigest()[:16]

    def batch(self, step: int, config: PretrainConfig, teach: Teach) -> Batch:
        """The batch of a step."""
        random = np.random.default_rng([config.seed, step])
        named = self.used[self.person[self.used] != UNNAMED]
        count = round(config.named * config.batch_size) if len(named) else 0
        rows = np.concatenate(
            [random.choice(named, count), random.choice(self.used, config.batch_size - count)]
            if count
            else [random.choice(self.used, config.batch_size)]
        ).astype(np.int64)
        faces = [self.faces[row] for row in rows]
        vectors, person = self.faces.vectors[rows].copy(), self.person[rows]
        mixed = np.flatnonzero(random.random(len(rows)) < config.merged)
        mixed = mixed[mixed >= count]  # the first ones show who they say
        others = random.choice(self.used, len(mixed))
        for place, other in zip(mixed, others, strict=True):
            faces[place] = merge(faces[place], self.faces[other], random)
        if len(mixed):
            inner = [faces[place][RIM:-RIM, RIM:-RIM] for place in mixed]
            vectors[mixed] = unit(teach(np.stack(inner)))
            person[mixed] = UNNAMED
        landmarks = None if self.recipe is None else landmarks_in(self.recipe)
        crops = np.stack([vary(face, random, landmarks) for face in faces])
        return Batch(crops, vectors, person)


_job: tuple[Material, PretrainConfig, Teach] | None = None  # of a worker, whose only job it is


def _start(material: Material, config: PretrainConfig, open_maker: Callable[[], Maker]) -> None:
    global _job
    start_worker()
    _job = material, config, open_maker().teach


def _work(step: int) -> Batch:
    assert _job is not None
    material, config, teach = _job
    return material.batch(step, config, teach)


@contextmanager
def batches(
    material: Material, config: PretrainConfig, open_maker: Callable[[], Maker]
) -> Iterator[Callable[[int], Batch]]:
    """A function from a step to its batch; the next steps must follow in order.

    With workers, other processes make them ahead; they are the same.
    """
    if not config.workers:
        teach = open_maker().teach
        yield lambda step: material.batch(step, config, teach)
        return
    with processes(config.workers, _start, material, config, open_maker) as pool:
        queue: deque[Future[Batch]] = deque()

        def following(step: int) -> Batch:
            while len(queue) <= AHEAD * config.workers:
                queue.append(pool.submit(_work, step + len(queue)))
            return queue.popleft().result()

        yield following
