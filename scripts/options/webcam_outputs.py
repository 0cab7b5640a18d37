"""Where `faces webcam` shows and writes: the window, the video, lines, events, snapshots."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from faces.errors import UserError
from scripts.options.webcam import Options

if TYPE_CHECKING:
    from pipeline.live.cameras import Watched
    from pipeline.sinks.events import Event
    from pipeline.sinks.files import Sink
    from pipeline.sinks.window import Window
    from pipeline.sources.live import LiveSource
    from pipeline.teaching.session import LiveTeaching
    from pipeline.types import Tick

logger = logging.getLogger(__name__)

TOKEN = "FACES_WEBHOOK_TOKEN"


def open_window(
    options: Options, live: LiveTeaching | None = None, cameras: Sequence[Watched] = ()
) -> Window:
    """The window, its keys, and the typing of names."""
    from pipeline.sinks.files import Snapshots
    from pipeline.sinks.name_prompt import Prompt
    from pipeline.sinks.window import ESCAPE, Tiles, Window

    snapshots = Snapshots(options.snapshots or Path("snapshots"))

    def save(tick: Tick) -> None:
        for one in [camera.last for camera in cameras] or [tick]:
            if one is not None:
                logger.info("saved %s", snapshots.save(one, one.camera or "snapshot"))

    def close(tick: Tick) -> None:
        window.closed = True

    keys = {ord("s"): save, ESCAPE: close}
    more: dict[str, Any] = {"tiles": Tiles(cameras)} if cameras else {}
    if live is None:
        window = Window(keys, **more)
    else:
        prompt = Prompt(live)
        window = Window(keys, prompt.click, prompt.key, **more)
    return window


def recordings(options: Options, cameras: Iterable[str | None]) -> dict[str | None, Path]:
    """The file of ``--out`` for each of these cameras; for one without a name that file itself.

    Raises UserError where the names of two cameras give one file.
    """
    from pipeline.sinks.files import file_name

    files: dict[str | None, Path] = {}
    if options.out is None:
        return files
    taken: dict[str, str] = {}
    for camera in cameras:
        stem = options.out.stem + ("" if camera is None else f"-{file_name(camera)}")
        files[camera] = path = options.out.with_stem(stem)
        other = taken.setdefault(path.name.casefold(), str(camera))
        if other != str(camera):
            raise UserError(
                f"the cameras {other!r} and {camera!r} would both be recorded as {path}: give one "
                "of them another name, as in door=0"
            )
    return files


def open_sinks(
    options: Options, cameras: Mapping[str | None, LiveSource | None], stack: ExitStack
) -> list[Sink]:
    """All that the flags ask for besides window and page; ``stack`` ends what it stands on.

    Args:
        cameras: their sources by their names; one without a name where there is one only.
    """
    from pipeline.sinks.events import Events, Presences, now
    from pipeline.sinks.files import JsonLines, Recorder

    sinks: list[Sink] = []
    if options.json is not None:
        sinks.append(JsonLines(_print if options.json == "-" else Path(options.json)))
    listeners, files = _listeners(options, stack), recordings(options, cameras)
    for camera, source in cameras.items():
        if camera in files and source is not None:
            film, fps = source.film, source.fps
            sinks.append(Recorder(files[camera], fps, live=True, film=film, camera=camera))
        if listeners:
            presences = Presences(options.arrive, options.leave, now, camera)
            sinks.append(Events(presences, listeners))
    return sinks


def _listeners(options: Options, stack: ExitStack) -> list[Callable[[Event, Tick], None]]:
    """Everyone who wants to hear of people that come and leave."""
    from pipeline.sinks.files import LineFile, Snapshots
    from pipeline.sinks.webhook import Webhook

    listeners: list[Callable[[Event, Tick], None]] = []
    if options.events is not None:
        write = _print
        if options.events != "-":
            write = stack.enter_context(LineFile(Path(options.events))).write
        listeners.append(lambda event, tick: write(event.line()))
    if options.webhook is not None:
        hook = stack.enter_context(Webhook(options.webhook, os.environ.get(TOKEN)))
        listeners.append(lambda event, tick: hook.post(event.to_json()))
    if options.snapshots is not None:
        snapshots = Snapshots(options.snapshots)

        def save(event: Event, tick: Tick) -> None:
            if event.kind == "seen":
                camera = "" if event.camera is None else f"{event.camera}-"
                snapshots.save(tick, f"{camera}{event.name or 'unknown'}")

        listeners.append(save)
    return listeners


def _print(line: str) -> None:
    print(line, flush=True)
