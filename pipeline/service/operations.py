"""The table of operations. Both adapters are made from it, so what one can do the other can."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ValidationError

from pipeline.service import types as t
from pipeline.service.errors import ServiceError

Scope = Literal["detect", "recognize", "enroll", "admin", "any"]


@dataclass(frozen=True)
class Operation:
    """One thing that the service does."""

    name: str  # over stdin/stdout ``"op": name``, over HTTP ``/v1/name``
    summary: str  # one line
    # request, response: their types
    request: type[BaseModel]
    response: type[BaseModel]
    scope: Scope | None  # that a key needs; "any" is content with any key, None is free to everyone
    # least and largest number; None for as many as the limits allow
    images: tuple[int, int | None] = (0, 0)
    reads: bool = False  # changes nothing and takes no image: HTTP's GET
    errors: tuple[str, ...] = ()  # codes that are its own, besides those that every operation has

    @property
    def takes_images(self) -> bool:
        """Whether images come with the request."""
        return self.images != (0, 0)

    def parse(self, fields: object, lax: bool = False) -> BaseModel:
        """Fields -> request. ``lax`` reads numbers out of text, as forms and addresses have it.

        Raises ServiceError ``invalid_request``; it never repeats what was sent.
        """
        try:
            return self.request.model_validate(fields, strict=not lax)
        except ValidationError as error:
            raise invalid(error) from error

    def check_images(self, count: int, limit: int) -> None:
        """Raises ServiceError when that is not the number of images it takes."""
        least, most = self.images
        if most is None and count > limit:
            raise ServiceError(
                "too_large",
                f"{count} images in one request; the limit is {limit}",
                {"images": count, "limit": limit},
            )
        if count < least or (most is not None and count > most):
            wanted = str(least) if least == most else f"at least {least}"
            raise ServiceError(
                "invalid_request", f"{self.name} takes {wanted} image(s), got {count}"
            )


def invalid(error: ValidationError) -> ServiceError:
    """What is wrong with the fields, without their values."""
    problems = [
        {"field": ".".join(map(str, problem["loc"]))[:200], "problem": problem["msg"]}
        for problem in error.errors(include_input=False, include_url=False, include_context=False)
    ]
    first = problems[0]
    return ServiceError(
        "invalid_request",
        f"{first['field'] or 'the request'}: {first['problem']}",
        {"problems": problems[:20]},
    )


_PHOTOS = ("bad_image", "too_large")
_ONE_FACE = (*_PHOTOS, "no_face", "several_faces", "unavailable")

OPERATIONS: dict[str, Operation] = {
    operation.name: operation
    for operation in (
        Operation(
            "detect", "Find the faces of one or several images",
            t.FacesRequest, t.DetectResponse, "detect", (1, None), errors=_PHOTOS,
        ),
        Operation(
            "embed", "Find faces and turn each into a vector",
            t.FacesRequest, t.EmbedResponse, "recognize", (1, None),
            errors=(*_PHOTOS, "unavailable"),
        ),
        Operation(
            "recognize", "Find faces and say who they are",
            t.FacesRequest, t.RecognizeResponse, "recognize", (1, None),
            errors=(*_PHOTOS, "unavailable"),
        ),
        Operation(
            "verify", "Say whether two photos show the same person",
            t.VerifyRequest, t.VerifyResponse, "recognize", (2, 2), errors=_ONE_FACE,
        ),
        Operation(
            "enroll", "Learn a person from photos; answered when it is safe on the disk",
            t.EnrollRequest, t.EnrollResponse, "enroll", (1, None),
            errors=(*_ONE_FACE, "poor_photo", "another_face"),
        ),
        Operation(
            "liveness/begin", "Begin to test that a living person is there",
            t.BeginRequest, t.Challenged, "recognize", errors=("unavailable",),
        ),
        Operation(
            "liveness/frame", "Look at the next picture of a liveness session",
            t.SessionRequest, t.Challenged, "recognize", (1, 1),
            errors=(*_PHOTOS, "not_found", "conflict", "unavailable"),
        ),
        Operation(
            "liveness/state", "Say what a liveness session asks for, or how it has ended",
            t.SessionRequest, t.Challenged, "recognize", errors=("not_found", "unavailable"),
        ),
        Operation(
            "liveness/end", "Forget a liveness session",
            t.SessionRequest, t.EndedResponse, "recognize", errors=("not_found", "unavailable"),
        ),
        Operation(
            "people", "List who is known",
            t.PeopleRequest, t.PeopleResponse, "enroll", reads=True, errors=("unavailable",),
        ),
        Operation(
            "people/rename", "Give a person another name",
            t.RenameRequest, t.ChangedResponse, "admin",
            errors=("not_found", "conflict", "unavailable"),
        ),
        Operation(
            "people/forget", "Remove every trace of a person",
            t.ForgetRequest, t.ChangedResponse, "admin", errors=("not_found", "unavailable"),
        ),
        Operation(
            "people/deny", "Note that the face on a photo is not this person",
            t.DenyRequest, t.ChangedResponse, "enroll", (1, 1),
            errors=(*_ONE_FACE, "not_found"),
        ),
        Operation(
            "people/undo", "Take back the last change of people; forgetting is for ever",
            t.UndoRequest, t.UndoneResponse, "admin",
            errors=("not_found", "conflict", "unavailable"),
        ),
        Operation(
            "fit", "Start to train the classifier in the background",
            t.NoFields, t.Job, "admin", errors=("conflict", "unavailable"),
        ),
        Operation(
            "fit/status", "Say how far the training is; may wait for news",
            t.JobRequest, t.Job, "admin", reads=True, errors=("not_found",),
        ),
        Operation(
            "info", "Versions, models and limits",
            t.NoFields, t.InfoResponse, "any", reads=True,
        ),
        Operation(
            "health", "Whether the server can answer",
            t.NoFields, t.HealthResponse, None, reads=True,
        ),
    )
}  # fmt: skip


def find_operation(name: object) -> Operation:
    """Raises ServiceError ``unknown_operation``."""
    if isinstance(name, str) and name in OPERATIONS:
        return OPERATIONS[name]
    what = '"op" is missing' if name is None else f"there is no operation {str(name)[:40]!r}"
    raise ServiceError("unknown_operation", f"{what}; take one of {', '.join(OPERATIONS)}")
