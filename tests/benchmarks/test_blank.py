"""What benchmarks/blank.py counts."""

from __future__ import annotations

import numpy as np

from benchmarks.blank import wrong


def test_groups_that_span_folders_are_wrong():
    group = np.array([0, 0, 0, 1, 1, 2, 2, 3, 4, 4])
    folder = np.array(list("aabccdeaff"))
    assert wrong(group, folder) == [3, 2]
    assert wrong(np.arange(10), folder) == []
