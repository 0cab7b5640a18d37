from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from faces.errors import UserError
from recognizer.crop import CropRecipe
from recognizer.data.lfw import Lfw
from recognizer.embedders.checkpoint import open_mini
from recognizer.embedders.mini import MiniConfig
from recognizer.pretraining.config import PretrainConfig
from recognizer.pretraining.muon import Muon, orthogonal
from recognizer.pretraining.pool import Made, Maker, Pool, variants
from recognizer.pretraining.teacher import Teacher
from recognizer.pretraining.train import HeldOutPairs, Trainer, embed_with
from recognizer.pretraining.variants import RIM, Photo, Varied, cut_faces
from scripts.main import main
from tests.recognizer.photos import ASTRONAUT_BOX, astronaut

SIZE = 32
SHAPE = MiniConfig(size=SIZE, widths=(4, 8, 8, 16), depths=(1, 1, 1, 1), dimension=8)
RECIPE = CropRecipe(SIZE, 0.08, "aligned")


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def teacher_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Like MobileFaceNet's file: a fixed batch of 1, which its last Reshape has built in."""
    path = tmp_path_factory.mktemp("teacher") / "teacher.onnx"
    path.write_bytes(make_teacher(SIZE, 8))
    return path


def make_teacher(size: int, dimension: int) -> bytes:
    random = np.random.default_rng(0)
    weights = {
        "w": random.normal(0, 1, (dimension, 3, size, size)).astype(np.float32) / size,
        "b": random.normal(0, 0.1, dimension).astype(np.float32),
    }
    target = numpy_helper.from_array(np.array([1, -1]))
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["c"]),
        helper.make_node("Constant", [], ["shape"], value=target),
        helper.make_node("Reshape", ["c", "shape"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "teacher",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, size, size])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, dimension])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    opset = [helper.make_opsetid("", 18)]
    proto = helper.make_model(graph, opset_imports=opset, ir_version=9)
    onnx.checker.check_model(proto)
    return proto.SerializeToString()


def some_faces(count: int, side: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (count, side, side, 3), np.uint8)


@pytest.fixture
def varied() -> Varied:
    return Varied(some_faces(6, SIZE + 2 * RIM), SIZE)


def test_the_teacher_takes_any_batch(teacher_file: Path) -> None:
    teacher = Teacher(teacher_file, 1)
    assert (teacher.size, teacher.dimension) == (SIZE, 8)
    faces = some_faces(5, SIZE)
    together = teacher(faces)
    assert together.shape == (5, 8)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)
    for face, vector in zip(faces, together, strict=True):
        np.testing.assert_allclose(teacher(face[None])[0], vector, atol=1e-5)


def test_a_file_that_is_no_teacher_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be opened as ONNX"):
        Teacher(tmp_path / "none.onnx")
    (tmp_path / "a.onnx").write_bytes(b"no protobuf")
    with pytest.raises(UserError, match="cannot be opened as ONNX"):
        Teacher(tmp_path / "a.onnx")


def test_variants_follow_from_their_seed_and_differ(varied: Varied) -> None:
    for seed in range(60):  # every kind of change comes up
        crop = varied(seed)
        assert (crop.shape, crop.dtype) == ((SIZE, SIZE, 3), np.uint8)
        np.testing.assert_array_equal(crop, varied(seed))
    assert len({varied(seed).tobytes() for seed in range(60)}) == 60


def test_making_variants_leaves_the_faces_alone(varied: Varied) -> None:
    before = varied.faces.copy()
    for seed in range(60):
        varied(seed)
    np.testing.assert_array_equal(varied.faces, before)


def test_faces_are_cut_with_a_rim_around_the_aligned_crop(tmp_path: Path) -> None:
    from PIL import Image

    from recognizer.landmarks import LandmarkNet

    path, net = tmp_path / "a.png", LandmarkNet(threads=1)
    Image.fromarray(astronaut()).save(path)
    nothing = np.array([[400, 10, 450, 60]], np.float32)  # no face: not trusted
    boxes = np.concatenate([ASTRONAUT_BOX, nothing])
    [(found, face)] = cut_faces([Photo(path, boxes)], net, 112)
    assert found == path
    assert face.shape == (144, 144, 3)
    crop = CropRecipe(112, 0.08, "aligned")(astronaut(), ASTRONAUT_BOX, net)[0]
    inner = face[RIM:-RIM, RIM:-RIM].astype(int)
    assert np.abs(inner - crop).mean() < 2  # averaged over other pixels before it was turned
    assert np.abs(inner[1:] - crop[:-1]).mean() > 3


def test_the_pool_replaces_the_oldest() -> None:
    pool = Pool(PretrainConfig(pool=8, batch_size=6))

    def made(count: int, seed: int) -> Made:
        return some_faces(count, SIZE, seed), np.full((count, 4), seed, np.float32)

    pool.add(made(5, 1))
    assert not pool.full
    assert set(pool.batch(0)[1].flatten().tolist()) == {1.0}  # nothing of the empty places
    pool.add(made(3, 2))
    assert pool.full
    pool.add(made(3, 3))
    drawn = [pool.batch(step) for step in range(20)]
    assert {v for _, vectors in drawn for v in vectors.flatten().tolist()} == {1.0, 2.0, 3.0}
    threes = made(3, 3)[0]
    for faces, vectors in drawn:
        for face, vector in zip(faces.numpy(), vectors[:, 0].tolist(), strict=True):
            assert (vector == 3) == any((face == other).all() for other in threes)


@pytest.mark.parametrize("workers", [0, 1])
def test_variants_are_the_same_whoever_makes_them(
    varied: Varied, teacher_file: Path, workers: int
) -> None:
    config = PretrainConfig(fresh=11, workers=workers, seed=3)
    teacher = Teacher(teacher_file, 1)
    maker = Maker(varied, teacher, 3)
    with variants(varied, teacher_file, config) as following:
        for number in (7, 8, 9):
            faces, vectors = following(number)
            np.testing.assert_array_equal(faces, maker(number, 11)[0])
            np.testing.assert_allclose(vectors, teacher(faces), atol=1e-5)
    assert len({face.tobytes() for n in range(4) for face in maker(n, 11)[0]}) == 44


def test_the_learning_rate_rises_stays_and_falls() -> None:
    config = PretrainConfig(steps=100, warmup=9, cooldown=0.5)
    rates = [config.rate(step) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[9:51] == [1.0] * 42
    assert rates[75] == pytest.approx(0.5)
    assert 0 < rates[99] < 0.05
    assert config.rate(100) == 0


@pytest.mark.parametrize(
    "values", [{"steps": 0}, {"fresh": 0}, {"batch_size": 9, "pool": 8}, {"cooldown": 2.0}]
)
def test_settings_that_cannot_be(values: dict) -> None:
    with pytest.raises(ValueError, match=r"must be positive|are parts of 1"):
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


def test_nobody_may_be_in_both_parts() -> None:
    one, other = lfw(("a", "a", "b", "c"), 1), lfw(("d", "d", "e", "b"), 2)
    with pytest.raises(ValueError, match=r"people in both parts: \['b'\]"):
        HeldOutPairs(one, some_faces(4, SIZE), other, some_faces(4, SIZE))


def fit(run: Path, varied: Varied, teacher: Path, resume: bool = False, **settings: int) -> Trainer:
    config = PretrainConfig(
        **{"steps": 40, "batch_size": 16, "fresh": 8, "pool": 64, "warmup": 5,
           "evaluate_every": 20, "average": 0.9, "workers": 0, **settings}
    )  # fmt: skip
    trainer = Trainer(config, SHAPE, RECIPE, run)
    if resume:
        trainer.resume()
    with variants(varied, teacher, config) as following:
        list(trainer.fit(following, None))
    return trainer


def test_training_learns_writes_and_goes_on(
    tmp_path: Path, varied: Varied, teacher_file: Path
) -> None:
    run = tmp_path / "run"
    trainer = fit(run, varied, teacher_file)
    assert sorted(path.name for path in run.iterdir()) == ["history.jsonl", "last.pt"]
    lines = [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [20, 40]
    assert lines[1]["loss"] < lines[0]["loss"] < 1.1

    network, recipe = open_mini(run / "last.pt")
    assert recipe == RECIPE
    faces = some_faces(3, SIZE)
    np.testing.assert_allclose(
        embed_with(network, faces), embed_with(trainer.average, faces), atol=1e-2
    )
    untrained = Trainer(trainer.config, SHAPE, RECIPE, run)
    teacher, fresh = Teacher(teacher_file, 1), np.stack([varied(10**6 + i) for i in range(64)])
    target = teacher(fresh)

    def cosine(net: object) -> float:
        return float((embed_with(net, fresh) * target).sum(1).mean())  # type: ignore[arg-type]

    assert cosine(network) > cosine(untrained.network) + 0.1

    again = fit(run, varied, teacher_file, resume=True, steps=50)
    assert again.step == 50
    assert [line["step"] for line in again.history] == [20, 40, 50]


def test_a_resumed_run_has_the_state_that_was_saved(
    tmp_path: Path, varied: Varied, teacher_file: Path
) -> None:
    trainer = fit(tmp_path, varied, teacher_file, steps=7)
    again = Trainer(trainer.config, SHAPE, RECIPE, tmp_path)
    again.resume()
    assert again.step == 7
    for one, other in ((trainer.network, again.network), (trainer.average, again.average)):
        for name, value in one.state_dict().items():
            assert torch.equal(other.state_dict()[name], value), name
    momentum = [s["momentum"] for s in trainer.optimizers[0].state.values()]
    restored = [s["momentum"] for s in again.optimizers[0].state.values()]
    assert momentum
    for a, b in zip(momentum, restored, strict=True):
        assert torch.equal(a, b)


@pytest.mark.data
def test_the_command_trains_and_judges(
    shared_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root, run = small_lfw(shared_data / "lfw", tmp_path / "lfw"), tmp_path / "run"
    teacher = shared_data / "weights" / "peers" / "mobilefacenet.onnx"
    arguments = ["pretrain-embedder", "--lfw", str(root), "--teacher", str(teacher),
                 "--run", str(run), "--folds", "1", "--held-out", "2", "--steps", "2",
                 "--batch-size", "4", "--pool", "8", "--fresh", "2", "--workers", "0"]  # fmt: skip
    assert main(arguments) == 0
    captured = capsys.readouterr()
    assert "step 2" in captured.out
    assert "held_out" in captured.out
    assert "the teacher itself: tuning 1" in captured.err
    assert main(arguments) == 2
    assert "is there already: give --resume" in capsys.readouterr().err
    assert main([*arguments, "--resume", "--steps", "3"]) == 0
    assert "step 3" in capsys.readouterr().out
    arguments[arguments.index("--held-out") + 1] = "1"
    assert main([*arguments, "--resume"]) == 2
    assert "fold 1 is for validation: it cannot be trained on" in capsys.readouterr().err


def small_lfw(source: Path, root: Path) -> Path:
    """Two folds of two pairs of each kind, of the real first and last fold."""
    lines = (source / "pairs.txt").read_text(encoding="utf-8").splitlines()[1:]
    chosen = [*lines[:2], *lines[300:302], *lines[-600:-598], *lines[-2:]]
    root.mkdir()
    text = "\n".join(["2\t2", *chosen]) + "\n"
    (root / "pairs.txt").write_text(text, encoding="utf-8")
    (root / "images").symlink_to(source / "images", target_is_directory=True)
    return root
