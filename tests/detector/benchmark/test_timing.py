"""Contestants in processes of their own: turns, failures, threads, memory."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import psutil
import pytest

from detector.benchmark.timing import (
    THREAD_VARIABLES,
    ContestantFailed,
    Process,
    Timing,
    contest,
    peak_memory,
)
from tests.detector.benchmark.fakes import Fake, unbuildable


def images(count: int) -> list[np.ndarray]:
    """Images that say which they are by their first value."""
    return [np.full((8, 8, 3), i, np.uint8) for i in range(count)]


def calls(log: Path) -> list[tuple[str, int]]:
    """Who was called, with which image."""
    rows = [line.split() for line in log.read_text(encoding="utf-8").splitlines()]
    return [(name, int(image)) for name, image, _ in rows]


@pytest.fixture
def log(tmp_path) -> Path:
    return tmp_path / "calls.txt"


def test_everyone_sees_every_image_in_turn_and_another_begins_each_time(log):
    told = []
    builds = {name: partial(Fake, name, log) for name in "ab"}
    results = contest(builds, images(3), repeats=2, progress=told.append)
    looks = 3  # one that is not counted, and two
    expected = []
    for image, order in enumerate(["ab", "ba", "ab"]):
        for name in order:
            expected += [(name, image)] * looks
    assert calls(log) == expected
    assert list(results) == ["a", "b"]
    assert [len(timing.seconds) for timing in results.values()] == [3, 3]
    assert len(told) == 2 * (3 + 2)  # made, three images, memory


def test_the_times_are_those_of_the_call(log):
    builds = {"slow": partial(Fake, "slow", log, 0.4), "quick": partial(Fake, "quick", log, 0.05)}
    results = contest(builds, images(1))
    [slow], [quick] = (results[name].seconds for name in ("slow", "quick"))
    assert 0.4 <= slow < 0.8  # one call, not two
    assert 0.05 <= quick < 0.4


def test_threads_are_in_the_environment_of_the_contestants_only(log, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    contest({"a": partial(Fake, "a", log)}, images(1), threads=3)
    assert {line.split()[2] for line in log.read_text(encoding="utf-8").splitlines()} == {"3"}
    assert os.environ["OMP_NUM_THREADS"] == "7"
    assert "MKL_NUM_THREADS" not in os.environ
    assert "OMP_NUM_THREADS" in THREAD_VARIABLES


@pytest.mark.slow
@pytest.mark.parametrize(
    ("build", "reason", "seen"),
    [
        (unbuildable, "model.onnx is damaged: make it again", 0),
        ({"fails_at": 3}, "ValueError: cannot see", 3),
        ({"dies_at": 4}, "its process ended with exit code 3", 4),
    ],
    ids=["cannot be made", "raises", "dies"],
)
def test_one_that_fails_is_reported_and_the_others_go_on(build, reason, seen, log, caplog):
    if isinstance(build, dict):
        build = partial(Fake, "bad", log, **build)
    builds = {"good": partial(Fake, "good", log), "bad": build, "last": partial(Fake, "last", log)}
    results = contest(builds, images(3))
    assert isinstance(results["bad"], ContestantFailed)
    assert str(results["bad"]) == reason
    assert f"bad failed: {reason}" in caplog.text
    assert sum(name == "bad" for name, _ in calls(log)) == seen
    for name in ("good", "last"):
        assert isinstance(results[name], Timing)
        assert len(results[name].seconds) == 3


def test_one_that_goes_silent_has_failed(log):
    build = partial(Fake, "a", log, seconds=30.0)
    with Process(build, 1) as process:
        process.patience = 0.2
        with pytest.raises(ContestantFailed, match=r"no answer within 0.2 s"):
            process.detect(images(1)[0])
    assert not process.process.is_alive()


@pytest.mark.slow
def test_memory_is_the_contestants_own(log):
    builds = {"hog": partial(Fake, "hog", log, hog=300), "small": partial(Fake, "small", log)}
    results = contest(builds, images(1))
    own = {name: (t.peak_bytes - t.bare_bytes) / 2**20 for name, t in results.items()}
    assert 295 < own["hog"] < 340
    assert 0 <= own["small"] < 40
    assert 10 < results["small"].bare_bytes / 2**20 < 200


def test_the_peak_stays_after_memory_was_given_back():
    held = np.ones(200 * 2**20, np.uint8)
    before = peak_memory()
    del held
    assert peak_memory() >= before - 2**20  # Linux counts in batches
    assert before >= 200 * 2**20


@pytest.mark.skipif(os.name == "nt", reason="Windows sends Ctrl-C to the whole console")
def test_ctrl_c_is_for_the_parent(log):
    before = signal.getsignal(signal.SIGINT)
    with Process(partial(Fake, "a", log), 1) as process:
        assert signal.getsignal(signal.SIGINT) is before
        os.kill(process.process.pid, signal.SIGINT)
        assert len(process.detect(images(1)[0])) == 0
        pid = process.process.pid
    assert not psutil.pid_exists(pid)


ORPHAN = """
import os, sys
from functools import partial
from pathlib import Path
from detector.benchmark.timing import Process
from tests.detector.benchmark.fakes import Fake

if __name__ == "__main__":
    process = Process(partial(Fake, "a", Path(sys.argv[1]), seconds=1.0), 1)
    process.connection.send(("time", __import__("numpy").zeros((8, 8, 3), "uint8"), 1))
    print(process.process.pid, flush=True)
    os._exit(0)  # without goodbye, as when it is killed
"""


def ended(pid: int) -> bool:
    """Whether a process is gone within ten seconds, or only waits to be collected."""
    for _ in range(100):
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.1)
    return False


def test_one_whose_parent_dies_ends_without_a_word(log, tmp_path):
    script = tmp_path / "parent.py"
    script.write_text(ORPHAN, encoding="utf-8")
    # Waits for the pipes to close: until the orphan has ended as well.
    result = subprocess.run(
        [sys.executable, str(script), str(log)],
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert result.stderr == ""
    assert ended(int(result.stdout))
