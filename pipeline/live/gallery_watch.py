"""Notices that another program has changed the gallery, and hands on what it holds now."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from faces.errors import UserError
from recognizer.snapshot import Snapshot
from recognizer.store.people import Store

logger = logging.getLogger(__name__)


class GalleryWatch:
    """Looks at the store's version now and then, in a thread; a context manager.

    Args:
        store: open as long as this runs.
        current: the version in use now.
        swap: called in the thread with every newer snapshot.
        pause: seconds between two looks.
    """

    def __init__(
        self,
        store: Store,
        current: Callable[[], int],
        swap: Callable[[Snapshot], None],
        pause: float = 1.0,
    ) -> None:
        self._store, self._current, self._swap, self._pause = store, current, swap, pause
        self._stop = threading.Event()
        self._failed = False
        self._thread = threading.Thread(target=self._work, name="faces-gallery", daemon=True)
        self._thread.start()

    def _work(self) -> None:
        while not self._stop.wait(self._pause):
            try:
                if self._store.version() != self._current():
                    self._swap(self._store.snapshot())
                self._failed = False
            except UserError as error:  # busy, or damaged meanwhile: what is known stays known
                if not self._failed:
                    logger.warning("the gallery cannot be read again: %s", error)
                self._failed = True

    def __enter__(self) -> GalleryWatch:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(timeout=5.0)
