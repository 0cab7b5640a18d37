"""Requests and responses, the same over every transport.

Images are no fields: an adapter hands them over as bytes beside the request.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from faces.errors import UserError
from recognizer.names import clean_name

Score = Annotated[float, Field(ge=0, le=1)]
Cosine = Annotated[float, Field(ge=-1.001, le=1.001)]
Box = Annotated[
    tuple[float, float, float, float],
    Field(description="x1 y1 x2 y2 in pixels of the upright image; the ends are exclusive"),
]


def _clean(name: str) -> str:
    try:
        return clean_name(name)
    except UserError as error:  # its message repeats the name, which must not get into a log
        raise ValueError(
            "a name has 1 to 100 characters that can be seen, and is not 'unknown'"
        ) from error


Name = Annotated[str, Field(min_length=1, max_length=100), AfterValidator(_clean)]


class Model(BaseModel):
    """Immutable; unknown fields are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class NoFields(Model):
    """Nothing needs to be said."""


# -- faces


class Face(Model):
    """A face in an image."""

    box: Box
    score: Score = Field(description="of the detector")
    liveness: Score | None = Field(
        None, description="1: a living face, 0: a photo or a screen; null: it was not looked at"
    )
    landmarks: list[tuple[float, float]] | None = Field(
        None,
        description="x y of the eyes, the nose and the corners of the mouth, left in the image "
        "first; null: the detector finds none",
    )


class EmbeddedFace(Face):
    """A face and its vector."""

    embedding: list[float] = Field(description="of length 1; compare with the cosine")


class Identity(Model):
    """Who somebody is."""

    name: str | None = Field(description="null: unknown")
    similarity: Cosine | None = Field(description="cosine with the nearest person; null: nobody")
    confidence: Score | None = Field(description="the classifier's probability; null: none is fit")
    source: Literal["head", "gallery", "none"] = Field(description="who decided")


class NamedFace(Identity, Face):
    """A face and who it is."""


class ImageFaces(Model):
    """What is in one image."""

    width: int = Field(ge=1, description="pixels of the upright image")
    height: int = Field(ge=1)


class Detected(ImageFaces):
    """The faces of one image, the surest first."""

    faces: list[Face]


class Embedded(ImageFaces):
    """The faces of one image with their vectors."""

    faces: list[EmbeddedFace]


class Recognized(ImageFaces):
    """The faces of one image with their names."""

    faces: list[NamedFace]


class FacesRequest(Model):
    """Look for faces."""

    min_score: Score = Field(
        0.0, description="leave out faces below it; the server's own threshold holds in any case"
    )


class DetectResponse(Model):
    """One entry for each image, in the order of the request."""

    images: list[Detected]


class EmbedResponse(Model):
    """One entry for each image, in the order of the request."""

    contract: str = Field(description="the model fingerprint; vectors of two must not be compared")
    images: list[Embedded]


class RecognizeResponse(Model):
    """One entry for each image, in the order of the request."""

    version: int = Field(description="of what is known about people; grows with every change")
    images: list[Recognized]


class VerifyRequest(Model):
    """Are two photos of the same person?"""

    largest: bool = Field(False, description="take the largest face where a photo shows several")


class VerifyResponse(Model):
    """Whether the similarity is above the threshold."""

    same: bool
    similarity: Cosine
    threshold: float
    faces: list[Face] = Field(description="the two faces that were compared")


# -- people


class EnrollRequest(Model):
    """Learn a person from photos that show only her or him."""

    name: Name
    largest: bool = Field(False, description="take the largest face where a photo shows several")
    force: bool = Field(
        False, description="take photos that do not look like the other photos of the person"
    )


class RefusedPhoto(Model):
    """A photo that was not used."""

    image: int = Field(description="its place in the request, from 0")
    code: str
    message: str


class EnrollResponse(Model):
    """What is on the disk now."""

    name: str
    added: int = Field(description="photos of this request that were used; 0: all are known")
    refused: list[RefusedPhoto]
    looks_like: str | None = Field(
        None, description="somebody else who would be taken for this person"
    )
    version: int


class Person(Model):
    """Somebody who is known."""

    name: str
    photos: int


class PeopleRequest(Model):
    """Who is known?"""

    offset: int = Field(0, ge=0, le=10**9)
    limit: int = Field(1000, ge=1, le=1000)


class PeopleResponse(Model):
    """A part of the list, sorted by name."""

    version: int
    total: int
    people: list[Person]


class RenameRequest(Model):
    """Give a person another name."""

    name: Name
    new_name: Name


class ForgetRequest(Model):
    """Remove every trace of a person."""

    name: Name


class DenyRequest(Model):
    """The face on the photo is not this person, whatever was said of it."""

    name: Name
    largest: bool = Field(False, description="take the largest face where a photo shows several")


class UndoRequest(Model):
    """Take back what was done last."""

    act: int | None = Field(
        None, ge=0, le=2**53, description="its number; null: whatever was done last"
    )


class UndoneResponse(Model):
    """What was taken back."""

    what: str
    act: int
    version: int = Field(description="of what is known now")


class ChangedResponse(Model):
    """What is known after the change."""

    version: int


# -- liveness


class BeginRequest(Model):
    """Begin to test that a living person is there, and not a photo."""

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


# -- jobs


class JobRequest(Model):
    """How far is a job?"""

    job: str | None = Field(None, max_length=40, description="null: the newest")
    wait: float = Field(
        0, ge=0, le=20, description="seconds to wait for news, at most; only with `seen`"
    )
    seen: int | None = Field(None, ge=0, le=10**9, description="the `news` that you have already")


class Job(Model):
    """A task in the background."""

    job: str
    kind: Literal["fit"]
    state: Literal["running", "done", "failed"]
    progress: Score
    message: str = Field(description="for a person")
    news: int = Field(description="grows with every change")
    started: float = Field(description="seconds since 1970")
    finished: float | None = None
    result: dict[str, Any] | None = None


# -- the server itself


class ServerLimits(Model):
    """What one request may hold."""

    max_bytes: int
    max_pixels: int
    max_images: int
    max_faces: int
    deadline: float = Field(description="seconds")


class InfoResponse(Model):
    """Versions, models and limits."""

    version: str
    detector: str = Field(description="name of the model's file and the start of its SHA-256")
    contract: str | None = Field(description="of the vectors; null: it only detects")
    dimension: int | None
    liveness: bool = Field(description="whether faces are looked at for signs of life")
    challenges: bool = Field(description="whether `liveness/begin` is offered")
    people: int | None
    people_version: int | None
    head: bool = Field(description="whether a classifier has been fit")
    threshold: float | None
    limits: ServerLimits
    operations: list[str]


class HealthResponse(Model):
    """``ready`` is false while the server ends or when one of its threads has died. ``reason`` says
    why; beside a true ``ready`` it is that the database of people cannot be reached."""

    ready: bool
    waiting: int = Field(description="images that are in the server at the moment")
    reason: str | None = None
