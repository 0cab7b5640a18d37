"""Who is known, as a service sees it: always the newest snapshot, and every change on record."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from faces.errors import UserError
from pipeline.gallery_watch import GalleryWatch
from pipeline.service.audit import AuditLog
from pipeline.service.errors import ServiceError
from pipeline.service.runtime.batching import Call, Observe
from pipeline.service.runtime.logs import trace
from recognizer.snapshot import Snapshot
from recognizer.store.database import StoreUnreachable
from recognizer.store.people import Store, StoreChanged

logger = logging.getLogger(__name__)


AWAY = "the database of people cannot be reached: nothing is changed, known people are recognized"

IN_DOUBT = (
    "the database of people went away while it was changed: wholly, or not at all; look which"
)


class People:
    """A store whose changes, by us or by other programs, are seen without a pause.

    `GalleryWatch` looks every ``poll`` seconds whether the store has changed; the next snapshot is
    built aside, and swapped in by one assignment.

    Args:
        store: opened with the fingerprint of the embedder in use; closed by `close`.
        audit: told of every change before it is made, and of its end; None for no record.
        poll: seconds.

    Attributes:
        changing: held by a request from where it looks who is known until it has changed that, so
            that the same request, sent twice at once, is answered as when it is sent twice.
    """

    def __init__(
        self,
        store: Store,
        audit: AuditLog | None = None,
        poll: float = 0.5,
        observe: Observe = lambda stage, seconds: None,
    ) -> None:
        self.store, self._audit, self._observe = store, audit, observe
        self.changing = threading.Lock()
        self._refreshing = threading.Lock()
        self._snapshot = store.snapshot()
        self._snapshot.gallery.prepare()
        self._watch = GalleryWatch(store, lambda: self.version, self._swap, poll, _unreadable)

    @property
    def snapshot(self) -> Snapshot:
        """What is known now; read it once for each request."""
        return self._snapshot

    @property
    def version(self) -> int:
        """Of the snapshot."""
        return self._snapshot.version

    @property
    def problem(self) -> str | None:
        """Why changes cannot be seen just now; None when they can."""
        if self._watch.problem is None:
            return None
        return AWAY if self.is_away else "the file of people cannot be read"

    @property
    def is_away(self) -> bool:
        """Whether the database cannot be reached, while everybody is recognized from memory."""
        return isinstance(self._watch.problem, StoreUnreachable)

    def refresh(self) -> Snapshot:
        """See what has changed. Raises ServiceError when the store cannot be read."""
        with self._refreshing, stored():
            snapshot = self.store.snapshot()
            if snapshot.version != self.version:
                snapshot.gallery.prepare()
                self._snapshot = snapshot
        return self._snapshot

    def close(self) -> None:
        """End the thread and close the files."""
        self._watch.close()
        self.store.close()
        if self._audit is not None:
            self._audit.close()

    def must_know(self, name: str) -> set[str]:
        """Everybody who is known now. Raises ServiceError ``not_found`` unless this one is."""
        known = set(self.refresh().gallery.people)
        if name not in known:
            raise ServiceError("not_found", "there is nobody of this name")
        return known

    @contextmanager
    def change(self, action: str, name: str | None, call: Call, **facts: Any) -> Iterator[Store]:
        """The store, to be changed: on record before it is, and at its end.

        Args:
            name: of the person; None for a change that touches nobody.

        Raises ServiceError ``storage_failed``, and for a call whose time is over; lets
        `StoreChanged` through.
        """
        call.check()
        facts |= {"by": call.caller, "request": call.request_id}
        with stored():
            if self._audit is not None:
                self._audit.append(action, name, state="begun", **facts)
            start = time.monotonic()
            try:
                yield self.store
            except BaseException as error:
                if self._audit is not None:
                    state = "in doubt" if getattr(error, "in_doubt", False) else "failed"
                    self._audit.append(action, name, state=state, **facts)
                raise
            self._observe("commit", time.monotonic() - start)
            if self._audit is not None:
                self._audit.append(action, name, state="done", **facts)

    def _swap(self, snapshot: Snapshot) -> None:
        with self._refreshing:
            if snapshot.version <= self.version:
                return  # a request was faster
            self._snapshot = snapshot
        logger.info("people changed", extra={"fields": {"version": snapshot.version}})


def need_people(people: People | None) -> People:
    """Raises ServiceError ``unavailable`` where nobody is known."""
    if people is None:
        raise ServiceError("unavailable", "this server only detects: it knows nobody")
    return people


def _unreadable(error: Exception) -> None:
    logger.error("the file of people cannot be read", extra={"fields": trace(error)})


@contextmanager
def stored() -> Iterator[None]:
    """What can happen to files becomes an answer; details, which name paths, are in the log."""
    try:
        yield
    except StoreChanged:  # nothing has failed: another program was faster
        raise
    except StoreUnreachable as error:
        logger.error("the database of people is away", extra={"fields": trace(error)})
        message = IN_DOUBT if error.in_doubt else AWAY
        raise ServiceError("storage_failed", message, retry_after=error.retry_after) from error
    except (UserError, OSError) as error:
        cause = error.__cause__
        fields = trace(error) | {"reason": getattr(cause, "sqlite_errorname", None)}
        logger.error("the file of people or the audit log has failed", extra={"fields": fields})
        raise ServiceError(
            "storage_failed", "the file of people cannot be read or changed at the moment"
        ) from error
