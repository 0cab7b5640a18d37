from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from faces.errors import UserError
from recognizer.embedders.checkpoint import open_mini
from recognizer.embedders.inception import InceptionFaces, open_inception
from recognizer.embedders.mini import MiniResNet
from recognizer.pretraining.students import SHAPES, Start, init_file, open_student, open_teacher
from recognizer.shipped import shipped_file
from scripts.main import main
from tests.recognizer.pretraining.made import make_teacher, some_faces


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with the names and sizes of InceptionResnetV1's published weights."""
    torch.manual_seed(0)
    network = InceptionFaces()
    with torch.no_grad():
        for name, buffer in network.named_buffers():
            if name.endswith("running_mean"):
                buffer.normal_(0, 0.01)
    path = tmp_path_factory.mktemp("weights") / "vggface2.pt"
    state = dict(network.net.state_dict())
    state["logits.weight"], state["logits.bias"] = torch.zeros(8631, 512), torch.zeros(8631)
    torch.save(state, path)
    return path


def test_both_sizes_keep_what_they_promise() -> None:
    for name, least, most in (("mini", 0, 2.0), ("small", 3.5, 4.5)):
        count = sum(p.numel() for p in MiniResNet(SHAPES[name]).parameters()) / 1e6
        assert least < count < most


@pytest.mark.slow
def test_what_it_begins_with(tmp_path: Path) -> None:
    assert init_file("mini", "mini") == shipped_file("mini.pt")
    assert init_file("small", "own.pt") == Path("own.pt")
    with pytest.raises(UserError, match="--init resnet: there is no such file; give vggface2"):
        init_file("inception", "resnet")
    with pytest.raises(UserError, match=r"who teaches\? Give --teacher FILE"):
        open_student(Start("mini", None, None), 0)
    with pytest.raises(UserError, match="inception is its own teacher"):
        open_student(Start("inception", None, tmp_path / "teacher.onnx"), 0)
    teacher = tmp_path / "teacher.onnx"
    teacher.write_bytes(make_teacher(112, 64))
    with pytest.raises(UserError, match="112 pixels and gives 64 numbers, the network 112 and 128"):
        open_student(Start("mini", None, teacher), 0)
    teacher.write_bytes(make_teacher(112, 128))
    network, recipe = open_student(Start("mini", None, teacher), 3)
    again, _ = open_student(Start("mini", None, teacher), 3)
    assert recipe.identity == "crop1-aligned-112-0.08"
    for one, other in zip(network.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_network_that_knows_teaches_itself() -> None:
    start = Start("mini", shipped_file("mini.pt"), None)
    faces = some_faces(2, 112)
    network, _ = open_mini(shipped_file("mini.pt"))
    with torch.no_grad():
        known = network(torch.from_numpy(faces)).numpy()
    np.testing.assert_allclose(open_teacher(start)(faces), known, atol=1e-5)


def people(root: Path, side: int) -> Path:
    random = np.random.default_rng(0)
    for person, face in enumerate(some_faces(4, side, seed=3)):
        for number in range(3):
            noisy = (face + random.normal(0, 5, face.shape)).clip(0, 255).astype(np.uint8)
            path = root / f"p{person}" / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(noisy).save(path)
    return root


@pytest.mark.slow
def test_inception_is_tuned_on_people_and_used(
    tmp_path: Path, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Shaped by a file of the right names and sizes: the real weights are 107 MB elsewhere."""
    run = tmp_path / "run"
    arguments = ["pretrain-embedder", "--folders", str(people(tmp_path / "people", 64)),
                 "--boxes", "center", "--border", "0", "--network", "inception",
                 "--init", str(weights), "--run", str(run), "--steps", "2", "--batch-size", "4",
                 "--evaluate-every", "2", "--hold-out", "0.25", "--workers", "0",
                 "--precision", "float32"]  # fmt: skip
    assert main(arguments) == 0
    assert "step 2" in capsys.readouterr().out
    tuned = open_inception(run / "inception.pt").net.state_dict()
    before = open_inception(weights).net.state_dict()
    changed = [name for name, value in tuned.items() if not torch.equal(value, before[name])]
    assert "last_linear.weight" in changed
    assert not any("running_mean" in name for name in changed)  # 12 photos have no statistics
    moved = (tuned["last_linear.weight"] - before["last_linear.weight"]).abs().max()
    assert moved < 2e-3  # gently
    with pytest.raises(UserError, match=r"its weights are in .*inception\.pt"):
        open_mini(run / "last.pt")
    assert main([*arguments, "--steps", "3", "--resume"]) == 0
    assert "step 3" in capsys.readouterr().out
