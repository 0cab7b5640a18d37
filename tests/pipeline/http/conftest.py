"""A server for tests that leave it as it is."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pipeline.http.options import HttpOptions
from tests.pipeline.http.live import Live, live


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """One without keys, for tests that leave it as it is."""
    with live(tmp_path_factory.mktemp("server"), HttpOptions(rate_per_address="none")) as running:
        yield running
