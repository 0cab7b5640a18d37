"""From the loop to the browsers: each frame is made a JPEG once, however many look at it."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.teaching.session import LiveTeaching
from pipeline.types import Stats, Tick
from pipeline.web import messages
from pipeline.web.camera_switch import CameraSwitch
from pipeline.web.desk import Desk
from pipeline.web.liveness_check import LivenessCheck
from pipeline.web.viewers import Frame, Viewer

logger = logging.getLogger(__name__)

QUALITY = 80
WIDEST = 1280
"""Larger frames are shrunk to this many pixels in width before they are sent."""

STATE_SECONDS = 0.2
PEOPLE_TURNS = 5
"""The list of people is read every so many states: other programs may change it."""


class Broadcast:
    """All viewers, and what they see.

    ``show`` belongs to the loop's thread, `encode_forever` to a thread of its own, everything else
    to the server's event loop.
    """

    def __init__(
        self, live: LiveTeaching, switch: CameraSwitch, desk: Desk | None = None
    ) -> None:  # fmt: skip
        self.live, self.switch, self.desk = live, switch, desk
        self.check = LivenessCheck(live.embedder)
        self.viewers: set[Viewer] = set()
        self._events: asyncio.AbstractEventLoop | None = None
        self._newest: dict[str | None, Tick] = {}  # camera -> what is not encoded yet
        self._wanted = threading.Event()
        self._closed = False
        self._stats, self._status = Stats(), switch.status
        self._people = ""

    # -- in the loop's thread

    def show(self, tick: Tick) -> None:
        """Take a tick and return at once."""
        self._stats, self._status = tick.stats, tick.status
        self.check.show(tick)
        if not tick.fresh or self._events is None:
            return
        self._call_soon(self._answer_owner, tick.faces.to_json())
        self._newest[tick.camera] = tick
        self._wanted.set()

    # -- in the encoder's thread

    def encode_forever(self) -> None:
        """Make the newest frame a message as long as somebody wants one; until `close`."""
        while True:
            self._wanted.wait()
            self._wanted.clear()
            if self._closed:
                return
            for camera in tuple(self._newest):
                tick = self._newest.pop(camera)
                if any(viewer.wants(camera) for viewer in tuple(self.viewers)):
                    picture = tick.picture
                    header = {"type": "frame", **tick.faces.to_json()}
                    data = messages.pack_frame(header, to_jpeg(picture.image))
                    frame = Frame(picture.index, picture.captured, data, tick.camera)
                    self._call_soon(self._offer, frame)

    def _call_soon(self, call: Any, *args: Any) -> None:
        events = self._events
        if events is None or events.is_closed():
            return
        try:
            events.call_soon_threadsafe(call, *args)
        except RuntimeError:  # it was closed this very moment
            logger.debug("the server has ended")

    # -- in the server's event loop

    async def tell_forever(self) -> None:
        """Tell everybody how it goes, and who is known."""
        self._events = asyncio.get_running_loop()
        turn = 0
        while True:
            if self.viewers:
                await self.tell_state()
                if turn % PEOPLE_TURNS == 0:
                    await self.tell_people()
                turn += 1
            await asyncio.sleep(STATE_SECONDS)

    async def join(self, viewer: Viewer) -> None:
        """Somebody has opened the page."""
        self.viewers.add(viewer)
        await self.tell_state()
        await self.tell_people()
        viewer.tell("people", self._people)

    def leave(self, viewer: Viewer) -> None:
        """Somebody has closed it."""
        self.viewers.discard(viewer)
        self.switch.release(viewer)

    async def tell_state(self) -> None:
        """How it goes, to everybody."""
        try:
            teaching, head = await asyncio.to_thread(lambda: (self.live.teaching, self.live.head()))
        except Exception:  # the picture goes on
            logger.exception("the state of teaching cannot be told")
            return
        owner = self.switch.owner
        cameras = self.switch.describe()
        told = {
            "type": "state",
            "fps": round(self._stats.fps, 1),
            "looks": round(self._stats.looks, 1),
            "named_ms": round(1000 * self._stats.latency),
            "status": self.switch.status if self._status is None else self._status,
            "camera": "browser" if owner else "machine" if self.switch.camera else "none",
            "machine": self.switch.camera is not None,
            "teaching": None if teaching is None else asdict(teaching),
            "head": asdict(head),
            "check": self.check.state,
            **({} if cameras is None else {"cameras": cameras}),
        }
        for viewer in self.viewers:
            late = None if viewer.latency is None else round(1000 * viewer.latency)
            viewer.tell("state", json.dumps({**told, "mine": viewer is owner, "shown_ms": late}))

    async def tell_people(self) -> None:
        """Who is known, to everybody, if that has changed."""
        try:
            text = await asyncio.to_thread(self._people_now)
        except Exception:  # a busy file; it is asked again
            logger.warning("the people cannot be listed just now", exc_info=True)
            return
        if text != self._people:
            self._people = text
            for viewer in self.viewers:
                viewer.tell("people", text)

    def _people_now(self) -> str:
        status = {} if self.desk is None else self.desk.status()
        people = [asdict(person) for person in self.live.people()]
        return json.dumps({"type": "people", "people": people, **status})

    def close(self) -> None:
        """End the encoder's thread and that of the check."""
        self._closed = True
        self.check.close()
        self._events = None
        self._wanted.set()

    def _offer(self, frame: Frame) -> None:
        owner = self.switch.owner
        for viewer in self.viewers:
            if viewer is not owner:
                viewer.offer(frame)

    def _answer_owner(self, header: dict[str, Any]) -> None:
        """The browser has the picture already; it gets what is on it."""
        owner = self.switch.owner
        if isinstance(owner, Viewer):
            number = owner.numbers.pop(header["frame"], None)
            if number is not None:
                owner.answer(json.dumps({**header, "type": "faces", "number": number}))


def to_jpeg(image: NDArray[np.uint8]) -> bytes:
    """RGB uint8 (H, W, 3) as JPEG, at most ``WIDEST`` pixels wide."""
    import cv2

    height, width = image.shape[:2]
    if width > WIDEST:
        size = WIDEST, max(1, round(height * WIDEST / width))
        image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
    fine, data = cv2.imencode(
        ".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, QUALITY]
    )
    if not fine:
        raise RuntimeError(f"OpenCV cannot encode a picture of {width}x{height} pixels")
    return data.tobytes()
