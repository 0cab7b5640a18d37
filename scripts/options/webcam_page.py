"""The page of `faces webcam --web`: its flags, and opening it."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from faces.errors import UserError
from scripts.options.command_line import arg

if TYPE_CHECKING:
    from pipeline.library.page.lists import Known
    from pipeline.library.page.shelf import Shelf
    from pipeline.live.cameras import Watched
    from pipeline.review.memory import Memory
    from pipeline.sources.live import LiveSource
    from pipeline.teaching.session import LiveTeaching
    from pipeline.web.camera_switch import CameraSwitch
    from pipeline.web.server import Page
    from recognizer.snapshot import Snapshot
    from recognizer.store.people import Store
    from scripts.options.live import Networks

logger = logging.getLogger(__name__)

BROWSER = "browser"
"""As a source: no camera of this machine, only those that browsers offer."""

TOKEN = "FACES_WEB_TOKEN"
SHORTEST_TOKEN = 20


@dataclass(frozen=True)
class WebOptions:
    """The picture in a browser."""

    web: bool = False
    """Show the picture on a page for browsers, where people can be taught; its address is printed.
    This is also done where no window can be opened."""
    host: Annotated[str, tyro.conf.arg(metavar="ADDRESS")] = "127.0.0.1"
    """Address that the page listens on. Others than this machine's own (0.0.0.0 for all) let other
    machines in, if they show the token that is printed with the address; the environment variable
    FACES_WEB_TOKEN sets one that stays the same."""
    port: int = 8420
    """Port of the page; 0 takes a free one."""
    library: Annotated[Path | None, arg("none", metavar="LIB")] = None
    """Show this library of `faces index` on the page, too: who is in those photos, naming, and
    searching by dropping a photo. It implies --web."""
    tls_cert: Annotated[Path | None, arg("none", metavar="FILE.pem")] = None
    """Certificate for https. Without it browsers on other machines keep their cameras to
    themselves."""
    tls_key: Annotated[Path | None, arg("none", metavar="FILE.pem")] = None
    """Its key."""

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise UserError("--port must be between 0 and 65535")
        if (self.tls_cert is None) != (self.tls_key is None):
            raise UserError("--tls-cert and --tls-key go together")


def web_token() -> str | None:
    """The token that the environment sets. Raises UserError for one that could be guessed."""
    token = os.environ.get(TOKEN)
    if token is not None and (len(token) < SHORTEST_TOKEN or not _plain(token)):
        raise UserError(
            f"{TOKEN} must have at least {SHORTEST_TOKEN} characters out of A-Z, a-z, 0-9, - and _"
        )
    return token


def open_switch(
    camera: LiveSource | None, cameras: Sequence[Watched] = (), areas: Path = Path()
) -> CameraSwitch:
    """The machine's camera, which browsers can replace with their own; or several, whose zones are
    drawn on the page and kept in the file ``areas``."""
    from pipeline.web.camera_switch import CameraSwitch, CameraTiles

    if cameras:
        return CameraTiles(cameras, areas)
    return CameraSwitch(camera)


def open_shelf(folder: Path, own: Store, networks: Networks, stack: ExitStack) -> Shelf:
    """The library for the page, ended by ``stack``.

    Names are those of the gallery that `faces library` uses for it, or else of the page's own.
    Raises UserError when there is no library, or it is damaged.
    """
    from pipeline.library.page.shelf import Shelf
    from pipeline.library.people import Library
    from recognizer.store.people import Store
    from scripts.options.library import gallery_of

    with ExitStack() as opening:
        library = opening.enter_context(Library(folder))
        where, store = gallery_of(None, library), own
        mine = networks.gallery.absolute() if isinstance(networks.gallery, Path) else None
        if where is not None and where != (mine or networks.gallery):
            store = stack.enter_context(Store.open_existing(where))
        else:
            where = mine or networks.gallery
        if store.fingerprint == library.manifest.embedder:
            shelf = Shelf(library, _known(store, str(where)))
        else:
            logger.warning(
                "the people of %s have no names in %s: it was made with another embedder",
                where, folder,
            )  # fmt: skip
            shelf = Shelf(library)
        opening.pop_all()
    return stack.enter_context(shelf)


def _known(store: Store, where: str) -> Known:
    from pipeline.library.people import identity_of

    last: tuple[Snapshot | None, str] = None, ""

    def known() -> tuple[Snapshot | None, str]:
        nonlocal last
        if (snapshot := store.snapshot()) is not last[0]:
            last = snapshot, identity_of(where, snapshot)
        return last

    return known


def open_page(
    options: WebOptions,
    live: LiveTeaching,
    switch: CameraSwitch,
    memory: Memory,
    networks: Networks,
    stack: ExitStack,
) -> Page:
    """The page, not yet served; ``stack`` ends the library on it. Raises UserError when it cannot
    be."""
    from pipeline.net import is_loopback
    from pipeline.web.desk import Desk
    from pipeline.web.server import Page

    library = options.library
    shelf = None if library is None else open_shelf(library, live.store, networks, stack)
    desk = Desk(live, memory, lambda: networks.open_detector(None, photos=True), shelf)
    page = Page(
        live, switch, desk, options.host, options.port, web_token(), options.tls_cert,
        options.tls_key,
    )  # fmt: skip
    if not is_loopback(options.host) and options.tls_cert is None:
        logger.warning("no TLS: the picture and the token can be read on the way; see docs/live.md")
    return page


def _plain(token: str) -> bool:
    return token.isascii() and token.replace("-", "").replace("_", "").isalnum()
