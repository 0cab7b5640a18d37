"""Which GPU each process of torchrun takes; training together is in test_processes.py."""

from __future__ import annotations

import pytest
import torch

from detector.inference.torch_backend import pick_device
from detector.training.distributed import World, own_device
from faces.errors import UserError

CUDA = torch.device("cuda")


@pytest.fixture
def chosen(monkeypatch: pytest.MonkeyPatch) -> list[torch.device]:
    """A machine with two GPUs; the devices that were made the current one."""
    devices: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", devices.append)
    monkeypatch.setattr("detector.inference.torch_backend._try", lambda device: None)
    return devices


def test_each_process_takes_a_gpu_of_its_own(
    chosen: list[torch.device], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCAL_RANK", "1")  # the second process of the second machine
    assert own_device(pick_device("auto"), World(3, 4)) == torch.device("cuda", 1)
    assert chosen == [torch.device("cuda", 1)]


def test_alone_and_on_a_cpu_nothing_changes(chosen: list[torch.device]) -> None:
    assert own_device(torch.device("cuda", 1), World()) == torch.device("cuda", 1)
    assert own_device(torch.device("cpu"), World(1, 2)) == torch.device("cpu")
    assert chosen == []


def test_what_cannot_be_shared_is_refused(
    chosen: list[torch.device], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match="CUDA_VISIBLE_DEVICES"):
        own_device(torch.device("cuda", 1), World(0, 2))
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(UserError, match="--nproc-per-node 2"):
        own_device(CUDA, World(2, 3))
    assert pick_device("cuda:1") == torch.device("cuda", 1)
    with pytest.raises(UserError, match="device=cuda:2: this machine has no such device"):
        pick_device("cuda:2")
