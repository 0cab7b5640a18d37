"""Small, blurred and dark faces: how often do they get a wrong name, and would a gate help?

    python -m benchmarks.poor_faces --lfw ../shared/data/lfw --folds 6
    python -m benchmarks.poor_faces --lfw ../shared/data/lfw --embedder runs/mini/last.pt --fmr 1e-4

Photos of LFW's folds are made worse in every way of `benchmarks.spoiled.WAYS` and compared with all
others as they were: one side of each pair is poor, as when a camera's face meets an enrolled photo.

The first table has, for each way, what a gate could look at (medians): the box in pixels, the
sharpness of `recognizer.quality`, the quality of `faces index` for a score of 1, and the vector's
length before it is brought to 1. Then the share of pairs of two people that match at the embedder's
threshold (FMR) and of one person (recall), the FMR with two poor sides, the threshold that one poor
side needs for a false match rate of 1e-4 (or --fmr), and the answers of the rule with a head: own
name, wrong name, strangers named.

The second table: a gate for pairs. It refuses the share of faces for which a measure is lowest; the
threshold is then lowered until as many pairs of one person match as without it. Only where fewer
strangers match after that (a part of the FMR below 1, with its 95 % interval, people resampled) is
it better than a higher threshold. The third: gates for the rule with a head. `own`: as it is, with
other values of `recognizer.rule.HEAD_SHARE` (0: without); `head`: other thresholds of the head,
without `own`; the rest refuse faces by a measure, without `own`. In both all ways count alike.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray

from benchmarks.open_set import Draw, Photos, draw, snapshots
from benchmarks.spoiled import GOOD, WAYS, Faces, raw_network, spoil
from faces.errors import UserError
from faces.files import atomic_write_text
from faces.text import text_table
from recognizer import rule
from recognizer.data.lfw import read_lfw
from recognizer.embedders.load import load_embedder
from recognizer.error_rates import threshold_for
from recognizer.snapshot import Snapshot

REFUSED = (0.05, 0.1, 0.2, 0.3, 0.4)
"""Shares of all faces that a gate refuses."""

OWN = (0.0, 0.5, 0.6, 0.7, 0.8)
HEAD = (0.75, 0.8, 0.85, 0.9)

RESAMPLES = 300


@dataclass(frozen=True, eq=False)
class Pairs:
    """Poor faces against good ones.

    Args:
        genuine, impostor: cosines of pairs of one person and of two.
        genuine_face, impostor_face: the poor face of each, its position.
    """

    genuine: NDArray[np.float32]
    impostor: NDArray[np.float32]
    genuine_face: NDArray[np.int64]
    impostor_face: NDArray[np.int64]


def compare(
    poor: NDArray[np.float32], good: NDArray[np.float32], person: NDArray[np.int64], least: float
) -> Pairs:
    """All pairs of two photos, one of each kind; those of two people above ``least`` alone."""
    cosines = poor @ good.T
    same = person[:, None] == person[None]
    mine, high = same & ~np.eye(len(person), dtype=bool), ~same & (cosines > least)
    return Pairs(cosines[mine], cosines[high], np.nonzero(mine)[0], np.nonzero(high)[0])


@dataclass(frozen=True)
class Gate:
    """What a gate does where as many pairs of one person match as without it.

    Args:
        measure: what it looks at.
        value: faces with no more than this are refused.
        refused: share of all faces.
        threshold: for the others, so that recall is the same; None: it cannot be reached.
        ratio: of the false match rate to the one without a gate; below 1 is better. None when no
            threshold gives the recall, or only one that is below those of ``pairs``.
        interval: in which it lies with 95 %.
    """

    measure: str
    value: float
    refused: float
    threshold: float | None = None
    ratio: float | None = None
    interval: tuple[float, float] | None = None


def weigh(
    name: str,
    values: NDArray[np.float64],
    pairs: Pairs,
    person: NDArray[np.int64],
    threshold: float,
    share: float,
    least: float = -1.0,
) -> Gate:
    """A gate on ``values`` (N,) of all poor faces that refuses a share of them.

    Args:
        person: of each poor face (N,).
        threshold: without a gate.
        least: the cosine above which pairs of two people are there.
    """
    value = float(np.quantile(values, share, method="lower"))
    passed = values > value
    refused = float(1 - passed.mean())
    wanted = int((pairs.genuine > threshold).sum())
    left = np.sort(pairs.genuine[passed[pairs.genuine_face]])[::-1]
    if wanted >= len(left):
        return Gate(name, value, refused)
    lower = float(left[wanted])  # of what is above it there are as many as were wanted
    if lower < least:
        return Gate(name, value, refused, lower)

    def wrong(matched: NDArray[np.bool_]) -> NDArray[np.int64]:
        """False matches of each person's faces."""
        whose = person[pairs.impostor_face[matched]]
        return np.bincount(whose, minlength=int(person.max()) + 1)

    before = wrong(pairs.impostor > threshold)
    after = wrong((pairs.impostor > lower) & passed[pairs.impostor_face])
    if not before.any():
        return Gate(name, value, refused, lower)
    people = np.random.default_rng(0).integers(0, len(before), (RESAMPLES, len(before)))
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = after[people].sum(axis=1) / before[people].sum(axis=1)
    low, high = np.nanquantile(ratios, [0.025, 0.975])
    ratio = float(after.sum() / before.sum())
    return Gate(name, value, refused, lower, ratio, (float(low), float(high)))


def named(snapshot: Snapshot, vectors: NDArray[np.float32], own: float) -> NDArray[np.int64]:
    """The position of who each (N,) is said to be, -1 for unknown."""
    row = {name: i for i, name in enumerate(snapshot.gallery.people)}
    with patch.object(rule, "HEAD_SHARE", own if own else -10.0):
        return np.array([row.get(match.name or "", -1) for match in snapshot.identify(vectors)])


def shares(truth: NDArray[np.int64], given: NDArray[np.int64]) -> NDArray[np.float64]:
    """Own name and wrong name of those who are known, and named of those who are not (-1)."""
    known = truth >= 0
    right, wrong = given == truth, (given >= 0) & (given != truth)
    return np.array([right[known].mean(), wrong[known].mean(), wrong[~known].mean()])


def ask(
    snapshot: Snapshot,
    ways: dict[str, Faces],
    people: NDArray[np.str_],
    drawn: Draw,
    cuts: dict[str, list[float]],
) -> tuple[NDArray[np.float64], dict[tuple[str, float], NDArray[np.float64]]]:
    """`shares` of each way (W, 3) by the rule as it is, and means over them for each gate."""
    probes = np.concatenate([drawn.mated, drawn.strangers])
    row = {name: i for i, name in enumerate(snapshot.gallery.people)}
    truth = np.array([row.get(str(name), -1) for name in people[probes]])
    each, gated = [], dict[tuple[str, float], list[NDArray[np.float64]]]()
    for poor in ways.values():
        vectors = poor.vectors[probes]
        each.append(shares(truth, named(snapshot, vectors, rule.HEAD_SHARE)))
        plain = named(snapshot, vectors, 0)
        found = {("own", own): named(snapshot, vectors, own) for own in OWN}
        for bar in HEAD:
            changed = replace(snapshot, thresholds=replace(snapshot.thresholds, head=bar))
            found["head", bar] = named(changed, vectors, 0)
        for name, values in cuts.items():
            for value in values:
                found[name, value] = np.where(poor.measures[name][probes] > value, plain, -1)
        for gate, given in found.items():
            gated.setdefault(gate, []).append(shares(truth, given))
    return np.array(each), {gate: np.mean(lines, axis=0) for gate, lines in gated.items()}


def measure_all(arguments: argparse.Namespace) -> dict[str, Any]:
    """Everything that is printed."""
    embedder = load_embedder(arguments.embedder, threads=1)
    raw = raw_network(arguments.embedder, embedder)
    lfw = read_lfw(arguments.lfw).of_folds(*arguments.folds)
    people = np.array(lfw.people)
    person = np.unique(people, return_inverse=True)[1].astype(np.int64)
    good, crops = spoil(lfw.images, GOOD, embedder, raw)
    ways = {way: good if way == GOOD else spoil(lfw.images, way, embedder, raw)[0] for way in WAYS}
    apart = person[:, None] != person[None]

    def needed(poor: Faces) -> float | None:
        cosines = np.sort((poor.vectors @ good.vectors.T)[apart])
        return threshold_for(cosines.astype(np.float64), arguments.fmr or 1e-4)

    limits = rule.default_thresholds(embedder.fingerprint)
    if arguments.fmr:
        chosen = needed(good)
        if chosen is None:
            raise UserError(f"a false match rate of {arguments.fmr:g} takes more photos: add folds")
        limits = replace(limits, gallery=chosen)
    threshold = limits.gallery
    lines: list[dict[str, Any]] = []
    for way, poor in ways.items():
        one = compare(poor.vectors, good.vectors, person, threshold)
        both = compare(poor.vectors, poor.vectors, person, threshold)
        line = {
            "way": way,
            **{name: float(np.median(values)) for name, values in poor.measures.items()},
            "fmr": len(one.impostor) / int(apart.sum()),
            "recall": float((one.genuine > threshold).mean()),
            "fmr_both": len(both.impostor) / int(apart.sum()),
            "needs": needed(poor),
        }
        lines.append(line)
    least = threshold / 2  # no gate is worth a threshold that low
    each = [compare(poor.vectors, good.vectors, person, least) for poor in ways.values()]
    start = [len(person) * i for i in range(len(each))]
    every = Pairs(
        np.concatenate([pairs.genuine for pairs in each]),
        np.concatenate([pairs.impostor for pairs in each]),
        np.concatenate([pairs.genuine_face + s for pairs, s in zip(each, start, strict=True)]),
        np.concatenate([pairs.impostor_face + s for pairs, s in zip(each, start, strict=True)]),
    )
    gates: list[Gate] = []
    cuts: dict[str, list[float]] = {}
    for name in good.measures:
        values = np.concatenate([poor.measures[name] for poor in ways.values()])
        whose = np.tile(person, len(each))
        found = [weigh(name, values, every, whose, threshold, share, least) for share in REFUSED]
        gates += found
        cuts[name] = [gate.value for gate in found]
    answers, by_gate = [], []
    enrolled, photos = (int(word) for word in arguments.enrolled.split("x"))
    for seed in range(arguments.draws):
        drawn = draw(people, enrolled, photos, seed)
        enough = Photos(people, crops, good.vectors, good.vectors)
        taught = snapshots(enough, drawn, embedder, ("masked copies",), seed)["masked copies"]
        asked = ask(replace(taught, thresholds=limits), ways, people, drawn, cuts)
        answers.append(asked[0])
        by_gate.append(asked[1])
    for line, shown in zip(lines, np.mean(answers, axis=0), strict=True) if answers else ():
        line.update(zip(ANSWERS, shown.tolist(), strict=True))
    return {
        "embedder": embedder.fingerprint,
        "folds": arguments.folds,
        "photos": len(people),
        "people": int(person.max()) + 1,
        "threshold": threshold,
        "ways": lines,
        "fmr": float((every.impostor > threshold).sum() / (apart.sum() * len(each))),
        "recall": float((every.genuine > threshold).mean()),
        "gates": [asdict(gate) for gate in gates],
        "rule": [
            {"gate": key[0], "above": key[1]}
            | dict(zip(ANSWERS, np.mean([a[key] for a in by_gate], axis=0).tolist(), strict=True))
            for key in (by_gate[0] if by_gate else ())
        ],
    }


ANSWERS = ("own name", "wrong name", "strangers named")

COLUMNS = {
    "way": "one side poor", "size": "px", "sharpness": "sharpness", "quality": "quality",
    "length": "length", "fmr": "FMR", "recall": "recall", "fmr_both": "FMR, both", "needs": "needs",
    **{name: name for name in ANSWERS},
}  # fmt: skip


def tables(found: dict[str, Any]) -> str:
    """Both tables."""

    def cell(value: Any) -> str:
        if isinstance(value, list | tuple):
            return " - ".join(cell(end) for end in value)
        return value if isinstance(value, str) else "-" if value is None else f"{value:.3g}"

    def table(lines: list[dict[str, Any]], columns: dict[str, str]) -> list[str]:
        rows = [[cell(line.get(key)) for key in columns] for line in lines]
        return text_table(list(columns.values()), rows)

    def plain(lines: list[dict[str, Any]]) -> list[str]:
        return table(lines, {key: key for key in lines[0]}) if lines else []

    return "\n".join(
        [
            f"{found['embedder']}, folds {' '.join(map(str, found['folds']))}: {found['photos']:,} "
            f"photos of {found['people']:,} people, threshold {found['threshold']:.3f}",
            *table(found["ways"], COLUMNS),
            f"all ways alike: FMR {found['fmr']:.1e}, recall {found['recall']:.1%}; the same "
            "recall with a gate (ratio: of the FMR to that without):",
            *plain(found["gates"]),
            "gates for the rule, all ways alike:",
            *plain(found["rule"]),
        ]
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--lfw", type=Path, default=Path("../shared/data/lfw"))
    parser.add_argument("--folds", type=int, nargs="+", default=[6])
    parser.add_argument("--embedder", default="mini", help="mini, an ONNX file or a checkpoint")
    parser.add_argument("--fmr", type=float, help="choose the threshold so [as calibrated]")
    parser.add_argument("--enrolled", default="40x3", help="PEOPLExPHOTOS for the rule [40x3]")
    parser.add_argument("--draws", type=int, default=3, help="of them; 0 leaves the rule out [3]")
    parser.add_argument("--out", type=Path, help="a JSON file for all figures")
    arguments = parser.parse_args(argv)
    found = measure_all(arguments)
    print(tables(found))
    if arguments.out is not None:
        atomic_write_text(arguments.out, json.dumps(found, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
