"""A world behind the page without networks: what was asked for is remembered."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from faces.errors import UserError
from pipeline.live.best_views import Chosen
from pipeline.teaching.background_fit import HeadState
from pipeline.teaching.corrections import AlreadyKnown
from pipeline.teaching.progress import Teaching
from pipeline.types import Face, FrameFaces, Picture, Stats, Tick
from recognizer.store.read import PersonInfo
from recognizer.types import Match
from tests.fake_embedder import FakeEmbedder

PNG = b"\x89PNG\r\n\x1a\n" + b"0" * 20


class FakeLive:
    """Knows people by a list; "Twin" looks like Ada, "Nobody" cannot be taught."""

    def __init__(self, *names: str) -> None:
        self.names = list(names)
        self.embedder = FakeEmbedder()
        self.calls: list[tuple[Any, ...]] = []
        self.teaching: Teaching | None = None
        self.chosen: list[Chosen | None] = []

    def choose(self, track: int, *, poor: bool = False) -> Chosen:
        if track > 90:
            raise UserError("this face is not in the picture any more")
        return Chosen(track, None, None, 0.0)  # type: ignore[arg-type]

    def teach(
        self, track: int, name: str, *, sure: bool = False, chosen: Chosen | None = None
    ) -> Teaching:
        self.calls.append(("teach", track, name, sure))
        self.chosen.append(chosen)
        if name == "Nobody":
            raise UserError("this face cannot be learned from: too small")
        if name == "Bug":
            raise RuntimeError("secret/path")
        if name == "Slow":
            time.sleep(2)
        if name == "Twin" and not sure:
            raise AlreadyKnown("this looks like Ada (0.81)", "Ada", 0.8123)
        self.names.append(name)
        self.teaching = Teaching(name, track, 1, 50, "gathering")
        return self.teaching

    def cancel(self) -> None:
        self.calls.append(("cancel",))

    def correct(self, track: int, name: str, *, chosen: Chosen | None = None) -> None:
        self.calls.append(("correct", track, name))
        self.chosen.append(chosen)

    def forget(self, name: str) -> None:
        self.calls.append(("forget", name))
        if name not in self.names:
            raise UserError(f"there is nobody called {name}")
        self.names.remove(name)

    def rename(self, old: str, new: str) -> None:
        self.calls.append(("rename", old, new))
        self.names[self.names.index(old)] = new

    def merge(self, source: str, into: str) -> None:
        self.calls.append(("merge", source, into))
        self.names.remove(source)

    def people(self) -> list[PersonInfo]:
        return [PersonInfo(n, 1, 0, "2026-01-01T00:00:00Z", False) for n in sorted(self.names)]

    def thumbnail(self, name: str) -> bytes | None:
        if name not in self.names:
            raise UserError(f"there is nobody called {name}")
        return PNG if name == "Ada" else None

    def head(self) -> HeadState:
        return HeadState("failed", "Bob would be known less well", 3, 1.5)


def tick(index: int, name: str | None = "Ada", size: tuple[int, int] = (48, 64)) -> Tick:
    """A tick with one face."""
    image = np.full((*size, 3), index % 256, np.uint8)
    match = Match(name, 0.9, None, "gallery", name) if name else Match(None)
    face = Face((10.0, 10.0, 30.0, 34.0), 0.9, 7, match, 1.0)
    faces = FrameFaces(index, index / 30, size, (face,), 1)
    return Tick(
        Picture(index, index / 30, image, time.monotonic()),
        faces, stats=Stats(25.04, 4.0, 0.03, 2),
    )  # fmt: skip
