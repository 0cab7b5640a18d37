"""`faces evaluate-liveness`: how often attacks pass, and how often people are refused."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tyro

from faces.errors import UserError, require
from scripts.main import run_program
from scripts.options.command_line import log_to_stderr, parse, progress

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from detector.types import Detector
    from faces.inputs import Source
    from pipeline.liveness.passive import PassiveLiveness
    from pipeline.liveness.report import Scores, Trial

logger = logging.getLogger(__name__)

DESCRIPTION = """Evaluate the two defenses against photos and screens, in the terms of ISO/IEC
30107-3: APCER, the share of attacks that pass, for each kind of attack, and BPCER, the share of
live people that are refused. The passive network is evaluated on your own labeled pictures, the
active challenge on made people and photos. Neither is a certification."""

EXAMPLES = """\
faces evaluate-liveness presentations --model liveness.onnx
faces evaluate-liveness presentations --model 2.7_80x80_MiniFASNetV2.pth --threshold 0.8
faces evaluate-liveness --simulate 200
faces evaluate-liveness --simulate 1000 --seed 7 --json > challenge.json"""

FRAMES = 15  # of a video, evenly spread; they vote


@dataclass(frozen=True)
class Options:
    """What to evaluate, and on what."""

    data: tyro.conf.Positional[Path | None] = None
    """Folder with live/ and attacks/KIND/ (KIND: print, screen, mask ...), each with images and
    videos; every file is one presentation. Of several faces the largest counts."""
    model: tuple[Path, ...] = ()
    """ONNX file of a liveness network, or MiniFASNet's published files of weights (.pth)."""
    detector: Path = Path("shipped")
    """Finds the faces; `shipped` comes with the project."""
    threshold: float = 0.5
    """Score from which a face counts as live, 0 to 1."""
    simulate: int = 0
    """Attempts of each kind of made person and attack at the active challenge; 200 take minutes."""
    seed: int = 0
    """Of the made attempts."""
    out: Path | None = None
    """Also write the report to this JSON file, with the score of every presentation."""
    threads: int | None = None
    """CPU threads for the networks; their runtime chooses if not given."""
    json: bool = False
    """Print the report as JSON."""
    quiet: bool = False
    """Warnings only, and no progress bar."""

    def __post_init__(self) -> None:
        rules = [
            (
                self.data is not None or self.simulate > 0,
                "nothing to evaluate: give a folder with live/ and attacks/KIND/, or --simulate N",
            ),
            (
                self.data is None or bool(self.model),
                "--model FILE is missing: which network shall look at the pictures?",
            ),
            (
                not self.model or self.data is not None,
                "--model is for labeled pictures: give their folder as well",
            ),
            (0 <= self.threshold <= 1, "--threshold must be between 0 and 1"),
            (self.simulate >= 0, "--simulate must not be negative"),
        ]
        require(rules)


def main(argv: Sequence[str]) -> int:
    """Parse, evaluate, print; 1 when a file could not be read."""
    options: Options = parse(Options, argv, "faces evaluate-liveness", DESCRIPTION, EXAMPLES)
    log_to_stderr(options.quiet)
    from faces.files import atomic_write_text
    from pipeline.liveness.report import format_scores, format_trials

    report: dict[str, Any] = {}
    lines: list[str] = []
    unread = 0
    if options.data is not None:
        scores, each, unread = _evaluate_images(options)
        report["passive"] = {**scores.to_json(options.threshold), "presentations": each}
        lines.append(format_scores(scores, options.threshold))
    if options.simulate:
        trials = _simulate(options)
        report["active"] = [trial.to_json() for trial in trials]
        lines.append(format_trials(trials))
    text = json.dumps(report, indent=2)
    if options.out is not None:
        atomic_write_text(options.out, text + "\n")
    print(text if options.json else "\n\n".join(lines))
    return 1 if unread else 0


def _evaluate_images(options: Options) -> tuple[Scores, list[dict[str, Any]], int]:
    """Scores, a row for each file, and how many files could not be read."""
    import numpy as np

    from detector.inference.load import load_detector
    from pipeline.liveness.passive import PassiveLiveness
    from pipeline.liveness.report import Scores

    assert options.data is not None
    presentations = _presentations(options.data)
    passive = PassiveLiveness.open(*options.model, threads=options.threads)
    detector = load_detector(options.detector, threads=options.threads)
    by_kind: dict[str | None, list[float]] = {kind: [] for kind, _ in presentations}
    rows: list[dict[str, Any]] = []
    unread = 0
    for kind, source in progress(presentations, "looking", " files", options.quiet):
        try:
            score = _score(source, detector, passive)
        except UserError as error:
            logger.warning("%s", error)
            unread += 1
            continue
        by_kind[kind].append(np.nan if score is None else score)
        rows.append({"file": str(source.path), "attack": kind, "score": score})
    live = np.array(by_kind.pop(None, []), np.float64)
    attacks = {kind: np.array(v, np.float64) for kind, v in by_kind.items() if kind is not None}
    return Scores(live, attacks), rows, unread


def _presentations(folder: Path) -> list[tuple[str | None, Source]]:
    """Every file with its kind of attack; None for live ones."""
    from faces.inputs import expand_sources

    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder")
    kinds: list[tuple[str | None, Path]] = [(None, folder / "live")]
    attacks = folder / "attacks"
    if attacks.is_dir():
        kinds += [(path.name, path) for path in sorted(attacks.iterdir()) if path.is_dir()]
    there = [(kind, path) for kind, path in kinds if path.is_dir()]
    if not there:
        raise UserError(
            f"{folder} has neither live/ nor attacks/KIND/: sort the pictures into live/ and, for "
            "instance, attacks/print/ and attacks/screen/"
        )
    return [(kind, source) for kind, path in there for source in expand_sources([str(path)])]


def _score(source: Source, detector: Detector, passive: PassiveLiveness) -> float | None:
    """The median over the frames of a file; None when no face is found in any."""
    import numpy as np

    scores = []
    for image in _frames(source):
        boxes = detector.detect(image).xyxy
        if len(boxes):
            area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
            largest = int(area.argmax())
            scores.append(float(passive.score(image, boxes[largest : largest + 1])[0]))
    return float(np.median(scores)) if scores else None


def _frames(source: Source) -> Iterator[NDArray[np.uint8]]:
    from faces.images.read import read_image
    from faces.video.film import VideoReader

    if not source.is_video:
        yield read_image(source.path)
        return
    with VideoReader(source.path) as video:
        step = max(1, video.frames // FRAMES)
        while (frame := video.read()) is not None:
            if frame.index % step == 0:
                yield frame.image
        video.check_end()


def _simulate(options: Options) -> list[Trial]:
    from collections import Counter

    from pipeline.liveness.report import Trial
    from pipeline.liveness.simulation import KINDS, simulate

    trials = []
    total = len(KINDS) * options.simulate
    with progress(None, "trying", " attempts", options.quiet, total) as bar:
        for kind in KINDS:
            ends: Counter[str] = Counter()
            for i in range(options.simulate):
                challenge = simulate(kind, options.seed + i)
                ends[challenge.reason or challenge.status] += 1
                bar.update()
            trials.append(Trial(kind.name, kind.attack, ends))
    return trials


if __name__ == "__main__":
    run_program("scripts.evaluate_liveness")
