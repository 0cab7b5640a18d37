"""Every test of the store runs on both databases, unless it asks for a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from recognizer.store.address import Place


@pytest.fixture
def path(new_place) -> Place:
    return new_place("people.db")


@pytest.fixture
def file(tmp_path) -> Path:
    """Of SQLite alone."""
    return tmp_path / "people.db"
