"""Networks that look in milliseconds, and who works with them: in this process."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.types import Detections
from pipeline.library.executors import DIED, READY, ROWS, Message
from pipeline.library.index import Indexing, Tally
from pipeline.library.look import Item, Looker, LookSettings, Row
from pipeline.library.parts import read_rows
from pipeline.library.scan import scan
from pipeline.library.schema import Manifest
from recognizer.crop import CropRecipe
from recognizer.embedders.embedder import FaceEmbedder
from recognizer.types import unit
from tests.pipeline.people_photos import GRAY, PatchDetector

SETTINGS = LookSettings()


def _mean_colors(faces: NDArray[np.uint8]) -> NDArray[np.float32]:
    thumbnails = faces.reshape(len(faces), 4, 8, 4, 8, 3).mean(axis=(2, 4))
    return unit(thumbnails.reshape(len(faces), -1) - 127.7)


class QuickLooker(Looker):
    """Finds what is not gray; a vector is the colors of 16 places. A file whose name has "harmful"
    in it kills the process."""

    def __init__(self, settings: LookSettings) -> None:
        self.settings = settings
        self.detector = PatchDetector()
        self.embedder = FaceEmbedder(_mean_colors, CropRecipe(32, 0, "square"), "quick", 48)
        self.looked = 0

    @cached_property
    def manifest(self) -> Manifest:
        return Manifest("patches", self.embedder.fingerprint, 48, {"min_face": 20})

    def look(self, items: Sequence[Item]) -> list[list[Row]]:
        if any("harmful" in item.path for item in items):
            os._exit(1)
        return super().look(items)

    def _photo(self, *arguments: Any) -> list[Row]:
        self.looked += 1
        return super()._photo(*arguments)

    @property
    def _film_detector(self) -> PatchDetector:
        return FilmPatchDetector()


class FilmPatchDetector(PatchDetector):
    """Gray is what is nearly so, as films are not stored exactly."""

    def detect(self, image: NDArray[np.uint8]) -> Detections:
        gray = np.abs(image.astype(int) - GRAY).max(axis=2, keepdims=True) < 12
        return super().detect(np.where(gray, np.uint8(GRAY), image))


class Here:
    """A executor of this process; ``dies`` are the numbers of the tasks at which a worker dies."""

    def __init__(self, looker: QuickLooker | None = None, dies: Sequence[int] = ()) -> None:
        self.looker = looker or QuickLooker(SETTINGS)
        self._dies, self._tasks, self._workers = dies, 0, 0
        self._said: deque[Message] = deque()
        self._dead: set[int] = set()

    def start_worker(self) -> int:
        self._workers += 1
        self._said.append((self._workers, READY, None))
        return self._workers

    def send(self, worker: int, items: Sequence[Item]) -> None:
        if worker in self._dead:
            return
        self._tasks += 1
        if self._tasks in self._dies:
            self._dead.add(worker)
            self._said.append((worker, DIED, None))
        else:
            self._said.append((worker, ROWS, self.looker.look(items)))

    def messages(self) -> Iterator[Message]:
        yield self._said.popleft()

    def close(self) -> None:
        self._said.clear()


def index(library: Path, *arguments: Path | str, executor: Any = None, **settings: Any) -> Tally:
    """What `faces index` does, with quick networks."""
    executor = executor or Here()
    found = scan(
        list(map(str, arguments)), settings.pop("lists", ()), library,
        settings.get("drop_missing", False),
    )  # fmt: skip
    manifest = QuickLooker(SETTINGS).manifest
    return Indexing(library, manifest, found, **settings).run(executor, 2)


def rows(library: Path) -> list[dict[str, Any]]:
    """All rows, sorted by path and face; the embedding as a tuple."""
    table = read_rows(library).to_pylist()
    found = [{k: tuple(v) if isinstance(v, list) else v for k, v in row.items()} for row in table]
    return sorted(found, key=lambda row: (row["path"], row["face"] or ""))


def names(library: Path) -> list[tuple[str, str | None]]:
    """File name and face of every row."""
    return [(Path(row["path"]).name, row["face"]) for row in rows(library)]
