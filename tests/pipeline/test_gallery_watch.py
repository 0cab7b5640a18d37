"""A gallery that another program makes while this one runs."""

from __future__ import annotations

import threading

from faces.errors import UserError
from pipeline.gallery_watch import GalleryWait
from recognizer.gallery import Gallery
from recognizer.snapshot import Snapshot
from recognizer.store.people import Store
from tests.pipeline.library.made import EMBEDDER, D, vectors


def test_a_gallery_that_is_made_later_is_used_and_then_watched(tmp_path):
    path, known = tmp_path / "people.db", [Snapshot(Gallery.empty(EMBEDDER, D))]
    came = threading.Semaphore(0)

    def swap(snapshot: Snapshot) -> None:
        known.append(snapshot)
        came.release()

    asked = []

    def opened() -> Store | None:
        asked.append(1)
        if len(asked) < 3:
            raise UserError("the file is busy")  # it will not always be
        return Store.open(path, EMBEDDER, D) if path.exists() else None

    with GalleryWait(opened, lambda: known[-1].version, swap, 0.01):
        for name in ("Ann", "Bob"):
            with Store.open(path, EMBEDDER, D) as other:
                other.add(name, vectors(1, 2))
            while name not in known[-1].gallery.people:
                assert came.acquire(timeout=30)
    assert known[-1].gallery.people == ("Ann", "Bob")
