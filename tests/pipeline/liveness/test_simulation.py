"""A few of the attempts that `faces evaluate-liveness --simulate` makes by the hundred."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.liveness.simulation import KINDS, simulate

BY_NAME = {kind.name: kind for kind in KINDS}
ATTACKS = [kind for kind in KINDS if kind.attack]
SEEDS = range(50_000, 50_002)


def test_people_pass():
    ends = [simulate(BY_NAME["person who follows"], seed).status for seed in range(50_000, 50_006)]
    assert ends.count("passed") >= 5


@pytest.mark.parametrize("kind", ATTACKS, ids=lambda kind: kind.name)
def test_attacks_fail(kind):
    for seed in SEEDS:
        challenge = simulate(kind, seed)
        assert challenge.status in ("failed", "expired"), seed
        assert challenge.reason is not None


def test_the_same_seed_gives_the_same_attempt():
    first, second = (simulate(BY_NAME["photo, tilted as asked"], 5) for _ in range(2))
    assert first.to_json() == second.to_json()


def test_photos_are_photos():
    """The photo's own shape is flat, and an attack that is bent is not."""
    source = np.random.default_rng(0)
    assert np.ptp(BY_NAME["photo, moved about"].make(source).shape(1.0)[:, 2]) == 0
    bent = BY_NAME["photo, bent strongly (radius 5 to 15 cm)"].make(source)
    assert max(np.ptp(bent.shape(t)[:, 2]) for t in np.linspace(0, 6, 50)) > 0.3
