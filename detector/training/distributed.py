"""Data-parallel training under torchrun: this process's rank, what all processes agree on, and on
several machines whether their copies of the pictures are the same."""

from __future__ import annotations

import datetime
import hashlib
import os
import platform
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import nn

from detector.data.division import picture_name
from detector.training.dataset import FaceIndex
from detector.training_pictures import file_key
from faces.errors import UserError
from faces.files import atomic_write

T = TypeVar("T")


@dataclass(frozen=True)
class World:
    """This process among those of the run: ``rank`` of ``size``; rank 0 writes everything.

    They are on ``machines`` machines, which share no disk; this is process ``local`` of its own,
    which has the number ``machine``.
    """

    rank: int = 0
    size: int = 1
    local: int = 0
    machine: int = 0
    machines: int = 1

    @property
    def main(self) -> bool:
        """Whether this is the process that writes and shows progress."""
        return self.rank == 0

    def share(self, call: Callable[[], T], source: int = 0) -> T:
        """What ``call`` gives on rank ``source``, on every rank; as is the UserError it raises."""
        result: T | UserError | None = None
        if self.rank == source:
            try:
                result = call()
            except UserError as error:
                result = error
        if self.size > 1:
            box = [result]
            dist.broadcast_object_list(box, src=source)
            [result] = box
        if isinstance(result, UserError):
            raise result
        return result  # type: ignore[return-value]

    def refuse(self, problem: str | None) -> None:
        """End all ranks together when one has a problem: UserError with the first rank's."""
        for text in self.gather(problem):
            if text is not None:
                raise UserError(text)

    def spread(self, path: Path, source: int = 0) -> None:
        """Put a copy of rank ``source``'s file, if there is one, on every machine, as ``path``."""
        if self.machines == 1:
            return
        content = self.share(lambda: path.read_bytes() if path.is_file() else None, source)
        if content is not None and self.local == 0 and self.rank != source:
            with atomic_write(path) as file:
                file.write(content)

    def gather(self, value: T) -> list[T]:
        """All ranks' values in their order, on every rank."""
        if self.size == 1:
            return [value]
        box: list[T] = [value] * self.size
        dist.all_gather_object(box, value)
        return box

    def share_buffers(self, model: nn.Module) -> None:
        """Give every rank rank 0's buffers: each rank's batch norm has seen other pictures."""
        if self.size > 1:
            for buffer in model.buffers():
                dist.broadcast(buffer, src=0)

    def mean_gradients(self, model: nn.Module) -> None:
        """Give every rank the mean of all ranks' gradients, as DistributedDataParallel does."""
        if self.size == 1:
            return
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        dist.all_reduce(flat)
        flat /= self.size
        for gradient, part in zip(
            gradients, flat.split([g.numel() for g in gradients]), strict=True
        ):
            gradient.copy_(part.view_as(gradient))

    def largest(self, value: int) -> int:
        """The largest of all ranks' values, on every rank."""
        if self.size == 1:
            return value
        tensor = torch.tensor([value])
        dist.all_reduce(tensor, op=dist.ReduceOp.MAX)
        return int(tensor)

    def mean(self, values: dict[str, float]) -> dict[str, float]:
        """The mean over all ranks of each value, on every rank."""
        if self.size == 1:
            return values
        tensor = torch.tensor(list(values.values()), dtype=torch.float64)
        dist.all_reduce(tensor)
        return dict(zip(values, (tensor / self.size).tolist(), strict=True))

    def wrap(self, model: nn.Module, device: torch.device) -> nn.Module:
        """The model whose backward pass averages gradients over the processes."""
        if self.size == 1:
            return model
        ids = [device] if device.type == "cuda" else None
        return nn.parallel.DistributedDataParallel(model, device_ids=ids)

    def apart(self, wrapped: nn.Module) -> AbstractContextManager[None]:
        """While it lasts, a module of `wrap` leaves gradients alone."""
        return wrapped.no_sync() if self.size > 1 else nullcontext()  # type: ignore[operator]


def join_world() -> World:
    """Join the processes that torchrun started; alone without it.

    Gloo carries the small agreements (and the gradients on a CPU), NCCL the gradients of CUDA.
    """
    if "RANK" not in os.environ or int(os.environ.get("WORLD_SIZE", 1)) == 1:
        return World()
    if not dist.is_initialized():
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        # The pictures of an epoch are drawn on rank 0 while the others wait.
        dist.init_process_group(backend, timeout=datetime.timedelta(hours=2))
    local, machine, machines = (
        int(os.environ.get(name, default))
        for name, default in (("LOCAL_RANK", 0), ("GROUP_RANK", 0), ("GROUP_WORLD_SIZE", 1))
    )
    return World(dist.get_rank(), dist.get_world_size(), local, machine, machines)


def own_device(device: torch.device, world: World) -> torch.device:
    """The device of this process: each of those that torchrun started here takes a GPU of its own.

    Raises UserError when one GPU was named for several processes, or there are too few.
    """
    if world.size == 1 or device.type != "cuda":
        return device
    if device.index is not None:
        raise UserError(
            f"device={device}: {world.size} processes cannot share a GPU; give cuda, "
            "and choose GPUs with the environment variable CUDA_VISIBLE_DEVICES"
        )
    local, count = int(os.environ.get("LOCAL_RANK", world.rank)), torch.cuda.device_count()
    if local >= count:
        raise UserError(
            f"there are more processes than GPUs here ({count}): start torchrun with "
            f"--nproc-per-node {count}, or train with the device cpu"
        )
    own = torch.device("cuda", local)
    torch.cuda.set_device(own)
    return own


def leave_world() -> None:
    """Leave the process group, if there is one."""
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


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
