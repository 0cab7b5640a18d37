"""Notices that another program has changed the gallery, and hands on what it holds now."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import ExitStack

from faces.closing import Closing
from recognizer.snapshot import Snapshot
from recognizer.store.people import Store

logger = logging.getLogger(__name__)


class GalleryWatch(Closing):
    """Looks at the store's version now and then, in a thread, or when a database tells of a change;
    a context manager.

    Args:
        store: open as long as this runs.
        current: the version in use now.
        swap: called in the thread with every newer snapshot.
        pause: seconds between two looks.
        failed: told, once, why the store cannot be read; what is known stays known.

    Attributes:
        problem: why it could not be read the last time; None when it could.
    """

    def __init__(
        self,
        store: Store,
        current: Callable[[], int],
        swap: Callable[[Snapshot], None],
        pause: float = 0.5,
        failed: Callable[[Exception], None] | None = None,
    ) -> None:
        self._store, self._current, self._swap, self._pause = store, current, swap, pause
        self._stop = threading.Event()
        self._failed = failed or _warn
        self.problem: Exception | None = None
        self._thread = threading.Thread(target=self._work, name="faces-gallery", daemon=True)
        self._thread.start()

    def _work(self) -> None:
        while True:
            self._store.wait(self._stop, self._pause)
            if self._stop.is_set():
                return
            try:
                if self._store.version() != self._current():
                    snapshot = self._store.snapshot()
                    snapshot.gallery.prepare()  # here, and not while somebody waits
                    self._swap(snapshot)
                self.problem = None
            except Exception as error:  # busy, or damaged meanwhile
                before, self.problem = self.problem, error
                if before is None:
                    self._failed(error)

    def close(self) -> None:
        """End the thread."""
        self._stop.set()
        self._thread.join(timeout=5.0)


class GalleryWait(Closing):
    """Looks in a thread for a gallery that another program may make, and then watches it; a context
    manager.

    Args:
        opened: the store, or None as long as there is none; closed with this.
        current, swap, pause: see `GalleryWatch`.
    """

    def __init__(
        self,
        opened: Callable[[], Store | None],
        current: Callable[[], int],
        swap: Callable[[Snapshot], None],
        pause: float = 0.5,
    ) -> None:
        self._opened, self._current, self._swap, self._pause = opened, current, swap, pause
        self._stop, self._watching = threading.Event(), ExitStack()
        self._thread = threading.Thread(target=self._work, name="faces-gallery", daemon=True)
        self._thread.start()

    def _work(self) -> None:
        told = ""
        while not self._stop.wait(self._pause):
            try:
                store = self._opened()
            except Exception as error:  # of another embedder, say, or busy
                if str(error) != told:
                    _warn(error)
                told = str(error)
                continue
            if store is not None:
                self._watching.enter_context(store)
                watch = GalleryWatch(store, self._current, self._swap, self._pause)
                self._watching.enter_context(watch)
                return

    def close(self) -> None:
        """End the thread, and let go of the gallery."""
        self._stop.set()
        self._thread.join(timeout=15.0)  # a busy file is waited for
        self._watching.close()


def _warn(error: Exception) -> None:
    logger.warning("the gallery cannot be read: %s", error)
