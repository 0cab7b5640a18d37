"""Ray: the same library as without it, on two nodes of which one is killed."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.library.index import Indexing
from pipeline.library.parts import part_files
from pipeline.library.ray_executor import RayExecutor
from pipeline.library.scan import scan
from tests.pipeline.library.looking import SETTINGS, QuickLooker, index, rows
from tests.pipeline.people_photos import person, save

ray = pytest.importorskip("ray")
usage_lib = pytest.importorskip("ray._common.usage.usage_lib")

pytestmark = pytest.mark.slow

MANIFEST = QuickLooker(SETTINGS).manifest


class SlowLooker(QuickLooker):
    """So slow that a node can be killed in the middle."""

    def look(self, items: Any) -> Any:
        time.sleep(0.3)
        return super().look(items)


HEAD = {"num_cpus": 1, "include_dashboard": False}


def _begun(start: Callable[[], Any], times: int = 3) -> Any:
    """Ray gives its processes 30 seconds to start, which a busy machine may need longer than."""
    try:
        return start()
    except Exception:
        if times == 1:
            raise
        return _begun(start, times - 1)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    from ray.cluster_utils import Cluster

    before = dict(os.environ)
    os.environ |= {
        "RAY_AUTH_MODE": "disabled",  # else a token is written into the home folder
        "RAY_health_check_initial_delay_ms": "0",
        "RAY_health_check_period_ms": "500",
        "RAY_health_check_failure_threshold": "3",
        "PYTHONPATH": str(Path(__file__).resolve().parents[3]),
    }
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # of this cluster; `RayExecutor` sets its own
    cluster = _begun(lambda: Cluster(initialize_head=True, head_node_args=HEAD))
    cluster.second = _begun(lambda: cluster.add_node(num_cpus=1))
    cluster.wait_for_nodes()
    yield cluster
    ray.shutdown()
    cluster.shutdown()
    os.environ.clear()
    os.environ.update(before)


def test_a_node_that_is_killed_costs_no_photo_and_makes_none_twice(cluster, tmp_path, monkeypatch):
    photos = tmp_path / "photos"
    for i in range(30):
        save(photos / f"p{i:02}.png", person(i), person(i + 100))
    (photos / "bad.jpg").write_bytes(b"no picture")
    index(tmp_path / "alone", photos, shard=10)

    monkeypatch.delenv("RAY_USAGE_STATS_ENABLED")
    executor = RayExecutor(SETTINGS, MANIFEST, cluster.address, look=SlowLooker)
    assert executor.processors == 2
    assert usage_lib.usage_stats_enabled() is False
    actors: set[str] = set()

    def kill_a_node(count: int) -> None:
        nodes = {a["NodeID"] for a in ray.nodes() if a["Alive"]}
        if len(nodes) == 2 and not actors:
            actors.add("killed")
            cluster.remove_node(cluster.second, allow_graceful=False)

    run = Indexing(tmp_path / "lib", MANIFEST, scan([str(photos)]), shard=10)
    try:
        tally = run.run(executor, 2, kill_a_node)
    finally:
        executor.close()
    assert actors
    assert (tally.looked, tally.faces, tally.failed) == (31, 60, 1)
    assert rows(tmp_path / "lib") == rows(tmp_path / "alone")
    mine, others = part_files(tmp_path / "lib"), part_files(tmp_path / "alone")
    assert [part.name for part in mine] == [part.name for part in others]
