"""What the page's address answers: three files, thumbnails, and the WebSocket."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, Response, WebSocket
from fastapi.responses import JSONResponse
from starlette.requests import ClientDisconnect

from faces.errors import UserError
from faces.images.file import image_kind
from pipeline.net import HeadAsGet
from pipeline.service.images import KINDS
from pipeline.web.access import Access, AccessMiddleware
from pipeline.web.broadcast import Broadcast
from pipeline.web.browser import MAX_VIEWERS, TOO_MANY, BrowserConnection
from pipeline.web.desk import LIMITS, Desk
from pipeline.web.library import add_library, read_body
from pipeline.web.messages import NAME_LENGTH

logger = logging.getLogger(__name__)

FOLDER = Path(__file__).parent
SCRIPTS = (
    "app", "camera", "connection", "dialog", "library", "liveness", "pages", "people", "person",
    "photos", "picture", "review", "tiles", "zones",
)  # fmt: skip
FILES = {
    "/": ("index.html", "text/html"),
    **{f"/{name}.css": (f"{name}.css", "text/css") for name in ("style", "tiles", "library")},
    **{f"/{name}.js": (f"{name}.js", "text/javascript") for name in SCRIPTS},
}


def make_app(broadcast: Broadcast, access: Access) -> FastAPI:
    """The page, and what it is told."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        telling = asyncio.create_task(broadcast.tell_forever())
        yield
        telling.cancel()

    app = FastAPI(
        title="faces", docs_url=None, redoc_url=None, openapi_url=None, lifespan=lifespan,
        redirect_slashes=False,
    )  # fmt: skip
    for path, (name, kind) in FILES.items():
        app.add_api_route(path, _file(FOLDER / name, kind), methods=["GET"])

    looking = asyncio.Semaphore(1)  # one photo at a time: the picture goes on

    async def told(ask: Callable[[Desk], dict[str, Any] | None]) -> Response:
        if broadcast.desk is None:
            return Response("This page has none of it.\n", 404, media_type="text/plain")
        try:
            return JSONResponse(await asyncio.to_thread(ask, broadcast.desk))
        except UserError as error:
            return Response(f"{error}\n", 404, media_type="text/plain")

    @app.get("/favicon.ico")
    async def icon() -> Response:
        return Response(status_code=204)  # browsers ask without being told to

    @app.get("/alive")
    async def alive() -> Response:
        return Response("alive\n", media_type="text/plain")

    @app.get("/thumbnail")
    async def thumbnail(name: str = "") -> Response:
        try:
            return _png(await asyncio.to_thread(broadcast.live.thumbnail, name[:NAME_LENGTH]))
        except UserError:
            return _png(None)

    @app.get("/face")
    async def face(request: Request) -> Response:
        asked = [_number(request, key) for key in ("sample", "unknown")]
        desk = broadcast.desk
        return _png(None if desk is None else await asyncio.to_thread(desk.picture, *asked))

    @app.get("/person")
    async def person(name: str = "") -> Response:
        return await told(lambda desk: desk.person(name[:NAME_LENGTH]))

    @app.get("/review")
    async def review() -> Response:
        return await told(lambda desk: desk.review())

    @app.post("/photo")
    async def photo(request: Request, file: str = "") -> Response:
        data = await read_body(request, LIMITS.max_bytes)
        if data is None:
            text = {"id": None, "reasons": [f"more than {LIMITS.max_bytes >> 20} MB"]}
            return JSONResponse(text)
        async with looking:
            return await told(lambda desk: desk.look(data, file[:NAME_LENGTH]))

    async def gone(request: Request, error: Exception) -> Response:
        return Response(status_code=499)  # nobody will read it

    app.add_exception_handler(ClientDisconnect, gone)
    add_library(app, broadcast, looking)
    app.add_api_websocket_route("/live", _socket(broadcast))
    app.add_middleware(HeadAsGet)
    app.add_middleware(AccessMiddleware, access=access)
    return app


def _png(data: bytes | None) -> Response:
    """Somebody's picture, if it is one."""
    kind = None if data is None else image_kind(data)
    if data is None or kind not in KINDS:
        return Response("There is no such picture.\n", 404, media_type="text/plain")
    return Response(data, media_type=f"image/{kind}")


def _number(request: Request, key: str) -> int | None:
    text = request.query_params.get(key, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else None


def _file(path: Path, kind: str):  # type: ignore[no-untyped-def]
    async def endpoint() -> Response:
        text = await asyncio.to_thread(path.read_text, encoding="utf-8")
        return Response(text, media_type=kind)

    return endpoint


def _socket(broadcast: Broadcast):  # type: ignore[no-untyped-def]
    async def live(socket: WebSocket) -> None:
        await socket.accept()
        if len(broadcast.viewers) >= MAX_VIEWERS:
            await socket.close(TOO_MANY, "too many browsers look already")
            return
        await BrowserConnection(broadcast, socket).run()

    return live
