"""Every test of the store runs on both databases, unless it asks for a file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from recognizer.store.address import Place, place

NewPlace = Callable[[str], Place]


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def new_place(request, tmp_path) -> NewPlace:
    """Places where nobody is kept yet."""
    if request.param == "sqlite":
        return lambda name: tmp_path / name
    server = request.getfixturevalue("postgres_server")
    made: dict[str, Place] = {}

    def find(name: str) -> Place:
        if name not in made:
            made[name] = place(server.database())
        return made[name]

    return find


@pytest.fixture
def path(new_place) -> Place:
    return new_place("people.db")


@pytest.fixture
def file(tmp_path) -> Path:
    """Of SQLite alone."""
    return tmp_path / "people.db"
