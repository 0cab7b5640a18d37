"""Turns between callers, and threads that survive whatever happens in a batch."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from pipeline.service.errors import ServiceError
from pipeline.service.runtime.batching import Call, Stage, Work, Workers
from pipeline.service.runtime.limits import Shares


def test_a_batch_takes_one_of_each_caller_in_turn():
    stage = Stage("s", lambda payloads: payloads, most=4)
    for caller, count in (("crowd", 6), ("a", 1), ("b", 2)):
        for i in range(count):
            stage.put(Work(f"{caller}{i}", Call(caller)))
    batches = []
    while len(stage):
        batches.append([work.payload for work in stage.take()])
    assert batches == [["crowd0", "a0", "b0"], ["crowd1", "b1"],
                       ["crowd2", "crowd3", "crowd4", "crowd5"]]  # fmt: skip


def test_a_batch_is_full_where_all_have_as_much():
    stage = Stage("s", lambda payloads: payloads, most=4)
    for i in range(6):
        for caller in ("a", "b", "c"):
            stage.put(Work(f"{caller}{i}", Call(caller)))
    assert [work.payload for work in stage.take()] == ["a0", "b0", "c0", "a1"]
    assert [work.payload for work in stage.take()] == ["b1", "c1", "a2", "b2"]


def test_a_newcomer_is_in_the_next_batch_whatever_waits():
    stage = Stage("s", lambda payloads: payloads, most=2)
    for i in range(100):
        stage.put(Work(i, Call("greedy")))
    stage.take()
    stage.put(Work("new", Call("other")))
    assert "new" in [work.payload for work in stage.take()]


def test_stages_take_turns():
    done: list[str] = []
    gate = threading.Event()

    def run(name: str) -> Any:
        return lambda payloads: (gate.wait(10), done.append(name), payloads)[2]

    one, two = Stage("one", run("one")), Stage("two", run("two"))
    workers = Workers("w", [one, two])
    futures = [workers.submit(one, i, Call()) for i in range(4)]
    futures += [workers.submit(two, i, Call()) for i in range(3)]
    gate.set()
    assert [future.result(10) for future in futures] == [0, 1, 2, 3, 0, 1, 2]
    assert done == ["one", "two", "one", "two", "one", "two", "one"]
    workers.close()
    with pytest.raises(ServiceError):
        workers.submit(one, 1, Call())


def test_one_bad_payload_fails_alone():
    def run(payloads: list[int]) -> list[int]:
        if 3 in payloads:
            raise ValueError("three")
        return [payload * 2 for payload in payloads]

    gate = threading.Event()
    first = Stage("first", lambda payloads: (gate.wait(10), payloads)[1])
    stage = Stage("s", run, most=8)
    workers = Workers("w", [first, stage])
    blocking = workers.submit(first, 0, Call())
    futures = [workers.submit(stage, i, Call()) for i in range(5)]
    gate.set()
    blocking.result(10)
    results = [future.exception(10) or future.result() for future in futures]
    assert results[:3] + results[4:] == [0, 2, 4, 8]
    assert isinstance(results[3], ValueError)
    assert workers.alive
    workers.close()


def test_a_batch_waits_a_little_for_what_is_on_its_way():
    coming = threading.Event()
    coming.set()
    sizes: list[int] = []
    stage = Stage("s", lambda p: (sizes.append(len(p)), p)[1], 4, wait=5.0, expected=coming.is_set)
    workers = Workers("w", [stage])
    futures = [workers.submit(stage, 0, Call())]
    time.sleep(0.05)
    futures += [workers.submit(stage, i, Call()) for i in range(3)]
    assert [future.result(10) for future in futures] == [0, 0, 1, 2]
    coming.clear()
    start = time.monotonic()
    workers.submit(stage, 0, Call()).result(10)
    assert time.monotonic() - start < 3  # nothing is expected: no waiting
    assert sizes == [4, 1]
    workers.close()


def test_closing_does_what_is_queued():
    stage = Stage("s", lambda payloads: (time.sleep(0.01), payloads)[1])
    workers = Workers("w", [stage], threads=2)
    futures = [workers.submit(stage, i, Call()) for i in range(20)]
    workers.close()
    assert [future.result(0) for future in futures] == list(range(20))
    assert not workers.alive


def test_shares():
    shares = Shares("things", 10, part=0.5)
    shares.take("a", 5)
    with pytest.raises(ServiceError, match="too many things"):
        shares.take("a", 1)
    shares.take("b", 3)
    with pytest.raises(ServiceError):
        shares.take("c", 3)
    shares.give_back("a", 5)
    shares.give_back("b", 3)
    shares.take("c", 10)  # alone, a caller may take all at once: otherwise it never could
    with pytest.raises(ServiceError):
        shares.take("c", 1)
    shares.give_back("c", 10)
    assert (shares.held, dict(shares._held)) == (0, {})
    with pytest.raises(ServiceError):
        shares.take("c", 11)
    assert dict(shares._held) == {}


def test_who_has_a_result_finds_the_worker_idle():
    """Else a lone caller's picture would wait for company that is not on its way."""
    gate = threading.Event()
    decode = Stage("decode", lambda payloads: (gate.wait(10), payloads)[1])
    decoders = Workers("decoders", [decode])
    pending: list[int] = []
    future = decoders.submit(decode, 1, Call())
    future.add_done_callback(lambda _: pending.append(decoders.pending))  # in the worker's thread
    gate.set()
    assert future.result(10) == 1
    decoders.close()
    assert pending == [0]
