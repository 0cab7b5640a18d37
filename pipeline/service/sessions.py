"""Liveness sessions: few, short, each its beginner's own, and forgotten at their end."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from pipeline.liveness.attempt import Attempt
from pipeline.service import types as t
from pipeline.service.errors import ServiceError
from pipeline.service.runtime.limits import Shares

LIFE = 90.0  # seconds from the beginning: what a challenge may take, and time to get ready
IDLE = 20.0  # seconds without a word from the caller
KEPT = 30.0  # seconds that a verdict can still be asked for
SWEEP = 5.0  # seconds between two looks at what is to be forgotten
PART = 0.5  # of all sessions that one caller may hold


@dataclass(eq=False)
class Session:
    """One attempt and whose it is. Changed only by who holds ``looking``."""

    name: str  # unguessable, 192 random bits
    caller: str  # the key or address that began it; nobody else is told that it exists
    attempt: Attempt | None  # None when it is over: nothing of the face is kept with the verdict
    # begun, seen: time of the beginning, and of the caller's last picture
    begun: float
    seen: float
    told: t.Challenged  # what the caller knows, but for the time that is left
    over: float | None = None  # when it came to its end
    # held while a picture is looked at
    looking: threading.Lock = field(default_factory=threading.Lock)

    def left(self, now: float) -> float:
        """Seconds until it ends by itself, or is forgotten."""
        ends = [self.begun + LIFE, self.seen + IDLE] if self.over is None else [self.over + KEPT]
        return max(0.0, min(ends) - now)

    def state(self, now: float) -> t.Challenged:
        """What the caller is told now."""
        return self.told.model_copy(update={"left": round(self.left(now), 1)})

    def end(self, now: float) -> None:
        """It is over, whether by itself or because nobody goes on; the verdict stays."""
        attempt, self.attempt, self.over = self.attempt, None, now
        if attempt is not None:
            attempt.give_up()
            self.told = told(self.name, attempt, self.told.faces, self.told.person)


def told(
    name: str, attempt: Attempt, faces: int | None = None, person: t.Identity | None = None
) -> t.Challenged:
    """An attempt as its caller is told of it; ``faces`` in the last picture."""
    return t.Challenged.model_validate(
        {
            "session": name,
            "asks": attempt.challenge.asks,
            "left": 0,
            "faces": faces,
            "liveness": None if attempt.liveness is None else round(attempt.liveness, 6),
            "person": person,
            **attempt.state.to_json(),
        }
    )


class Sessions:
    """Those that there are.

    Args:
        most: at once, ended ones that can still be asked for included.
        clock: seconds that only go forward.
    """

    def __init__(self, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self._sessions: dict[str, Session] = {}
        self._shares = Shares("liveness sessions", most, PART, pause=lambda: KEPT)
        self._lock = threading.Lock()
        self._timer: threading.Timer | None = None
        self._closed = False

    def __len__(self) -> int:
        return len(self._sessions)

    def begin(self, caller: str, attempt: Attempt) -> Session:
        """Raises ServiceError ``overloaded`` when there are too many, of all or of this caller."""
        self.sweep()
        self._shares.take(caller, 1)
        now, name = self.clock(), secrets.token_urlsafe(24)
        session = Session(name, caller, attempt, now, now, told(name, attempt))
        with self._lock:
            self._sessions[session.name] = session
            self._sweep_later()
        return session

    def find(self, name: str, caller: str) -> Session:
        """Raises ServiceError ``not_found``, for somebody else's session as for none."""
        self.sweep()
        session = self._sessions.get(name)
        if session is None or session.caller != caller:
            raise ServiceError("not_found", "there is no such session: it may be over by now")
        return session

    def forget(self, session: Session) -> None:
        """Nothing is left of it. A second time does no harm."""
        with self._lock:
            known = self._sessions.pop(session.name, None)
        if known is not None:
            self._shares.give_back(session.caller, 1)

    def sweep(self) -> None:
        """End what nobody goes on with, and forget what has ended."""
        for session in list(self._sessions.values()):
            if not session.looking.acquire(blocking=False):
                continue  # a picture is being looked at
            try:
                now = self.clock()
                if session.left(now) > 0:
                    continue
                if session.over is None:
                    session.end(now)
                else:
                    self.forget(session)
            finally:
                session.looking.release()

    def close(self) -> None:
        """Forget all."""
        with self._lock:
            self._closed = True
            if self._timer is not None:
                self._timer.cancel()
        for session in list(self._sessions.values()):
            self.forget(session)

    def _sweep_later(self) -> None:
        """Also when no caller comes any more, faces are forgotten in time. Holds the lock."""
        if self._timer is None and self._sessions and not self._closed:
            self._timer = threading.Timer(SWEEP, self._sweep_again)
            self._timer.daemon = True
            self._timer.start()

    def _sweep_again(self) -> None:
        self.sweep()
        with self._lock:
            self._timer = None
            self._sweep_later()
