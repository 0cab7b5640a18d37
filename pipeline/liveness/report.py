"""Error rates of presentation attack detection, in the terms of ISO/IEC 30107-3.

APCER: the share of attacks of one kind that are taken for live; reported for each kind, because an
average hides the kind that always passes. BPCER: the share of live presentations that are taken
for attacks. Presentations without an answer (no face found) are counted apart.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

CONFIDENCE = 0.95
LIMITS = (0.05, 0.10)  # of APCER, at which BPCER is customarily given


@dataclass(frozen=True)
class Rate:
    """So many errors of so many presentations."""

    errors: int
    count: int

    def __post_init__(self) -> None:
        if not 0 <= self.errors <= self.count:
            raise ValueError(f"{self.errors} errors of {self.count} presentations")

    @property
    def value(self) -> float | None:
        """The share, 0..1; None of none."""
        return self.errors / self.count if self.count else None

    @property
    def interval(self) -> tuple[float, float]:
        """Exact 95 % interval (Clopper and Pearson, 1934), for independent presentations."""
        from scipy.stats import binomtest

        if not self.count:
            return 0.0, 1.0
        found = binomtest(self.errors, self.count).proportion_ci(CONFIDENCE, method="exact")
        return float(found.low), float(found.high)

    def to_json(self) -> dict[str, Any]:
        """Plain values for `json`."""
        low, high = self.interval
        return {
            "errors": self.errors,
            "count": self.count,
            "rate": self.value,
            "low": low,
            "high": high,
        }

    def __str__(self) -> str:
        if self.value is None:
            return "no presentations"
        low, high = self.interval
        return f"{self.value:.1%} ({low:.1%} to {high:.1%}, {self.errors} of {self.count})"


@dataclass(frozen=True, eq=False)
class Scores:
    """What a passive network said of labeled presentations."""

    live: NDArray[np.float64]  # scores of live ones (N,), 0..1; NaN where no face was found
    attacks: Mapping[str, NDArray[np.float64]]  # kind -> scores (M,)

    def bpcer(self, threshold: float) -> Rate:
        """Live ones below the threshold."""
        return Rate(*_below(self.live, threshold))

    def apcer(self, threshold: float) -> dict[str, Rate]:
        """For each kind: attacks from the threshold on."""
        rates = {}
        for kind, scores in self.attacks.items():
            below, count = _below(scores, threshold)
            rates[kind] = Rate(count - below, count)
        return rates

    def threshold_for(self, apcer: float) -> float:
        """The least threshold at which no kind's APCER is above ``apcer``."""
        known = [scores[np.isfinite(scores)] for scores in self.attacks.values()]
        least = 0.0
        for scores in known:
            allowed = int(apcer * len(scores))  # so many may pass
            if allowed < len(scores):
                least = max(least, float(np.sort(scores)[::-1][allowed]))
        return float(np.nextafter(least, 2))

    def to_json(self, threshold: float) -> dict[str, Any]:
        """Rates at the threshold, and BPCER where the worst kind's APCER is 5 % and 10 %."""
        rates = self.apcer(threshold)
        answered = [rate for rate in rates.values() if rate.count]
        worst = max(answered, key=lambda rate: rate.errors / rate.count, default=Rate(0, 0))
        silent = {"live": int(np.isnan(self.live).sum())}
        silent |= {kind: int(np.isnan(scores).sum()) for kind, scores in self.attacks.items()}
        return {
            "threshold": threshold,
            "bpcer": self.bpcer(threshold).to_json(),
            "apcer": {kind: rate.to_json() for kind, rate in rates.items()},
            "apcer_worst_kind": worst.to_json(),
            "bpcer_at_apcer": {
                f"{limit:.2f}": {
                    "threshold": self.threshold_for(limit),
                    **self.bpcer(self.threshold_for(limit)).to_json(),
                }
                for limit in LIMITS
                if answered
            },
            "without_face": silent,
        }


def format_scores(scores: Scores, threshold: float) -> str:
    """The same as a table."""
    lines = [
        f"passive, threshold {threshold:g}: rate (95 % interval, errors of presentations)",
        f"  BPCER  {scores.bpcer(threshold)}",
    ]
    lines += [f"  APCER  {rate}  {kind}" for kind, rate in sorted(scores.apcer(threshold).items())]
    for limit in LIMITS if scores.attacks else ():
        at = scores.threshold_for(limit)
        lines.append(
            f"  BPCER  {scores.bpcer(at)} at threshold {at:.4f}, where the worst kind's APCER is "
            f"{limit:.0%} at most"
        )
    silent = int(np.isnan(np.concatenate([scores.live, *scores.attacks.values()])).sum())
    if silent:
        lines.append(f"  without a face, and left out: {silent}")
    if not scores.attacks or not len(scores.live):
        lines.append("  live and attacks are both needed to say how good this is")
    return "\n".join(lines)


@dataclass(frozen=True)
class Trial:
    """What became of one kind of presentation in the active challenge."""

    kind: str  # its name
    # True for an attack that should fail, False for a live person, None for an attack that the
    # challenge is known not to stop
    attack: bool | None
    ends: Counter[str]  # how often each came: ``passed``, or a key of `policy.REASONS`

    @property
    def rate(self) -> Rate:
        """APCER of an attack, BPCER of a live person."""
        count, passed = self.ends.total(), self.ends["passed"]
        return Rate(count - passed if self.attack is False else passed, count)

    def to_json(self) -> dict[str, Any]:
        """Plain values for `json`."""
        return {
            "kind": self.kind,
            "name": "BPCER" if self.attack is False else "APCER",
            "expected_to_fail": self.attack is True,
            **self.rate.to_json(),
            "ends": dict(self.ends.most_common()),
        }


def format_trials(trials: Sequence[Trial]) -> str:
    """One line for each kind."""
    wide = max(len(trial.kind) for trial in trials)
    lines = ["active challenge, made landmarks: rate (95 % interval), and why attempts failed"]
    for trial in trials:
        name = "BPCER" if trial.attack is False else "APCER"
        why = ", ".join(f"{n} {end}" for end, n in trial.ends.most_common() if end != "passed")
        known = "; not stopped, see docs/liveness.md" if trial.attack is None else ""
        lines.append(f"  {trial.kind:<{wide}}  {name}  {trial.rate}: {why or 'none'}{known}")
    return "\n".join(lines)


def _below(scores: ArrayLike, threshold: float) -> tuple[int, int]:
    """How many scores are below, of how many that are known."""
    known = np.asarray(scores, np.float64)
    known = known[np.isfinite(known)]
    return int((known < threshold).sum()), len(known)
