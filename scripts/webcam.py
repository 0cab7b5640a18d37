"""`faces webcam`: a camera or stream with boxes and names, as it happens."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Protocol

import tyro

from common.errors import UserError
from scripts.cli import log_to_stderr, parse
from scripts.live_options import (
    Networks,
    arg,
    open_detector,
    open_embedder,
    open_people,
    parse_size,
    who_is_known,
)
from scripts.recognizer_options import open_store
from scripts.webcam_web import BROWSER, WebOptions, open_page, open_switch

if TYPE_CHECKING:
    from pipeline.live import Live
    from pipeline.live_source import LiveSource
    from pipeline.loop import Loop, Source
    from pipeline.sinks import Sink
    from pipeline.sinks_events import Event
    from pipeline.sinks_window import Window
    from pipeline.types import Tick
    from recognizer.snapshot import Snapshot
    from recognizer.store import Store

logger = logging.getLogger(__name__)

DESCRIPTION = """Show a camera, a stream or a video with a box around every face and the names of
those that are known. In the window: s saves a snapshot, q or Esc ends. Without a display, or with
--web, the picture is on a page for browsers. Outputs may be combined, and work without both."""

EXAMPLES = """\
faces webcam
faces webcam 1 --mirror --size 1280x720
faces webcam --web
faces webcam browser --host 0.0.0.0 --tls-cert cert.pem --tls-key key.pem
faces webcam "Logitech" --gallery family.db
faces webcam rtsp://user:password@192.168.1.20/stream --no-window --events -
faces webcam 0 --out evening.mp4 --json - --snapshots seen --webhook http://127.0.0.1:8123/faces
faces webcam party.mp4 --again
faces webcam - --stdin-size 640x480 --stdin-fps 25"""

MAX_SIDE = 480
TOKEN = "FACES_WEBHOOK_TOKEN"


class Shows(Protocol):
    """Takes every tick, see `pipeline.sinks.Sink`."""

    def show(self, tick: Tick) -> None:
        """Take a tick."""


@dataclass(frozen=True)
class Options:
    """What to show and what to write."""

    source: Annotated[
        tyro.conf.Positional[str],
        tyro.conf.arg(metavar="CAMERA|URL|FILE|browser|-"),
    ] = "0"
    """Index or (on Linux) part of the name of a camera, rtsp:// or http:// address, video file that
    plays at its own speed, `browser` for the cameras of browsers that open the page, or - for raw
    frames on the standard input."""
    page: WebOptions = WebOptions()  # noqa: RUF009 (immutable)
    """See `WebOptions`."""
    window: bool = True
    """Show the picture in a window; --no-window is for machines without a screen."""
    out: Annotated[Path | None, arg("none", aliases=["-o"], metavar="FILE.mp4")] = None
    """Record the picture as it is shown. Without sound: a camera gives none."""
    json: Annotated[str | None, arg("none", metavar="FILE")] = None
    """Write a JSON line for each frame to this file; - prints them."""
    events: Annotated[str | None, arg("none", metavar="FILE")] = None
    """Write a JSON line when somebody was seen or has left to this file; - prints them."""
    webhook: Annotated[str | None, arg("none", metavar="URL")] = None
    """Send these lines to an address as well, with POST. The environment variable
    FACES_WEBHOOK_TOKEN, if set, is sent as a bearer token."""
    snapshots: Annotated[Path | None, arg("none; for the key s: snapshots", metavar="FOLDER")] = (
        None
    )
    """Save a picture into this folder whenever somebody is seen."""
    arrive: float = 0.5
    """Seconds for which a name must hold before its person counts as seen."""
    leave: float = 3.0
    """Seconds without a person after which they have left."""
    every: int = 1
    """Detect on every Nth frame at most. Detection runs beside the picture, so 1 keeps that smooth,
    too; larger values save power."""
    mirror: bool = False
    """Exchange left and right, as in a mirror."""
    size: Annotated[str | None, arg("the camera's own", metavar="WxH")] = None
    """Width and height to ask the camera for."""
    fps: Annotated[float | None, arg("the camera's own")] = None
    """Frames a second to ask the camera for."""
    again: bool = False
    """Begin a video file anew at its end."""
    seconds: Annotated[float | None, arg("until you end it")] = None
    """End after this time."""
    stdin_size: Annotated[str | None, arg("none", metavar="WxH")] = None
    """Width and height of the raw frames on the standard input."""
    stdin_fps: Annotated[float | None, arg("none")] = None
    """Their frames a second."""
    stdin_format: Literal["rgb24", "bgr24", "gray"] = "rgb24"
    """How their pixels are stored."""
    teach: bool = True
    """Let clicks in the window teach names, which are kept in --gallery. The page always can."""
    keep_crops: bool = False
    """Keep the pictures of all faces that are taught, so that another embedder can use them later;
    otherwise only the one that was clicked."""
    networks: Networks = Networks()  # noqa: RUF009 (immutable)
    """See `Networks`."""
    quiet: bool = False
    """Warnings only."""

    def __post_init__(self) -> None:
        """Raises UserError for values that cannot work, naming the flag to change."""
        out = self.out
        browser = self.source == BROWSER
        rules = [
            (
                not (browser and self.out),
                f"--out needs a camera of this machine; {BROWSER} has no frame rate of its own",
            ),
            (out is None or out.suffix.lower() == ".mp4", f"--out {out} must end in .mp4"),
            (self.every >= 1, "--every must be at least 1"),
            (
                not self.json == self.events == "-",
                "--json - and --events - would mix on stdout: write one of them to a file",
            ),
            (self.arrive >= 0 and self.leave > 0, "--arrive and --leave must be positive"),
            (self.seconds is None or self.seconds > 0, "--seconds must be positive"),
            (self.fps is None or 0 < self.fps <= 1000, "--fps must be above 0 and at most 1000"),
            (
                self.stdin_fps is None or 0 < self.stdin_fps <= 1000,
                "--stdin-fps must be above 0 and at most 1000",
            ),
        ]
        for fine, message in rules:
            if not fine:
                raise UserError(message)

    @property
    def writes(self) -> bool:
        """Whether there is any output besides the window."""
        return any((self.out, self.json, self.events, self.webhook, self.snapshots))


def main(argv: Sequence[str]) -> int:
    """Parse, open everything, show until the user or the source ends it."""
    options: Options = parse(
        Options, argv, prog="faces webcam", description=DESCRIPTION, examples=EXAMPLES
    )
    log_to_stderr(options.quiet)
    windowed, paged = _shown_where(options)
    with ExitStack() as stack:
        camera = None
        if options.source != BROWSER:
            camera = stack.enter_context(open_camera(options, paged))
        loop, live = open_loop(options, stack, teach=paged or (windowed and options.teach))
        try:
            with ExitStack() as outputs:
                window = None
                if windowed:
                    window = outputs.enter_context(open_window(options, live))
                sinks: list[Shows] = [live] if live else []
                if window:
                    sinks.append(window)
                source: Source | None = camera
                if live and paged:
                    source = switch = open_switch(camera)
                    page = outputs.enter_context(open_page(options.page, live, switch))
                    print(f"the page is at {page.url}", flush=True, file=sys.stderr)
                    sinks.append(page)
                assert source is not None  # a browser's camera comes with the page
                for sink in _sinks(options, camera, outputs):
                    sinks.append(outputs.enter_context(sink))
                last = watch(options, source, loop, sinks, window)
        except BrokenPipeError:  # whoever read the lines has left
            raise
        except OSError as error:
            raise UserError(f"the results cannot be written: {error}") from error
    if last is not None:
        stats = last.stats
        logger.info(
            "%d frames shown, %d dropped; at the end %.1f frames/s, %.1f looks/s, %.0f ms late",
            last.picture.index + 1 - stats.dropped, stats.dropped, stats.fps, stats.looks,
            1000 * stats.latency,
        )  # fmt: skip
    return 0


def _shown_where(options: Options) -> tuple[bool, bool]:
    """Whether to open a window, and whether a page.

    A window that cannot be opened gives way to the page, unless another output was asked for.
    Raises UserError when nothing at all was asked for.
    """
    web = options.page.web or options.source == BROWSER
    if web or not options.window:
        if not (web or options.writes):
            raise UserError(
                "--no-window leaves nothing to do: ask for --web, --out, --json, --events, "
                "--webhook or --snapshots"
            )
        return False, web
    from pipeline.sinks_window import require_window

    try:
        require_window()
    except UserError as error:
        if options.writes:
            logger.warning("%s; --web shows the picture in a browser", error)
            return False, False
        logger.warning("%s, so the picture is on a page for browsers", error)
        return False, True
    return True, False


def open_camera(options: Options, paged: bool) -> LiveSource:
    """As `open_live`; with a page a missing camera has one more remedy."""
    try:
        return open_live(options)
    except UserError as error:
        if not paged:
            raise
        raise UserError(
            f"{error}\n`faces webcam {BROWSER}` takes the cameras of browsers"
        ) from error


def open_live(options: Options) -> LiveSource:
    """The source that the flags name, being read. Raises UserError for folders of photos."""
    from pipeline.live_source import LiveSource
    from pipeline.sources import SourceOptions, open_source

    stdin = options.source == "-"
    text, flag = (options.stdin_size, "--stdin-size") if stdin else (options.size, "--size")
    source = open_source(
        options.source,
        SourceOptions(
            live=True,
            again=options.again,
            mirror=options.mirror,
            size=parse_size(text, flag) if text else None,
            fps=options.stdin_fps if stdin else options.fps,
            layout=options.stdin_format,
        ),
    )
    if not isinstance(source, LiveSource):
        source.close()
        raise UserError(f"{options.source} holds photos: use `faces run` for them")
    return source


def open_loop(options: Options, stack: ExitStack, teach: bool) -> tuple[Loop, Live | None]:
    """The loop with its networks, its people, and a watch on their file, which ``stack`` ends.

    Only with ``teach`` the file is made when it is missing, and there is a `Live`.
    """
    from pipeline.loop import Loop, LoopOptions
    from pipeline.worker import Background

    networks = options.networks
    if networks.threads is None:  # the picture wants its share of the cores
        networks = replace(networks, threads=max(1, (os.cpu_count() or 2) // 2))
    embedder = open_embedder(networks)
    people = open_people(networks, embedder)
    logger.info("%s", who_is_known(networks, people))
    loop = stack.enter_context(
        Loop(
            open_detector(networks, MAX_SIDE),
            embedder,
            people,
            LoopOptions(options.every, networks.min_face, networks.threshold),
            Background(),
        )
    )
    live = None
    if teach or networks.gallery.exists():
        store = stack.enter_context(open_store(networks, embedder))
        if teach:
            from pipeline.gathering import TeachOptions
            from pipeline.live import Live

            kept: Literal["all", "first"] = "all" if options.keep_crops else "first"
            live = stack.enter_context(Live(loop, store, embedder, TeachOptions(pictures=kept)))
        _follow(store, loop, live, stack)
    return loop, live


def _follow(store: Store, loop: Loop, live: Live | None, stack: ExitStack) -> None:
    """Use what other programs change in the store."""
    from pipeline.gallery_watch import GalleryWatch

    def swap(snapshot: Snapshot) -> None:
        loop.recognizer = snapshot

    stack.enter_context(
        GalleryWatch(store, lambda: loop.recognizer.version, live.swap if live else swap)
    )


def open_window(options: Options, live: Live | None = None) -> Window:
    """The window, its keys, and the typing of names."""
    from pipeline.prompt import Prompt
    from pipeline.sinks import Snapshots
    from pipeline.sinks_window import ESCAPE, Window

    snapshots = Snapshots(options.snapshots or Path("snapshots"))

    def save(tick: Tick) -> None:
        logger.info("saved %s", snapshots.save(tick))

    def close(tick: Tick) -> None:
        window.closed = True

    keys = {ord("s"): save, ESCAPE: close}
    if live is None:
        window = Window(keys)
    else:
        prompt = Prompt(live)
        window = Window(keys, prompt.click, prompt.key)
    return window


def _sinks(options: Options, source: LiveSource | None, stack: ExitStack) -> list[Sink]:
    from pipeline.sinks import JsonLines, Recorder
    from pipeline.sinks_events import Events, Presences, now

    sinks: list[Sink] = []
    if options.out is not None and source is not None:
        sinks.append(Recorder(options.out, source.fps, live=True))
    if options.json is not None:
        sinks.append(JsonLines(_print if options.json == "-" else Path(options.json)))
    listeners = _listeners(options, stack)
    if listeners:
        sinks.append(Events(Presences(options.arrive, options.leave, now), listeners))
    return sinks


def _listeners(options: Options, stack: ExitStack) -> list[Callable[[Event, Tick], None]]:
    """Everyone who wants to hear of people that come and leave."""
    from detector.results import LineFile
    from pipeline.sinks import Snapshots
    from pipeline.sinks_webhook import Webhook

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
                snapshots.save(tick, event.name or "unknown")

        listeners.append(save)
    return listeners


def watch(
    options: Options,
    source: Source,
    loop: Loop,
    sinks: Sequence[Shows],
    window: Window | None,
) -> Tick | None:
    """Hand every tick to every sink until somebody ends it; the last tick."""
    from common.run import stop_signals

    end = None if options.seconds is None else time.monotonic() + options.seconds
    last = None
    with stop_signals() as stopped:

        def over() -> bool:
            late = end is not None and time.monotonic() >= end
            return bool(stopped) or late or (window is not None and window.closed)

        for last in loop.run(source, over):
            for sink in sinks:
                sink.show(last)
    return last


def _print(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    from scripts.main import run_command

    sys.exit(run_command("scripts.webcam", sys.argv[1:]))
