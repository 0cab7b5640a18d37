"""Puts the sections together: which photos, which threshold, who is enrolled."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from faces.errors import UserError
from faces.text import counted
from recognizer.data.lfw import Lfw
from recognizer.data.photos import Photos, limit
from recognizer.evaluation import figures, report
from recognizer.evaluation.all_pairs import Faces, Wrong, worst_pairs
from recognizer.evaluation.groups import audit
from recognizer.evaluation.identification import split
from recognizer.evaluation.pose import by_yaw
from recognizer.evaluation.report import Operating, Searched, Section, Trial
from recognizer.names import tidy
from recognizer.rule import Thresholds
from recognizer.snapshot import Snapshot

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Setup:
    """What is evaluated, and how.

    Args:
        source: the data set and the embedder, in words.
        boxes: how faces were found, in words.
        threshold: of the embedder; None chooses it by ``fmr``, as for every other contestant.
        fmr: false match rate by which thresholds are chosen.
        enroll, nonmated: see `identification.split`.
        test_folds: of the listed pairs; None tests each in turn.
    """

    source: str
    fingerprint: str
    boxes: str
    threshold: Operating | None = None
    fmr: float = 1e-3
    enroll: int = 3
    nonmated: float = 0.0
    test_folds: tuple[int, ...] | None = None
    max_photos: int = 6000
    resamples: int = 1000
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The report, and what its pictures are drawn from.

    Args:
        photos: those evaluated, to which ``worst`` refers.
    """

    report: dict[str, Any]
    photos: Photos
    operating: Operating
    listed: Section | None
    every: Section
    searched: Searched | None
    worst: list[Wrong]


def evaluate(
    photos: Photos,
    vectors: Mapping[str, NDArray[np.float32]],
    failed: NDArray[np.bool_],
    setup: Setup,
    *,
    pairs: Lfw | None = None,
    snapshot: Snapshot | None = None,
    labels: Mapping[str, Sequence[str]] | None = None,
    yaw: NDArray[np.float32] | None = None,
    progress: Callable[[str], None] = lambda step: None,
) -> Evaluation:
    """Evaluate vectors of photos.

    Args:
        vectors, failed: of every photo by every contestant, see `embedding.embed_photos`; the
            embedder is the first contestant.
        pairs: listed pairs of these very photos.
        snapshot: who is enrolled; None enrolls some of the photos.
        labels: for the audit, kinds of labels and each photo's label.
        yaw: by how many degrees the face of each photo is turned, NaN where that is not known.

    Raises UserError as `verification.by_folds`, and for fewer than two photos.
    """
    everything = {name: Faces(rows, photos.person, failed) for name, rows in vectors.items()}
    main = next(iter(everything))
    tested = _tested(len(photos), pairs, setup.test_folds)
    chosen = tested[limit(photos[tested].person, setup.max_photos, setup.seed)]
    evaluated = photos[chosen]
    if len(evaluated) < 2:
        raise UserError(f"{setup.source}: there are {len(evaluated)} photos, evaluation needs two")
    subjects = {name: faces[chosen] for name, faces in everything.items()}
    found: dict[str, Any] = {
        "source": setup.source,
        "contract": setup.fingerprint,
        "boxes": setup.boxes,
        "photos": len(evaluated),
        "people": len(set(evaluated.people)),
        "failed": int(failed[chosen].sum()),
        "failed_photos": [evaluated.names[i] for i in np.flatnonzero(failed[chosen])],
        "left_out": len(tested) - len(chosen),
    }
    listed = None
    if pairs is not None:
        progress("listed pairs")
        listed = report.listed_pairs(everything, pairs, setup.test_folds)
        found["listed_pairs"] = listed.report
    progress("every pair")
    every = report.every_pair(subjects)
    found["every_pair"] = every.report

    other = np.setdiff1d(np.arange(len(photos)), tested)
    operating = {
        name: _operating(name, main, setup, everything[name], other, every) for name in subjects
    }
    if snapshot is not None and setup.threshold is None:
        operating[main] = Operating(snapshot.thresholds.gallery, "the gallery's own")
    progress("identification")
    searched = _identify(evaluated, subjects, operating, setup, snapshot)
    if searched is not None:
        found["identification"] = searched.report
    if labels is not None:
        progress("groups")
        audits = [
            audit(
                subjects[main], kind, [column[i] for i in chosen], operating[main].threshold,
                fmr=setup.fmr, resamples=setup.resamples, seed=setup.seed,
            )
            for kind, column in labels.items()
        ]  # fmt: skip
        found["groups"] = report.audit_section(
            audits, operating[main], setup.fmr, setup.resamples, setup.seed
        )
    if yaw is not None:
        progress("turned faces")
        found["yaw"] = {
            "threshold": operating[main].threshold,
            "unknown": int((~np.isfinite(yaw[chosen]) & ~failed[chosen]).sum()),
            "turned": by_yaw(
                subjects[main], yaw[chosen], operating[main].threshold,
                setup.resamples, setup.seed,
            ),
        }  # fmt: skip
    worst = worst_pairs(subjects[main], operating[main].threshold)
    found["worst_pairs"] = {
        "threshold": operating[main].threshold,
        "origin": operating[main].origin,
        "pairs": [
            {
                "photos": [evaluated.names[pair.first], evaluated.names[pair.second]],
                "cosine": pair.cosine,
                "same": pair.same,
            }
            for pair in worst
        ],
    }
    return Evaluation(found, evaluated, operating[main], listed, every, searched, worst)


def draw(
    evaluation: Evaluation, folder: Path, crops: Mapping[int, NDArray[np.uint8]]
) -> list[Path]:
    """Write the pictures (PNG) and return their paths.

    Args:
        crops: of the photos in ``evaluation.worst``, by position in ``evaluation.photos``.
    """
    report = evaluation.report
    who = counted(report["people"], "person")
    title = f"{report['source']}: {counted(report['photos'], 'photo')} of {who}"
    main = next(iter(evaluation.every.scores))
    threshold = evaluation.operating.threshold
    written = []
    for name, section in (("roc-pairs.png", evaluation.listed), ("roc.png", evaluation.every)):
        if section is not None:
            counts = {name: len(scores.impostor) for name, scores in section.scores.items()}
            protocol = section.report["protocol"]
            if figures.draw_roc(folder / name, section.curves, counts, f"{title}\n{protocol}"):
                written.append(folder / name)
    scores = evaluation.every.scores[main]
    if figures.draw_cosines(folder / "cosines.png", scores, threshold, title):
        written.append(folder / "cosines.png")
    searched = evaluation.searched
    if searched is not None:
        figures.draw_identification(folder / "identification.png", searched.searches, title)
        figures.draw_confusion(
            folder / "confusion.png", searched.people, searched.matrices[main], title
        )
        written += [folder / "identification.png", folder / "confusion.png"]
    if "groups" in report:
        figures.draw_groups(folder / "groups.png", report["groups"])
        written.append(folder / "groups.png")
    if figures.draw_worst(
        folder / "worst.png", evaluation.worst, crops, evaluation.photos.names, threshold
    ):
        written.append(folder / "worst.png")
    return written


def _tested(count: int, pairs: Lfw | None, test_folds: tuple[int, ...] | None) -> NDArray[np.int64]:
    """The photos of the tested folds; all when none are named."""
    if pairs is None or test_folds is None:
        return np.arange(count)
    rows = np.isin(pairs.fold, test_folds)
    return np.union1d(pairs.first[rows], pairs.second[rows])


def _operating(
    name: str, main: str, setup: Setup, faces: Faces, other: NDArray[np.int64], every: Section
) -> Operating:
    """The threshold of a contestant: given, or chosen on photos that are not tested, if any."""
    if name == main and setup.threshold is not None:
        return setup.threshold
    if len(other):
        some = other[limit(faces.person[other], setup.max_photos, setup.seed)]
        where, scores = "of the other folds", faces[some].scores()
        found = report.choose_threshold(scores, setup.fmr, where)
    else:
        scores = every.scores[name]
        found = report.choose_threshold(scores, setup.fmr, "of these very photos")
    if found is not None:
        return found
    words = f"of the nearest impostor ({len(scores.impostor):,} impostor pairs are too few)"
    return Operating(float(scores.impostor[-1]) if len(scores.impostor) else 0.7, words)


def _identify(
    photos: Photos,
    subjects: Mapping[str, Faces],
    operating: Mapping[str, Operating],
    setup: Setup,
    snapshot: Snapshot | None,
) -> Searched | None:
    """None, with a warning, when nobody has photos enough to be enrolled."""
    main = next(iter(subjects))
    if snapshot is not None:
        faces = subjects[main]
        given = setup.threshold
        if given is not None:
            changed = Thresholds(snapshot.thresholds.head, given.threshold)
            snapshot = replace(snapshot, thresholds=changed)
        trial = Trial(snapshot, faces.embeddings, faces.failed, operating[main].origin)
        truth = [tidy(name) for name in photos.people]  # as the gallery has them
        return report.identify(
            {main: trial}, truth, "the people of the gallery, all photos are probes"
        )
    parts = split(photos.person, setup.enroll, setup.nonmated, setup.seed)
    trials = {}
    for name, faces in subjects.items():
        fingerprint = setup.fingerprint if name == main else name
        gallery = report.enroll(fingerprint, faces, photos.people, parts.enroll)
        if not gallery.people:
            logger.warning("no identification: nobody has more than %d photos", setup.enroll)
            return None
        limits = Thresholds(gallery=operating[name].threshold)
        probes = faces[parts.probes]
        trials[name] = Trial(
            Snapshot(gallery, None, limits),
            probes.embeddings,
            probes.failed,
            operating[name].origin,
        )
    truth = [photos.people[i] for i in parts.probes]
    protocol = (
        f"{setup.enroll} photos of each person enrolled, drawn at random (seed {setup.seed}); "
        f"people with no more than that, and {setup.nonmated:.0%} of the others, are strangers"
    )
    return report.identify(trials, truth, protocol)
