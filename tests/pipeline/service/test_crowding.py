"""Many callers at once, deadlines, callers who have gone, and the end."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from pipeline.service.errors import ServiceError
from pipeline.service.operations import find_operation
from pipeline.service.runtime.batching import Call
from pipeline.service.runtime.limits import Limits
from recognizer.store.people import Store
from tests.pipeline.service.asking import ask, begin
from tests.pipeline.service.fakes import FakeDetector, make_service, photo


def test_past_the_end_of_the_queue_callers_are_told_to_come_back():
    detector = FakeDetector()
    service = make_service(detector=detector, limits=Limits(max_waiting=8))
    detector.gate.clear()
    greedy = [begin(service, "detect", photo(1), call=Call("greedy")) for _ in range(6)]
    with pytest.raises(ServiceError) as caught:  # its share is three quarters
        begin(service, "detect", photo(1), call=Call("greedy"))
    assert caught.value.code == "overloaded"
    assert 1 <= (caught.value.retry_after or 0) <= 30
    other = [begin(service, "detect", photo(1), call=Call("other")) for _ in range(2)]
    with pytest.raises(ServiceError):
        begin(service, "detect", photo(1), call=Call("third"))
    assert ask(service, "health").waiting == 8
    detector.gate.set()
    assert all(len(future.result(10).images) == 1 for future in [*greedy, *other])
    assert ask(service, "detect", photo(1)).images
    service.close()


def wait_until(condition: Any) -> None:
    until = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.005)


def test_a_greedy_caller_delays_another_by_one_batch():
    """Thirty pictures wait; the other caller's is in the very next batch."""
    detector = FakeDetector(seconds=0.02)
    service = make_service(detector=detector, limits=Limits(batch=4))
    detector.gate.clear()
    order: list[str] = []
    data = photo(1)
    for _ in range(30):
        begin(service, "detect", data, call=Call("greedy")).add_done_callback(
            lambda _: order.append("greedy")
        )
    wait_until(lambda: service.vision._detectors.pending == 30)  # one batch has begun
    other = begin(service, "detect", photo(2), call=Call("other"))
    other.add_done_callback(lambda _: order.append("other"))
    wait_until(lambda: service.vision._detectors.pending == 31)
    detector.gate.set()
    other.result(20)
    service.close()
    assert order.index("other") <= 12  # the batch that ran, its own, and slow callbacks
    assert len(order) == 31


def test_a_crowd_is_embedded_in_small_batches(tmp_path):
    """So it takes turns with others: see test_batching.py."""
    service = make_service(tmp_path, limits=Limits(face_batch=2))
    embedder = service._models.embedder
    assert embedder is not None
    taken: list[int] = []
    real = embedder.embed
    embedder.embed = lambda faces: (taken.append(len(faces)), real(faces))[1]  # type: ignore[method-assign]
    (image,) = ask(service, "embed", photo(1, 2, 3, 4, size=40)).images
    assert len(image.faces) == 4
    assert sum(taken) == 4
    assert max(taken) <= 2
    service.close()


def test_requests_that_arrive_together_share_a_batch():
    detector = FakeDetector()
    service = make_service(detector=detector)
    detector.gate.clear()
    data = photo(1)
    futures = [begin(service, "detect", data, call=Call(f"caller {i}")) for i in range(21)]
    until = time.monotonic() + 60
    while len(service.vision._detect) < 17:
        assert time.monotonic() < until
        time.sleep(0.01)
    detector.gate.set()
    assert all(future.result(10).images[0].faces for future in futures)
    assert sum(detector.batches) == 21
    assert detector.batches.count(4) >= 4
    service.close()


def test_lanes_detect_side_by_side():
    class Both(FakeDetector):
        def detect_batch(self, images: Any) -> Any:
            together.wait()  # broken, if it is the only one
            return super().detect_batch(images)

    together = threading.Barrier(2, timeout=20)
    detector = Both()
    service = make_service(detector=detector, limits=Limits(batch=1, lanes=2))
    futures = [begin(service, "detect", photo(1), call=Call(f"caller {i}")) for i in range(6)]
    assert all(future.result(20).images[0].faces for future in futures)
    assert detector.batches == [1] * 6
    service.close()


def test_a_deadline_is_honored():
    detector = FakeDetector()
    service = make_service(detector=detector)
    detector.gate.clear()
    start = time.monotonic()
    call = Call(deadline=time.monotonic() + 0.2)
    with pytest.raises(ServiceError) as caught:
        begin(service, "detect", photo(1), call=call).result(5)
    assert caught.value.code == "deadline_exceeded"
    assert 0.15 < time.monotonic() - start < 5
    late = begin(service, "detect", photo(1), call=Call(deadline=time.monotonic() + 0.2))
    time.sleep(0.3)
    detector.gate.set()
    with pytest.raises(ServiceError):
        late.result(5)
    assert ask(service, "detect", photo(1)).images
    assert sum(detector.batches) == 2  # what nobody waited for was not computed
    service.close()


def test_who_has_gone_is_not_computed_for():
    detector = FakeDetector()
    service = make_service(detector=detector)
    detector.gate.clear()
    begin(service, "detect", photo(1))
    time.sleep(0.1)
    call = Call()
    gone = begin(service, "detect", photo(1), call=call)
    time.sleep(0.1)
    call.cancelled.set()
    detector.gate.set()
    with pytest.raises(ServiceError):
        gone.result(5)
    assert detector.batches == [1]
    service.close()


# -- ending


def test_closing_finishes_what_has_begun(tmp_path):
    detector = FakeDetector(seconds=0.05)
    service = make_service(tmp_path, detector=detector)
    futures = [begin(service, "enroll", photo(i), name=f"Person {i}") for i in range(10)]
    service.close()
    assert all(future.result(0).added == 1 for future in futures)
    with pytest.raises(ServiceError) as caught:
        begin(service, "detect", photo(1))
    assert caught.value.code == "shutting_down"
    assert ask(service, "health").ready is False
    with Store.open_existing(tmp_path / "people.db") as store:
        assert len(store.people()) == 10


def test_a_request_that_comes_while_the_server_closes_gets_the_documented_error():
    """Between looking whether it closes and handing the request over."""
    service, detect = make_service(), find_operation("detect")
    service._pool.shutdown()
    for _ in range(3):
        with pytest.raises(ServiceError) as caught:
            service.submit(detect, detect.parse({}), [photo(1)], Call())
        assert caught.value.code == "shutting_down"
    assert service.health.waiting == 0, "its place in the queue is given back"
    service.close()
