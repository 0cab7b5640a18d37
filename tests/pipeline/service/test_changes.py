"""Changes of people that come at the same time, and what is on record of them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.service.audit import entries
from pipeline.service.core import Service
from pipeline.service.handlers import people as handlers
from recognizer.quality import Gates
from recognizer.store.people import Store
from tests.pipeline.service.asking import ask, begin
from tests.pipeline.service.fakes import make_service, photo


def answers(service: Service, op: str, *images: bytes, count: int = 4, **fields: Any) -> list[str]:
    """What becomes of the same request, sent several times at once: "ok", or the error's code."""
    futures = [begin(service, op, *images, **fields) for _ in range(count)]
    return sorted(getattr(future.exception(20), "code", "ok") for future in futures)


@pytest.fixture
def known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    """A service that knows Ada, in which everybody looks before anybody changes something."""
    service = make_service(tmp_path, gates=Gates(min_size=0, max_similarity=0.99))
    ask(service, "enroll", photo(1), name="Ada")
    meeting = threading.Barrier(4)

    def together(look: Callable[[], Any]) -> Callable[[], Any]:
        def looked() -> Any:
            seen = look()
            with suppress(threading.BrokenBarrierError):  # the others are held up
                meeting.wait(0.2)
            return seen

        return looked

    for owner, name in ((service._people, "refresh"), (service._people.store, "acts")):
        monkeypatch.setattr(owner, name, together(getattr(owner, name)))
    yield service
    service.close()


def test_a_photo_that_is_sent_several_times_at_once_is_stored_once(known):
    assert answers(known, "enroll", photo(2), name="Bob") == ["ok"] * 4
    assert {p.name: p.photos for p in ask(known, "people").people} == {"Ada": 1, "Bob": 1}


@pytest.mark.parametrize(
    ("op", "fields", "otherwise"),
    [
        ("people/rename", {"name": "Ada", "new_name": "Eve"}, "not_found"),
        ("people/forget", {"name": "Ada"}, "not_found"),
    ],
)
def test_who_comes_too_late_is_told_so_and_not_that_the_disk_has_failed(
    known, op, fields, otherwise
):
    assert answers(known, op, **fields) == [otherwise] * 3 + ["ok"]


def test_the_same_undo_several_times_at_once_takes_back_one_change(known):
    last = begin(known, "people/undo", act=0).exception(20).details
    assert last["what"] == "1 sample added: Ada"
    act = last["act"]
    assert answers(known, "people/undo", act=act) == ["not_found"] * 3 + ["ok"]


def test_what_another_program_stores_meanwhile_is_not_stored_again(tmp_path, monkeypatch):
    service = make_service(tmp_path, gates=Gates(min_size=0, max_similarity=0.99))
    vector = np.array(ask(service, "embed", photo(1)).images[0].faces[0].embedding, np.float32)
    real = handlers.decide
    rounds: list[int] = []

    def decide(snapshot: Any, *rest: Any, **more: Any) -> Any:
        rounds.append(snapshot.version)
        if len(rounds) == 1:
            with Store.open_existing(tmp_path / "people.db") as other:
                other.add("Ada", vector[None])
        return real(snapshot, *rest, **more)

    monkeypatch.setattr(handlers, "decide", decide)
    assert ask(service, "enroll", photo(1), name="Ada").added == 0
    assert len(rounds) == 2
    assert [(p.name, p.photos) for p in ask(service, "people").people] == [("Ada", 1)]
    service.close()


def test_an_undo_is_on_record_for_everybody_whom_it_touches(service, tmp_path):
    def actions(name: str) -> list[str]:
        found = entries(tmp_path / "audit.jsonl", name)
        return [entry["action"] for entry in found if entry["state"] == "done"]

    ask(service, "enroll", photo(1), name="Ada")
    ask(service, "enroll", photo(2), name="Bob")
    ask(service, "people/rename", name="Bob", new_name="Bert")
    for _ in range(3):
        ask(service, "people/undo")
    assert actions("Ada") == ["enroll", "undo"]
    assert actions("Bob") == ["enroll", "rename_from", "undo", "undo"]
    assert actions("Bert") == ["rename_to", "undo"]
    assert ask(service, "people").people == []
