"""`faces run`: the whole pipeline on a video: who is in it, when, and how sure that is."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from faces.errors import UserError, require
from faces.files import check_writable
from faces.text import counted
from scripts.main import run_program
from scripts.options.command_line import (
    arg,
    log_to_stderr,
    needed,
    parse,
    progress,
    writing_results,
)
from scripts.options.hide import HideOptions, write_covered
from scripts.options.live import Networks, RawFrames, parse_size, refuse_originals

if TYPE_CHECKING:
    from pipeline.live.loop import Loop
    from pipeline.sinks.files import Showing, Sink
    from pipeline.sources.open import EverySource

logger = logging.getLogger(__name__)

DESCRIPTION = """Find, follow and name the faces of a video file (or of a folder of photos, or of
raw frames on the standard input), every frame of it, as fast as the machine can. At the end a
report says who was there, when, and how sure that is. For cameras and streams see
`faces webcam`."""

EXAMPLES = """\
faces run party.mp4
faces run party.mp4 --out annotated.mp4 --json faces.jsonl
faces run party.mp4 --every 5 --max-side 480 --report party-report
faces run party.mp4 --hide unknown --out bystanders-hidden.mp4
faces run party.mp4 --hide everyone --show Ada --out only-ada.mp4
faces run photos --gallery family.db --json - | jq .faces
faces run - --stdin-size 640x480 --stdin-fps 25"""


@dataclass(frozen=True)
class Options:
    """What to look at and what to write."""

    video: Annotated[tyro.conf.Positional[str], needed("VIDEO|FOLDER|-")] = ""
    """A video file, a folder of photos, or - for raw frames on the standard input."""
    out: Annotated[Path | None, arg("none", aliases=["-o"], metavar="FILE.mp4")] = None
    """Write the video with boxes and names, as long as the original, and with its sound where the
    program ffmpeg is installed."""
    json: Annotated[str | None, arg("none", metavar="FILE")] = None
    """Write a JSON line for each frame to this file; - prints them."""
    report: Annotated[Path | None, arg("NAME-faces, in this folder", metavar="FOLDER")] = None
    """Folder for report.json, timeline.png and thumbnails; those of an earlier run are replaced."""
    no_report: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Write no such folder; the table at the end is printed all the same."""
    every: Annotated[int | None, arg("so that it is done 10 times a second; 1 with --hide")] = None
    """Detect on every Nth frame; faces are moved on in between."""
    hiding: HideOptions = field(default_factory=HideOptions)
    raw: RawFrames = field(default_factory=RawFrames)
    networks: Networks = field(default_factory=Networks)
    quiet: bool = False
    """Warnings only, and no progress bar."""

    def __post_init__(self) -> None:
        out = self.out
        rules = [
            (bool(self.video), "nothing to look at: name a video file"),
            ("://" not in self.video, "a stream has no end: use `faces webcam` for it"),
            (out is None or out.suffix.lower() == ".mp4", f"--out {out} must end in .mp4"),
            (self.every is None or self.every >= 1, "--every must be at least 1"),
            (
                not (self.no_report and self.report),
                "--report and --no-report contradict each other",
            ),
            (not self.hiding.hide or out is not None, "--hide writes a film: say where with --out"),
            (
                not self.hiding.hide or self.video != "-",
                "--hide looks at a film twice: write the frames into a file first",
            ),
        ]
        require(rules)


def main(argv: Sequence[str]) -> int:
    """Parse, run, write; 0 fine, 1 when the video ended too early or frames were skipped."""
    options: Options = parse(Options, argv, "faces run", DESCRIPTION, EXAMPLES)
    log_to_stderr(options.quiet)
    from pipeline.live.loop import Loop, LoopOptions
    from pipeline.report.files import table, write_report
    from pipeline.report.presence import ReportMaker
    from pipeline.sinks.files import Showing
    from pipeline.stream import FILM_SIDE, LOOKS

    networks = options.networks
    with writing_results():
        with ExitStack() as stack:
            source = stack.enter_context(_source(options))
            refuse_originals(options.video, {"--out": options.out, "--json": options.json})
            folder = _report_folder(options)
            if folder is not None:
                _check_report_folder(folder)
            embedder = networks.open_embedder(networks.threads)
            people = networks.open_people(embedder)
            logger.info("%s", networks.who_is_known(people))
            hider = options.hiding.hider(people.gallery.people, people.thresholds.gallery)
            every = options.every or (1 if hider else max(1, round(source.fps / LOOKS)))
            settings = LoopOptions(
                every=every if source.follow else 1,
                min_face=networks.min_face,
                start_score=networks.threshold,
                follow=source.follow,
            )
            # Weak detections are hidden, too, whatever it takes to follow a face.
            weakest = min(networks.threshold, 0.5) if hider else networks.threshold
            detector = replace(networks, threshold=weakest).open_detector(FILM_SIDE)
            if hider:
                detector, settings = hider.listen(detector), hider.settings(settings)
            loop = stack.enter_context(Loop(detector, embedder, people, settings))
            if hider:
                hider.failures = lambda: loop.failures
            maker = ReportMaker(1 / source.fps, people.thresholds.gallery)
            start = time.monotonic()
            with ExitStack() as outputs:
                sinks = [outputs.enter_context(sink) for sink in _sinks(options, source)]
                showing = Showing([*sinks, maker, *([hider] if hider else [])])
                problem = _run(options, source, loop, showing)
            if hider and source.film and options.out:
                write_covered(source.film.path, options.out, hider.cover(), options.quiet)
            seconds = time.monotonic() - start
        report = maker.report()
        if folder is not None:
            about = _about(options, source, report.frames, seconds, settings.every)
            write_report(report, folder, about)
    # With --json - only JSON lines may be on stdout.
    say = partial(print, file=sys.stderr if options.json == "-" else sys.stdout)
    say(table(report))
    _say_files(say, options, folder)
    rate = report.frames / max(seconds, 1e-9)
    say(f"speed:    {rate:.1f} frames/s, {rate / source.fps:.1f} times as fast as it plays")
    if problem is not None:
        print(f"faces: {problem}", file=sys.stderr)
        return 1
    try:
        source.check_end()  # what could be read is kept
    except UserError as error:
        print(f"faces: {error}", file=sys.stderr)
        return 1
    return 0


def _source(options: Options) -> EverySource:
    from pipeline.sources.open import EverySource, SourceOptions, open_source

    size = parse_size(options.raw.stdin_size, "--stdin-size") if options.raw.stdin_size else None
    source = open_source(
        options.video,
        SourceOptions(size=size, fps=options.raw.stdin_fps, layout=options.raw.stdin_format),
    )
    if not isinstance(source, EverySource):
        source.close()
        raise UserError(f"{options.video} is a camera, which has no end: use `faces webcam`")
    if options.hiding.hide and options.out is not None:
        if source.film is None:
            source.close()
            raise UserError("--hide is for films; `faces detect --anonymize` hides faces in photos")
        check_writable(options.out.absolute().parent, "--out")
    return source


def _check_report_folder(folder: Path) -> None:
    """Raises UserError where no report can be written; long before there is one to be lost."""
    if folder.exists():
        ours = folder.is_dir() and ((folder / "report.json").exists() or not any(folder.iterdir()))
        if not ours:
            raise UserError(f"{folder} is there and holds no report: name another with --report")
    check_writable(folder, "--report")


def _sinks(options: Options, source: EverySource) -> list[Sink]:
    from pipeline.sinks.files import JsonLines, Recorder

    sinks: list[Sink] = []
    if options.out is not None and not options.hiding.hide:
        sinks.append(Recorder(options.out, source.fps, film=source.film))
    if options.json is not None:
        plain = options.json == "-"
        sinks.append(JsonLines(partial(print, flush=True) if plain else Path(options.json)))
    return sinks


def _run(options: Options, source: EverySource, loop: Loop, showing: Showing) -> str | None:
    """The whole video; what was wrong with it, if anything."""
    from pipeline.live.patience import GaveUp

    try:
        with progress(None, source.name, " frames", options.quiet, source.frames) as bar:
            for tick in loop.run(source):
                showing.show(tick)
                bar.update()
    except GaveUp as error:
        return str(error)
    failed = loop.failures + showing.failures
    return f"{counted(failed, 'frame')} failed and were skipped (named above)" if failed else None


def _report_folder(options: Options) -> Path | None:
    if options.no_report or (options.hiding.hide and options.report is None):
        return None
    if options.report is not None:
        return options.report
    stem = "stdin" if options.video == "-" else Path(options.video).absolute().stem
    return Path(f"{stem}-faces")


def _about(
    options: Options, source: EverySource, frames: int, seconds: float, every: int
) -> dict[str, Any]:
    from datetime import UTC, datetime

    return {
        "source": source.name,
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "fps": round(source.fps, 4),
        "every": every,
        "detector": options.networks.detector,
        "embedder": options.networks.embedder,
        "frames_per_second": round(frames / max(seconds, 1e-9), 2),
    }


def _say_files(say: Callable[[str], None], options: Options, folder: Path | None) -> None:
    if options.out is not None:
        say(f"video:    {options.out}")
    if options.json not in (None, "-"):
        say(f"lines:    {options.json}")
    if folder is not None:
        say(f"report:   {folder / 'report.json'}")
        say(f"timeline: {folder / 'timeline.png'}")


if __name__ == "__main__":
    run_program("scripts.run")
