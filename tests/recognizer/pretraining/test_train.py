from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from faces.errors import UserError
from faces.history import read_history
from recognizer.data.lfw import Lfw
from recognizer.embedders.checkpoint import open_mini
from recognizer.embedders.mini import MiniConfig, MiniResNet
from recognizer.pretraining import train
from recognizer.pretraining.batches import batches
from recognizer.pretraining.cache import Faces
from recognizer.pretraining.config import PretrainConfig
from recognizer.pretraining.division import divide
from recognizer.pretraining.judge import HeldOutPairs, Validation
from recognizer.pretraining.muon import Muon, orthogonal
from recognizer.pretraining.train import MarginLoss, Trainer
from scripts.main import main
from tests.figures import empty_figures
from tests.recognizer.pretraining.made import RECIPE, SIZE, Opener, cached, some_faces

SHAPE = MiniConfig(size=SIZE, widths=(4, 8, 8, 16), depths=(0, 1, 1, 1), dimension=8)


@pytest.fixture
def draws() -> None:
    """A test that names it has its figures drawn for real."""


@pytest.fixture(autouse=True)
def _empty_figures(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if "draws" not in request.fixturenames:
        empty_figures(monkeypatch.setattr, train)


# ---- settings, optimizer, losses ---------------------------------------------------------------


def test_the_learning_rate_rises_and_falls_as_a_cosine() -> None:
    config = PretrainConfig(steps=100, warmup=9)
    rates = [config.rate(step) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[9] == pytest.approx(0.98, abs=0.01)
    assert rates[50] == pytest.approx(0.5)
    assert 0 < rates[99] < 0.001
    assert config.rate(100) == 0


@pytest.mark.parametrize(
    ("values", "flag"),
    [
        ({"steps": 0}, "--steps"), ({"batch_size": 1}, "--batch-size"),
        ({"merged": 1.5}, "--merged"), ({"margin": 1.0}, "--margin"),
        ({"lr": 0.0}, "--lr"), ({"average": 1.0}, "--average"),
    ],
)  # fmt: skip
def test_settings_that_cannot_be(values: dict, flag: str) -> None:
    with pytest.raises(UserError, match=flag):
        PretrainConfig(**values)


@pytest.mark.parametrize("shape", [(8, 72), (24, 6)])
def test_orthogonal(shape: tuple[int, int]) -> None:
    values = torch.linalg.svdvals(orthogonal(torch.randn(shape)))
    assert values.min() > 0.5
    assert values.max() < 1.4


def test_muon_turns_weights_without_stretching_them() -> None:
    weight = torch.nn.Parameter(torch.randn(8, 4, 3, 3) * 7)
    optimizer = Muon([weight], lr=0.1)
    goal = torch.randn(8, 4, 3, 3)
    cosines = []
    for _ in range(40):
        cosine = torch.nn.functional.cosine_similarity(weight.flatten(), goal.flatten(), dim=0)
        cosines.append(cosine.item())
        optimizer.zero_grad()
        (-cosine).backward()
        optimizer.step()
    assert cosines[-1] > 0.9 > 0.5 > cosines[0]
    assert weight.norm().item() == pytest.approx(8**0.5, rel=0.1)


def test_the_margin_asks_for_more_than_the_nearest_person() -> None:
    torch.manual_seed(0)  # the second centers are drawn
    loss = MarginLoss(3, 4, margin=0.3)
    axes = torch.eye(4)
    loss.begin_at(axes[[0, 0, 1, 2]], torch.tensor([0, 0, 1, 2]))
    own, person = axes[:3], torch.tensor([0, 1, 2])
    right, wrong = loss(own, person), loss(own, person.roll(1))
    assert right < 0.1 < 10 < wrong
    near = torch.nn.functional.normalize(torch.tensor([[1.0, 0.95, 0.0, 0.0]]), dim=1)
    without = MarginLoss(3, 4, margin=0.0)
    without.load_state_dict(loss.state_dict())
    assert loss(near, person[:1]) > without(near, person[:1]) + 5
    # A photo under a wrong name has a center of its own to go to.
    loss.centers.data[0, 1] = axes[3]
    assert loss(axes[3:], person[:1]) < 0.1


# ---- judges ------------------------------------------------------------------------------------


def lfw(people: tuple[str, ...], fold: int) -> Lfw:
    paths = tuple(Path(f"{i}.png") for i in range(len(people)))
    same = np.array([people[0] == people[1], people[2] == people[3]])
    return Lfw(paths, people, np.array([0, 2]), np.array([1, 3]), same, np.full(2, fold))


def test_the_threshold_comes_from_one_part_and_is_applied_to_the_other() -> None:
    judge = HeldOutPairs(
        lfw(("a", "a", "b", "c"), 1), some_faces(4, SIZE),
        lfw(("d", "d", "e", "f"), 2), some_faces(4, SIZE, 1),
    )  # fmt: skip
    vectors = iter(
        [
            np.array([[1, 0], [0.6, 0.8], [1, 0], [0, 1]], np.float32),  # cosines 0.6 and 0
            np.array([[1, 0], [0.8, 0.6], [1, 0], [0.6, 0.8]], np.float32),  # 0.8 and 0.6
        ]
    )
    result = judge(lambda _: next(vectors))
    assert result == {"tuning": 1.0, "held_out": 0.5, "threshold": pytest.approx(0.3)}
    assert len(judge.of_strangers(lambda faces: np.zeros((len(faces), 2)))) == 8


def test_nobody_may_be_in_both_parts() -> None:
    one, other = lfw(("a", "a", "b", "c"), 1), lfw(("d", "d", "e", "b"), 2)
    with pytest.raises(ValueError, match=r"people in both parts: \['b'\]"):
        HeldOutPairs(one, some_faces(4, SIZE), other, some_faces(4, SIZE))


@pytest.mark.parametrize("learned", [False, True])
def test_tar_is_of_people_who_were_never_trained_on(learned: bool) -> None:
    def of(first: int, count: int, fold: int) -> Lfw:
        people = tuple(f"{i // 2}" for i in range(2 * first, 2 * (first + count)))
        images = tuple(Path(f"{i}.png") for i in range(len(people)))
        pairs = np.array([0, 1]), np.array([1, 2])
        return Lfw(images, people, *pairs, np.array([True, False]), np.full(2, fold))

    rng = np.random.default_rng(0)

    def embed(faces: NDArray[np.uint8]) -> NDArray[np.float32]:
        # 60 people of the first part are told apart, the 30 of the second are not.
        count = len(faces) // 2
        vectors = np.repeat(np.eye(64, dtype=np.float32)[:count], 2, axis=0)
        noise = rng.normal(0, 0.01 if count == 60 else 5.0, vectors.shape)
        vectors = vectors + noise.astype(np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    judge = HeldOutPairs(
        of(0, 60, 1), some_faces(120, 4), of(60, 30, 2), some_faces(60, 4), learned=learned
    )
    found = judge(embed)
    assert found["far"] == (1e-2 if learned else 1e-3)  # 1,770 and 16,000 pairs
    assert (found["tar"] < 0.3) == learned


def test_validation_is_of_people_who_are_not_learned(made: Any) -> None:
    faces, people = made
    validation = Validation.of(divide(faces, people, 1.0, 0))
    found = validation(lambda crops: validation.vectors)
    assert found == {"valid": {"loss": pytest.approx(0, abs=1e-6)}, "tar": 1.0, "far": 0.1}
    mixed = validation(lambda crops: np.roll(validation.vectors, 13, axis=0))
    assert mixed["valid"]["loss"] > 0.3
    assert mixed["tar"] < 1
    nobody = Validation.of(divide(faces, people, 0.0, 0))
    assert np.isnan(nobody(lambda crops: crops)["valid"]["loss"])


# ---- a run -------------------------------------------------------------------------------------


def trainer_for(run: Path, made: Any, hold_out: float = 0.2, **settings: Any) -> Trainer:
    faces, people = made
    config = PretrainConfig(
        **{"steps": 60, "batch_size": 16, "warmup": 5, "evaluate_every": 20, "average": 0.9,
           "workers": 0, "merged": 0.2, "precision": "float32", "hold_out": hold_out, **settings}
    )  # fmt: skip
    material = divide(faces, people, config.hold_out, 0).material
    torch.manual_seed(config.seed)
    return Trainer(MiniResNet(SHAPE), RECIPE, material, config, run)


def stopped_step(trainer: Trainer, batch: Any) -> dict[str, float]:
    trainer.step += 1
    signal.raise_signal(signal.SIGTERM)
    return {"loss": 1.0}


def fit(trainer: Trainer, made: Any, opener: Opener, stop_at: int | None = None) -> None:
    faces, people = made
    validation = Validation.of(divide(faces, people, trainer.config.hold_out, 0))
    with batches(trainer.material, trainer.config, opener) as following:
        if stop_at is None:
            list(trainer.fit(following, validation))
            return
        while trainer.step < stop_at:
            trainer.train_step(following(trainer.step))
            if trainer.step % trainer.config.evaluate_every == 0:
                trainer._line(validation, 0.0, 0.0)
        trainer.save()


@pytest.mark.slow
def test_training_learns_and_writes(tmp_path: Path, opener: Opener, draws: None) -> None:
    made, tmp_path = cached(tmp_path / "made", people=10), tmp_path / "run"
    trainer = trainer_for(tmp_path, made, hold_out=0.5)
    fit(trainer, made, opener)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["history.jsonl", "last.pt", "loss.png"]
    lines = read_history(tmp_path)
    assert [(line["epoch"], line["step"]) for line in lines] == [(1, 20), (2, 40), (3, 60)]
    assert lines[2]["train"]["loss"] < lines[0]["train"]["loss"]
    assert lines[2]["train"]["margin"] > 0
    assert lines[2]["train"]["distance"] < lines[0]["train"]["distance"] - 0.1
    assert 0 < lines[2]["valid"]["loss"] < 2
    assert 0 <= lines[2]["tar"] <= 1

    network, recipe = open_mini(tmp_path / "last.pt")
    assert recipe == RECIPE
    faces = some_faces(3)
    with torch.no_grad():
        given = network(torch.from_numpy(faces)).numpy()
    np.testing.assert_allclose(given, trainer.embed(faces), atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("stop_at", [7, 33])
def test_a_run_that_goes_on_is_the_run_that_was_not_stopped(
    tmp_path: Path, made: Any, opener: Opener, stop_at: int
) -> None:
    whole = trainer_for(tmp_path / "whole", made, steps=40)
    fit(whole, made, opener)
    part = trainer_for(tmp_path / "part", made, steps=40)
    fit(part, made, opener, stop_at)
    again = trainer_for(tmp_path / "part", made, steps=40)
    again.resume()
    assert again.step == stop_at
    fit(again, made, opener)
    for one, other in ((whole.network, again.network), (whole.average, again.average)):
        for name, value in one.state_dict().items():
            assert torch.equal(other.state_dict()[name], value), name
    assert again.margin is not None
    assert whole.margin is not None
    assert torch.equal(again.margin.centers, whole.margin.centers)

    def figures(lines: list[dict]) -> str:
        timings = ("seconds", "images_per_second")
        return json.dumps([{k: v for k, v in line.items() if k not in timings} for line in lines])

    assert figures(again.history) == figures(whole.history)


def test_a_line_says_the_mean_of_its_own_steps(tmp_path: Path, made: Any, draws: None) -> None:
    trainer = trainer_for(tmp_path, made, steps=30)
    for step in (20, 30, 40, 60):  # the run ended at 30, and went on for longer
        trainer.sums = {"loss": float(step - trainer.step)}
        trainer.step = step
        line = trainer._line(lambda embed: {"valid": {"loss": 0.0}}, 0.0, 0.0)
        assert line["train"]["loss"] == 1


def test_a_stopped_run_says_by_what(
    tmp_path: Path, made: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = trainer_for(tmp_path, made)
    monkeypatch.setattr(Trainer, "train_step", stopped_step)
    assert list(trainer.fit(lambda step: None, lambda embed: {})) == []  # type: ignore[arg-type, return-value]
    assert (trainer.step, trainer.stopped_by) == (1, signal.SIGTERM)


def test_a_run_is_not_continued_with_other_settings_or_faces(
    tmp_path: Path, made: Any, opener: Opener
) -> None:
    trainer_for(tmp_path, made).save()
    with pytest.raises(UserError, match=r"--margin was 0\.3 and is 0\.2: a resumed run cannot"):
        trainer_for(tmp_path, made, margin=0.2).resume()
    trainer_for(tmp_path, made, steps=90, workers=1).resume()
    faces, people = made
    other = trainer_for(tmp_path, (faces, [None, *people[1:]]))
    with pytest.raises(UserError, match=r"learns from other faces .* start a new run"):
        other.resume()


def test_a_run_goes_on_with_the_same_photos_copied(
    tmp_path: Path, made: Any, opener: Opener
) -> None:
    """The cached parts have other names then: these hold the times of the photos' files."""
    trainer = trainer_for(tmp_path, made)
    trainer.save()
    faces, people = made
    files = [file.with_name(f"again-{file.name}") for file in faces.files]
    for old, new in zip(faces.files, files, strict=True):
        shutil.copy(old, new)
    trainer_for(tmp_path, (Faces(files, faces.vectors, faces.photo), people)).resume()


def test_what_is_known_is_changed_gently(tmp_path: Path, made: Any, opener: Opener) -> None:
    new = trainer_for(tmp_path, made)
    knowing = Trainer(MiniResNet(SHAPE), RECIPE, new.material, new.config, tmp_path, knowing=True)
    assert [a / b for a, b in zip(knowing.highest, new.highest, strict=True)] == pytest.approx(
        [0.1, 0.1]
    )


@pytest.mark.parametrize("own_teacher", [False, True])
def test_batch_statistics_move_where_another_network_teaches(
    tmp_path: Path, made: Any, opener: Opener, own_teacher: bool
) -> None:
    """The own teacher's network learns the names of a few people, who are no statistics."""
    new = trainer_for(tmp_path, made)
    trainer = Trainer(
        MiniResNet(SHAPE), RECIPE, new.material, new.config, tmp_path,
        knowing=True, own_teacher=own_teacher,
    )  # fmt: skip
    before = trainer.network.norm.running_mean.clone()
    with batches(new.material, new.config, opener) as following:
        trainer.train_step(following(0))
    assert torch.equal(trainer.network.norm.running_mean, before) is own_teacher


@pytest.mark.data
def test_the_command_trains_and_judges(
    shared_data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    root, run = small_lfw(shared_data / "lfw", tmp_path / "lfw"), tmp_path / "run"
    teacher = shared_data / "weights" / "peers" / "mobilefacenet.onnx"
    people = tmp_path / "people"
    people.mkdir()
    for name in ("Adam_Sandler", "Abdullah_Gul", "Adrien_Brody"):
        (people / name).symlink_to(shared_data / "lfw" / "images" / name, target_is_directory=True)
    arguments = ["pretrain-embedder", "--folders", str(people), "--boxes", "center",
                 "--border", "0", "--lfw", str(root), "--held-out", "2",
                 "--teacher", str(teacher), "--run", str(run), "--steps", "2",
                 "--evaluate-every", "2", "--batch-size", "4", "--workers", "0"]  # fmt: skip
    assert main(arguments) == 0
    captured = capsys.readouterr()
    assert "step 2" in captured.out
    assert "held_out" in captured.out
    assert "the teacher itself:" in captured.err
    assert "tuning 1" in captured.err
    assert main(arguments) == 2
    assert "is there already: give --resume" in capsys.readouterr().err
    arguments[arguments.index("--steps") + 1] = "3"
    assert main([*arguments, "--resume"]) == 0
    assert "step 3" in capsys.readouterr().out
    arguments[arguments.index("--steps") + 1] = "5"
    with monkeypatch.context() as patched:
        patched.setattr(Trainer, "train_step", stopped_step)
        assert main([*arguments, "--resume"]) == 143
    assert "Go on with --resume" in capsys.readouterr().err
    assert main([*arguments, "--resume", "--folds", "2"]) == 2
    assert "fold 2 is for validation: it cannot be trained on" in capsys.readouterr().err


def small_lfw(source: Path, root: Path) -> Path:
    """Two folds of two pairs of each kind, of the real first and last fold."""
    lines = (source / "pairs.txt").read_text(encoding="utf-8").splitlines()[1:]
    chosen = [*lines[:2], *lines[300:302], *lines[-600:-598], *lines[-2:]]
    root.mkdir()
    text = "\n".join(["2\t2", *chosen]) + "\n"
    (root / "pairs.txt").write_text(text, encoding="utf-8")
    (root / "images").symlink_to(source / "images", target_is_directory=True)
    return root
