"""Work at once and work beside."""

from __future__ import annotations

import threading
import time

import pytest

from pipeline.live.worker import Background, Worker


def wait_for(worker: Background, count: int) -> list[object]:
    results: list[object] = []
    end = time.monotonic() + 60
    while len(results) < count and time.monotonic() < end:
        results += worker.finished()
        time.sleep(0.005)
    return results


def test_inline_results_are_there_at_once():
    worker = Worker()
    worker.submit(lambda: 1)
    worker.submit(lambda: 2)
    assert worker.idle
    assert list(worker.finished()) == [1, 2]
    assert list(worker.finished()) == []


def test_a_job_may_follow_from_a_result():
    worker = Worker()
    worker.submit(lambda: 1)
    seen = []
    for result in worker.finished():
        seen.append(result)
        if result < 3:
            worker.submit(lambda result=result: result + 1)
    assert seen == [1, 2, 3]


def test_background_works_in_another_thread_and_in_order():
    worker = Background()
    threads = []
    for i in range(20):
        worker.submit(lambda i=i: (threads.append(threading.current_thread()), i)[1])
    assert wait_for(worker, 20) == list(range(20))
    assert set(threads).isdisjoint({threading.current_thread()})
    assert len(set(threads)) == 1
    assert worker.idle
    worker.close()


def test_background_never_makes_the_caller_wait():
    worker, go = Background(), threading.Event()
    worker.submit(go.wait)
    start = time.monotonic()
    assert list(worker.finished()) == []
    assert not worker.idle
    assert time.monotonic() - start < 30
    go.set()
    assert wait_for(worker, 1) == [True]
    worker.close()


def test_a_result_is_waited_for_until_a_time_at_most():
    worker, go = Background(), threading.Event()
    assert not worker.wait(time.monotonic() + 30), "nothing was asked for"
    worker.submit(go.wait)
    start = time.monotonic()
    assert not worker.wait(start + 0.05)
    assert not worker.wait(start - 1)
    assert time.monotonic() - start < 20
    threading.Timer(0.05, go.set).start()
    assert worker.wait(time.monotonic() + 30)
    assert worker.wait(start), "it is still there"
    assert list(worker.finished()) == [True]
    worker.close()


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(3)], ids=["error", "exit"])
def test_what_a_job_raises_reaches_the_caller(error):
    def fail() -> None:
        raise error

    worker = Background()
    worker.submit(fail)
    with pytest.raises(type(error)):
        wait_for(worker, 1)
    worker.close()


def test_closing_drops_what_has_not_begun():
    worker, begun, go, done = Background(), threading.Event(), threading.Event(), []
    worker.submit(lambda: (begun.set(), go.wait()))
    worker.submit(lambda: done.append(1))
    assert begun.wait(10)
    threading.Timer(0.1, go.set).start()
    worker.close()
    assert done == []
