"""The process that fits, the state that is judged, and what survives a kill."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from pipeline.teaching.background_fit import Batch, Trainer
from pipeline.teaching.fit_process import FitError, fit_apart, fit_here
from pipeline.teaching.holdout import Split, first_head, problems
from recognizer.gallery import Gallery, Head
from recognizer.rule import Thresholds
from recognizer.snapshot import Snapshot
from recognizer.store.people import Store
from recognizer.store.write import NewSample
from recognizer.training.fit import FIRST_BAR, SCALE, Stopped
from recognizer.types import unit

ROOT = Path(__file__).resolve().parents[3]
PEOPLE, EACH, DIMENSION = 24, 6, 16


def crowd(people: int = PEOPLE) -> Gallery:
    rng = np.random.default_rng(0)
    middles = np.repeat(rng.normal(size=(people, DIMENSION)), EACH, axis=0)
    names = tuple(f"P{i // EACH:02}" for i in range(len(middles)))
    return Gallery("c", names, unit(middles + 0.3 * rng.normal(size=middles.shape)))


def never() -> bool:
    return False


@pytest.mark.slow
def test_the_process_gives_the_same_head_as_the_thread():
    here, apart = fit_here(crowd(), None, never), fit_apart(crowd(), None, never)
    assert apart.names == here.names == (*crowd().people, None)
    assert np.allclose(apart.weight, here.weight, atol=1e-3)
    again = fit_apart(crowd(), here, never)
    assert again.names == here.names


def test_the_process_is_given_more_than_fits_into_a_pipe():
    rng = np.random.default_rng(1)
    middles = np.repeat(rng.normal(size=(PEOPLE, 256)), 50, axis=0)
    vectors = unit(middles + 0.3 * rng.normal(size=middles.shape)).astype(np.float32)
    many = Gallery("c", tuple(f"P{i // 50:02}" for i in range(len(vectors))), vectors)
    assert vectors.nbytes > 2**20
    end = time.monotonic() + 120
    assert fit_apart(many, None, lambda: time.monotonic() > end).names == (*many.people, None)


def test_few_people_and_unknown_strangers_give_no_first_head():
    assert fit_here(crowd(3), None, never) is None
    assert fit_apart(crowd(3), None, never) is None


def test_the_process_runs_nothing_out_of_the_current_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tempfile.py").write_text("raise SystemExit('not ours')")
    assert fit_apart(crowd(3), None, never) is None


def test_it_is_stopped_at_once():
    start = time.monotonic()
    with pytest.raises(Stopped):
        fit_apart(
            crowd(), None, lambda: True, None, [sys.executable, "-c", "input()\nwhile True: pass"]
        )
    assert time.monotonic() - start < 20


def test_a_process_that_dies_is_reported_with_its_last_words():
    words = "import sys; sys.stdin.buffer.read(); sys.stderr.write('out of luck'); sys.exit(3)"
    with pytest.raises(FitError, match=r"died \(3\): out of luck"):
        fit_apart(crowd(), None, never, None, [sys.executable, "-c", words])


def test_a_head_goes_on_from_the_old_one():
    gallery = crowd(3)
    old = Head("c", ("P01", "Gone", None), np.eye(3, DIMENSION), np.array([1.0, 2.0, 3.0]))
    head = first_head(old, gallery)
    assert head.names == ("P00", "P01", "P02", None)
    assert np.array_equal(head.weight[1], old.weight[0])
    assert np.allclose(head.weight[0], gallery.prototypes[0] * SCALE)
    assert head.bias[0] == pytest.approx(3.0 - FIRST_BAR * SCALE)
    assert first_head(None, gallery) is None


def test_everybody_is_judged_and_nobody_is_held_back_altogether():
    split = Split.of(crowd())
    assert set(split.taught.names) == set(split.held_out.names) == set(crowd().people)
    taught = {vector.tobytes() for vector in split.taught.embeddings}
    lonely = Gallery("c", ("A", "B"), crowd().embeddings[:2])
    assert Split.of(lonely).held_out.names == ("A", "B")
    mixed = [v.tobytes() in taught for v in split.held_out.embeddings]
    assert not all(mixed)


def test_more_strangers_with_names_are_a_problem():
    gallery = crowd()
    old = Snapshot(gallery, None, Thresholds(0.7, 0.99))
    new = Snapshot(gallery, None, Thresholds(0.7, -1.0))
    strangers = unit(np.random.default_rng(5).normal(size=(100, DIMENSION)))
    [problem] = problems(old, new, Split.of(gallery), strangers)[-1:]
    assert problem == "100 of 100 made strangers named, 0 before"


def test_a_change_by_another_program_makes_it_begin_anew(tmp_path):
    calls = []

    def fit(gallery, start, stop, strangers):
        calls.append(gallery.people)
        if len(calls) == 1:
            with Store.open(tmp_path / "p.db", "c", DIMENSION) as other:
                other.add("Zoe", crowd().embeddings[-1:])

    ended = threading.Event()
    with Store.open(tmp_path / "p.db", "c", DIMENSION) as store:
        store.add("P00", crowd().embeddings[:1], source="1")
        trainer = Trainer(
            store, threading.RLock(), lambda _: None, lambda *_: ended.set(), fit
        )  # fmt: skip
        trainer.add(Batch("1", "P00", (NewSample(crowd().embeddings[1]),)))
        assert ended.wait(30)
        trainer.close()
        assert calls == [("P00",), ("P00", "Zoe")]
        assert {p.name: p.samples for p in store.people()} == {"P00": 2, "Zoe": 1}


@pytest.mark.parametrize("forgotten", [True, False])
def test_examples_go_where_their_person_is_whom_another_program_has_changed(tmp_path, forgotten):
    ended, done = [], threading.Event()
    with Store.open(tmp_path / "p.db", "c", DIMENSION) as store:
        store.add("Ann", crowd().embeddings[-1:])
        store.add("Bob", crowd().embeddings[:1], source="live 1")
        with Store.open_existing(tmp_path / "p.db") as other:
            other.remove("Bob") if forgotten else other.rename("Bob", "Robert")
        trainer = Trainer(
            store, threading.RLock(), lambda _: done.set(),
            lambda *told: ended.append(told), lambda *_: None,
        )  # fmt: skip
        trainer.add(Batch("live 1", "Bob", (NewSample(crowd().embeddings[1], None, "live 1"),)))
        assert done.wait(30)
        trainer.close()
        left = {person.name: person.samples for person in store.people()}
    assert left == ({"Ann": 1} if forgotten else {"Ann": 1, "Robert": 2})
    assert ended[0] == (["live 1"], "Bob was forgotten meanwhile" if forgotten else "")


# Teaches for ever: one state of the store has one sample, the next has all of them and a head.
TEACHER = """
import sys, threading, time
from pathlib import Path
from pipeline.teaching.background_fit import Batch, Trainer
from pipeline.teaching.fit_process import fit_apart, fit_here
from recognizer.store.people import Store
from recognizer.store.write import NewSample
from tests.pipeline.teaching.test_background_fit import crowd, EACH, DIMENSION

with Store.open(Path(sys.argv[1]), "c", DIMENSION) as store:
    gallery = crowd(60)
    rows = {name: [v for n, v in zip(gallery.names, gallery.embeddings) if n == name]
            for name in gallery.people}
    for name in gallery.people[:24]:
        store.add(name, __import__("numpy").stack(rows[name]))
    print("ready", flush=True)
    done = threading.Semaphore(0)
    fit = fit_apart if sys.argv[2] == "apart" else fit_here
    trainer = Trainer(store, threading.RLock(), lambda s: None, lambda *_: done.release(), fit)
    for name in gallery.people[24:]:
        store.add(name, rows[name][0][None], source=name)
        print(name, flush=True)
        trainer.add(Batch(name, name, tuple(NewSample(v) for v in rows[name][1:])))
        done.acquire()
"""


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="kill -9")
@pytest.mark.parametrize("where", ["apart", "here"])
def test_a_kill_at_any_moment_leaves_a_whole_state(tmp_path, where):
    rng = np.random.default_rng(0)
    for number in range(3):
        path = tmp_path / f"{number}.db"
        with subprocess.Popen(
            [sys.executable, "-c", TEACHER, str(path), where],
            cwd=ROOT, stdout=subprocess.PIPE, text=True,
        ) as process:  # fmt: skip
            assert process.stdout.readline() == "ready\n"
            assert process.stdout.readline() == "P24\n"
            time.sleep(rng.uniform(0, 2))
            process.kill()
        with Store.open(path, "c", DIMENSION) as store:
            counts = {person.name: person.samples for person in store.people()}
            assert set(counts.values()) <= {1, EACH}, "never a part of a teaching"
            assert sum(count == 1 for count in counts.values()) <= 1
            head = store.snapshot().head
            if head is not None:
                assert {n for n in head.names if n} <= set(counts)
                assert all(counts[name] == EACH for name in head.names if name)
