"""`faces index`: look at many photos and films once, and keep what was found."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from faces.errors import UserError, require
from faces.text import counted
from scripts.main import run_program
from scripts.options.command_line import arg, log_to_stderr, needed, parse, progress
from scripts.options.recognizer import DetectorOptions, EmbedderOptions

if TYPE_CHECKING:
    from pipeline.library.executors import Executor
    from pipeline.library.index import Tally
    from pipeline.library.look import LookSettings
    from pipeline.library.schema import Manifest

DESCRIPTION = """Look at many photos and films once and keep what was found: boxes, points, quality
and vectors of all faces, in a folder that `faces library` asks and that any data tool reads. Run it
again at any time: only what is new or changed is looked at, whether the last run ended or was
killed. Files that cannot be read are kept with the reason, folders are named; the exit code is then
1."""

EXAMPLES = """\
faces index ~/Pictures --library lib
faces index "2024/**/*.jpg" party.mp4 --library lib --jobs 4
faces index s3://bucket/photos --library lib       # pip install 'faces[remote]'
faces index @list.txt --library lib --shard 3/8    # the third of eight jobs
faces index /nas/photos --library lib --executor ray --address auto"""


@dataclass(frozen=True)
class Options:
    """What to look at, and where to keep it."""

    photos: Annotated[
        tyro.conf.Positional[tuple[str, ...]], needed("PHOTOS", " without --list")
    ] = ()
    """Photos, films, folders (searched recursively), patterns such as "photos/**/*.jpg", addresses
    (s3://, gs://, http://, https://; a folder of a web server ends with /), or @FILE for a list."""
    library: Annotated[Path | None, needed("FOLDER", aliases=["-l"])] = None
    """The folder of what was found; made when it is missing."""
    list: Annotated[str | None, tyro.conf.arg(metavar="FILE")] = None
    """A text file with a photo, film, folder or address on each line; - reads standard input."""
    jobs: Annotated[int | None, arg("one on each processor", aliases=["-j"])] = None
    """Processes, or actors of Ray, that look at photos, each on one processor."""
    shard: Annotated[str | None, tyro.conf.arg(metavar="I/N")] = None
    """Do the I-th (from 1) of N parts of the work, for a job on each of N machines with the same
    library and the same list. It looks at new files only: once all are done, a run without --shard
    sees to what has changed, moved or gone."""
    executor: Literal["processes", "ray"] = "processes"
    """`ray` looks on all machines of a Ray cluster (pip install 'faces[ray]'), which must find the
    photos at the same paths or addresses."""
    address: Annotated[str | None, arg("a cluster begun here, for this run")] = None
    """Of the Ray cluster: HOST:PORT, or auto for the one of this machine."""
    finding: DetectorOptions = field(default_factory=DetectorOptions)
    embedding: EmbedderOptions = field(default_factory=EmbedderOptions)
    threshold: float = 0.5
    """Lowest score of a face, 0 to 1."""
    max_side: Annotated[int | None, arg("as the model was validated, usually 640")] = None
    """Longest side in pixels to which pictures are shrunk for the detector; 0 keeps their size,
    which finds smaller faces."""
    min_face: int = 20
    """Faces narrower or lower than this many pixels are left out."""
    drop_missing: bool = False
    """Drop the photos of a folder also when it holds none at all any more; else it is taken for a
    disk that is not there. Of a folder that is not there itself, drop those found elsewhere now."""
    retry_failed: bool = False
    """Look again at files that could not be looked at (those that could not be read always are)."""
    quiet: bool = False
    """Warnings only, and no progress bar."""

    def __post_init__(self) -> None:
        require(
            [
                (self.library is not None, "say where to keep what is found: --library FOLDER"),
                (
                    bool(self.photos or self.list),
                    "give photos, films, folders, patterns or addresses, or --list FILE",
                ),
                (self.jobs is None or self.jobs >= 1, f"--jobs must be at least 1: {self.jobs}"),
                (0 <= self.threshold <= 1, f"--threshold must be 0 to 1, got {self.threshold}"),
                (self.min_face >= 1, f"--min-face must be at least 1, got {self.min_face}"),
                (
                    self.address is None or self.executor == "ray",
                    "--address is that of a Ray cluster: give --executor ray, too",
                ),
            ]
        )
        _ = self.part

    @property
    def part(self) -> tuple[int, int] | None:
        """--shard as numbers."""
        if self.shard is None:
            return None
        found = re.fullmatch(r"(\d+)/(\d+)", self.shard)
        if found is None or not 1 <= int(found[1]) <= int(found[2]):
            raise UserError(f"--shard must be I/N with 1 <= I <= N, such as 3/8, got {self.shard}")
        return int(found[1]), int(found[2])


def main(argv: Sequence[str]) -> int:
    """Parse, look, print what was done; 0 fine, 1 some files or folders could not be."""
    options: Options = parse(Options, argv, "faces index", DESCRIPTION, EXAMPLES)
    log_to_stderr(options.quiet)
    import pyarrow  # noqa: F401 (what is missing is said before anything else)
    from tqdm.contrib.logging import logging_redirect_tqdm

    from faces.files import check_writable
    from pipeline.library.index import Indexing, nothing_in
    from pipeline.library.look import Looker, LookSettings
    from pipeline.library.parts import job_alone, no_writer
    from pipeline.library.scan import scan

    library = options.library
    assert library is not None
    check_writable(library, "--library")
    settings = LookSettings(
        str(options.finding.detector),
        options.embedding.embedder,
        None if (weights := options.embedding.embedder_weights) is None else str(weights),
        options.threshold,
        options.max_side,
        options.min_face,
        options.embedding.flip,
    )
    manifest = Looker(settings).manifest
    lists = () if options.list is None else (options.list,)
    found = scan(options.photos, lists, library, options.drop_missing)
    if not len(found.table) and not library.exists():
        raise nothing_in(found)  # before a folder is left behind
    library.mkdir(parents=True, exist_ok=True)
    # A page that shows the library may try the locks for a moment.
    part = options.part
    with no_writer(library, 0.5) if part is None else job_alone(library, part, 0.5) as alone:
        if not alone:
            raise UserError(
                f"another `faces index` is at work on {library}: wait until it has ended"
            )
        run = Indexing(
            library, manifest, found, options.part,
            drop_missing=options.drop_missing, retry_failed=options.retry_failed,
        )  # fmt: skip
        executor, workers = choose_executor(options, settings, manifest, run.count)
        try:
            with (
                logging_redirect_tqdm(),
                progress(None, "looking", " files", options.quiet, run.count) as bar,
            ):
                tally = run.run(executor, workers, bar.update)
        finally:
            executor.close()
    print(summary(library, tally))
    return 1 if tally.failed or found.closed else 0


def choose_executor(
    options: Options, settings: LookSettings, manifest: Manifest, files: int
) -> tuple[Executor, int]:
    """Who looks, and how many at once. Raises UserError for a Ray cluster that is not there."""
    if options.executor == "ray":
        from pipeline.library.ray_executor import RayExecutor

        actors = RayExecutor(settings, manifest, options.address, options.jobs)
        return actors, max(1, min(options.jobs or actors.processors, files))
    from pipeline.library.executors import Processes

    return Processes(settings, manifest), max(1, min(options.jobs or _processors(), files))


def _processors() -> int:
    """Those that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # Linux
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def summary(library: Path, tally: Tally) -> str:
    """What was done and where it is."""
    lines = [f"looked at: {counted(tally.looked, 'file')}, {counted(tally.faces, 'face')}"]
    for count, what in (
        (tally.failed, "failed:    {}, named above and kept with the reason"),
        (tally.known, "known:     {} with another name or time, or copies: not looked at again"),
        (tally.unchanged, "unchanged: {}"),
        (tally.gone, "gone:      {}, dropped from the library"),
        (tally.left, "left:      {} changed or gone, for a run without --shard"),
    ):
        if count:
            lines.append(what.format(counted(count, "file")))
    return "\n".join([*lines, f"library:   {library}"])


if __name__ == "__main__":
    run_program("scripts.index")
