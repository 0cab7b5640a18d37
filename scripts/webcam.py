"""`faces webcam`: a camera or stream with boxes and names, as it happens."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from faces.errors import UserError
from scripts.main import run_program
from scripts.options.command_line import log_to_stderr, parse, writing_results
from scripts.options.live import parse_size, refuse_originals
from scripts.options.webcam import Options
from scripts.options.webcam_cameras import areas_path, open_cameras
from scripts.options.webcam_outputs import open_sinks, open_window, recordings
from scripts.options.webcam_page import BROWSER, open_page, open_switch

if TYPE_CHECKING:
    from pipeline.live.cameras import Cameras
    from pipeline.live.loop import Loop
    from pipeline.review.memory import Memory
    from pipeline.sinks.files import Shows
    from pipeline.sinks.window import Window
    from pipeline.sources.live import LiveSource
    from pipeline.teaching.session import LiveTeaching
    from pipeline.types import Source, Tick
    from recognizer.snapshot import Snapshot
    from recognizer.store.people import Store
    from recognizer.types import Embedder
    from scripts.options.live import Networks

logger = logging.getLogger(__name__)

DESCRIPTION = """Show a camera, a stream or a video with a box around every face and the names of
those that are known. In the window: s saves a snapshot, q or Esc ends. Without a display, or with
--web, the picture is on a page for browsers. Outputs may be combined, and work without both."""

EXAMPLES = """\
faces webcam
faces webcam 1 --mirror --size 1280x720
faces webcam --web
faces webcam --library lib
faces webcam browser --host 0.0.0.0 --tls-cert cert.pem --tls-key key.pem
faces webcam "Logitech" --gallery family.db
faces webcam rtsp://user:password@192.168.1.20/stream --no-window --events -
faces webcam 0 door=rtsp://192.168.1.20/stream garden=http://192.168.1.21/video
faces webcam cameras.toml --web --events -
faces webcam 0 --out evening.mp4 --json - --snapshots seen --webhook http://127.0.0.1:8123/faces
faces webcam party.mp4 --again
faces webcam - --stdin-size 640x480 --stdin-fps 25"""


def main(argv: Sequence[str]) -> int:
    """Parse, open everything, show until the user or the source ends it; 1 when it was given up."""
    options: Options = parse(Options, argv, "faces webcam", DESCRIPTION, EXAMPLES)
    log_to_stderr(options.quiet)
    files = recordings(options, [camera.name for camera in options.cameras] or [None])
    for what in [camera.source for camera in options.cameras] or [options.source]:
        refuse_originals(what, {"--json": options.json, "--events": options.events})
        for file in files.values():
            refuse_originals(what, {"--out": file})
    from pipeline.live.cameras import Cameras
    from pipeline.live.patience import GaveUp

    if options.page.library is not None:  # before anything is opened or made
        from pipeline.library.parts import require_library

        require_library(options.page.library)
    windowed, paged = _shown_where(options)
    with ExitStack() as stack:
        camera = None
        if options.source != BROWSER and not options.cameras:
            camera = stack.enter_context(open_camera(options, paged))
        loop, live, memory = open_loop(options, stack, teach=paged or (windowed and options.teach))
        try:
            with writing_results(), ExitStack() as outputs:
                window = None
                several = loop.cameras if isinstance(loop, Cameras) else ()
                if windowed:
                    window = outputs.enter_context(open_window(options, live, several))
                sinks: list[Shows] = [sink for sink in (live, memory) if sink is not None]
                if window:
                    sinks.append(window)
                source: Source | None = camera
                if live and paged:
                    switch = open_switch(camera, several, areas_path(options))
                    assert memory is not None
                    page = outputs.enter_context(
                        open_page(options.page, live, switch, memory, options.networks, outputs)
                    )
                    print(f"the page is at {page.url}", flush=True, file=sys.stderr)
                    sinks.append(page)
                    source = switch
                sources: dict[str | None, LiveSource | None] = {None: camera}
                if several:
                    sources = {one.name: one.source for one in several}
                for sink in open_sinks(options, sources, outputs):
                    sinks.append(outputs.enter_context(sink))
                last = watch(options, partial(_ticks, loop, source), sinks, window)
        except GaveUp as error:
            print(f"faces: {error}", file=sys.stderr)
            return 1
    for tick in [one.last for one in several] or [last]:
        if tick is not None:
            stats = tick.stats
            logger.info(
                "%s%d frames shown, %d dropped; at the end %.1f frames/s, %.1f looks/s, %.0f ms "
                "late", "" if tick.camera is None else f"{tick.camera}: ",
                tick.picture.index + 1 - stats.dropped, stats.dropped, stats.fps, stats.looks,
                1000 * stats.latency,
            )  # fmt: skip
    return 1 if any(one.failure for one in several) else 0


def _shown_where(options: Options) -> tuple[bool, bool]:
    """Whether to open a window, and whether a page.

    A window that cannot be opened gives way to the page, unless another output was asked for.
    Raises UserError when nothing at all was asked for.
    """
    page = options.page
    web = page.web or page.library is not None or options.source == BROWSER
    if web or not options.window:
        if not (web or options.writes):
            raise UserError(
                "--no-window leaves nothing to do: ask for --web, --out, --json, --events, "
                "--webhook or --snapshots"
            )
        return False, web
    from pipeline.sinks.window import require_window

    try:
        require_window()
    except UserError as error:
        if options.writes:
            logger.warning("%s; --web shows the picture in a browser", error)
            return False, False
        logger.warning("the picture is on a page for browsers, as %s", error)
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
    from pipeline.sources.live import LiveSource
    from pipeline.sources.open import SourceOptions, open_source

    stdin = options.source == "-"
    text, flag = (options.raw.stdin_size, "--stdin-size") if stdin else (options.size, "--size")
    source = open_source(
        options.source,
        SourceOptions(
            live=True,
            again=options.again,
            mirror=options.mirror,
            size=parse_size(text, flag) if text else None,
            fps=options.raw.stdin_fps if stdin else options.fps,
            layout=options.raw.stdin_format,
        ),
    )
    if not isinstance(source, LiveSource):
        source.close()
        raise UserError(f"{options.source} holds photos: use `faces run` for them")
    return source


def open_loop(
    options: Options, stack: ExitStack, teach: bool
) -> tuple[Loop | Cameras, LiveTeaching | None, Memory | None]:
    """The loop, or those of several cameras, with networks, people, and a watch on their file, all
    ended by ``stack``.

    Only with ``teach`` there is a `LiveTeaching`; only then, or to remember unknown faces, the file
    is made when it is missing.
    """
    from pipeline.live.loop import Loop, LoopOptions
    from pipeline.live.worker import Background
    from pipeline.stream import CAMERA_SIDE, half_of_the_cores

    networks = options.networks
    if networks.threads is None:
        networks = replace(networks, threads=half_of_the_cores())
    embedder = networks.open_embedder(networks.threads)
    people = networks.open_people(embedder, take_over=teach or bool(options.kept))
    logger.info("%s", networks.who_is_known(people))
    detector = networks.open_detector(CAMERA_SIDE)
    loop: Loop | Cameras
    if options.cameras:
        loop = open_cameras(options, detector, embedder, people, stack)
    else:
        settings = LoopOptions(options.every, networks.min_face, networks.threshold)
        loop = stack.enter_context(Loop(detector, embedder, people, settings, Background()))
    live = memory = None
    if teach or options.kept or networks.exists():
        store = stack.enter_context(networks.open_store(embedder))
        if teach:
            from pipeline.teaching.gathering import TeachOptions
            from pipeline.teaching.session import LiveTeaching

            kept: Literal["all", "first"] = "all" if options.keep_crops else "first"
            live = stack.enter_context(
                LiveTeaching(loop, store, embedder, TeachOptions(pictures=kept))
            )
        if teach or options.kept:
            from pipeline.review.memory import Memory

            memory = stack.enter_context(Memory(store, options.kept, _camera_name(options)))
        _follow(store, loop, live, stack)
    else:
        _await_gallery(networks, embedder, loop, stack)
    return loop, live, memory


def _camera_name(options: Options) -> str:
    """What a single camera is called beside faces that were seen there: no folder, no password."""
    from urllib.parse import urlsplit

    source = options.source
    if options.cameras:
        return ""  # they have names
    if "://" in source:
        return urlsplit(source).hostname or ""
    return f"camera {source}" if source.isdigit() else Path(source).name


def _ticks(
    loop: Loop | Cameras, source: Source | None, over: Callable[[], bool]
) -> Generator[Tick]:
    from pipeline.live.loop import Loop

    if not isinstance(loop, Loop):
        return loop.run(over)
    assert source is not None  # a browser's camera comes with the page
    return loop.run(source, over)


def _follow(
    store: Store, loop: Loop | Cameras, live: LiveTeaching | None, stack: ExitStack
) -> None:
    """Use what other programs change in the store."""
    from pipeline.gallery_watch import GalleryWatch

    def swap(snapshot: Snapshot) -> None:
        loop.recognizer = snapshot

    stack.enter_context(
        GalleryWatch(store, lambda: loop.recognizer.version, live.swap if live else swap)
    )


def _await_gallery(
    networks: Networks, embedder: Embedder, loop: Loop | Cameras, stack: ExitStack
) -> None:
    """Use people whom another program enrolls later, in a gallery that is not there yet."""
    from pipeline.gallery_watch import GalleryWait

    def opened() -> Store | None:
        return networks.open_store(embedder) if networks.exists() else None

    def swap(snapshot: Snapshot) -> None:
        loop.recognizer = snapshot

    stack.enter_context(GalleryWait(opened, lambda: loop.recognizer.version, swap))


def watch(
    options: Options,
    ticks: Callable[[Callable[[], bool]], Generator[Tick]],
    sinks: Sequence[Shows],
    window: Window | None,
) -> Tick | None:
    """Hand every tick to every sink until the user or the source ends it; the last tick."""
    from faces.run import stop_signals
    from pipeline.sinks.files import Showing

    showing = Showing(sinks)
    end = None if options.seconds is None else time.monotonic() + options.seconds
    last = None
    with stop_signals() as stopped:

        def over() -> bool:
            late = end is not None and time.monotonic() >= end
            return bool(stopped) or late or (window is not None and window.closed)

        for last in ticks(over):
            showing.show(last)
    return last


if __name__ == "__main__":
    run_program("scripts.webcam")
