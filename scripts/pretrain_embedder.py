"""`faces pretrain-embedder`: train a network that turns a face into a vector."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from faces.errors import UserError
from recognizer.pretraining.config import NetworkName, PretrainConfig
from scripts.main import run_program
from scripts.options.command_line import arg, log_to_stderr, parse, progress
from scripts.options.face_sources import FaceSources

if TYPE_CHECKING:
    from recognizer.crop import CropRecipe
    from recognizer.data.lfw import Lfw
    from recognizer.pretraining.cache import Faces, Photo
    from recognizer.pretraining.judge import HeldOutPairs

log = logging.getLogger(__name__)

DESCRIPTION = """Train a network that turns a face into a vector: to give the vectors of a larger
network, the teacher, on faces of any kind, and to tell people apart whose names are known, a folder
of photos for each. Faces are cut once and kept, with the teacher's vectors, so that an epoch is
cheap; every step sees them as a camera might have: far, blurred, compressed, masked, askew. The
weights are for the uses that the data's terms allow."""

EXAMPLES = """\
faces pretrain-embedder --folders people --teacher teacher.onnx --run runs/mini
faces pretrain-embedder --folders people --init mini --run runs/ours
faces pretrain-embedder --folders people --network inception --init vggface2 --run runs/inception
faces pretrain-embedder --photos faces --boxes center --teacher teacher.onnx --run runs/mini
faces pretrain-embedder --folders people --teacher teacher.onnx --run runs/mini --resume"""


@dataclass(frozen=True)
class Options:
    """What to learn, and where to write."""

    run: Path
    """Folder of the run: last.pt, history.jsonl, loss.png; for inception also inception.pt, the
    weights for `--embedder inception --embedder-weights`."""
    network: NetworkName = "mini"
    """`mini`, 1.9 million parameters; `small`, 4.0 million, less than half the speed; `inception`,
    facenet-pytorch's InceptionResnetV1, from --init."""
    init: Annotated[str | None, arg("none, random weights")] = None
    """What it begins with: `mini`, which comes with the project, or a file of this command; for
    inception `vggface2` or `casia` (downloaded once), or a file of such weights."""
    teacher: Annotated[Path | None, arg("--init's own")] = None
    """ONNX file of the teacher: aligned RGB faces (N, 3, S, S), ImageNet's mean and spread. Without
    one the network of --init is its own teacher: what it knows is kept while it learns names."""
    cache: Annotated[Path | None, arg("RUN/faces")] = None
    """Folder that keeps the faces and the teacher's vectors for the next run. They are personal
    data, as the photos are."""
    resume: bool = False
    """Go on from the run's last.pt, bit for bit; another number of steps may be given."""
    threads: int = 1
    """CPU threads of the network."""
    sources: FaceSources = field(default_factory=FaceSources)
    train: PretrainConfig = field(default_factory=PretrainConfig)


def main(argv: Sequence[str]) -> int:
    """Cut the faces, train, print a line for each epoch."""
    options: Options = parse(Options, argv, "faces pretrain-embedder", DESCRIPTION, EXAMPLES)
    log_to_stderr()
    options.sources.check()
    last = options.run / "last.pt"
    if last.exists() and not options.resume:
        raise UserError(f"{last} is there already: give --resume or another --run")
    import cv2
    import torch

    from recognizer.data.lfw import read_lfw
    from recognizer.pretraining.batches import batches
    from recognizer.pretraining.division import divide
    from recognizer.pretraining.judge import Validation
    from recognizer.pretraining.students import Start, init_file, open_student, open_teacher
    from recognizer.pretraining.train import Trainer
    from scripts.options.face_sources import gather, maker

    torch.set_num_threads(options.threads)
    cv2.setNumThreads(options.threads)
    init = None if options.init is None else init_file(options.network, options.init)
    start = Start(options.network, init, options.teacher)
    sources, config = options.sources, options.train
    network, recipe = open_student(start, config.seed)
    lfw = None if sources.lfw is None else read_lfw(sources.lfw)
    photos = gather(sources, lfw)
    open_maker, words = maker(sources, recipe, start)
    faces = _collect(photos, options, words, open_maker)
    teach = open_teacher(start)
    pairs = None if lfw is None else _pairs(lfw, sources, recipe, options.threads)
    judges = None if pairs is None else pairs.of_strangers(lambda crops: _in_parts(teach, crops))
    people = [photo.person for photo in photos]
    division = divide(faces, people, config.hold_out, config.seed, judges, recipe=recipe)
    material = division.material
    log.info(
        "%d faces to learn from, %d people with names; %d faces validate; %d names not believed; "
        "%d faces left out that look like somebody of --lfw",
        len(material.used), material.people, len(division.rows), division.doubted, division.shunned,
    )  # fmt: skip
    trainer = Trainer(
        network, recipe, material, config, options.run,
        knowing=init is not None, own_teacher=start.teacher is None,
    )  # fmt: skip
    validation = Validation.of(division)

    def judge(embed: Any) -> dict[str, Any]:
        return validation(embed) | ({} if pairs is None else {"lfw": pairs(embed)})

    if options.resume:
        trainer.resume()
    else:
        log.info("the teacher itself: %s", _show(judge(lambda crops: _in_parts(teach, crops))))
    with batches(material, config, open_maker) as following:
        for line in trainer.fit(following, judge):
            print(_show(line), flush=True)
    if trainer.stopped_by is not None:
        print("Stopped and saved. Go on with --resume and the same flags", file=sys.stderr)
        return 128 + trainer.stopped_by
    return 0


def _collect(photos: list[Photo], options: Options, words: str, open_maker: Any) -> Faces:
    from recognizer.pretraining.cache import collect

    folder = options.cache or options.run / "faces"
    with progress(None, "cutting faces", "photo", total=len(photos)) as bar:
        return collect(photos, folder, words, open_maker, options.train.workers, bar.update)


def _pairs(lfw: Lfw, sources: FaceSources, recipe: CropRecipe, threads: int) -> HeldOutPairs:
    import numpy as np

    from faces.images.read import read_image
    from recognizer.embedders.embedder import landmarks_for
    from recognizer.pretraining.judge import HeldOutPairs
    from scripts.options.face_sources import lfw_box

    landmarks = landmarks_for(recipe, threads)

    def crops(part: Lfw) -> Any:
        cut = [recipe(read_image(path), lfw_box(path), landmarks) for path in part.images]
        return np.concatenate(cut)

    tuning = lfw.of_folds(*(fold for fold in lfw.folds if fold != sources.held_out))
    held_out = lfw.of_folds(sources.held_out)
    return HeldOutPairs(tuning, crops(tuning), held_out, crops(held_out), bool(sources.folds))


def _in_parts(teacher: Any, crops: Any) -> Any:
    import numpy as np

    parts = [np.ascontiguousarray(crops[i : i + 8]) for i in range(0, len(crops), 8)]
    return np.concatenate([teacher(part) for part in parts])


def _show(line: dict[str, Any]) -> str:
    parts = []
    for name, value in line.items():
        if isinstance(value, dict):
            parts += [f"{name}: {_show(value)}"]
        else:
            parts.append(f"{name} {value:.4g}")
    return "  ".join(parts)


if __name__ == "__main__":
    run_program("scripts.pretrain_embedder")
