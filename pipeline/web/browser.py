"""One browser's WebSocket: what it asks for is done, what it sends is taken."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from typing import Any

from fastapi import WebSocket
from pydantic import ValidationError
from pydantic_core import from_json
from starlette.websockets import WebSocketDisconnect

from faces.errors import UserError
from pipeline.service.errors import ServiceError
from pipeline.service.images import check_image, decode_image
from pipeline.service.runtime.limits import Limits
from pipeline.teaching.corrections import AlreadyKnown
from pipeline.web import messages
from pipeline.web.broadcast import Broadcast
from pipeline.web.commands import Commands, Name, Number, checked
from pipeline.web.viewers import Viewer

logger = logging.getLogger(__name__)

MAX_FRAME = 4 * 2**20
MAX_PIXELS = 4096 * 2304
"""Of a browser's frame: bytes, and pixels."""

MAX_TEXT = 2**16
MAX_VIEWERS = 16
MAX_COMMANDS = 4
"""Commands of one browser that are being done at the same time."""

# What a WebSocket is closed with; 4000 to 4999 are for applications (RFC 6455, section 7.4.2).
WRONG_MESSAGE, TOO_LARGE, TOO_MANY = 4400, 4413, 4429

_LIMITS = Limits(max_bytes=MAX_FRAME, max_pixels=MAX_PIXELS)


class BrowserConnection:
    """One browser's WebSocket, until it is closed."""

    def __init__(self, broadcast: Broadcast, socket: WebSocket) -> None:
        self._broadcast, self._socket = broadcast, socket
        self._viewer = Viewer()
        self._commands, self._running = Commands(broadcast), set[asyncio.Task[None]]()

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
                await self._send_away(refused)
                return

    async def _send_away(self, refused: Refused) -> None:
        logger.warning("a browser was sent away: %s", refused)
        await self._socket.close(refused.code, str(refused))

    async def _obey(self, text: str) -> None:
        try:
            ask = from_json(text, allow_inf_nan=False)
            kind = ask.pop("type")
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise Refused() from error
        try:
            if kind == "shown":
                self._shown(**ask)
            elif kind == "camera":
                await self._camera(**ask)
            else:
                self._command(f"do_{kind}", ask)
        except ValidationError as error:
            raise Refused() from error

    @checked
    def _shown(self, frame: Number, camera: Name | None = None) -> None:
        """A frame is on the screen: another one may be sent."""
        self._viewer.shown(frame, camera)

    @checked
    async def _camera(self, on: bool) -> None:
        """Use this browser's own camera, or stop using it."""
        switch = self._broadcast.switch
        (switch.claim if on else switch.release)(self._viewer)
        for viewer in self._broadcast.viewers:  # who gave frames before, gets some now
            viewer.restart()
        await self._broadcast.tell_state()

    def _command(self, name: str, fields: dict[str, Any]) -> None:
        id, do = fields.pop("id", None), getattr(self._commands, name, None)
        if do is None or type(id) is not int or not 0 <= id <= 2**53:
            raise Refused()
        if len(self._running) >= MAX_COMMANDS:
            self._viewer.answer(messages.reply(id, "too much at once: wait a moment"))
            return
        task = asyncio.create_task(self._do(id, do, fields))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _do(self, id: int, do: Callable[..., Any], fields: dict[str, Any]) -> None:
        try:
            photos = await asyncio.to_thread(do, **fields)
            answer = messages.reply(id, photos=photos)
        except ValidationError:
            await self._send_away(Refused())
            return
        except AlreadyKnown as known:
            answer = messages.reply(id, str(known), (known.name, known.similarity))
        except UserError as error:
            answer = messages.reply(id, str(error))
        except Exception:
            logger.exception("a bug while doing %s", do.__name__)
            answer = messages.reply(id, "a bug; the program's log tells more")
        self._viewer.answer(answer)
        if do.__name__ != "do_choose":
            await self._broadcast.tell_state()
            await self._broadcast.tell_people()

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

    def __init__(
        self, code: int = WRONG_MESSAGE, reason: str = "a message is not understood"
    ) -> None:
        super().__init__(reason)
        self.code = code


async def _quietly(task: asyncio.Task[None]) -> None:
    """Wait for a task that was cancelled, or whose browser has gone."""
    with contextlib.suppress(asyncio.CancelledError, WebSocketDisconnect, RuntimeError, OSError):
        await task
