"""`faces detect`: find the faces in images, folders and videos, and draw, list or hide them."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from faces.errors import UserError, require
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
from scripts.options.hide import write_covered

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from detector.data.formats.dataset import LabeledImage
    from detector.types import Detections, Detector
    from faces.inputs import Source

logger = logging.getLogger(__name__)

DESCRIPTION = """Find the faces in images, folders and videos. Writes pictures with the faces marked
(or hidden) and a JSON line for each image. A file or folder that cannot be read is named and
skipped; the exit code is then 1."""

EXAMPLES = """\
faces detect photo.jpg
faces detect holiday "scans/**/*.png" --model runs/fpn/best.pt --out marked --threshold 0.7
faces detect party.mp4 --model model.onnx --anonymize --out hidden
faces detect photos --model model.onnx --json - | jq .faces
faces detect photos --annotate coco --out found   # labels to correct in found/first-labels
faces detect WIDER_val/images --model model.onnx --wider submission --max-side 0"""

DEFAULT_OUT = Path("detected")
THRESHOLD, ANONYMIZE_THRESHOLD = 0.5, 0.3
WIDER_SCORE = 0.005  # the least that the networks report; average precision needs the low ones too


@dataclass(frozen=True)
class Options:
    """What to look at, with what, and what to write."""

    paths: Annotated[tyro.conf.Positional[tuple[str, ...]], needed("PATH [PATH ...]")] = ()
    """Images, videos, folders (searched recursively), or patterns such as "photos/**/*.jpg"."""
    model: Annotated[Path, tyro.conf.arg(aliases=["-m"], metavar="FILE")] = Path("shipped")
    """Checkpoint, TorchScript or ONNX file; `shipped` comes with the project."""
    out: Annotated[
        Path | None,
        arg("detected, unless --json or --wider is given", aliases=["-o"], metavar="FOLDER"),
    ] = None
    """Pictures and videos with the faces marked, in the same sub-folders as the originals, and
    detections.jsonl."""
    json: Annotated[str | None, arg("OUT/detections.jsonl", metavar="FILE")] = None
    """Write the JSON lines to this file; - prints them."""
    wider: Annotated[Path | None, arg("none", metavar="FOLDER")] = None
    """Also write submission files in WIDER FACE's official format, with all faces that score at
    least 0.005, whatever the threshold."""
    annotate: Annotated[Literal["voc", "coco", "yolo"] | None, arg("none")] = None
    """Also write the faces as first labels, to be corrected in an annotation tool: the new folder
    OUT/first-labels gets copies of the pictures and PASCAL VOC, COCO or YOLO labels, in the layout
    of `faces prepare export`. Labels that are there already are never overwritten."""
    anonymize: bool = False
    """Hide the faces in the pictures beyond recovery instead of marking them."""
    threshold: Annotated[
        float | None, arg("0.5; with --anonymize 0.3, as an overlooked face is worse there")
    ] = None
    """Lowest score of a face, 0 to 1."""
    max_side: Annotated[int | None, arg("as the model was validated, usually 640")] = None
    """Longest side in pixels to which images are shrunk for the model; 0 keeps their own size."""
    device: str = "auto"
    """`auto` (CUDA, else CPU), `cpu`, `cuda`, `cuda:1`, `mps`."""
    threads: Annotated[int | None, arg("left to the model's runtime")] = None
    """CPU threads for the model."""
    speed: Literal["normal", "fast"] = "normal"
    """`fast` runs an ONNX file in int8, or with OpenVINO in bfloat16 (pip install 'faces[fast]'),
    whichever is the fastest here, which is measured first: 1.5 to 1.9 times as fast. The int8 file
    of the shipped detector ships; `faces export --formats int8` makes one of yours."""
    batch_size: Annotated[
        int | None, arg("one on each core for an ONNX file on a CPU, else 4", aliases=["-b"])
    ] = None
    """Images that go through the model together, where they have the same size."""
    quiet: bool = False
    """Warnings only, and no progress bar."""

    def __post_init__(self) -> None:
        threshold = self.threshold
        rules = [
            (
                threshold is None or 0 <= threshold <= 1,
                f"--threshold must be between 0 and 1, got {threshold}",
            ),
            (
                self.batch_size is None or self.batch_size >= 1,
                f"--batch-size must be at least 1, got {self.batch_size}",
            ),
            (
                not self.anonymize or self.pictures is not None,
                "--anonymize makes pictures: say where with --out",
            ),
            (
                self.annotate is None or self.pictures is not None,
                "--annotate makes a folder of pictures and labels: say where with --out",
            ),
            (
                self.annotate is None or not self.anonymize,
                "--annotate copies the pictures as they are: leave out --anonymize",
            ),
        ]
        require(rules)

    @property
    def pictures(self) -> Path | None:
        """The folder for pictures; None when there shall be none."""
        if self.out is None and not (self.json or self.wider):
            return DEFAULT_OUT
        return self.out

    @property
    def labels(self) -> Path | None:
        """The new folder for first labels; None when there shall be none."""
        return (
            None
            if self.annotate is None or self.pictures is None
            else self.pictures / "first-labels"
        )

    @property
    def shown(self) -> float:
        """The lowest score of a face in pictures and JSON lines."""
        if self.threshold is not None:
            return self.threshold
        return ANONYMIZE_THRESHOLD if self.anonymize else THRESHOLD


@dataclass
class Tally:
    """What the summary says."""

    images: int = 0
    without: int = 0
    videos: int = 0
    frames: int = 0
    faces: int = 0
    failed: int = 0
    seconds: float = 0.0


def main(argv: Sequence[str]) -> int:
    """Parse, look at everything, write the results; 0 fine, 1 some files or folders could not be
    read."""
    options: Options = parse(Options, argv, "faces detect", DESCRIPTION, EXAMPLES)
    log_to_stderr(options.quiet)
    from detector.inference.detect import BATCH
    from detector.inference.load import load_detector
    from faces.inputs import expand_sources, plan_pictures, refuse_originals, wider_names

    folder = options.pictures
    closed: list[str] = []
    sources = expand_sources(options.paths, folder, closed)
    targets = plan_pictures(sources, folder) if folder is not None else {}
    if options.json not in (None, "-"):
        refuse_originals(sources, Path(options.json))
    names = wider_names(sources) if options.wider is not None else {}
    if options.labels is not None:
        check_labels(options.labels, sources, targets)
    detector = load_detector(
        options.model,
        score_threshold=min(options.shown, WIDER_SCORE) if options.wider else options.shown,
        max_side=options.max_side,
        device=options.device,
        threads=options.threads,
        batch_size=options.batch_size or BATCH,
        speed=options.speed,
    )
    with writing_results(), ExitStack() as stack:
        job = Job(options, detector, targets, names, open_lines(options, stack))
        tally = job.run(sources)
        told = job.write_labels()
    # With --json - only JSON lines may be on stdout.
    lines = "\n".join([summary(options, tally), *told])
    print(lines, file=sys.stderr if options.json == "-" else sys.stdout)
    return 1 if tally.failed or closed else 0


def check_labels(folder: Path, sources: Sequence[Source], targets: Mapping[Source, Path]) -> None:
    """Raise UserError, before anything is detected, where no labels could be written later."""
    from detector.data.formats.export import require_free

    require_free(folder)
    for source, target in targets.items():
        if target.is_relative_to(folder):
            raise UserError(
                f"the marked picture of {source.path} would lie among the labels in {folder}: "
                "rename its folder"
            )
    if all(source.is_video for source in sources):
        raise UserError(f"{sources[0].path}: --annotate labels pictures, and there are only videos")
    for source in sources:
        if source.is_video:
            logger.warning("%s: a video gets no labels", source.path)


def open_lines(options: Options, stack: ExitStack) -> Callable[[str], None]:
    """What takes each JSON line: a file, stdout, or nothing."""
    from pipeline.sinks.files import LineFile

    if options.json == "-":
        return partial(print, flush=True)
    if options.json is not None:
        return stack.enter_context(LineFile(Path(options.json))).write
    if options.pictures is not None:
        return stack.enter_context(LineFile(options.pictures / "detections.jsonl")).write
    return lambda line: None


@dataclass
class Job:
    """One pass over all sources."""

    options: Options
    detector: Detector
    targets: dict[Source, Path]
    wider_names: dict[Source, str]
    write_line: Callable[[str], None]
    tally: Tally = field(default_factory=Tally)
    labeled: list[LabeledImage] = field(default_factory=list)

    def run(self, sources: Sequence[Source]) -> Tally:
        """Images first, then videos."""
        start = time.monotonic()
        images = [source for source in sources if not source.is_video]
        videos = [source for source in sources if source.is_video]
        if images:
            self._images(images)
        for source in videos:
            try:
                self._video(source)
            except UserError as error:
                self._failed(str(error))
        self.tally.seconds = time.monotonic() - start
        return self.tally

    def write_labels(self) -> list[str]:
        """Write what was found as first labels; what there is to say of them."""
        folder, format = self.options.labels, self.options.annotate
        if folder is None or format is None:
            return []
        if not self.labeled:
            return ["labels:      none, as no picture could be read"]
        from detector.data.formats.dataset import Dataset
        from detector.data.formats.export import export_dataset, told_lines

        dataset = Dataset("detections", {"": tuple(self.labeled)})
        written = export_dataset(dataset, folder, format)
        return [f"labels:      {folder} ({format})", *told_lines(written.told)]

    def _images(self, sources: Sequence[Source]) -> None:
        from detector.data.submission import write_submission
        from faces.images.write import save_image
        from faces.prefetch import WriteBehind
        from pipeline.media import Failed, detect_images
        from pipeline.sinks.files import json_line

        with ExitStack() as stack:
            # More threads than cores: they mostly wait for the disk.
            behind = stack.enter_context(WriteBehind(threads=4))
            results = detect_images(self.detector, sources, self.options.batch_size)
            found = stack.enter_context(closing(results))
            quiet = self.options.quiet
            for result in progress(found, "images", " images", quiet, len(sources)):
                if isinstance(result, Failed):
                    self._failed(result.reason)
                    continue
                source, image = result.source, result.image
                shown = result.detections.above(self.options.shown)
                self.write_line(json_line(source.path, shown))
                if self.options.wider is not None:
                    write = partial(write_submission, self.options.wider, self.wider_names[source])
                    behind.submit(partial(write, result.detections), image)
                if self.options.annotate is not None:
                    self.labeled.append(first_labels(source, shown))
                if source in self.targets:
                    draw = self._drawing(image, shown)
                    behind.submit(_then(draw, partial(save_image, self.targets[source])), image)
                self.tally.images += 1
                self.tally.without += not len(shown)
                self.tally.faces += len(shown)

    def _video(self, source: Source) -> None:
        from faces.prefetch import WriteBehind
        from faces.video.film import VideoReader, VideoWriter
        from faces.video.sound import copy_sound
        from pipeline.hiding.cover import Cover
        from pipeline.media import detect_video
        from pipeline.sinks.files import json_line

        with ExitStack() as stack:
            video = stack.enter_context(VideoReader(source.path))
            writer, seen = None, 0
            cover = Cover() if self.options.anonymize else None
            if source in self.targets and cover is None:
                writer = stack.enter_context(VideoWriter(self.targets[source], video.rate))
            # One thread keeps the frames in order; it ends before the writer does.
            behind = stack.enter_context(WriteBehind(threads=1))
            frames = detect_video(self.detector, video, self.options.batch_size)
            found = stack.enter_context(closing(frames))
            count, name = video.frames or None, source.name
            for frame, everything in progress(found, name, " frames", self.options.quiet, count):
                shown = everything.above(self.options.shown)
                self.write_line(json_line(source.path, shown, frame.index, frame.time))
                if cover is not None:
                    cover.add(frame.time, shown.xyxy)
                if writer is not None:
                    draw = self._drawing(frame.image, shown)
                    write = partial(writer.write, time=frame.time)
                    behind.submit(_then(draw, write), frame.image)
                seen += 1
                self.tally.frames += 1
                self.tally.faces += len(shown)
            if writer is not None and seen:
                writer.end = video.end
        if writer is not None and seen:
            copy_sound(video, writer.path)
        if cover is not None and seen:
            write_covered(source.path, self.targets[source], cover, self.options.quiet)
        video.check_end()  # what could be read is kept
        self.tally.videos += 1

    def _drawing(
        self, image: NDArray[np.uint8], shown: Detections
    ) -> Callable[[], NDArray[np.uint8]]:
        from detector.draw import anonymize, draw_detections

        if self.options.anonymize:
            return partial(anonymize, image, shown.xyxy)
        return partial(draw_detections, image, shown)

    def _failed(self, reason: str) -> None:
        from tqdm import tqdm

        self.tally.failed += 1
        tqdm.write(f"faces: {reason}", file=sys.stderr)


def first_labels(source: Source, found: Detections) -> LabeledImage:
    """The faces of a picture as labels, to hundredths of a pixel."""
    import numpy as np

    from detector.data.formats.dataset import LabeledImage
    from detector.data.voc.annotation import VocObject

    height, width = found.image_size
    boxes = found.xyxy.astype(np.float64)
    fine = boxes.round(2)  # the edges of the picture are whole numbers, so none is crossed
    fine = np.where((fine[:, 2:] > fine[:, :2]).all(axis=1, keepdims=True), fine, boxes)
    objects = tuple(VocObject("face", (x1, y1, x2, y2)) for x1, y1, x2, y2 in fine.tolist())
    return LabeledImage(source.path, source.name, width, height, objects)


def summary(options: Options, tally: Tally) -> str:
    """What was done and where it is."""
    lines = []
    if tally.images:
        lines.append(f"images:      {tally.images:,} ({tally.without:,} without a face)")
    if tally.frames:
        lines.append(f"videos:      {tally.videos:,} ({counted(tally.frames, 'frame')})")
    if tally.failed:
        lines.append(f"failed:      {tally.failed:,} (named above)")
    lines.append(f"faces:       {tally.faces:,} with a score of at least {options.shown:g}")
    rate = (tally.images + tally.frames) / max(tally.seconds, 1e-9)
    lines.append(f"speed:       {rate:.1f} images/s")
    if options.pictures is not None:
        lines.append(f"pictures:    {options.pictures}")
    if options.json not in (None, "-"):
        lines.append(f"detections:  {options.json}")
    elif options.json is None and options.pictures is not None:
        lines.append(f"detections:  {options.pictures / 'detections.jsonl'}")
    if options.wider is not None:
        lines.append(f"WIDER files: {options.wider}")
    return "\n".join(lines)


def _then(
    draw: Callable[[], NDArray[np.uint8]], save: Callable[[NDArray[np.uint8]], None]
) -> Callable[[], None]:
    return lambda: save(draw())


if __name__ == "__main__":
    run_program("scripts.detect")
