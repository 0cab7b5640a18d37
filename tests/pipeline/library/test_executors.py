"""The same rows whoever looks, and nobody's death costs a photo."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from faces.errors import UserError
from pipeline.library.executors import Processes, _set_up, _without_ctrl_c
from pipeline.library.look import LookSettings
from pipeline.library.parts import part_files, read_manifest
from pipeline.library.schema import Manifest
from tests.pipeline.library.looking import SETTINGS, Here, QuickLooker, index, rows
from tests.pipeline.people_photos import person, save

ROOT = Path(__file__).resolve().parents[3]
MANIFEST = QuickLooker(SETTINGS).manifest


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    for i in range(20):
        save(folder / f"p{i:02}.png", person(i), person(i + 100))
    (folder / "bad.jpg").write_bytes(b"no picture")
    return folder


@pytest.fixture
def executor():
    executor = Processes(SETTINGS, MANIFEST, QuickLooker)
    yield executor
    executor.close()


@pytest.mark.slow
def test_processes_make_the_same_library_whatever_a_file_kills(photos, tmp_path, executor):
    alone, together = tmp_path / "alone", tmp_path / "together"
    index(alone, photos, shard=10)
    tally = index(together, photos, executor=executor, shard=10)
    assert (tally.looked, tally.failed) == (21, 1)
    assert rows(together) == rows(alone)
    assert [p.name for p in part_files(together)] == [p.name for p in part_files(alone)]
    save(photos / "harmful.png", person(50))
    save(photos / "innocent.png", person(51))
    tally = index(together, photos, executor=executor)
    assert (tally.looked, tally.failed, tally.faces) == (2, 1, 1)
    [bad] = [row for row in rows(together) if row["path"].endswith("harmful.png")]
    assert "dies" in bad["error"]
    assert bad["digest"] is None, "it is tried again the next time"


@pytest.mark.slow
def test_a_process_that_is_killed_is_replaced(photos, tmp_path, executor):
    def kill(count: int) -> None:
        if not killed:
            victim = next(iter(executor._workers.values()))
            killed.append(victim.pid)
            victim.kill()

    killed: list[int] = []
    from pipeline.library.index import Indexing
    from pipeline.library.scan import scan

    run = Indexing(tmp_path / "lib", MANIFEST, scan([str(photos)]))
    tally = run.run(executor, 2, kill)
    assert killed
    index(tmp_path / "alone", photos)
    assert (tally.looked, tally.failed) == (21, 1)
    assert rows(tmp_path / "lib") == rows(tmp_path / "alone")


def test_processes_run_nothing_out_of_the_current_folder(tmp_path):
    (tmp_path / "colorsys.py").write_text("raise SystemExit('not ours')")
    with _set_up():
        subprocess.run([sys.executable, "-c", "import colorsys"], cwd=tmp_path, check=True)


class OtherLooker(QuickLooker):
    @property
    def manifest(self) -> Manifest:
        return Manifest("another", "another", 48, {})


@pytest.mark.slow
def test_workers_with_other_networks_are_refused(photos, tmp_path):
    executor = Processes(SETTINGS, MANIFEST, OtherLooker)
    try:
        with pytest.raises(UserError, match="other networks than the library"):
            index(tmp_path / "lib", photos, executor=executor)
    finally:
        executor.close()


def died_early(settings: LookSettings) -> QuickLooker:
    os._exit(3)


@pytest.mark.slow
def test_processes_that_end_before_they_begin_end_the_run(photos, tmp_path):
    executor = Processes(SETTINGS, MANIFEST, died_early)
    try:
        with pytest.raises(RuntimeError, match="end before they begin"):
            index(tmp_path / "lib", photos, executor=executor)
    finally:
        executor.close()


SLOW_RUN = """
import sys, time
from pathlib import Path
from pipeline.library.executors import Processes
from tests.pipeline.library.looking import SETTINGS, QuickLooker, index


executor = Processes(SETTINGS, QuickLooker(SETTINGS).manifest, QuickLooker)
print(index(Path(sys.argv[1]), sys.argv[2], executor=executor, shard=1), flush=True)
executor.close()
"""


@pytest.mark.slow
def test_kill_9_loses_no_finished_part_and_leaves_no_process(photos, tmp_path):
    library = tmp_path / "lib"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", SLOW_RUN, str(library), str(photos)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as process:
        while len(done := part_files(library)) < 3 and process.poll() is None:
            time.sleep(0.005)
        workers = psutil.Process(process.pid).children() if process.poll() is None else []
        process.kill()
    assert done
    _, alive = psutil.wait_procs(workers, timeout=30)
    assert not alive
    assert read_manifest(library) is not None
    tally = index(library, photos, shard=1)
    assert tally.unchanged >= len(done)
    index(tmp_path / "alone", photos, shard=1)
    assert rows(library) == rows(tmp_path / "alone")
    assert [p.name for p in part_files(library)] == [p.name for p in part_files(tmp_path / "alone")]


def test_nothing_is_hired_when_nothing_is_to_do(photos, tmp_path):
    index(tmp_path / "lib", photos)

    class Nobody(Here):
        def start_worker(self) -> int:
            raise AssertionError("started")

    assert index(tmp_path / "lib", photos, executor=Nobody()).unchanged == 21


@pytest.mark.skipif(os.name == "nt", reason="Windows cannot send this to one thread")
def test_ctrl_c_waits_until_a_process_is_started_whichever_thread_gets_it():
    begun, done = threading.Event(), []

    def get_it() -> None:
        begun.wait(10)
        signal.pthread_kill(threading.get_ident(), signal.SIGINT)

    thread = threading.Thread(target=get_it)
    thread.start()

    def start() -> None:
        with _without_ctrl_c():
            begun.set()
            thread.join()
            for _ in range(1000):  # where the interpreter looks for signals
                pass
            done.append(True)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            start()
    finally:
        signal.signal(signal.SIGINT, before)
    assert done
