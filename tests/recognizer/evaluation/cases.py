"""Made-up people: vectors around a direction of their own."""

from __future__ import annotations

import numpy as np

from recognizer.evaluation.all_pairs import Faces
from recognizer.types import unit


def people(counts, dimension=16, noise=0.5, seed=0, failed=()) -> Faces:
    """``counts[p]`` images of person p; the positions in ``failed`` have no face."""
    random = np.random.default_rng(seed)
    person = np.repeat(np.arange(len(counts)), counts)
    middle = unit(random.normal(size=(len(counts), dimension)))
    around = unit(random.normal(size=(len(person), dimension)))
    vectors = unit(middle[person] + noise * around)
    missing = np.zeros(len(person), bool)
    missing[list(failed)] = True
    vectors[missing] = 0
    return Faces(vectors, person, missing)
