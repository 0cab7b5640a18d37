"""The operations of the active liveness challenge: begin, a picture, the state, the end."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from pydantic import BaseModel

from pipeline.liveness.attempt import Attempt, Sample
from pipeline.liveness.challenge import Challenge
from pipeline.liveness.policy import Policy
from pipeline.service import types as t
from pipeline.service.errors import ServiceError
from pipeline.service.handlers.enrolling import largest
from pipeline.service.handlers.faces import identity
from pipeline.service.people import People
from pipeline.service.runtime.batching import Call
from pipeline.service.sessions import Session, Sessions, told
from pipeline.service.vision import Image, Vision


class LivenessOperations:
    """Runs challenges for callers.

    Args:
        vision: its models have ``landmarks`` where challenges are offered.
        people: who can be recognized; None for nobody.
        clock: seconds that only go forward; what a caller says about time is not believed.
    """

    def __init__(
        self,
        vision: Vision,
        people: People | None,
        outcome: Callable[[str], None] = lambda status: None,
        new_challenge: Callable[[Policy], Challenge] = lambda policy: Challenge.new(policy=policy),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.sessions = Sessions(vision.limits.max_sessions, clock)
        self.new_challenge = new_challenge
        self._vision, self._people, self._outcome = vision, people, outcome

    @property
    def offered(self) -> bool:
        """Whether there is what a challenge needs."""
        return self._vision.models.landmarks is not None

    def begin(self, request: t.BeginRequest, images: Sequence[bytes], call: Call) -> BaseModel:
        """A new session of this caller."""
        self._need()
        attempt = Attempt(self.new_challenge(Policy(mirrored=request.mirrored)))
        session = self.sessions.begin(call.caller, attempt)
        return session.state(self.sessions.clock())

    def frame(self, request: t.SessionRequest, images: Sequence[bytes], call: Call) -> BaseModel:
        """Look at one more picture."""
        # Decoding and waiting for the models do not count as movement.
        arrived = self.sessions.clock()
        session = self._find(request, call)
        # One at a time: two that overtake each other would look like a jump.
        if not session.looking.acquire(blocking=False):
            raise ServiceError(
                "conflict", "the last picture of this session has not been answered yet: wait"
            )
        try:
            session.seen = arrived
            if session.attempt is not None:
                with self._vision.opened(images, call) as (picture,):
                    sample, faces = self._sample(picture, call)
                    session.attempt.look(arrived, sample, picture.shape[:2])
                self._note(session, session.attempt, faces)
            return session.state(self.sessions.clock())
        finally:
            session.looking.release()

    def state(self, request: t.SessionRequest, images: Sequence[bytes], call: Call) -> BaseModel:
        """What is asked for now, or the verdict."""
        return self._find(request, call).state(self.sessions.clock())

    def end(self, request: t.SessionRequest, images: Sequence[bytes], call: Call) -> BaseModel:
        """Forget a session before its time."""
        session = self._find(request, call)
        self.sessions.forget(session)
        return t.EndedResponse(session=session.name)

    def close(self) -> None:
        """Forget all sessions."""
        self.sessions.close()

    def _need(self) -> None:
        if not self.offered:
            raise ServiceError("unavailable", "this server offers no liveness challenges")

    def _find(self, request: t.SessionRequest, call: Call) -> Session:
        self._need()
        return self.sessions.find(request.session, call.caller)

    def _sample(self, picture: Image, call: Call) -> tuple[Sample | None, int]:
        """The largest face of a picture, and how many there are."""
        (found,) = self._vision.detect([picture], call)
        if not len(found):
            return None, 0
        face = largest(found)
        points = self._vision.landmarks(picture, face, call)[0]
        ((alive,),) = self._vision.liveness([(picture, face)], call)
        vector = None
        if points is not None and self._vision.models.embedder is not None:
            vector = self._vision.embed([(picture, face)], call)[0]
        return Sample(points, face.xyxy[0], vector, alive), len(found)

    def _note(self, session: Session, attempt: Attempt, faces: int) -> None:
        """Keep what the caller is told; at the end also who has passed, and no vector any more."""
        person = None
        vector = attempt.take_vector()
        if vector is not None and self._people is not None:
            (match,) = self._people.snapshot.identify(vector[None])
            person = t.Identity(**identity(match))
        session.told = told(session.name, attempt, faces, person)
        if attempt.over:
            session.end(self.sessions.clock())
            self._outcome(attempt.challenge.status)
