"""Does it pay to train the network on one's own people? Measured on LFW with the shipped embedder.

    python -m benchmarks.fine_tune --lfw ../shared/data/lfw --work runs/fine-tune
    python -m benchmarks.fine_tune --lfw ../shared/data/lfw --only head last-block

People with enough photos in folds 1 to 5 get a folder each, as a user has it, and `faces fit`
learns from it: the head alone, `--depth last-block`, `--depth full`, and `--network mini
--from-scratch`. `faces calibrate` sets the thresholds of each on photos of a crowd, for 1 false
match in 10,000. Judged on photos that none has learned from: others of the same people, and
strangers; and on fold 6, for what the network has forgotten about faces in general. The shipped
embedder saw all photos of folds 1 to 5 when it was distilled (without names), those kept back here
as well, which helps whatever is nearest to it; nothing has seen fold 6.

Everything goes below --work; a call that was stopped goes on from there: delete it to begin again.
Photos of LFW have the face in the middle (`--boxes center`). Takes some 15 minutes on a quiet core.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from faces.files import atomic_write_text
from faces.folders import atomic_folder
from faces.history import read_history
from faces.text import text_table
from pipeline.enroll.photo_faces import crop_photos, face_finder
from recognizer.data.lfw import Lfw, read_lfw
from recognizer.data.photos import read_folders
from recognizer.embedders.load import load_embedder
from recognizer.error_rates import threshold_for
from recognizer.evaluation import naming
from recognizer.evaluation.all_pairs import Faces
from recognizer.store.people import Store
from recognizer.training.head_samples import embed_all
from recognizer.types import Embedder

WAYS = {
    "head": [],
    "last-block": ["--depth", "last-block"],
    "full": ["--depth", "full"],
    "scratch": ["--network", "mini", "--from-scratch"],
}
CROWD, STRANGERS = 600, 300


def make_folders(lfw: Lfw, work: Path, photos: int, seed: int) -> None:
    """Copy the photos into folders of people: learn, probes, crowd, strangers, fold6.

    Each appears when it is complete, learn last: `main` copies again while it is missing.
    """
    rng = np.random.default_rng(seed)
    training = lfw.of_folds(1, 2, 3, 4, 5)
    own: dict[str, list[Path]] = {}
    for path, name in zip(training.images, training.people, strict=True):
        own.setdefault(name, []).append(path)
    parts: dict[str, list[tuple[str, Path]]] = {"learn": [], "probes": [], "crowd": []}
    others: list[str] = []
    for name in sorted(own):
        if len(own[name]) < photos + 2:
            others.append(name)
            continue
        drawn = [own[name][i] for i in rng.permutation(len(own[name]))]
        parts["learn"] += [(name, path) for path in drawn[:photos]]
        parts["probes"] += [(name, path) for path in drawn[photos:]]
    # People with several photos are the crowd, whose pairs of one person say what a threshold
    # misses; those with a single one are the strangers.
    several = [name for name in others if len(own[name]) > 1]
    for name in (several[i] for i in rng.permutation(len(several))):
        if len(parts["crowd"]) < CROWD:
            parts["crowd"] += [(name, path) for path in own[name]]
    single = [name for name in others if len(own[name]) == 1]
    chosen = rng.permutation(len(single))[:STRANGERS]
    parts["strangers"] = [(single[i], own[single[i]][0]) for i in chosen]
    held_out = lfw.of_folds(6)
    parts["fold6"] = list(zip(held_out.people, held_out.images, strict=True))
    for part, members in reversed(parts.items()):
        with atomic_folder(work / part) as folder:
            for name, path in members:
                (folder / name).mkdir(exist_ok=True)
                shutil.copyfile(path, folder / name / path.name)


def faces(*arguments: str) -> None:
    """Type a command."""
    print("faces", *arguments, flush=True)
    command = [sys.executable, "-m", "scripts.main", *arguments]
    code = subprocess.run(command, check=False).returncode
    if code not in (0, 1):  # 1: some photos could not be used, which is said
        sys.exit(f"that failed with exit code {code}")


def train(work: Path, way: str) -> str:
    """Teach and calibrate unless it is done; returns what --embedder is then."""
    run, gallery = work / way, work / f"{way}.db"
    common = ["--boxes", "center", "--threads", "1", "--quiet"]
    if not (run / "done").is_file():
        where = ["--resume" if (run / "last.pt").is_file() else "--run", str(run)]
        faces(
            "fit", *WAYS[way], "--from-folders", str(work / "learn"), "--gallery",
            str(gallery), *where, "--embedder", "mini", *common,
        )  # fmt: skip
        atomic_write_text(run / "done", "")
    embedder = str(run / "embedder.pt") if way != "head" else "mini"
    if gallery.is_file() and not (run / "calibrated").is_file():
        faces(
            "calibrate", "--folders", str(work / "crowd"), "--fmr", "1e-4", "--gallery",
            str(gallery), "--embedder", embedder, *common,
        )  # fmt: skip
        atomic_write_text(run / "calibrated", "")
    return embedder


class Photos:
    """Vectors of folders of photos."""

    def __init__(self, work: Path, embedder: Embedder) -> None:
        self.work, self.embedder = work, embedder
        self.find, self.recipe = face_finder("center", None, 1)

    def of(self, part: str) -> tuple[NDArray[np.float32], NDArray[np.str_]]:
        """Vectors (N, D) and names (N,) of a folder of people."""
        photos = read_folders(self.work / part)
        cache = self.work / f"{part}.npz"
        crops, usable, _ = crop_photos(photos.paths, self.embedder, self.find, self.recipe, cache)
        return embed_all(self.embedder, crops), np.array(photos.people)[usable]


def judge(work: Path, way: str, embedder: Embedder) -> dict[str, float]:
    """The figures of one way."""
    photos = Photos(work, embedder)
    with Store.open_existing(work / f"{way}.db") as store:
        snapshot = store.snapshot()
    assert snapshot.head is not None
    people = snapshot.gallery.people
    row = {name: i for i, name in enumerate(people)}
    vectors, names = photos.of("probes")
    truth = np.array([row[name] for name in names])
    known = [i for i, name in enumerate(snapshot.head.names) if name is not None]
    likely = snapshot.head.probabilities(vectors)[:, known].argmax(axis=1)
    by_head = np.array([row[str(snapshot.head.names[known[i]])] for i in likely])
    nearest = np.array(snapshot.gallery.nearest(vectors)[0])
    given = snapshot.identify(vectors)
    named = np.array([-1 if match.name is None else row[match.name] for match in given])
    matrix = naming.confusion_matrix(len(people), truth, named)
    closed = naming.confusion_matrix(len(people), truth, by_head)
    strange, _ = photos.of("strangers")
    other, whose = photos.of("fold6")
    person = np.unique(whose, return_inverse=True)[1]
    scores = Faces(other, person, np.zeros(len(other), bool)).scores()
    bar = threshold_for(scores.impostor, 1e-3)
    assert bar is not None
    return {
        "rank1_nearest": float((nearest == np.array(names)).mean()),
        "rank1_head": float((by_head == truth).mean()),
        "f1_head": naming.macro(naming.per_person(people, closed))["f1"] or 0.0,
        "right": float((named == truth).mean()),
        "wrong": float(((named != truth) & (named >= 0)).mean()),
        "f1_rule": naming.macro(naming.per_person(people, matrix))["f1"] or 0.0,
        "strangers_named": float(np.mean([m.name is not None for m in snapshot.identify(strange)])),
        "fold6_tar": 1 - float(scores.fnmr(bar)),
        "threshold": snapshot.thresholds.gallery,
        "epochs": len(read_history(work / way / "history.jsonl")),
        "probes": len(truth),
        "people": len(people),
        "strangers": len(strange),
    }


COLUMNS = {
    "rank 1, nearest": "rank1_nearest",
    "rank 1, head": "rank1_head",
    "macro-F1, head": "f1_head",
    "rule: right": "right",
    "wrong name": "wrong",
    "macro-F1": "f1_rule",
    "strangers named": "strangers_named",
    "fold 6: TAR at FAR 1e-3": "fold6_tar",
}


def main() -> int:
    """Train, judge, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--lfw", type=Path, default=Path("../shared/data/lfw"))
    parser.add_argument("--work", type=Path, default=Path("runs/fine-tune"))
    parser.add_argument("--only", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--photos", type=int, default=5, help="of each person, to learn from")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    work: Path = arguments.work
    if not (work / "learn").is_dir():
        make_folders(read_lfw(arguments.lfw), work, arguments.photos, arguments.seed)
    found = {}
    for way in arguments.only:
        name = train(work, way)
        if not (work / f"{way}.db").is_file():  # `faces fit` said so
            print(f"{way}: no better on the photos held out, so nothing was changed")
            continue
        found[way] = judge(work, way, load_embedder(name, threads=1))
        atomic_write_text(work / f"{way}.json", json.dumps(found[way], indent=1) + "\n")
    if not found:
        return 0
    first = next(iter(found.values()))
    print(
        f"{first['people']} people, {arguments.photos} photos each; {first['probes']} other photos "
        f"of them; {first['strangers']} strangers"
    )
    rows = [
        [way, *(f"{100 * line[key]:.1f}" for key in COLUMNS.values())]
        for way, line in found.items()
    ]
    print("\n".join(text_table(["%", *COLUMNS], rows)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
