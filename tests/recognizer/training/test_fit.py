"""The head: it learns, keeps strangers out, stops when told to, and is quick."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from faces.errors import UserError
from faces.history import plot_histories, read_history, write_history
from recognizer.gallery import Gallery
from recognizer.training.fit import HeadOptions, Stopped, fit_head, hold_out
from recognizer.types import unit

D = 64


def faces(people: int, each: int, seed: int = 0, noise: float = 0.8) -> Gallery:
    """People in random directions, their photos around them."""
    rng = np.random.default_rng(seed)
    centers = unit(rng.standard_normal((people, D)))
    vectors = np.repeat(centers, each, axis=0)
    vectors = unit(vectors + noise * rng.standard_normal(vectors.shape) / np.sqrt(D))
    names = tuple(f"p{i:02d}" for i in range(people) for _ in range(each))
    return Gallery("fake", names, vectors)


def strangers(count: int = 400, seed: int = 9) -> np.ndarray:
    return unit(np.random.default_rng(seed).standard_normal((count, D)))


def test_it_knows_new_photos_of_its_people_and_nobody_else():
    everything = faces(8, 12)
    train = np.arange(len(everything)) % 12 < 8
    known = Gallery(
        "fake",
        tuple(n for n, t in zip(everything.names, train, strict=True) if t),
        everything.embeddings[train],
    )
    head = fit_head(known, strangers())
    assert head.names == (*known.people, None)
    assert head.fingerprint == "fake"
    new = head.probabilities(everything.embeddings[~train])
    best = [head.names[i] for i in new.argmax(axis=1)]
    assert best == [n for n, t in zip(everything.names, train, strict=True) if not t]
    assert (new.max(axis=1) > 0.7).mean() > 0.9
    others = head.probabilities(strangers(seed=77))
    named = (others.argmax(axis=1) < 8) & (others.max(axis=1) > 0.7)
    assert named.mean() < 0.01


def test_without_strangers_everyone_gets_a_name():
    head = fit_head(faces(3, 6), np.zeros((0, D), np.float32))
    assert None not in head.names
    assert len(head.names) == 3


def test_the_same_seed_gives_the_same_head():
    a, b = (fit_head(faces(4, 6), strangers()) for _ in range(2))
    assert np.array_equal(a.weight, b.weight)
    other = fit_head(faces(4, 6), strangers(), HeadOptions(seed=1))
    assert not np.array_equal(a.weight, other.weight)


def test_progress_gives_a_history_that_can_be_read_and_drawn(tmp_path):
    lines: list[dict] = []
    fit_head(faces(4, 10), strangers(), progress=lines.append)
    write_history(tmp_path / "history.jsonl", lines)
    history = read_history(tmp_path)
    assert [line["epoch"] for line in history] == list(range(1, len(lines) + 1))
    assert history[-1]["train"]["loss"] < history[0]["train"]["loss"]
    assert {"loss", "error", "strangers_named"} == set(history[0]["valid"])
    plot_histories({"head": history})
    json.dumps(history, allow_nan=False)


def test_it_stops_early_and_keeps_the_best_epoch():
    known, lines = faces(6, 10, noise=2.0), []
    options = HeadOptions(patience=2, decay=0, epochs=500)
    head = fit_head(known, strangers(), options, progress=lines.append)
    best, lowest = 0, np.inf
    for line in lines:
        if line["valid"]["loss"] < lowest - 1e-4:
            best, lowest = line["epoch"], line["valid"]["loss"]
    assert 1 < best < len(lines) == best + 2 < 500
    shorter = fit_head(known, strangers(), replace(options, epochs=best))
    assert np.array_equal(head.weight, shorter.weight)


def test_few_photos_are_all_learned_from_for_a_few_epochs():
    lines: list[dict] = []
    fit_head(faces(6, 3), strangers(), progress=lines.append)
    assert len(lines) == 12
    assert "error" not in lines[0]["valid"]


def test_copies_of_a_photo_are_held_out_together():
    names = ("a",) * 12 + ("b",) * 4
    photos = np.array([0, 1, 2, 3, 4, 5] * 2 + [6, 7, 8, 9])
    out = hold_out(names, photos, 0.2, 0)
    assert out[:6].sum() == 1
    assert np.array_equal(out[:6], out[6:12])
    assert not out[12:].any()  # four photos: none to spare
    assert not hold_out(names, photos, 0.0, 0).any()


def test_asked_to_stop_it_gives_nothing():
    asked = []

    def stop() -> bool:
        asked.append(1)
        return len(asked) == 3

    with pytest.raises(Stopped):
        fit_head(faces(4, 6), strangers(), stop=stop)
    assert len(asked) == 3


def test_it_goes_on_from_another_head():
    known = faces(4, 8)
    first = fit_head(known, strangers())
    second = fit_head(known, strangers(), HeadOptions(learning_rate=1e-9), start=first)
    assert np.allclose(first.weight, second.weight, atol=1e-4)
    with pytest.raises(ValueError, match="other classes"):
        fit_head(faces(3, 8), strangers(), start=first)


@pytest.mark.parametrize(
    ("gallery", "others", "message"),
    [
        (Gallery.empty("fake", D), strangers(), "nobody is enrolled"),
        (faces(1, 5), np.zeros((0, D), np.float32), "no choice"),
    ],
)
def test_refusals(gallery, others, message):
    with pytest.raises(UserError, match=message):
        fit_head(gallery, others)


@pytest.mark.parametrize(
    "wrong",
    [
        {"learning_rate": 0}, {"epochs": 0}, {"patience": 0}, {"batch_size": 0}, {"held_out": 1},
        {"decay": -1}, {"background": 0},
    ],
)  # fmt: skip
def test_wrong_options_are_named(wrong):
    with pytest.raises(UserError, match=next(iter(wrong)) + " must"):
        HeadOptions(**wrong)


def test_one_person_is_told_from_strangers():
    one = faces(1, 10)
    head = fit_head(one, strangers())
    assert (head.probabilities(one.embeddings).argmax(axis=1) == 0).all()
    assert (head.probabilities(strangers(seed=5)).argmax(axis=1) == 1).mean() > 0.99


def test_a_worker_that_teaches_imports_no_torch():
    code = (
        "import sys, recognizer.training.fit, recognizer.training.background; "
        "import recognizer.acceptance, recognizer.training.augment; "
        "print(sorted({'torch', 'matplotlib', 'scipy'} & set(sys.modules)))"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"
