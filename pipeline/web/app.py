"""What the page's address answers: three files, thumbnails, and the WebSocket."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI, Request, Response, WebSocket
from starlette.websockets import WebSocketDisconnect

from faces.errors import UserError
from faces.images.file import image_kind
from pipeline.live.best_views import Chosen
from pipeline.net.headers import HeadAsGet
from pipeline.service.errors import ServiceError
from pipeline.service.images import KINDS, check_image, decode_image
from pipeline.service.runtime.limits import Limits
from pipeline.teaching.corrections import AlreadyKnown
from pipeline.web import messages
from pipeline.web.access import Access, AccessMiddleware
from pipeline.web.broadcast import Broadcast
from pipeline.web.viewers import Viewer

logger = logging.getLogger(__name__)

FOLDER = Path(__file__).parent
SCRIPTS = ("app", "camera", "connection", "dialog", "liveness", "people", "picture")
FILES = {
    "/": ("index.html", "text/html"),
    "/style.css": ("style.css", "text/css"),
    **{f"/{name}.js": (f"{name}.js", "text/javascript") for name in SCRIPTS},
}

MAX_FRAME = 4 * 2**20
MAX_PIXELS = 4096 * 2304
"""Of a browser's frame: bytes, and pixels."""

MAX_TEXT = 4096
MAX_VIEWERS = 16
MAX_COMMANDS = 4
"""Commands of one browser that are being done at the same time."""

# What a WebSocket is closed with; 4000 to 4999 are for applications (RFC 6455, section 7.4.2).
WRONG_MESSAGE, TOO_LARGE, TOO_MANY = 4400, 4413, 4429

_LIMITS = Limits(max_bytes=MAX_FRAME, max_pixels=MAX_PIXELS)


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

    async def alive() -> Response:
        return Response("alive\n", media_type="text/plain")

    async def thumbnail(request: Request) -> Response:
        name = request.query_params.get("name", "")[: messages.NAME_LENGTH]
        try:
            data = await asyncio.to_thread(broadcast.live.thumbnail, name)
        except UserError:
            data = None
        kind = None if data is None else image_kind(data)
        if data is None or kind not in KINDS:
            return Response("There is no picture of that name.\n", 404, media_type="text/plain")
        return Response(data, media_type=f"image/{kind}")

    async def icon() -> Response:
        return Response(status_code=204)  # browsers ask without being told to

    app.add_api_route("/favicon.ico", icon, methods=["GET"])
    app.add_api_route("/alive", alive, methods=["GET"])
    app.add_api_route("/thumbnail", thumbnail, methods=["GET"])
    app.add_api_websocket_route("/live", _socket(broadcast))
    app.add_middleware(HeadAsGet)
    app.add_middleware(AccessMiddleware, access=access)
    return app


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


class BrowserConnection:
    """One browser's WebSocket, until it is closed."""

    def __init__(self, broadcast: Broadcast, socket: WebSocket) -> None:
        self._broadcast, self._socket = broadcast, socket
        self._viewer = Viewer()
        self._commands: set[asyncio.Task[None]] = set()
        self._chosen: Chosen | None = None

    async def run(self) -> None:
        """Listen and send at the same time; returns when the browser has gone."""
        socket = self._socket
        sending = asyncio.create_task(self._viewer.send(socket.send_text, socket.send_bytes))
        try:
            await self._broadcast.join(self._viewer)
            listening = asyncio.create_task(self._listen())
            await asyncio.wait({sending, listening}, return_when=asyncio.FIRST_COMPLETED)
            listening.cancel()
            await _quietly(listening)
        finally:
            self._broadcast.leave(self._viewer)
            sending.cancel()
            await _quietly(sending)

    async def _listen(self) -> None:
        while True:
            message = await self._socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            text, data = message.get("text"), message.get("bytes")
            try:
                if text is not None:
                    if len(text) > MAX_TEXT:
                        raise Refused(TOO_LARGE, "a text is too long")
                    await self._obey(text)
                elif data is not None:
                    await self._take(data)
            except Refused as refused:
                logger.warning("a browser was sent away: %s", refused)
                await self._socket.close(refused.code, str(refused))
                return

    async def _obey(self, text: str) -> None:
        try:
            ask = messages.parse_ask(text)
        except ValueError as error:
            raise Refused(WRONG_MESSAGE, "a message is not understood") from error
        if isinstance(ask, messages.Shown):
            self._viewer.shown(ask.frame)
        elif isinstance(ask, messages.Camera):
            (self._broadcast.switch.claim if ask.on else self._broadcast.switch.release)(
                self._viewer
            )
            for viewer in self._broadcast.viewers:  # who gave frames before, gets some now
                viewer.restart()
            await self._broadcast.tell_state()
        elif len(self._commands) >= MAX_COMMANDS:
            self._viewer.answer(messages.reply(ask.id, "too much at once: wait a moment"))
        else:
            task = asyncio.create_task(self._do(ask))
            self._commands.add(task)
            task.add_done_callback(self._commands.discard)

    async def _do(self, ask: messages.Command) -> None:
        try:
            await asyncio.to_thread(self._command, ask)
            answer = messages.reply(ask.id)
        except AlreadyKnown as known:
            answer = messages.reply(ask.id, str(known), (known.name, known.similarity))
        except UserError as error:
            answer = messages.reply(ask.id, str(error))
        except Exception:
            logger.exception("a bug while doing %s", ask.type)
            answer = messages.reply(ask.id, "a bug; the program's log tells more")
        self._viewer.answer(answer)
        if isinstance(ask, messages.Choose):
            return
        await self._broadcast.tell_state()
        await self._broadcast.tell_people()

    def _clicked(self, track: int) -> Chosen | None:
        """The face as it was when it was clicked, if it is the one that is meant."""
        chosen = self._chosen
        return chosen if chosen is not None and chosen.track == track else None

    def _command(self, ask: messages.Command) -> None:
        live = self._broadcast.live
        match ask:
            case messages.Choose():
                self._chosen = None
                self._chosen = live.choose(ask.track)
            case messages.Teach():
                live.teach(ask.track, ask.name, sure=ask.sure, chosen=self._clicked(ask.track))
            case messages.Correct():
                live.correct(ask.track, ask.name, chosen=self._clicked(ask.track))
            case messages.Cancel():
                live.cancel()
            case messages.Check():
                self._broadcast.check.begin(ask.track, self._broadcast.switch.mirrored)
            case messages.StopCheck():
                self._broadcast.check.stop()
            case messages.Rename():
                live.rename(ask.old, ask.new)
            case messages.Merge():
                live.merge(ask.source, ask.into)
            case messages.Forget():
                live.forget(ask.name)

    async def _take(self, data: bytes) -> None:
        """A frame of the browser's own camera."""
        captured = time.monotonic()
        if len(data) > MAX_FRAME:
            raise Refused(TOO_LARGE, "a frame has too many bytes")
        if self._broadcast.switch.owner is not self._viewer:
            return  # another browser's camera is looked at since
        try:
            number, jpeg = messages.parse_frame(data)
            check_image(jpeg, _LIMITS, ("jpeg",))
            image = await asyncio.to_thread(decode_image, jpeg, _LIMITS)
        except (ValueError, ServiceError) as error:
            raise Refused(WRONG_MESSAGE, f"a frame cannot be used: {error}"[:100]) from error
        index = self._broadcast.switch.push(self._viewer, image, captured)
        if index is not None:
            # One is in flight; a lost one must not stay for ever.
            self._viewer.numbers = {index: number}


class Refused(Exception):
    """A browser has sent what the page never sends."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code


async def _quietly(task: asyncio.Task[None]) -> None:
    """Wait for a task that was cancelled, or whose browser has gone."""
    with contextlib.suppress(asyncio.CancelledError, WebSocketDisconnect, RuntimeError, OSError):
        await task
