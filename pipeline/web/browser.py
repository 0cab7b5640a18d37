"""One browser's WebSocket: what it asks for is done, what it sends is taken."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time

from fastapi import WebSocket
from starlette.websockets import WebSocketDisconnect

from faces.errors import UserError
from pipeline.live.area import Area
from pipeline.live.best_views import Chosen
from pipeline.service.errors import ServiceError
from pipeline.service.images import check_image, decode_image
from pipeline.service.runtime.limits import Limits
from pipeline.teaching.corrections import AlreadyKnown
from pipeline.web import messages
from pipeline.web.broadcast import Broadcast
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
        self._commands: set[asyncio.Task[None]] = set()
        self._chosen: Chosen | None = None
        self._pointed: Chosen | None = None  # the same, also where too little is seen to learn it

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
            self._viewer.shown(ask.frame, ask.camera)
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
            photos = await asyncio.to_thread(self._command, ask)
            answer = messages.reply(ask.id, photos=photos)
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

    def _command(self, ask: messages.Command) -> dict[str, str] | None:
        """Do it; why photos could not be used, if it was about photos."""
        live = self._broadcast.live
        match ask:
            case messages.Choose():
                self._chosen = self._pointed = None
                self._pointed = live.choose(ask.track, poor=True)
                self._chosen = live.choose(ask.track)
            case messages.Teach():
                live.teach(ask.track, ask.name, sure=ask.sure, chosen=self._clicked(ask.track))
            case messages.Correct():
                live.correct(ask.track, ask.name, chosen=self._clicked(ask.track))
            case messages.Deny():
                pointed = self._pointed
                same = pointed is not None and pointed.track == ask.track
                live.deny(ask.track, chosen=pointed if same else None)
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
            case messages.Zones():
                area = Area.from_json({"zones": ask.zones, "min_face": ask.min_face})
                self._broadcast.switch.set_area(ask.camera, area)
            case _:
                return self._desk_command(ask)
        return None

    def _desk_command(self, ask: messages.DeskCommand) -> dict[str, str] | None:
        desk = self._broadcast.desk
        if desk is None:
            raise UserError("this page cannot do that")
        match ask:
            case messages.Undo():
                desk.undo(ask.act)
            case messages.RemoveSamples():
                desk.remove_samples(ask.name, ask.ids)
            case messages.Split():
                desk.split(ask.name, ask.ids, ask.new)
            case messages.ChoosePicture():
                desk.live.choose_picture(ask.name, ask.sample)
            case messages.NameUnknown():
                desk.name_unknown(ask.ids, ask.name, ask.sure)
            case messages.DenyUnknown():
                desk.deny_unknown(ask.ids, ask.name)
            case messages.Judge():
                desk.judge(ask.ids, ask.verdict)
            case messages.ClearUnknown():
                desk.clear_unknown()
            case messages.Enroll():
                return desk.enroll(ask.name, ask.photos, ask.sure)
        return None

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
