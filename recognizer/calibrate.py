"""Calibration: the thresholds that give a wanted false match rate.

A false match rate (FMR) is of single comparisons: the share of pairs of two people whose cosine is
above the threshold. A face that is compared with P people has P chances to be taken for one.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from decimal import ROUND_CEILING, Context
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from faces.errors import UserError
from faces.files import atomic_write_text
from recognizer.error_rates import NEEDED, Scores, threshold_for, wilson
from recognizer.gallery import Gallery
from recognizer.rule import FORMAT, Thresholds, read_defaults
from recognizer.snapshot import Snapshot
from recognizer.training.background import measure_spread
from recognizer.training.fit import fit_head

log = logging.getLogger(__name__)

MOST_IMAGES = 6_000  # 18 million pairs, 72 MB
RESAMPLES = 1_000
ROUNDS = 5
LEAST_PEOPLE = 20


@dataclass(frozen=True)
class Calibration:
    """A threshold for cosines, and what it was measured on."""

    threshold: float  # two faces match when their cosine is more than this
    wanted: float  # the false match rate asked for
    fmr: float  # the one measured on these impostors, at most ``wanted``
    interval: tuple[float, float]  # in which the true one lies with a probability of 95 %
    fnmr: float  # the share of genuine pairs that do not match
    # genuine, impostor: how many pairs of each kind
    genuine: int
    impostor: int
    # how many people they are of; None when the pairs were listed without names
    people: int | None = None


def pairs_needed(fmr: float) -> int:
    """How many pairs of two people it takes to measure a false match rate; see `NEEDED`."""
    return ceil(NEEDED / fmr * (1 - 1e-9))


def calibrate_pairs(
    cosines: NDArray[np.floating], same: NDArray[np.bool_], fmr: float
) -> Calibration:
    """The lowest threshold at which at most a share ``fmr`` of the listed impostor pairs match.

    Args:
        cosines: of each pair (P,).
        same: whether it shows one person, bool (P,).
        fmr: above 0, below 1.

    Raises UserError when there are too few impostor pairs to claim such a rate, or no genuine ones.
    """
    found = _calibrated(Scores.of_pairs(np.asarray(cosines), np.asarray(same, bool)), fmr)
    wrong = round(found.fmr * found.impostor)
    return replace(found, interval=wilson(wrong, found.impostor))


def calibrate_people(
    embeddings: NDArray[np.float32],
    people: Sequence[str],
    fmr: float,
    seed: int = 0,
    denied: NDArray[np.floating] | None = None,
) -> Calibration:
    """As `calibrate_pairs`, with every image against every other.

    Args:
        embeddings: unit vectors (N, D), one for each image.
        people: whose they are.
        fmr: above 0, below 1.
        seed: of the choice of images when there are more than 6,000, and of the interval.
        denied: cosines (P,) of more pairs of two people: faces that were taken for somebody, with
            that person's samples; see `denied_cosines`.

    The pairs share people, so they say less than as many independent ones: the interval comes from
    drawing the people again (a bootstrap), not the pairs. Raises UserError as `calibrate_pairs`.
    """
    rng = np.random.default_rng(seed)
    names, whose = np.unique(np.asarray(people, dtype=str), return_inverse=True)
    if len(whose) > MOST_IMAGES:
        log.info("%d of %d images are compared, chosen at random", MOST_IMAGES, len(whose))
        chosen = np.sort(rng.choice(len(whose), MOST_IMAGES, replace=False))
        embeddings, whose = embeddings[chosen], whose[chosen]
    first, second = np.triu_indices(len(whose), 1)
    cosines = (embeddings @ embeddings.T)[first, second]
    same = whose[first] == whose[second]
    scored, genuine = cosines, same
    if denied is not None:
        scored = np.concatenate([cosines, denied])
        genuine = np.concatenate([same, np.zeros(len(denied), bool)])
    found = _calibrated(Scores.of_pairs(scored, genuine), fmr)
    wrong = (cosines > found.threshold) & ~same
    interval = _between_people(
        np.bincount(whose, minlength=len(names)), whose[first[wrong]], whose[second[wrong]], rng
    )
    return replace(found, interval=interval, people=len(np.unique(whose)))


def denied_cosines(snapshot: Snapshot) -> NDArray[np.float32]:
    """Each denied face with every sample of the person who it is not: float32 (P,)."""
    denied = snapshot.denied
    if denied is None or not len(denied):
        return np.zeros(0, np.float32)
    return np.concatenate(
        [
            snapshot.gallery.of(name) @ face
            for name, face in zip(denied.names, denied.embeddings, strict=True)
        ]
    )


def _calibrated(scores: Scores, fmr: float) -> Calibration:
    """Without an interval and people. Raises UserError for too few pairs."""
    count = len(scores.impostor)
    threshold = threshold_for(scores.impostor, fmr)
    if threshold is None:
        lowest = Context(prec=2, rounding=ROUND_CEILING).divide(NEEDED, max(count, 1))
        most = f"they support {lowest:g} at best" if count > NEEDED else "too few for any"
        raise UserError(
            f"a false match rate of {fmr:g} takes at least {pairs_needed(fmr):,} pairs of two "
            f"people to measure ({NEEDED} errors among them), there are {count:,}; {most}: give "
            "more pairs, a folder per person (all their pairs count), or a higher rate (fmr)"
        )
    if not len(scores.genuine):
        raise UserError(
            "there is no pair of one person, so nobody can say how many would be missed: give "
            "people with two photos or more"
        )
    return Calibration(
        threshold=threshold,
        wanted=fmr,
        fmr=float(scores.fmr(threshold)),
        interval=(0.0, 1.0),
        fnmr=float(scores.fnmr(threshold)),
        genuine=len(scores.genuine),
        impostor=count,
    )


def _between_people(
    images: NDArray[np.int64],
    one: NDArray[np.int64],
    other: NDArray[np.int64],
    rng: np.random.Generator,
) -> tuple[float, float]:
    """95 % interval of the false match rate when the people are drawn again, with replacement.

    Args:
        images: of each person.
        one, other: the two people of each false match.
    """
    people = len(images)
    rates = np.empty(RESAMPLES)
    for i in range(RESAMPLES):
        weight = np.bincount(rng.integers(people, size=people), minlength=people)
        drawn = weight * images
        pairs = (drawn.sum() ** 2 - (drawn**2).sum()) / 2
        rates[i] = (weight[one] * weight[other]).sum() / max(pairs, 1)
    low, high = np.percentile(rates, [2.5, 97.5])
    return float(low), float(high)


@dataclass(frozen=True)
class HeadCalibration:
    """A threshold for the head's probability, and what it was measured on."""

    threshold: float  # a class must be more probable than this
    strangers_named: float  # share of the faces of people who are not enrolled that it names
    recognized: float  # share of new photos of enrolled people that it names rightly
    enrolled: int  # how many people the heads knew
    # strangers, photos: how many faces of people not enrolled, and of the enrolled, were tried over
    # all rounds
    strangers: int
    photos: int


def calibrate_head(
    embeddings: NDArray[np.float32], people: Sequence[str], fmr: float, seed: int = 0
) -> HeadCalibration | None:
    """The head's threshold: 0.7, or more where it would then name more impostors than the gallery.

    In each of five rounds half of the people who have three images or more (at most 50) are
    enrolled with all but one of them. The others are not: half of them are the background from
    which the class "unknown" is drawn, the other half are impostors. The head may name as many of
    those as the gallery does: ``fmr`` times the number of enrolled people.

    Args:
        embeddings: unit vectors (N, D), one for each image.
        people: whose they are.
        fmr: of a single comparison.
        seed: of who is enrolled.

    None when there are fewer than 20 people with three images: then nothing can be said.
    """
    whose = np.asarray(people, dtype=str)
    names, counts = np.unique(whose, return_counts=True)
    rich = names[counts >= 3]
    if len(rich) < LEAST_PEOPLE:
        return None
    enrolled = min(50, len(rich) // 2)
    impostor: list[NDArray[np.float32]] = []
    known: list[NDArray[np.float32]] = []
    for number in range(ROUNDS):
        rng = np.random.default_rng((seed, number))
        chosen = rng.choice(rich, enrolled, replace=False)
        probes = np.array([rng.choice(np.flatnonzero(whose == name)) for name in chosen])
        taught = np.isin(whose, chosen)
        taught[probes] = False
        gallery = Gallery("calibration", tuple(whose[taught]), embeddings[taught])
        others = rng.permutation(np.setdiff1d(names, chosen))
        drawn_from = np.isin(whose, others[: len(others) // 2])  # the others are impostors
        outside = np.isin(whose, others[len(others) // 2 :])
        spread = measure_spread(_one_each(embeddings[drawn_from], whose[drawn_from], rng))
        head = fit_head(gallery, spread.draw(2000, rng))
        impostor.append(head.probabilities(embeddings[outside])[:, :-1].max(axis=1))
        given = head.probabilities(embeddings[probes])
        right = np.array([head.names[i] for i in given.argmax(axis=1)]) == whose[probes]
        known.append(np.where(right, given.max(axis=1), 0))
    impostors, photos = np.sort(np.concatenate(impostor)), np.concatenate(known)
    allowed = int(fmr * enrolled * len(impostors))
    threshold = max(Thresholds().head, float(impostors[max(len(impostors) - 1 - allowed, 0)]))
    return HeadCalibration(
        threshold,
        float((impostors > threshold).mean()),
        float((photos > threshold).mean()),
        enrolled,
        len(impostors),
        len(photos),
    )


def _one_each(
    embeddings: NDArray[np.float32], whose: NDArray[np.str_], rng: np.random.Generator
) -> NDArray[np.float32]:
    """One vector of each person, chosen at random."""
    order = rng.permutation(len(whose))
    _, first = np.unique(whose[order], return_index=True)
    return embeddings[order[first]]


# ---- what is known of the shipped embedders ----------------------------------------------------


def write_defaults(
    path: Path,
    fingerprint: str,
    thresholds: Thresholds,
    measured: Calibration,
    data: str,
    **more: Any,
) -> None:
    """Add an embedder's thresholds to a file, or replace them; others stay.

    Args:
        path: made when it is missing.
        data: what they were measured on, in words.
        more: other things worth keeping, for JSON.
    """
    entries = read_defaults(path)
    entries[fingerprint] = {
        **asdict(thresholds),
        "measured": asdict(measured),
        "data": data,
        **more,
        "written": datetime.now(UTC).date().isoformat(),
    }
    content = {"format": FORMAT, "version": 1, "embedders": entries}
    atomic_write_text(path, json.dumps(content, indent=2) + "\n")
