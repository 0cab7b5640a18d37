"""The one exception that callers of the service see, the table of its codes, and its JSON form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import Field

from pipeline.service.types import Model


@dataclass(frozen=True)
class Code:
    """What a code means."""

    status: int  # over HTTP
    meaning: str  # one line for the documentation
    again: bool = False  # whether the same request may succeed later


CODES: dict[str, Code] = {
    "invalid_request": Code(422, "a field is missing, unknown or of the wrong kind"),
    "unknown_operation": Code(404, "there is no operation of this name"),
    "bad_image": Code(422, "the bytes are no whole JPEG, PNG or WebP image"),
    "too_large": Code(413, "too many bytes, pixels or images"),
    "no_face": Code(422, "a photo that must show one face shows none"),
    "several_faces": Code(422, "a photo that must show one face shows more"),
    "poor_photo": Code(
        422, "a photo is too small, blurred or dark to enroll, or shows too little of the face"
    ),
    "duplicate_photo": Code(422, "a photo shows nothing new; only within the answer of enroll"),
    "another_face": Code(422, "a photo does not look like the other ones of the person"),
    "not_found": Code(404, "there is no such person, job or session"),
    "conflict": Code(409, "the name is taken, a fit is running already, or a session is busy"),
    "unavailable": Code(409, "this server was started without what the operation needs"),
    "unauthorized": Code(401, "no key was given, or it is unknown, revoked or expired"),
    "forbidden": Code(403, "the key lacks the operation's scope, or the page may not ask"),
    "method_not_allowed": Code(405, "the path takes another HTTP method"),
    "request_timeout": Code(408, "the request's body did not arrive in time", again=True),
    "unsupported_media_type": Code(415, "the body is of another media type"),
    "rate_limited": Code(429, "this key or address asks too often", again=True),
    "overloaded": Code(503, "the queue is full", again=True),
    "deadline_exceeded": Code(503, "the answer would have come too late", again=True),
    "shutting_down": Code(503, "the server is ending, or not ready yet", again=True),
    "storage_failed": Code(
        503,
        "the people or the keys cannot be read or changed now: busy, a full disk, no database",
        True,
    ),
    "internal": Code(500, "a bug: the server's log has its trace under the request's id"),
}


class ErrorBody(Model):
    """Why there is no answer; the codes are in docs/serve.md."""

    code: str
    message: str
    details: dict[str, Any] = Field(default_factory=dict)
    retry_after: float | None = Field(None, description="seconds; null: asking again is no use")


class ErrorResponse(Model):
    """The body of every refusal."""

    error: ErrorBody
    request_id: str | None = None


class ServiceError(Exception):
    """A typed refusal.

    Args:
        code: a key of `CODES`.
        message: one sentence for a person; never holds image data, vectors or keys.
        details: for a program, for example which image.
        retry_after: seconds after which it is worth to ask again.
    """

    def __init__(
        self,
        code: str,
        message: str,
        details: dict[str, Any] | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.details = details or {}
        usual = 1.0 if CODES[code].again else None
        self.retry_after = usual if retry_after is None else retry_after

    @property
    def status(self) -> int:
        """Over HTTP."""
        return CODES[self.code].status

    @property
    def body(self) -> ErrorBody:
        """For the answer."""
        return ErrorBody(
            code=self.code, message=self.message, details=self.details,
            retry_after=self.retry_after,
        )  # fmt: skip
