"""Everything there is to say about a recognizer on a set of photos, as a dictionary for JSON.

Each section states its protocol and how many photos, people and pairs are behind its figures, and
has a list ``results`` with an entry for each contestant: the embedder first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recognizer.data.lfw import Lfw
from recognizer.error_rates import Roc, Scores, roc, threshold_for, wilson
from recognizer.evaluation import identification as ident
from recognizer.evaluation import naming
from recognizer.evaluation.all_pairs import Faces
from recognizer.evaluation.verification import accuracy, by_folds, summarize
from recognizer.gallery import Gallery
from recognizer.snapshot import Snapshot

POINTS = 100
"""Of each curve in the JSON; the pictures have more."""

OUTSIDE = "a photo without a face never matches"


@dataclass(frozen=True)
class Operating:
    """A threshold for cosines, and where it comes from, in words."""

    threshold: float
    origin: str


@dataclass(frozen=True, eq=False)
class Section:
    """A part of the report, and what its pictures are drawn from, by contestant."""

    report: dict[str, Any]
    scores: dict[str, Scores]
    curves: dict[str, Roc]


@dataclass(frozen=True, eq=False)
class Searched:
    """The report of identification, and for each contestant its searches and confusion matrix."""

    report: dict[str, Any]
    searches: dict[str, ident.Search]
    people: tuple[str, ...]
    matrices: dict[str, NDArray[np.int64]]


def listed_pairs(
    subjects: Mapping[str, Faces], pairs: Lfw, test: Sequence[int] | None = None
) -> Section:
    """Verification by folds of listed pairs.

    Args:
        subjects: the vectors of ``pairs.images``, by contestant.
        test: folds to test on, see `verification.by_folds`.

    Raises UserError as `verification.by_folds`.
    """
    folds = pairs.folds
    tested = np.isin(pairs.fold, folds if test is None else list(test))
    if test is None:
        protocol = (
            f"LFW, {len(folds)} folds: for each fold the threshold that is best on the others; "
            "mean over the folds +- standard error"
        )
    else:
        rest = [fold for fold in folds if fold not in test]
        protocol = (
            f"LFW, tested on {_folds(test)}, with the threshold that is best on {_folds(rest)}"
        )
    results, scores = [], {}
    for name, faces in subjects.items():
        cosines = faces.cosines(pairs.first, pairs.second)
        found = by_folds(cosines, pairs.same, pairs.fold, test)
        mean, error = accuracy(found)
        scores[name] = Scores.of_pairs(cosines[tested], pairs.same[tested])
        right = round(sum(fold.accuracy * fold.pairs for fold in found))
        results.append(
            {
                "name": name,
                "accuracy": mean,
                "standard_error": error,
                # Of one fold there is no spread; of several their spread says more.
                "interval": None if error is not None else wilson(right, int(tested.sum())),
                "folds": [asdict(fold) for fold in found],
                **_summary(scores[name]),
            }
        )
    report = {
        "protocol": protocol,
        "pairs": int(tested.sum()),
        "genuine": int(pairs.same[tested].sum()),
        "impostor": int((~pairs.same[tested]).sum()),
        "results": results,
    }
    return _section(report, scores)


def every_pair(subjects: Mapping[str, Faces]) -> Section:
    """Verification of every photo against every other; no threshold is chosen."""
    scores = {name: faces.scores() for name, faces in subjects.items()}
    results = [{"name": name, **_summary(found)} for name, found in scores.items()]
    for figures in results:
        for flattered in ("best_threshold", "best_accuracy"):  # nearly all pairs are impostors
            del figures[flattered]
    faces = next(iter(subjects.values()))
    report = {
        "protocol": "every photo against every other: thresholds and rates on the same pairs",
        "photos": len(faces),
        "people": len(np.unique(faces.person)),
        "genuine": results[0]["genuine"],
        "impostor": results[0]["impostor"],
        "results": results,
    }
    return _section(report, scores)


def _summary(scores: Scores) -> dict[str, Any]:
    curve = roc(scores)
    return {**summarize(scores, curve), "roc": thin(curve)}


def _section(report: dict[str, Any], scores: dict[str, Scores]) -> Section:
    curves = {name: roc(found) for name, found in scores.items()}
    return Section(report, scores, {name: c for name, c in curves.items() if c is not None})


def choose_threshold(scores: Scores, fmr: float, where: str) -> Operating | None:
    """The lowest threshold with at most this false match rate; None with too few impostor pairs."""
    threshold = threshold_for(scores.impostor, fmr)
    if threshold is None:
        return None
    return Operating(threshold, f"FMR {fmr:g} over {len(scores.impostor):,} impostor pairs {where}")


@dataclass(frozen=True, eq=False)
class Trial:
    """What one contestant is given to identify.

    Args:
        snapshot: gallery, head and thresholds whose rule names the probes.
        embeddings, failed: of the probes, float32 (N, D) and bool (N,).
    """

    snapshot: Snapshot
    embeddings: NDArray[np.float32]
    failed: NDArray[np.bool_]
    origin: str


def enroll(
    fingerprint: str, faces: Faces, people: Sequence[str], rows: NDArray[np.int64]
) -> Gallery:
    """A gallery of some images; those without a face are left out.

    Args:
        people: the name on each image of ``faces``.
    """
    rows = rows[~faces.failed[rows]]
    return Gallery(fingerprint, tuple(people[i] for i in rows), faces.embeddings[rows])


def identify(trials: Mapping[str, Trial], truth: Sequence[str], protocol: str) -> Searched:
    """Name every probe: by the nearest person at any threshold, and by the hybrid rule.

    Args:
        truth: who each probe shows; names that a snapshot does not know are non-mated.
        protocol: who was enrolled how, in words.
    """
    results, searches, matrices = [], {}, {}
    everyone: set[str] = set()
    for trial in trials.values():
        head = trial.snapshot.head
        everyone.update(trial.snapshot.gallery.people)
        everyone.update(name for name in (head.names if head else ()) if name is not None)
    people = tuple(sorted(everyone))
    row = {name: i for i, name in enumerate(people)}
    mate = np.array([row.get(name, -1) for name in truth], np.int64)
    for name, trial in trials.items():
        found = ident.search(trial.snapshot.gallery, trial.embeddings, trial.failed, truth)
        searches[name] = found
        result, matrix = _rule(trial, people, mate)
        matrices[name] = matrix
        nearest = np.array([row[found.people[i]] if i >= 0 else -1 for i in found.nearest], int)
        closed = naming.confusion_matrix(len(people), mate[mate >= 0], nearest[mate >= 0])
        results.append(
            {
                "name": name,
                **{f"rank{rank}": ident.within_rank(found, rank) for rank in ident.RANKS},
                "nearest": _named(people, closed),
                "fnir": [ident.fnir_at(found, rate) for rate in ident.FALSE_POSITIVE_RATES],
                "curve": _open_set_curve(found),
                "rule": {**result, **_named(people, matrix)},
            }
        )
    report = {
        "protocol": f"{protocol}; {OUTSIDE}",
        "enrolled": len(people),
        "mated": int((mate >= 0).sum()),
        "nonmated": int((mate < 0).sum()),
        "results": results,
    }
    return Searched(report, searches, people, matrices)


def _rule(
    trial: Trial, people: tuple[str, ...], mate: NDArray[np.int64]
) -> tuple[dict[str, Any], NDArray[np.int64]]:
    """What the snapshot's own rule does at its own thresholds."""
    row = {name: i for i, name in enumerate(people)}
    named = np.full(len(mate), -1, np.int64)
    sources = ["none"] * len(mate)
    seen = np.flatnonzero(~trial.failed)
    for i, match in zip(seen, trial.snapshot.identify(trial.embeddings[seen]), strict=True):
        named[i] = row[match.name] if match.name is not None else -1
        sources[i] = match.source
    matrix = naming.confusion_matrix(len(people), mate, named)
    return {
        "thresholds": asdict(trial.snapshot.thresholds),
        "origin": trial.origin,
        "head": trial.snapshot.head is not None,
        **ident.operating_point(mate, named, sources),
    }, matrix


def _named(people: tuple[str, ...], matrix: NDArray[np.int64]) -> dict[str, Any]:
    figures = naming.per_person(people, matrix)
    return {
        "accuracy": naming.accuracy(matrix),
        "macro": naming.macro(figures),
        "confusions": [
            {"person": who, "named": said, "probes": count}
            for who, said, count in naming.confusions(people, matrix)
        ],
        "people": figures,
    }


def _open_set_curve(found: ident.Search) -> list[dict[str, float | None]]:
    """FPIR and FNIR at thresholds 0.01 apart."""
    threshold = np.round(np.arange(-0.2, 1.001, 0.01), 2)
    fpir, fnir = found.fpir(threshold), found.fnir(threshold)
    return [
        {"threshold": float(t), "fpir": _number(p), "fnir": _number(n)}
        for t, p, n in zip(threshold, fpir, fnir, strict=True)
    ]


def audit_section(
    audits: Sequence[Mapping[str, Any]], operating: Operating, fmr: float, resamples: int, seed: int
) -> dict[str, Any]:
    """The audit by groups, of the embedder alone."""
    return {
        "protocol": (
            "every photo against every other of the same group; "
            f"95 % bootstrap intervals over people, {resamples:,} resamples, seed {seed}"
        ),
        "threshold": operating.threshold,
        "origin": operating.origin,
        "fmr": fmr,
        "kinds": list(audits),
    }


def thin(curve: Roc | None, points: int = POINTS) -> list[dict[str, float]] | None:
    """Some points of a curve, evenly apart in the logarithm of FMR, the ends included."""
    if curve is None:
        return None
    lowest = curve.fmr[curve.fmr > 0].min(initial=1.0)
    wanted = np.concatenate([[0.0], np.geomspace(lowest, 1.0, points - 1)])
    # The last point whose FMR is allowed: it has the highest TAR.
    chosen = np.searchsorted(curve.fmr, wanted * (1 + 1e-9), "right") - 1
    return [
        {
            "fmr": float(curve.fmr[i]),
            "tar": float(1 - curve.fnmr[i]),
            "threshold": float(curve.threshold[i]),
        }
        for i in np.unique(chosen)
    ]


def _folds(numbers: Sequence[int]) -> str:
    word = "fold" if len(numbers) == 1 else "folds"
    return f"{word} {', '.join(map(str, sorted(numbers)))}"


def _number(value: np.floating) -> float | None:
    return float(value) if np.isfinite(value) else None
