"""`faces evaluate-recognizer`: how good an embedder and the rule that names faces are."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from faces.errors import UserError, require
from recognizer.store.address import PostgresAddress
from scripts.main import run_program
from scripts.options.command_line import log_to_stderr, parse, progress
from scripts.options.recognizer import GALLERY, EmbedderOptions

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from recognizer.data.lfw import Lfw
    from recognizer.data.photos import FaceFinder, Located, Photos
    from recognizer.evaluation.contestants import Contestant
    from recognizer.evaluation.evaluate import Evaluation
    from recognizer.evaluation.report import Operating
    from recognizer.snapshot import Snapshot
    from recognizer.types import Embedder

logger = logging.getLogger(__name__)

DESCRIPTION = """Evaluate how well faces are told apart and named: verification by LFW's folds and
over all pairs, identification with people who are enrolled and people who are not, and error rates
by group. Use photos that the network was not trained on."""

EXAMPLES = """\
faces evaluate-recognizer --lfw data/lfw
faces evaluate-recognizer --lfw data/lfw --test-folds 6 --baseline --compare mobilefacenet.onnx
faces evaluate-recognizer --folders photos --enroll 5 --strangers 0.3
faces evaluate-recognizer --gallery people.db --probes new-photos
faces evaluate-recognizer --folders photos --by labels.csv --by-columns skin age skin+age"""


@dataclass(frozen=True)
class Options:
    """What to evaluate, on what, and how."""

    lfw: Path | None = None
    """A data set in the layout of LFW: pairs.txt, and a folder for each person (or `images` with
    them)."""
    folders: Path | None = None
    """Or: a folder with a folder of photos for each person."""
    photos: Path | None = None
    """Or: a folder of photos, each of somebody else, for false matches alone (see --by)."""
    pairs: Path | None = None
    """List of pairs in LFW's format for --folders; then only the photos that it names are used."""
    gallery: Annotated[PostgresAddress | Path | None, GALLERY] = None
    """Or: a file of enrolled people, evaluated with its own head and thresholds ..."""
    probes: Path | None = None
    """... on a folder with a folder of photos for each person; those who are not enrolled
    must stay unknown."""
    embedding: EmbedderOptions = field(default_factory=EmbedderOptions)
    test_folds: tuple[int, ...] = ()
    """Test on these folds alone, with the threshold of the others; not given: each fold in turn."""
    boxes: Literal["auto", "center", "centre", "detect"] = "auto"
    """Where the face is: `center`, the known place in LFW's images; `detect` finds it; `auto` is
    center for --lfw, else detect."""
    border: float = 0.0
    """Black border in which faces are looked for, as a part of the photo's longer side: a detector
    does not find faces that fill their photo, an eighth is enough."""
    gates: bool = False
    """Only photos that `faces enroll` would take have a face: the others are failures to enroll."""
    detector: Path | None = None
    """Checkpoint, TorchScript or ONNX file for `--boxes detect`; left out, the shipped detector."""
    baseline: bool = False
    """Also evaluate bare pixels: the cosine of small gray crops."""
    compare: tuple[Path, ...] = ()
    """Also evaluate these ONNX networks, which take RGB (N, 3, S, S) with ImageNet's mean and
    deviation, such as MobileFaceNet, on the same crops."""
    threshold: float | None = None
    """Cosine above which two faces are one person, for the rule, the groups and the pictures of
    errors; not given: the calibrated one of the embedder, else the one of --fmr."""
    fmr: float = 1e-3
    """False match rate by which a threshold is chosen where none is known."""
    enroll: int = 3
    """Photos of each person that go into the gallery; people with no more than that
    must stay unknown."""
    strangers: float = 0.0
    """Share of the other people (0..1) who are kept out of the gallery, too."""
    by: Path | None = None
    """CSV file with labels of people or images: FMR and FNMR of each group."""
    by_key: str | None = None
    """Its column with the person's name or the image's path; not given: `person` or `image`."""
    by_columns: tuple[str, ...] = ()
    """Its columns of labels, and `a+b` for two together; not given: all."""
    yaw: bool = False
    """Also the error rates by how far faces are turned to the side, measured from five points."""
    max_photos: int = 6000
    """At most about so many photos are used; people are drawn at random until they are reached.
    Twice as many make four times as many pairs."""
    resamples: int = 1000
    """How often people are drawn again for the intervals of groups."""
    seed: int = 0
    """Of everything that is drawn."""
    out: Path = Path("recognizer-evaluation")
    """Folder for report.json and the pictures."""
    cache: Path | None = None
    """Folder that keeps the vectors for the next run; not given: `embeddings` in --out. They are
    personal data, as the photos are."""
    keep_vectors: bool = True
    """Keep them at all."""
    threads: int | None = None
    """CPU threads of the networks; their runtimes choose if not given."""
    json: bool = False
    """Print the report as JSON instead of tables."""
    quiet: bool = False
    """Warnings only, and no progress bar."""

    def __post_init__(self) -> None:
        sources = [self.lfw, self.folders, self.photos, self.gallery]
        paired = self.lfw is not None or self.pairs is not None
        rules = [
            (
                sum(source is not None for source in sources) == 1,
                "give one of --lfw DIR, --folders DIR, --photos DIR, or --gallery FILE with "
                "--probes DIR",
            ),
            (
                (self.gallery is None) == (self.probes is None),
                "--gallery FILE and --probes DIR go together",
            ),
            (
                self.pairs is None or self.folders is not None,
                "--pairs needs --folders DIR; with --lfw the list is pairs.txt",
            ),
            (
                paired or not self.test_folds,
                "--test-folds needs listed pairs: --lfw DIR, or --folders DIR with --pairs FILE",
            ),
            (
                self.gallery is None or not (self.baseline or self.compare),
                "--gallery holds vectors of one embedder: leave out --baseline and --compare, or "
                "evaluate them with --folders",
            ),
            (self.threshold is None or -1 <= self.threshold <= 1, "--threshold is from -1 to 1"),
            (0 < self.fmr < 1, "--fmr must be between 0 and 1"),
            (self.enroll >= 1, "--enroll must be at least 1"),
            (0 <= self.strangers <= 1, "--strangers must be between 0 and 1"),
            (
                self.by is not None or not (self.by_columns or self.by_key),
                "--by-key and --by-columns need --by FILE",
            ),
            (0 <= self.border <= 1, "--border is a part of the photo's side, 0 to 1"),
            (self.resamples >= 100, "--resamples must be at least 100 for an interval"),
            (self.max_photos >= 2, "--max-photos must be at least 2"),
            (
                self.keep_vectors or self.cache is None,
                "give --cache DIR or --no-keep-vectors, not both",
            ),
        ]
        require(rules)


def main(argv: Sequence[str]) -> int:
    """Parse, embed, evaluate, write the report and its pictures, print the tables."""
    options: Options = parse(Options, argv, "faces evaluate-recognizer", DESCRIPTION, EXAMPLES)
    log_to_stderr(options.quiet)
    from faces.files import atomic_write_text, check_writable
    from recognizer.evaluation.embedding import embed_photos
    from recognizer.evaluation.evaluate import Setup, draw, evaluate
    from recognizer.evaluation.tables import format_report

    check_writable(options.out)
    photos, pairs = _photos(options)
    labels = _labels(options, photos)
    embedder = options.embedding.open_embedder(options.threads)
    snapshot = _snapshot(options, embedder)
    find_face, boxes = _face_finder(options)
    contestants = _contestants(options, embedder)
    cache = (options.cache or options.out / "embeddings") if options.keep_vectors else None
    vectors, failed = embed_photos(
        photos, embedder, contestants, find_face, boxes, cache, lambda rows: _bar(options, rows)
    )
    setup = Setup(
        source=f"{next(iter(contestants))} on {_folder(options)}"
        + (", with mirror images" if options.embedding.flip else ""),
        fingerprint=embedder.fingerprint,
        boxes=boxes,
        threshold=_threshold(options, embedder, snapshot),
        fmr=options.fmr,
        enroll=options.enroll,
        nonmated=options.strangers,
        test_folds=options.test_folds or None,
        max_photos=options.max_photos,
        resamples=options.resamples,
        seed=options.seed,
    )
    result = evaluate(
        photos, vectors, failed, setup, pairs=pairs, snapshot=snapshot, labels=labels,
        yaw=_yaw(options, photos, find_face) if options.yaw else None,
        progress=lambda step: logger.info("%s ...", step),
    )  # fmt: skip
    crops = _crops(embedder, find_face, result)
    text = json.dumps(result.report, indent=1, allow_nan=False)
    written = [options.out / "report.json"]
    atomic_write_text(written[0], text + "\n")
    written += draw(result, options.out, crops)
    print(text if options.json else format_report(result.report))
    for path in written:
        logger.info("written: %s", path)
    if result.report["failed"]:
        logger.warning(
            "no face was found in %d photos, or they cannot be read: see report.json",
            result.report["failed"],
        )
        return 1
    return 0


def _photos(options: Options) -> tuple[Photos, Lfw | None]:
    """All photos that are needed, and the pairs of them if there is a list."""
    from recognizer.data import photos

    folder = _folder(options)
    if options.photos is not None:
        return photos.read_strangers(folder), None
    if options.lfw is None and options.pairs is None:
        return photos.read_folders(folder), None
    from recognizer.data.lfw import read_lfw

    pairs = read_lfw(folder, options.pairs)
    return photos.of_people(pairs.images, pairs.people), pairs


def _folder(options: Options) -> Path:
    folder = options.lfw or options.folders or options.photos or options.probes
    assert folder is not None  # see Options.__post_init__
    return folder


def _snapshot(options: Options, embedder: Embedder) -> Snapshot | None:
    """What is enrolled in --gallery."""
    if options.gallery is None:
        return None
    from recognizer.store.people import Store

    if not Store.exists(options.gallery):
        raise UserError(f"{options.gallery}: there is no such file; make it with `faces enroll`")
    with Store.open(options.gallery, embedder.fingerprint, embedder.dimension) as store:
        snapshot = store.snapshot()
    if not snapshot.gallery.people and snapshot.head is None:
        raise UserError(f"{options.gallery}: nobody is enrolled there")
    return snapshot


def _face_finder(options: Options) -> tuple[FaceFinder, str]:
    """The function that says where the face is, and its name in the report and the cache."""
    import numpy as np

    from pipeline.enroll.photo_faces import face_finder
    from pipeline.enroll.photos import Refused
    from recognizer.data.photos import Located, bordered
    from recognizer.quality import Gates

    where = options.boxes
    if where == "auto":
        where = "detect" if options.lfw is None else "center"
    gates = Gates() if options.gates else None
    find, words = face_finder(where, options.detector, options.threads, gates)

    def good(image: NDArray[np.uint8]) -> Located:
        try:
            return find(image)
        except Refused:
            return Located(np.zeros((0, 4), np.float32))

    if options.border:
        words += f"; border {options.border:g}"
    return bordered(good, options.border), words


def _labels(options: Options, photos: Photos) -> dict[str, list[str]] | None:
    if options.by is None:
        return None
    from recognizer.evaluation.labels import read_labels

    columns = options.by_columns
    return read_labels(options.by, photos.people, photos.names, options.by_key, columns)


def _yaw(options: Options, photos: Photos, find_face: FaceFinder) -> NDArray[np.float32]:
    """By how many degrees each face is turned, (N,); NaN where that cannot be seen."""
    import numpy as np

    from faces.images.read import read_image
    from recognizer.landmarks import LandmarkNet, found_before, yaw

    landmarks = LandmarkNet(threads=options.threads)
    found = np.full(len(photos), np.nan, np.float32)
    for i in _bar(options, range(len(photos)), "landmarks"):
        try:
            image = read_image(photos.paths[i])
        except UserError:  # it was named when it was embedded
            continue
        face = find_face(image)
        find = landmarks if face.landmarks is None else found_before(face.landmarks)
        points, trusted = find(image, face.xyxy)
        if trusted.any():
            [found[i]] = yaw(points)
    return found


def _contestants(options: Options, embedder: Embedder) -> dict[str, Contestant]:
    """The embedder first, under names that fit into a table."""
    from recognizer.evaluation.contestants import OnnxPeer, PixelBaseline

    name = Path(options.embedding.embedder).stem
    if options.embedding.embedder == "auto":
        name = (
            re.split(r"[^a-z]", embedder.fingerprint, maxsplit=1)[0] or "embedder"
        )  # which it was
    found: dict[str, Contestant] = {name: embedder}
    for path in options.compare:
        if path.stem in found:
            raise UserError(f"--compare {path}: another contestant is called {path.stem} already")
        found[path.stem] = OnnxPeer(path, options.threads)
    if options.baseline:
        found["pixels"] = PixelBaseline()
    return found


def _threshold(options: Options, embedder: Embedder, snapshot: Snapshot | None) -> Operating | None:
    """Given, or calibrated; None when it is still to be chosen, or the gallery has its own."""
    from recognizer.evaluation.report import Operating
    from recognizer.rule import default_thresholds, read_defaults

    if options.threshold is not None:
        return Operating(options.threshold, "given")
    if snapshot is not None or embedder.fingerprint not in read_defaults():
        return None
    return Operating(
        default_thresholds(embedder.fingerprint).gallery, "calibrated for the embedder"
    )


def _crops(
    embedder: Embedder, find_face: FaceFinder, result: Evaluation
) -> dict[int, NDArray[np.uint8]]:
    """The faces of the worst pairs, as the network saw them."""
    from faces.images.read import read_image

    crops = {}
    for i in sorted({i for pair in result.worst for i in (pair.first, pair.second)}):
        image = read_image(result.photos.paths[i])
        face = find_face(image)
        crops[i] = embedder.crop(image, face.xyxy, face.landmarks)[0]
    return crops


def _bar(options: Options, rows: Iterable[int], what: str = "embedding") -> Iterable[int]:
    return progress(list(rows), what, "photo", options.quiet)


if __name__ == "__main__":
    run_program("scripts.evaluate_recognizer")
