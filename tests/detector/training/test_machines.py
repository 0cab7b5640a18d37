"""Training on several machines: two addresses of this one, each with folders of its own."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from detector.checkpoint import load_checkpoint
from detector.config import DataConfig, load_config, to_dict
from detector.training import run_folder
from detector.training.dataset import FaceIndex
from detector.training.distributed import World, check_copies
from detector.training.run_folder import open_run
from detector.training.train import fit
from faces.errors import UserError
from faces.history import read_history
from scripts.train import main, read_arguments
from tests.conftest import ROOT
from tests.detector.training.runs import same_run, toml, torchrun
from tests.tiny import make_data, tiny_config


class Heard(World):
    """A world in which the other ranks say what ``others`` holds, in turn."""

    def __init__(self, others: list[Any], **place: int) -> None:
        super().__init__(0, 2, **{"machines": 2, **place})
        object.__setattr__(self, "others", others)

    def gather(self, value: Any) -> list[Any]:
        return [value, self.others.pop(0)]


def flags(data: Path, run: Path, *more: str) -> list[str]:
    path = run.with_suffix(".toml")
    path.write_text(toml(replace(tiny_config(data, run), run=None)))
    return ["--config", str(path), "--run", str(run), *more]


@pytest.mark.slow
def test_auto_begins_a_run_and_then_goes_on_with_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, run = make_data(tmp_path / "data"), tmp_path / "run"
    assert main(flags(data, run, "--resume", "auto", "--epochs", "1")) == 0
    assert [line["epoch"] for line in read_history(run)] == [1]
    assert load_config(run).resume is None
    first = (run / "last.pt").read_bytes()
    assert main(flags(data, run, "--resume", "auto", "--epochs", "1")) == 0  # nothing is left to do
    assert (run / "last.pt").read_bytes() == first
    assert main(["--run", str(run), "--resume", "auto", "--epochs", "2"]) == 0  # its own settings
    assert [line["epoch"] for line in read_history(run)] == [1, 2]
    assert load_config(run).optim.batch_size == 2
    with pytest.raises(UserError, match="batch_size cannot be changed in a resumed run"):
        fit(replace(tiny_config(data, run, batch_size=4), resume=Path("auto")))
    assert "best epoch" in capsys.readouterr().out


def test_auto_takes_the_folder_of_the_configuration_file_and_of_the_architecture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, channels in (("mine", 16), ("runs/reference", 24)):
        config = tiny_config(tmp_path, Path(name))
        made = replace(config, model=replace(config.model, channels=channels, arch="reference"))
        Path(name).mkdir(parents=True)
        (Path(name) / "config.json").write_text(json.dumps(to_dict(made)))
    Path("mine.toml").write_text('run = "mine"')
    assert read_arguments(["--resume", "auto", "--config", "mine.toml"]).model.channels == 16
    assert read_arguments(["--resume", "auto", "--arch", "reference"]).model.channels == 24
    assert read_arguments(["--resume", "auto"]).model.channels == 64  # there is no runs/fpn


def test_the_copy_that_came_furthest_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rank 0's machine is a new one, or has an older copy, or none is there at all."""
    for steps, source in ((5, 1), (3, 0), (-1, 0)):
        folder = tmp_path / f"{source}{steps}"
        folder.mkdir()
        (folder / "config.json").touch()
        (folder / "last.pt").touch()
        monkeypatch.setattr(
            run_folder, "load_checkpoint", lambda path: {"training": {"progress": {"step": 3}}}
        )
        assert run_folder._furthest(folder, Heard([steps])) == source
    assert run_folder._furthest(tmp_path / "none", Heard([0])) == 1
    assert run_folder._furthest(tmp_path / "none", Heard([-1])) is None


@pytest.mark.parametrize(
    ("others", "message"),
    [
        (["auto"], "give --resume on all machines or on none"),
        (["False", None, {"seed": "1"}], "seed is 0 on process 0 and 1 on process 1"),
        (["False", "no room there"], "no room there"),
    ],
)
def test_machines_that_do_not_agree_are_refused(
    tmp_path: Path, others: list[Any], message: str
) -> None:
    config = tiny_config(tmp_path, tmp_path / "run")
    if len(others) == 3:
        every: list[Any] = []

        class Noted(World):
            def gather(self, value: Any) -> list[Any]:
                every.append(value)
                return [value]

        run_folder._check_agreement(config, Noted())
        others = [*others[:2], {**every[0], **others[2]}]
    with pytest.raises(UserError, match=message):
        open_run(config, Heard(others))


def test_where_a_machine_keeps_its_pictures_is_its_own_affair(tmp_path: Path) -> None:
    """As is the number of its workers; settings of the run are not."""
    here = tiny_config(tmp_path / "here", tmp_path / "run")
    there = replace(
        here, init=Path("there.pt"), data=DataConfig(**{**vars(here.data), "num_workers": 3})
    )
    there = replace(there, data=replace(there.data, image_path=tmp_path / "there"))
    told: list[Any] = []

    class Noted(World):
        def gather(self, value: Any) -> list[Any]:
            told.append(value)
            return [value]

    for config in (here, there):
        run_folder._check_agreement(config, Noted())
    assert told[0] == told[1]
    assert {"epochs", "batch_size", "accumulate", "precision", "channels"} <= told[0].keys()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("nothing", None),
        ("picture", r"scene_03\.png, or its annotation, is not the same"),
        ("annotation", r"scene_05\.png, or its annotation, is not the same"),
        ("missing", r"scene_02\.png is on the first only"),
        ("more", r"another\.png is on the second only"),
    ],
)
def test_other_pictures_on_another_machine_are_refused(
    tmp_path: Path, change: str, message: str | None
) -> None:
    folders = [make_data(tmp_path / name) / "train" for name in ("first", "second")]
    images, annotations = (folders[1] / name for name in ("images", "annotations"))
    if change == "picture":
        content = bytearray((images / "scene_03.png").read_bytes())
        content[-20] ^= 1
        (images / "scene_03.png").write_bytes(content)
    elif change == "annotation":
        text = (annotations / "scene_05.xml").read_text().replace("<xmin>", "<xmin>1", 1)
        (annotations / "scene_05.xml").write_text(text.replace("<xmax>", "<xmax>1", 1))
    elif change == "missing":
        (images / "scene_02.png").unlink()
        (annotations / "scene_02.xml").unlink()
    elif change == "more":
        shutil.copy(images / "scene_02.png", images / "another.png")
        text = (annotations / "scene_02.xml").read_text().replace("scene_02", "another")
        (annotations / "another.xml").write_text(text)
    indices = [FaceIndex(folder / "images", folder / "annotations") for folder in folders]
    said: list[Any] = []

    class Second(World):
        def gather(self, value: Any) -> list[Any]:
            said.append(value)
            return [value, value]

    class First(World):
        def gather(self, value: Any) -> list[Any]:
            return [value, said.pop(0)]

    check_copies({"training": indices[1]}, Second(machines=2))
    if message:  # the list goes round, too

        class Asked(Second):
            def gather(self, value: Any) -> list[Any]:
                said.append(value)
                return [value, "other"] if isinstance(value, str) else [value, value]

        said.clear()
        check_copies({"training": indices[1]}, Asked(machines=2))
        with pytest.raises(UserError, match=f"the training pictures of machine.*{message}"):
            check_copies({"training": indices[0]}, First(machines=2))
    else:
        check_copies({"training": indices[0]}, First(machines=2))
    assert not said
    check_copies({"training": indices[0]}, World(0, 2))  # one machine, one copy


KILLED = textwrap.dedent(
    """
    import os, signal, sys
    from pathlib import Path
    from detector.training.train import Trainer
    from scripts.main import run_command

    mark, *arguments = (argument for argument in sys.argv[1:] if argument != "--")
    original, mark = Trainer.step, Path(mark)

    def step(self, parts):
        if self.world.rank == 1 and self.progress.step == 3 and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return original(self, parts)

    Trainer.step = step
    sys.exit(run_command("scripts.train", arguments))
    """
)


def on_machines(tmp_path: Path, *commands: list[str]) -> list[subprocess.CompletedProcess[str]]:
    """Run a command on each of the addresses 127.0.0.1, 127.0.0.2, ...; they find each other."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {
        **os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "GLOO_SOCKET_IFNAME": "lo",
    }  # fmt: skip
    started = []
    for i, command in enumerate(commands, start=1):
        (tmp_path / f"machine{i}").mkdir(exist_ok=True)
        arguments = [
            sys.executable, "-m", "torch.distributed.run", "--nnodes", str(len(commands)),
            "--nproc-per-node", "1", "--rdzv-backend", "c10d",
            "--rdzv-endpoint", f"127.0.0.1:{port}", "--rdzv-id", "test",
            "--local-addr", f"127.0.0.{i}", "--max-restarts", "3", *command,
        ]  # fmt: skip
        started.append(
            subprocess.Popen(
                arguments, cwd=tmp_path / f"machine{i}", env=environment, text=True,
                stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            )
        )  # fmt: skip
    done = []
    try:
        for process in started:
            out, err = process.communicate(timeout=400)
            done.append(subprocess.CompletedProcess(process.args, process.returncode, out, err))
    finally:
        for process in started:
            process.kill()
    return done


MACHINES = pytest.mark.skipif(
    "FACES_TEST_MACHINES" not in os.environ or sys.platform != "linux",
    reason="two torchruns: on a busy machine one may leave the rendezvous before the other has "
    "heard, and both then fail or wait: FACES_TEST_MACHINES=1 runs it (needs 127.0.0.2)",
)


@MACHINES
def test_a_killed_worker_is_restarted_and_the_run_ends_as_one_that_was_not(tmp_path: Path) -> None:
    """And a machine that lost its disk gets the run from another."""
    script = tmp_path / "killed.py"
    script.write_text(KILLED)
    data = make_data(tmp_path / "data1")
    shutil.copytree(data, tmp_path / "data2")
    runs = [tmp_path / "run1", tmp_path / "run2"]
    more = ["--resume", "auto", "--accumulate", "2", "--precision", "float32"]

    def command(i: int, *also: str) -> list[str]:
        own = flags(tmp_path / f"data{i + 1}", runs[i], *more, *also)
        return [str(script), "--", str(tmp_path / "killed"), *own]

    done = on_machines(tmp_path, command(0), command(1))
    assert [process.returncode for process in done] == [0, 0], done[1].stderr[-3000:]
    assert (tmp_path / "killed").exists()
    assert "going on with epoch 2, step 0" in done[0].stderr
    assert "checkpoint:" in done[0].stdout
    assert not done[1].stdout

    whole = tmp_path / "whole"
    subprocess.run(
        torchrun("-m", "scripts.train", "--", *flags(data, whole, *more)),
        cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=True, timeout=400,
        capture_output=True,
    )  # fmt: skip
    assert [line["step"] for line in read_history(whole)] == [2, 4]
    same_run(whole, runs[0])
    for name in ("last.pt", "best.pt"):
        assert (runs[0] / name).read_bytes() == (runs[1] / name).read_bytes()
    assert load_config(runs[1]).data.image_path == tmp_path / "data2" / "train" / "images"

    shutil.rmtree(runs[0])
    done = on_machines(tmp_path, command(0, "--epochs", "3"), command(1, "--epochs", "3"))
    assert [process.returncode for process in done] == [0, 0], done[1].stderr[-3000:]
    assert [line["step"] for line in read_history(runs[0])] == [2, 4, 6]
    assert (runs[0] / "best.pt").is_file()
    assert load_checkpoint(runs[1] / "last.pt")["training"]["progress"]["epoch"] == 3


@MACHINES
def test_machines_with_other_pictures_say_so_and_end(tmp_path: Path) -> None:
    first, second = (make_data(tmp_path / name) for name in ("data1", "data2"))
    (second / "val" / "images" / "scene_02.png").unlink()
    (second / "val" / "annotations" / "scene_02.xml").unlink()
    script = ["--max-restarts", "0", "-m", "scripts.train", "--"]
    done = on_machines(
        tmp_path,
        [*script, *flags(first, tmp_path / "run1")],
        [*script, *flags(second, tmp_path / "run2")],
    )
    for process in done:
        assert process.returncode != 0
        assert "the validation pictures of machine 0" in process.stderr
        assert "scene_02.png is on the first only" in process.stderr
