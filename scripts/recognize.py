"""`faces recognize`: put names to the faces of photos."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from faces.errors import UserError
from scripts.main import run_program
from scripts.options.command_line import (
    arg,
    log_to_stderr,
    needed,
    parse,
    progress,
    writing_results,
)
from scripts.options.live import Networks

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from faces.inputs import Source
    from pipeline.analyzer import FaceAnalyzer
    from pipeline.media import Found
    from pipeline.types import Face
    from recognizer.types import Match

DESCRIPTION = """Put names to the faces of photos, of the people that `faces enroll` has made known:
a line for each photo says who is on it. A photo or folder that cannot be read is named and skipped;
the exit code is then 1. Films are for `faces run`, large collections for `faces index`."""

EXAMPLES = """\
faces recognize party.jpg
faces recognize photos "scans/**/*.png" --gallery family.db --out named
faces recognize photos --json - | jq .faces"""


@dataclass(frozen=True)
class Options:
    """What to look at and what to write."""

    paths: Annotated[tyro.conf.Positional[tuple[str, ...]], needed("PHOTO [PHOTO ...]")] = ()
    """Images, folders (searched recursively), or patterns such as "photos/**/*.jpg"."""
    out: Annotated[Path | None, arg("none", aliases=["-o"], metavar="FOLDER")] = None
    """Pictures with boxes and names, in the same sub-folders as the originals."""
    json: Annotated[str | None, arg("none", metavar="FILE")] = None
    """Write a JSON line for each photo to this file; - prints them in place of the names."""
    networks: Networks = field(default_factory=Networks)
    quiet: bool = False
    """Warnings only, and no progress bar."""


def main(argv: Sequence[str]) -> int:
    """Parse, name everybody; 0 fine, 1 some photos or folders could not be read."""
    options: Options = parse(Options, argv, "faces recognize", DESCRIPTION, EXAMPLES)
    log_to_stderr(options.quiet)
    from faces.inputs import expand_sources, plan_pictures, refuse_originals
    from pipeline.analyzer import FaceAnalyzer, open_existing

    closed: list[str] = []
    sources = expand_sources(options.paths, options.out, closed)
    for source in sources:
        if source.is_video:
            raise UserError(f"{source.path} is a film: name who is in it with `faces run`")
    if options.out is not None and options.out.exists() and not options.out.is_dir():
        raise UserError(f"--out {options.out} is a file: name a folder for the pictures")
    targets = plan_pictures(sources, options.out) if options.out is not None else {}
    if options.json not in (None, "-"):
        refuse_originals(sources, Path(str(options.json)))
    networks = options.networks
    embedder = networks.open_embedder(networks.threads)
    with writing_results(), ExitStack() as stack:
        gallery = stack.enter_context(open_existing(networks.gallery, embedder))
        detector = networks.open_detector(networks.max_side, photos=True)
        analyzer = FaceAnalyzer(detector, embedder, gallery, min_face=networks.min_face)
        failed = _name_all(options, analyzer, sources, targets, stack)
    return 1 if failed or closed else 0


def _name_all(
    options: Options, analyzer: FaceAnalyzer, sources: Sequence[Source],
    targets: dict[Source, Path], stack: ExitStack,
) -> int:  # fmt: skip
    """How many photos could not be read."""
    from tqdm import tqdm

    from faces.prefetch import WriteBehind
    from pipeline.media import Failed, detect_images

    tell = _lines(options, stack)
    behind = stack.enter_context(WriteBehind(threads=4))
    found = stack.enter_context(closing(detect_images(analyzer.detector, sources)))
    failed = 0
    for result in progress(found, "photos", " photos", options.quiet, len(sources)):
        if isinstance(result, Failed):
            failed += 1
            tqdm.write(f"faces: {result.reason}", file=sys.stderr)
            continue
        [faces] = analyzer.describe([result.image], [result.detections])
        tell(result, faces)
        if result.source in targets:
            save = partial(_save_drawn, targets[result.source], result.image, faces)
            behind.submit(save, result.image)
    return failed


def _save_drawn(path: Path, image: NDArray[np.uint8], faces: Sequence[Face]) -> None:
    from faces.images.write import save_image
    from pipeline.live.draw import draw_faces

    save_image(path, draw_faces(image, faces))


def _lines(options: Options, stack: ExitStack) -> Callable[[Found, Sequence[Face]], None]:
    """What tells of each photo: names on stdout, or JSON lines there or in a file."""
    from tqdm import tqdm

    from pipeline.sinks.files import LineFile

    if options.json in (None, "-"):
        form = _names if options.json is None else _json
        return lambda found, faces: tqdm.write(form(found, faces), file=sys.stdout)
    file = stack.enter_context(LineFile(Path(str(options.json))))

    def both(found: Found, faces: Sequence[Face]) -> None:
        file.write(_json(found, faces))
        tqdm.write(_names(found, faces), file=sys.stdout)

    return both


def _names(found: Found, faces: Iterable[Face]) -> str:
    """From left to right."""
    people = [_who(face.match) for face in sorted(faces, key=lambda face: face.box[0])]
    return f"{found.source.path}: {', '.join(people) or 'no face'}"


def _who(match: Match) -> str:
    sure = match.confidence if match.source == "head" else match.similarity
    return "unknown" if match.name is None else f"{match.name} ({sure or 0.0:.2f})"


def _json(found: Found, faces: Iterable[Face]) -> str:
    height, width = found.image.shape[:2]
    line = {"path": found.source.path.as_posix(), "width": width, "height": height}
    people = []
    for face in faces:
        people.append(replace(face, embedding=None).to_json())
        del people[-1]["track"], people[-1]["agreement"]  # of films
    return json.dumps({**line, "faces": people})


if __name__ == "__main__":
    run_program("scripts.recognize")
