"""Requests and responses of the liveness sessions; see `pipeline.service.types`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from pipeline.service.types import Identity, Model, Score


class BeginRequest(Model):
    """Begin to test that somebody is there, and not a photo."""

    mirrored: bool = Field(False, description="the pictures are a mirror image, as in a selfie")


class SessionRequest(Model):
    """Which challenge."""

    session: str = Field(min_length=1, max_length=64, description="as `liveness/begin` gave it")


class Challenged(Model):
    """How far a challenge is, and what to ask of the person now."""

    session: str
    status: Literal["waiting", "passed", "failed", "expired"] = Field(
        description="waiting: send the next picture; the others are final"
    )
    asks: Literal[
        "look", "left", "right", "up", "down", "nearer", "farther", "back", "done", "over"
    ] = Field(description="the instruction, for programs that have words of their own")
    instruction: str = Field(description="for the person; left and right are her or his own")
    hint: str | None = Field(description="what keeps the instruction from being followed")
    reason: str | None = Field(description="why it failed or expired, for a program")
    message: str | None = Field(description="the same for a person")
    step: int = Field(description="steps that are done")
    steps: int
    progress: Score = Field(description="of the present step")
    left: float = Field(ge=0, description="seconds until the session ends or is forgotten")
    faces: int | None = Field(
        None, description="in the last picture; the largest is looked at; null: none was sent"
    )
    liveness: Score | None = Field(
        None, description="median of the last passive scores; null: it was not looked at"
    )
    person: Identity | None = Field(
        None, description="who has passed; null before that, and where nobody is known"
    )


class EndedResponse(Model):
    """The session is forgotten."""

    session: str
