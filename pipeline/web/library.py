"""What the page asks for about a library of `faces index`: lists in pages, pictures, decisions."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, get_args

from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from faces.errors import UserError
from pipeline.library.page import Act, Kind
from pipeline.service.errors import ServiceError
from pipeline.web.broadcast import Broadcast
from pipeline.web.desk import LIMITS
from pipeline.web.messages import NAME_LENGTH

if TYPE_CHECKING:
    from pipeline.library.page.shelf import Shelf

MAX_BODY = 2**16
BODY_SECONDS = 60.0
"""In which what is sent must have arrived: as long as it comes, it holds a connection."""

PICTURES = 2
"""Photos that are decoded at the same time: the live picture goes on."""

KEPT = "private, max-age=3600"
"""For how long a browser keeps a picture of a library; of people who were forgotten, too."""

FaceName = Annotated[str, Field(pattern=r"^[0-9a-f]{16}-[0-9]{1,9}$")]

GONE = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 96 96" width="192" height="192">
<rect width="96" height="96" fill="#6b7482"/>
<g fill="none" stroke="#fff" stroke-width="3"><rect x="24" y="26" width="48" height="36" rx="3"/>
<path d="M20 70 76 18"/></g>
<text x="48" y="84" fill="#fff" font-family="sans-serif" font-size="10"
text-anchor="middle">not there</text></svg>"""
"""In place of a photo that was deleted, or whose disk is away."""


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Decide(_Body):
    """See `Shelf.decide`."""

    view: Annotated[int, Field(ge=0, le=2**53)]
    do: Act
    faces: Annotated[list[FaceName], Field(min_length=1, max_length=1000)]
    whole: bool
    name: Annotated[str, Field(max_length=NAME_LENGTH)] = ""
    who: FaceName | None = None


class Undo(_Body):
    """Take back this decision."""

    number: Annotated[int, Field(ge=0, le=2**53)]


async def read_body(request: Request, most: int) -> bytes | None:
    """The bytes that were sent; None for more than ``most``. Raises HTTPException after
    `BODY_SECONDS`."""
    data = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for part in request.stream():
                data += part
                if len(data) > most:
                    return None
    except TimeoutError as error:
        raise HTTPException(408) from error
    return bytes(data)


def add_library(app: FastAPI, broadcast: Broadcast, looking: asyncio.Semaphore) -> None:
    """The routes of a library; all are 404 where the page has none.

    Args:
        broadcast: whose desk has the library.
        looking: held while a photo is looked at.
    """
    decoding = asyncio.Semaphore(PICTURES)

    async def told(ask: Callable[[Shelf], dict[str, Any]]) -> Response:
        desk = broadcast.desk
        if desk is None or desk.shelf is None:
            return Response("This page has no library.\n", 404, media_type="text/plain")
        try:
            return JSONResponse(await asyncio.to_thread(ask, desk.shelf))
        except (UserError, ServiceError) as error:
            return JSONResponse({"error": str(error)})

    @app.get("/library/people")
    async def people(request: Request, kind: str = "named", text: str = "") -> Response:
        known: Kind = next((one for one in get_args(Kind) if one == kind), "named")
        name = text[:NAME_LENGTH].strip()
        return await told(lambda shelf: shelf.people(known, _offset(request), name))

    @app.get("/library/photos")
    async def photos(request: Request, face: str = "") -> Response:
        return await told(lambda shelf: shelf.photos(face, _offset(request)))

    @app.get("/library/found")
    async def found(request: Request, key: str = "") -> Response:
        return await told(lambda shelf: shelf.found(key, _offset(request)))

    @app.post("/library/search")
    async def search(request: Request) -> Response:
        data = await read_body(request, LIMITS.max_bytes)
        if data is None:
            return JSONResponse({"error": f"more than {LIMITS.max_bytes >> 20} MB"})
        async with looking:
            return await told(lambda _: broadcast.desk.search(data) if broadcast.desk else {})

    @app.get("/library/face")
    @app.get("/library/photo")
    async def picture(request: Request, face: str = "") -> Response:
        desk = broadcast.desk
        if desk is None or desk.shelf is None:
            return Response("This page has no library.\n", 404, media_type="text/plain")
        whole = request.url.path.endswith("/photo")
        async with decoding:
            try:
                data = await asyncio.to_thread(desk.shelf.picture, face, whole)
            except UserError:  # it is being read
                data = None
        if data is None:
            return Response(GONE, media_type="image/svg+xml")
        return Response(data, media_type="image/jpeg", headers={"cache-control": KEPT})

    async def change(request: Request, kind: type[_Body], do: Callable[[Shelf, Any], None]) -> Any:
        data = await read_body(request, MAX_BODY)
        try:
            asked = kind.model_validate_json(data or b"")
        except ValidationError:
            return Response("That is not understood.\n", 400, media_type="text/plain")

        def done(shelf: Shelf) -> dict[str, Any]:
            do(shelf, asked)
            return {"error": None}

        answer = await told(done)
        await broadcast.tell_people()
        return answer

    @app.post("/library/decide")
    async def decide(request: Request) -> Response:
        return await change(request, Decide, lambda shelf, ask: shelf.decide(
            ask.view, ask.do, ask.faces, ask.whole, ask.name, ask.who
        ))  # fmt: skip

    @app.post("/library/undo")
    async def undo(request: Request) -> Response:
        return await change(request, Undo, lambda shelf, ask: shelf.undo(ask.number))


def _offset(request: Request) -> int:
    text = request.query_params.get("offset", "0")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0
