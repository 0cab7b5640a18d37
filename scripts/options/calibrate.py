"""The flags of `faces calibrate`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from faces.errors import UserError, require
from scripts.options.command_line import arg
from scripts.options.recognizer import EmbedderOptions, GalleryOptions


@dataclass(frozen=True)
class ScoreOptions:
    """For a detector: on which images, for how many false positives."""

    data: Annotated[Path | None, arg("none", metavar="DIR")] = None
    """Data as `faces train --data` takes it: its validation part, or what the run that made
    MODEL.pt kept of it to validate on."""
    image_path: Annotated[
        Path | None,
        tyro.conf.arg(help_behavior_hint="(or --data: needed with MODEL.pt)", metavar="DIR"),
    ] = None
    """Folder of images, searched recursively."""
    annotation_dir: Annotated[
        Path | None,
        tyro.conf.arg(help_behavior_hint="(or --data: needed with MODEL.pt)", metavar="DIR"),
    ] = None
    """Folder of their PASCAL VOC annotations (.xml), flat or mirroring the images."""
    classes: Annotated[tuple[str, ...], arg("as it was trained")] = ()
    """Object names that are faces."""
    false_positives: float = 0.1
    """Wanted number of false positives an image, at most, at the default threshold."""
    max_side: Annotated[int | None, arg("as it was validated")] = None
    """Longest side in pixels to which pictures are shrunk; 0 keeps their own size."""
    device: str = "auto"
    """Where the detector runs: `auto` (CUDA, else CPU), `cpu`, `cuda`, `cuda:1`, `mps`."""
    out: Annotated[Path | None, arg("MODEL.pt itself", metavar="FILE")] = None
    """Write the calibrated checkpoint to this file. Without it the checkpoint is replaced, and kept
    beside it as MODEL.uncalibrated.pt."""

    def __post_init__(self) -> None:
        if not self.false_positives > 0:
            raise UserError("--false-positives must be positive")
        if self.max_side is not None and self.max_side < 0:
            raise UserError("--max-side must not be negative")
        for flag in ("image_path", "annotation_dir") if self.data is not None else ():
            if getattr(self, flag) is not None:
                raise UserError(f"give --data or --{flag.replace('_', '-')}, not both")


@dataclass(frozen=True)
class Options:
    """What to measure on, and where to keep the result."""

    model: tyro.conf.Positional[Annotated[Path | None, arg("none", metavar="[MODEL.pt]")]] = None
    """Calibrate this detector instead of the recognition of people; `shipped` is the one that comes
    with the project."""
    folders: Annotated[Path | None, arg("none", metavar="DIR")] = None
    """A folder with a folder of photos per person; every photo is compared with every other."""
    lfw: Annotated[Path | None, arg("none", metavar="DIR")] = None
    """Or: a data set in the layout of LFW, of which the photos in pairs.txt are compared, every one
    with every other."""
    pairs: Annotated[Path | None, arg("all pairs", metavar="FILE")] = None
    """Compare only these pairs of --folders or --lfw; in the format of LFW's pairs.txt."""
    folds: Annotated[tuple[int, ...], arg("all", metavar="N [N ...]")] = ()
    """Of the listed pairs, only these folds: those that the network was not trained on."""
    fmr: float = 1e-3
    """Wanted share of pairs of two people that are taken for one, in one comparison. Who is
    compared with 20 people has 20 chances."""
    boxes: Annotated[
        Literal["detect", "center", "centre"] | None, arg("center for --lfw, detect for --folders")
    ] = None
    """Where the face is on the photos: found, or `center` for images like LFW's."""
    detector: Annotated[Path | None, arg("shipped", metavar="FILE")] = None
    """What finds faces on photos."""
    store: GalleryOptions = field(default_factory=GalleryOptions)
    embedding: EmbedderOptions = field(default_factory=EmbedderOptions)
    scores: ScoreOptions = field(default_factory=ScoreOptions)
    defaults: Annotated[Path | None, arg("none", metavar="DIR")] = None
    """For maintainers: write the thresholds into DIR/thresholds.json, and the spread of the
    embeddings of unknown people into DIR/strangers.npz: the defaults for this embedder."""
    cache: Annotated[Path | None, arg("none", metavar="DIR")] = None
    """Folder that keeps the photos' vectors for the next time. They are personal data."""
    threads: Annotated[int | None, arg("left to the runtime")] = None
    """CPU threads of the detector."""
    quiet: bool = False
    """Warnings only, and no progress bar."""

    def __post_init__(self) -> None:
        listed = self.lfw is not None or self.pairs is not None
        people, scores = self.model is None, self.scores
        of_detector = (scores.data, scores.image_path, scores.annotation_dir, scores.out)
        rules = [
            (
                people or (self.folders, self.lfw, self.pairs) == (None, None, None),
                "give MODEL.pt, or --folders DIR or --lfw DIR, not both",
            ),
            (
                not people or of_detector == (None, None, None, None),
                "--data, --image-path, --annotation-dir and --out need a detector's MODEL.pt",
            ),
            (
                not people or (self.folders is None) != (self.lfw is None),
                "give --folders DIR or --lfw DIR, or a detector's MODEL.pt",
            ),
            (0 < self.fmr < 1, f"--fmr must be between 0 and 1, got {self.fmr:g}"),
            (listed or not self.folds, "--folds needs --lfw DIR, or --pairs FILE"),
            (self.threads is None or self.threads >= 1, "--threads must be at least 1"),
        ]
        require(rules)
