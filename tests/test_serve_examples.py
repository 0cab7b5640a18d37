"""The ready-made clients finish all their requests although the server is killed meanwhile."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.pipeline.service.fakes import photo

ROOT = Path(__file__).parents[1]
CLIENTS = {
    "python": [sys.executable, "examples/python/faces_client.py"],
    "node": ["node", "examples/node/faces_client.mjs"],
    "java": ["java", "examples/java/FacesClient.java"],
}


@pytest.fixture(params=CLIENTS)
def client(request: pytest.FixtureRequest) -> list[str]:
    """A command line; skips where the language is not installed."""
    program, *rest = CLIENTS[request.param]
    if shutil.which(program) is None:
        pytest.skip(f"this machine has no {program}")
    return [program, *rest]


def start(client: list[str], folder: Path, seconds: str, repeat: int) -> subprocess.Popen[str]:
    (folder / "photo.png").write_bytes(photo(1, 2))
    serving = f"{sys.executable} -m tests.pipeline.service.serving stdio {folder} {seconds}"
    return subprocess.Popen(
        [*client, "--repeat", str(repeat), str(folder / "photo.png")],
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=(folder / "stderr.txt").open("w", encoding="utf-8"),
        env={**os.environ, "FACES_COMMAND": serving, "OMP_NUM_THREADS": "1"},
    )


def server_of(process: subprocess.Popen[str], not_this: int | None = None) -> psutil.Process:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        for child in psutil.Process(process.pid).children(recursive=True):
            try:
                serving = "tests.pipeline.service.serving" in " ".join(child.cmdline())
            except psutil.Error:
                continue
            if serving and child.pid != not_this:
                return child
        time.sleep(0.05)
    raise AssertionError("the client has started no server")


def answered(folder: Path) -> int:
    """Requests in the server's log, which it shares with the client."""
    return (folder / "stderr.txt").read_text(encoding="utf-8").count('"message": "request"')


def faces(line: str) -> int:
    """Of a line that a client prints: one face each, or the whole answer."""
    return line.count('"box"') or 1


@pytest.mark.slow
def test_a_killed_server_costs_no_request(client, tmp_path):
    """Kill the child twice in the middle of 300 requests."""
    process = start(client, tmp_path, "0.005", 300)
    try:
        killed = None
        for share in (60, 180):
            until = time.monotonic() + 120
            while answered(tmp_path) < share:
                assert time.monotonic() < until
                assert process.poll() is None
                time.sleep(0.01)
            server = server_of(process, killed)
            server.kill()
            killed = server.pid
        out, _ = process.communicate(timeout=180)
    finally:
        process.kill()
        process.wait()
    errors = (tmp_path / "stderr.txt").read_text(encoding="utf-8")
    assert process.returncode == 0, errors
    assert errors.count("starting it again") == 2
    assert sum(map(faces, out.splitlines())) == 600
