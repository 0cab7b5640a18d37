"""Several servers that share a gallery in PostgreSQL, and one whose database goes away."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import faces
from pipeline.service.audit import AuditLog, entries
from pipeline.service.core import Service
from pipeline.service.errors import ServiceError
from pipeline.service.operations import find_operation
from pipeline.service.people import People
from pipeline.service.runtime.batching import Call
from pipeline.service.vision import Models
from recognizer.store.people import Store
from tests.fake_embedder import FakeEmbedder
from tests.pipeline.service.fakes import FakeDetector, photo

pytestmark = pytest.mark.postgres


def ask(service: Service, op: str, /, *images: bytes, **fields: Any) -> Any:
    operation = find_operation(op)
    future: Future = service.submit(operation, operation.parse(fields), images, Call())
    return future.result(60)


def name_of(service: Service, seed: int) -> str | None:
    return ask(service, "recognize", photo(seed)).images[0].faces[0].name


def until(holds: Callable[[], object], seconds: float = 60) -> float:
    began = time.monotonic()
    while not holds():
        assert time.monotonic() - began < seconds, "it never came"
        time.sleep(0.02)
    return time.monotonic() - began


@pytest.fixture
def servers(postgres_server, tmp_path) -> Iterator[list[Service]]:
    """Two, with the pause between two looks that `faces serve` has."""
    address = postgres_server.database()
    made = []
    for number in range(2):
        embedder = FakeEmbedder()
        store = Store.open(address, embedder.fingerprint, embedder.dimension)
        people = People(store, AuditLog(tmp_path / f"{number}.jsonl"))
        made.append(Service(Models(FakeDetector(), "fake", embedder), people))
    yield made
    for service in made:
        service.close()


@pytest.mark.slow
def test_a_person_enrolled_at_one_server_is_known_at_the_other(servers):
    one, other = servers
    assert name_of(other, 1) is None
    ask(one, "enroll", photo(1), name="Ada")
    until(lambda: name_of(other, 1) == "Ada", 9)  # by itself it looks only after 10 s
    ask(other, "people/forget", name="Ada")
    until(lambda: name_of(one, 1) is None, 9)


def test_a_server_goes_on_from_memory_while_the_database_is_away(
    postgres_server, servers, tmp_path, caplog
):
    one, other = servers
    ask(one, "enroll", photo(1), name="Ada")
    until(lambda: name_of(other, 1) == "Ada")
    postgres_server.kill()
    try:
        assert [name_of(service, 1) for service in servers] == ["Ada", "Ada"]
        for op, fields in (("enroll", {"name": "Bob"}), ("people/forget", {"name": "Ada"})):
            with pytest.raises(ServiceError, match="cannot be reached: nothing is changed") as told:
                ask(one, op, *([photo(2)] if op == "enroll" else []), **fields)
            assert (told.value.code, told.value.status) == ("storage_failed", 503)
            assert told.value.retry_after >= 1
        until(lambda: one.health.reason is not None)
        assert one.health.ready, "a balancer must not take every server away at once"
    finally:
        postgres_server.start()

    def enroll() -> bool:
        try:
            return bool(ask(one, "enroll", photo(2), name="Bob").version)
        except ServiceError:
            return False

    until(enroll)
    until(lambda: name_of(other, 2) == "Bob")
    until(lambda: one.health.reason is None and other.health.reason is None)
    states = [entry["state"] for entry in entries(tmp_path / "0.jsonl") if "state" in entry]
    assert states[:2] == ["begun", "done"]
    assert states[-2:] == ["begun", "done"]
    records = [str(record.__dict__) for record in caplog.records]
    assert not [text for text in records if postgres_server.password in text]


def test_a_change_in_doubt_says_so_in_the_answer_and_the_record(servers, tmp_path, monkeypatch):
    from recognizer.store.database import StoreUnreachable

    def lost(*_: Any, **__: Any) -> None:
        raise StoreUnreachable("the answer never came", in_doubt=True)

    monkeypatch.setattr(Store, "apply", lost)
    with pytest.raises(ServiceError, match="wholly, or not at all"):
        ask(servers[0], "enroll", photo(1), name="Ada")
    states = [entry["state"] for entry in entries(tmp_path / "0.jsonl")]
    assert states == ["begun", "in doubt"]


def test_python_names_from_memory_while_the_database_is_away(postgres_server, caplog):
    address = postgres_server.database()
    embedder = FakeEmbedder()
    vector = embedder.embed(np.full((1, embedder.size, embedder.size, 3), 90, np.uint8))
    with faces.Gallery.open(address, embedder, FakeDetector()) as gallery:
        assert gallery.add("Ada", vector[0])
        assert postgres_server.password not in repr(gallery)
        with faces.FaceAnalyzer(FakeDetector(), embedder, address) as analyzer:
            assert analyzer.gallery.people == ("Ada",)
        postgres_server.kill()
        try:
            with caplog.at_level(logging.WARNING):
                assert gallery.identify(vector)[0].name == "Ada"
                assert gallery.identify(vector)[0].name == "Ada"
            assert caplog.text.count("named from memory") == 1
            with pytest.raises(faces.UserError, match="cannot be reached"):
                gallery.remove("Ada")
        finally:
            postgres_server.start()
        until(lambda: not gallery.store.exists(address) or gallery.people == ("Ada",))


def test_a_gallery_that_is_not_there_is_refused_by_its_address(postgres_server):
    with pytest.raises(faces.UserError, match=r"there is no gallery postgresql://\w+@127") as told:
        faces.FaceAnalyzer(FakeDetector(), FakeEmbedder(), postgres_server.database())
    assert postgres_server.password not in str(told.value)
    assert not Path("postgresql:").exists()
