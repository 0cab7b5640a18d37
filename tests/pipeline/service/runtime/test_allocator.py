"""Memory of pictures that are gone is given back."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from pipeline.service.runtime.allocator import BLOCKS, keep_picture_blocks

ROOT = Path(__file__).parents[4]
LOAD = """
import random, sys, threading
import numpy as np, psutil
from pipeline.service.runtime.allocator import give_memory_back
if sys.argv[1] == "yes":
    assert give_memory_back()
together = threading.Barrier(32)
def work(seed):
    source, held = random.Random(seed), []
    together.wait()
    for _ in range(20):
        held = [*held[-1:], np.ones(source.randrange(100_000, 6_000_000), np.uint8)]
process = psutil.Process()
before = process.memory_info().rss
done, end = threading.Semaphore(0), threading.Event()
def thread(seed):
    work(seed)
    done.release()
    end.wait()  # it lives on, as a pool's threads do
threads = [threading.Thread(target=thread, args=(i,)) for i in range(32)]
for each in threads:
    each.start()
for each in threads:
    done.acquire()
print((process.memory_info().rss - before) >> 20)
end.set()
"""


def left_behind(settle: str, **environment: str) -> int:
    """MB that stay with a process after its threads have dropped their pictures."""
    out = subprocess.run(
        [sys.executable, "-c", LOAD, settle],
        cwd=ROOT, capture_output=True, text=True, check=True, env={**os.environ, **environment},
    )  # fmt: skip
    return int(out.stdout)


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has the settings")
def test_little_is_left_behind():
    assert left_behind("yes") < 30


def test_other_systems_are_left_alone(monkeypatch):
    from pipeline.service.runtime import allocator

    monkeypatch.setattr(sys, "platform", "win32")
    assert allocator.give_memory_back() is False
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(allocator.ctypes, "CDLL", lambda name: object())
    assert allocator.give_memory_back() is False


def test_the_environment_has_the_last_word(monkeypatch):
    from pipeline.service.runtime import allocator

    asked: list[tuple[int, int]] = []

    class Library:
        @staticmethod
        def mallopt(what: int, value: int) -> int:
            asked.append((what, value))
            return 1

    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(allocator.ctypes, "CDLL", lambda name: Library)
    monkeypatch.setenv("MALLOC_ARENA_MAX", "1")
    monkeypatch.delenv("MALLOC_MMAP_THRESHOLD_", raising=False)
    assert allocator.give_memory_back() is True
    assert asked == [(allocator.M_MMAP_THRESHOLD, allocator.LARGE)]


def test_a_picture_takes_the_memory_of_the_last_one(monkeypatch):
    def asked() -> int:
        """How often Pillow has asked the system for memory for one picture after another."""
        Image.core.clear_cache()
        Image.core.reset_stats()
        for _ in range(5):
            Image.new("RGB", (640, 480))
        return int(Image.core.get_stats()["allocated_blocks"])

    before = Image.core.get_blocks_max()
    try:
        monkeypatch.setenv("PILLOW_BLOCKS_MAX", "0")
        keep_picture_blocks()
        assert Image.core.get_blocks_max() == before
        Image.core.set_blocks_max(0)
        assert asked() == 5
        monkeypatch.delenv("PILLOW_BLOCKS_MAX")
        keep_picture_blocks()
        assert Image.core.get_blocks_max() == BLOCKS
        assert asked() == 1
    finally:
        Image.core.set_blocks_max(before)
