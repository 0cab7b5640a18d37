"""Data-parallel training under torchrun: this process's rank, and what all processes agree on."""

from __future__ import annotations

import datetime
import os
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import nn

from faces.errors import UserError

T = TypeVar("T")


@dataclass(frozen=True)
class World:
    """This process among those of the run: ``rank`` of ``size``; rank 0 writes everything."""

    rank: int = 0
    size: int = 1

    @property
    def main(self) -> bool:
        """Whether this is the process that writes and shows progress."""
        return self.rank == 0

    def agree(self, value: T) -> T:
        """Rank 0's value, on every rank."""
        if self.size == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0)
        return box[0]

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


def join_world() -> World:
    """Join the processes that torchrun started; alone without it.

    Gloo carries the small agreements (and the gradients on a CPU), NCCL the gradients of CUDA.
    """
    if "RANK" not in os.environ or "WORLD_SIZE" not in os.environ:
        return World()
    if int(os.environ["WORLD_SIZE"]) == 1:
        return World()
    if not dist.is_initialized():
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        # The pictures of an epoch are drawn on rank 0 while the others wait.
        dist.init_process_group(backend, timeout=datetime.timedelta(hours=2))
    return World(dist.get_rank(), dist.get_world_size())


def own_device(device: torch.device, world: World) -> torch.device:
    """The device of this process: each of those that torchrun started here takes a GPU of its own.

    Raises UserError when one GPU was named for several processes, or there are too few.
    """
    if world.size == 1 or device.type != "cuda":
        return device
    if device.index is not None:
        raise UserError(
            f"device {device}: {world.size} processes cannot share a GPU; give cuda, "
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
