"""Who is known, as a service sees it: always the newest snapshot, and every change on record."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from faces.errors import UserError
from pipeline.service.audit import AuditLog
from pipeline.service.errors import ServiceError
from pipeline.service.runtime.batching import Call, Observe
from pipeline.service.runtime.logs import trace
from recognizer.snapshot import Snapshot
from recognizer.store.cutout import Cutout
from recognizer.store.people import Store

logger = logging.getLogger(__name__)


class People:
    """A store whose changes, by us or by other programs, are seen without a pause.

    A thread looks every ``poll`` seconds whether the store has changed, builds the next snapshot
    aside, and swaps it in by one assignment.

    Args:
        store: opened with the fingerprint of the embedder in use; closed by `close`.
        audit: told of every change before it is made, and of its end; None for no record.
        poll: seconds.
        observe: told the seconds of a commit.
    """

    def __init__(
        self,
        store: Store,
        audit: AuditLog | None = None,
        poll: float = 0.5,
        observe: Observe = lambda stage, seconds: None,
    ) -> None:
        self.store, self._audit, self._observe = store, audit, observe
        self.problem: str | None = None
        self._refreshing = threading.Lock()
        self._end = threading.Event()
        self._snapshot = self._read()
        self._thread = threading.Thread(
            target=self._watch, args=(poll,), name="people", daemon=True
        )
        self._thread.start()

    @property
    def snapshot(self) -> Snapshot:
        """What is known now; read it once for each request."""
        return self._snapshot

    def refresh(self) -> Snapshot:
        """See what has changed. Raises ServiceError when the store cannot be read."""
        with self._refreshing, _stored():
            snapshot = self._read()
            if snapshot.version != self._snapshot.version:
                self._snapshot = snapshot
            self.problem = None
        return self._snapshot

    def enroll(
        self,
        name: str,
        embeddings: NDArray[np.float32],
        crops: Sequence[Cutout] | None,
        by: str,
        call: Call,
    ) -> int:
        """Add unit vectors (N, D), and a picture of each or none, to a new or known person.

        They are on the disk when this returns the version.
        """
        with self._change("enroll", name, by, call, photos=len(embeddings)):
            self.store.add(name, embeddings, crops, source="service")
        return self.refresh().version

    def rename(self, name: str, new_name: str, by: str, call: Call) -> int:
        """Raises ServiceError ``not_found`` or ``conflict``; returns the version."""
        known = self._must_know(name)
        if new_name in known and new_name != name:
            raise ServiceError("conflict", "there is already somebody of the new name")
        if new_name != name:
            with (
                self._change("rename_from", name, by, call),
                self._change("rename_to", new_name, by, call),
            ):
                self.store.rename(name, new_name)
        return self.refresh().version

    def forget(self, name: str, by: str, call: Call) -> int:
        """Raises ServiceError ``not_found``; returns the version."""
        self._must_know(name)
        with self._change("forget", name, by, call):
            self.store.remove(name)
        return self.refresh().version

    def close(self) -> None:
        """End the thread and close the files."""
        self._end.set()
        self._thread.join()
        self.store.close()
        if self._audit is not None:
            self._audit.close()

    def _must_know(self, name: str) -> set[str]:
        known = set(self.refresh().gallery.people)
        if name not in known:
            raise ServiceError("not_found", "there is nobody of this name")
        return known

    @contextmanager
    def _change(self, action: str, name: str, by: str, call: Call, **facts: Any) -> Iterator[None]:
        call.check()
        facts |= {"by": by, "request": call.request_id}
        with _stored():
            if self._audit is not None:
                self._audit.append(action, name, state="begun", **facts)
            start = time.monotonic()
            try:
                yield
            except BaseException:
                if self._audit is not None:
                    self._audit.append(action, name, state="failed", **facts)
                raise
            self._observe("commit", time.monotonic() - start)
            if self._audit is not None:
                self._audit.append(action, name, state="done", **facts)

    def _read(self) -> Snapshot:
        snapshot = self.store.snapshot()
        _ = snapshot.gallery.people, snapshot.gallery.prototypes  # made once, here and not later
        return snapshot

    def _watch(self, poll: float) -> None:
        while not self._end.wait(poll):
            try:
                if self.store.version() != self._snapshot.version:
                    self.refresh()
                    logger.info("people changed", extra={"fields": {"version": self.version}})
            except (ServiceError, UserError) as error:
                if self.problem is None:
                    logger.error(
                        "the file of people cannot be read", extra={"fields": trace(error)}
                    )
                self.problem = "the file of people cannot be read"
            except Exception:
                logger.exception("looking for changes has failed")
                self.problem = "looking for changes has failed"

    @property
    def version(self) -> int:
        """Of the snapshot."""
        return self._snapshot.version


@contextmanager
def _stored() -> Iterator[None]:
    """What can happen to files becomes an answer; the details, which name paths, stay here."""
    try:
        yield
    except (UserError, OSError) as error:
        cause = error.__cause__
        fields = trace(error) | {"reason": getattr(cause, "sqlite_errorname", None)}
        logger.error("the file of people or the audit log has failed", extra={"fields": fields})
        raise ServiceError(
            "storage_failed", "the file of people cannot be read or changed at the moment"
        ) from error
