"""The made world, without anybody known."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.pipeline.teaching.world import World


@pytest.fixture
def world(tmp_path) -> Iterator[World]:
    made = World(tmp_path / "people.db")
    yield made
    made.close()
