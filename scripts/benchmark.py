"""`faces benchmark`: detectors side by side, in time, memory and average precision."""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from detector.shipped import SHIPPED
from faces.errors import UserError, require
from faces.files import check_writable
from scripts.main import run_program
from scripts.options.command_line import log_to_stderr, parse, progress

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from detector.benchmark.contestants import Contestant
    from detector.benchmark.table import Result
    from detector.evaluation.matching import ImageFaces

logger = logging.getLogger(__name__)

DESCRIPTION = """Compare trained models with each other and with other people's detectors: the same
images, the same number of threads, taking turns, each in a process of its own. Writes table.md,
results.json and, with --ap, scatter.png. Leave the machine alone meanwhile."""

EXAMPLES = """\
faces benchmark model.onnx model.torchscript best.pt --wider data/widerface --ap
faces benchmark model.onnx --wider data/widerface --peers yunet.onnx version-RFB-320.onnx
faces benchmark model.onnx --image-path photos --skip torchvision reference --threads 2
faces benchmark model.onnx --wider data/widerface --ap --speed normal fast
faces benchmark model.onnx --image-path photos --profile"""

BUSY = 0.2


@dataclass(frozen=True)
class Options:
    """Who is compared, on what, and how."""

    models: Annotated[
        tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="[MODEL ...]")
    ] = (Path(SHIPPED),)
    """Checkpoints, TorchScript and ONNX files of this project; all are compared to the first."""
    peers: tuple[Path, ...] = ()
    """ONNX files of YuNet, SCRFD or Ultra-Light (told apart by their outputs)."""
    reference: Path | None = None
    """A trained checkpoint of `reference`; without one it is built untrained, for its time."""
    skip: tuple[Literal["mtcnn", "torchvision", "reference", "backbone", "body"], ...] = ()
    """Contestants that need no file, to be left out: facenet-pytorch's MTCNN, torchvision's
    fasterrcnn_mobilenet_v3_large_320_fpn, `reference`, the MobileNetV2 backbone alone."""
    wider: Path | None = None
    """WIDER FACE as for `faces evaluate`: images in WIDER_val/images or at --image-path, and for
    --ap the official lists. Any part of the images will do."""
    image_path: Path | None = None
    """A folder of images, searched recursively; without --wider there is no AP."""
    max_side: int = 640
    """Longest side in pixels to which every image is shrunk first, for everyone; 0 keeps it."""
    images: int = 40
    """How many images are timed, spread evenly over the folder; 0: all."""
    threads: int = 1
    """CPU threads of every runtime."""
    speed: tuple[Literal["normal", "fast"], ...] = ("normal",)
    """How ONNX files of this project are run; with `normal fast` each takes part twice. `fast` is
    int8, or OpenVINO in bfloat16 (pip install 'faces[fast]'), or normal where neither is a gain;
    the table says which."""
    repeats: int = 1
    """Counted looks at each image, after an uncounted one; their median is taken."""
    ap: bool = False
    """Also evaluate everyone on all images of --wider."""
    profile: bool = False
    """Instead: write where the first MODEL, an ONNX file, spends its time (profile.md)."""
    out: Path = Path("benchmark")
    """Folder for the results."""
    quiet: bool = False
    """Warnings only, and no progress bar."""

    def __post_init__(self) -> None:
        rules = [
            (
                self.wider is not None or self.image_path is not None,
                "give --wider DIR or --image-path DIR",
            ),
            (
                self.reference is None or "reference" not in self.skip,
                "--reference is skipped: leave it out of --skip",
            ),
            (not self.ap or self.wider is not None, "--ap needs --wider DIR"),
            (not (self.ap and self.profile), "--profile takes no --ap: run them one by one"),
            (
                self.max_side == 0 or self.max_side >= 32,
                "--max-side must be 0 or at least 32",
            ),
            (self.images >= 0, "--images must not be negative"),
            (self.threads >= 1, "--threads must be at least 1"),
            (self.repeats >= 1, "--repeats must be at least 1"),
        ]
        require(rules)


def main(argv: Sequence[str]) -> int:
    """Parse, compare, write and print the table; 1 when a contestant failed."""
    options: Options = parse(Options, argv, "faces benchmark", DESCRIPTION, EXAMPLES)
    log_to_stderr(options.quiet)
    check_writable(options.out)
    folder = options.image_path or (options.wider or Path()) / "WIDER_val" / "images"
    return _profile(options, folder) if options.profile else _compare(options, folder)


def _compare(options: Options, folder: Path) -> int:
    import psutil

    from detector.benchmark.contestants import THRESHOLD, backbone_contestant, line_up
    from detector.benchmark.peers import export_backbone
    from detector.benchmark.table import Setup, draw_scatter, machine, markdown, to_json
    from faces.files import atomic_write_text

    images = _images(options, folder)
    truth, files = _truth(options, folder) if options.ap else ([], {})
    with ExitStack() as stack:
        contestants = line_up(
            options.models, options.peers, options.reference, options.skip, options.speed
        )
        if not {"backbone", "body"} & set(options.skip):
            temporary = stack.enter_context(tempfile.TemporaryDirectory())
            backbone = Path(temporary) / "backbone.onnx"
            logger.info("exporting the MobileNetV2 backbone ...")
            export_backbone(backbone)
            contestants.append(backbone_contestant(backbone))
        if truth:
            contestants = [_with_pictures(x, [t.name for t in truth], files) for x in contestants]
        busy = psutil.cpu_percent(interval=1.0) / 100
        if busy > BUSY:
            logger.warning(
                "the processors are %.0f %% busy with other things: times will be too long and "
                "ratios uncertain",
                100 * busy,
            )
        results = _run(options, contestants, images, truth, files)
    setup = Setup(
        images=len(images),
        max_side=options.max_side,
        threads=options.threads,
        repeats=options.repeats,
        threshold=THRESHOLD,
        busy=busy,
        machine=machine(),
        ap_images=len(truth) or None,
    )
    table = markdown(results, setup)
    written = [options.out / "table.md", options.out / "results.json"]
    atomic_write_text(written[0], table)
    atomic_write_text(written[1], json.dumps(to_json(results, setup), indent=1) + "\n")
    scatter = options.out / "scatter.png"
    if draw_scatter(scatter, results, setup):
        written.append(scatter)
    else:
        logger.info("no scatter.png: without --ap there is nothing to set against time")
    print(table)
    for path in written:
        logger.info("written: %s", path)
    return 1 if any(result.failures for result in results) else 0


def _run(
    options: Options,
    contestants: list[Contestant],
    images: list[NDArray[np.uint8]],
    truth: list[ImageFaces],
    files: dict[str, Path],
) -> list[Result]:
    from detector.benchmark.contestants import THRESHOLD
    from detector.benchmark.pictures import MIN_SCORE, average_precisions
    from detector.benchmark.table import Result
    from detector.benchmark.timing import ContestantFailed, contest

    turns = len(contestants) * (len(images) + 2)
    with progress(None, "timing", "turn", options.quiet, turns) as bar:

        def tell(name: str) -> None:
            bar.set_postfix_str(name)
            bar.update()

        builds = {c.name: c.build(options.threads, THRESHOLD) for c in contestants}
        timings = contest(
            builds, images, threads=options.threads, repeats=options.repeats, progress=tell
        )
    results = []
    for contestant in contestants:
        timing = timings[contestant.name]
        if isinstance(timing, ContestantFailed):
            results.append(Result(contestant, timing))
            continue
        ap: dict[str, float | None] | ContestantFailed | None = None
        if truth and contestant.trained:
            name = contestant.name
            with progress(None, f"AP {name}", "image", options.quiet, len(truth)) as bar:
                try:
                    ap = average_precisions(
                        contestant.build(options.threads, MIN_SCORE),
                        truth,
                        files,
                        options.max_side,
                        threads=options.threads,
                        progress=bar.update,
                    )
                except ContestantFailed as error:
                    logger.warning("%s failed: %s", name, error)
                    ap = error
        results.append(
            Result(contestant, timing, ap, contestant.parameters(), contestant.file_bytes())
        )
    return results


def _images(options: Options, folder: Path) -> list[NDArray[np.uint8]]:
    """Those to be timed, brought to size for everyone."""
    from detector.benchmark.pictures import some_pictures
    from detector.inference.resize import Resize

    resize = Resize("fit", options.max_side, multiple=1)
    return [resize(picture).pixels for picture in some_pictures(folder, options.images)]


def _truth(options: Options, folder: Path) -> tuple[list[ImageFaces], dict[str, Path]]:
    """The official truth of the images that are there, and their files."""
    from detector.data.submission import image_name
    from detector.evaluation import wider
    from faces.images.find import find_images
    from faces.images.read import image_size

    assert options.wider is not None  # see Options.__post_init__
    files = {image_name(path, folder): path for path in find_images(folder)}
    everything = wider.read_ground_truth(wider.find_ground_truth(options.wider))
    truth = wider.restrict(everything, files)
    wider.check_sizes(truth, {name: image_size(path) for name, path in files.items()})
    return truth, files


def _with_pictures(contestant: Contestant, names: list[str], files: dict[str, Path]) -> Contestant:
    """A contestant of this project, noting how many of the evaluated images it was trained on."""
    from detector.inference.load import load_detector
    from detector.training_pictures import pictures_of, report_seen, seen_sentence

    if contestant.kind not in ("ours", "reference") or contestant.path is None:
        return contestant
    try:
        artifact = load_detector(contestant.path, device="cpu").artifact
    except UserError:  # it will fail in its turn, and be told then
        return contestant
    if artifact is None:
        return contestant
    found = report_seen(pictures_of(artifact.pictures, artifact.provenance), files, names)
    sentence = seen_sentence(found)
    if not sentence:
        return contestant
    if found["seen"]:
        logger.warning("%s: %s", contestant.name, sentence)
    notes = [contestant.note, f"AP: {sentence}"]
    return replace(contestant, note="; ".join(filter(None, notes)))


def _profile(options: Options, folder: Path) -> int:
    from detector.benchmark.profiling import profile, profile_markdown
    from detector.shipped import find_model
    from faces.files import atomic_write_text

    model = find_model(options.models[0])
    table = profile_markdown(profile(model, _images(options, folder), options.threads), model.name)
    path = options.out / "profile.md"
    atomic_write_text(path, table)
    print(table)
    logger.info("written: %s", path)
    return 0


if __name__ == "__main__":
    run_program("scripts.benchmark")
