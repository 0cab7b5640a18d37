"""Cameras and films for the tests of sources."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from faces.video.film import VideoWriter
from pipeline.sources.open import EverySource
from pipeline.types import Picture


def gray(value: int, height: int = 24, width: int = 32) -> np.ndarray:
    return np.full((height, width, 3), value, np.uint8)


def video(path: Path, count: int = 20, fps: float = 12.5) -> Path:
    with VideoWriter(path, fps) as writer:
        for i in range(count):
            writer.write(gray(10 * i, 48, 64))
    return path


def everything(source: EverySource) -> list[Picture]:
    return list(iter(lambda: source.read(5), None))


class Camera:
    """Gives what it is told to: pictures, None for "gone", exceptions."""

    fps = 30.0

    def __init__(self, script: list[object]) -> None:
        self.script = script
        self.closed = False

    def read(self) -> np.ndarray | None:
        if not self.script:
            time.sleep(0.01)
            return gray(255)
        item = self.script.pop(0)
        if isinstance(item, BaseException):
            raise item
        if callable(item):
            return item()
        return item

    def close(self) -> None:
        self.closed = True


def wait_until(condition: Callable[[], object], seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)
