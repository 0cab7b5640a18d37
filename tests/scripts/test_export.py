"""`faces export` as it is typed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from detector.export.parity import Outcome
from detector.export.publish import Exported
from detector.shipped import CHECKPOINT, FOLDER
from scripts.main import main
from tests.small_export import SmallExport


def test_it_says_what_it_made_and_how_it_compares(small_export: SmallExport) -> None:
    lines = small_export.output.splitlines()
    for name in ("small.onnx", "small.torchscript"):
        (first,) = [i for i, line in enumerate(lines) if f"{name} (" in line]
        assert "gives what" in lines[first]
        assert lines[first + 1].split()[:4] == ["case", "batch", "size", "faces"]
        assert any(f"{name}.parity.json" in line for line in lines)
    assert "FAILED" not in small_export.output


def test_its_flags_reach_the_exporter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls = []

    def export_checkpoint(*arguments):  # type: ignore[no-untyped-def]
        calls.append(arguments)
        written = tmp_path / "x.onnx"
        written.write_bytes(b"1234")
        outcome = Outcome("a", (1, 32, 32), 0.02, 5, 5, 0, 0, 0.0, 0.0)
        return [Exported(written, tmp_path / "x.onnx.parity.json", [outcome])]

    monkeypatch.setattr("detector.export.publish.export_checkpoint", export_checkpoint)
    folder = tmp_path / "photos"
    folder.mkdir()
    Image.fromarray(np.zeros((40, 50, 3), np.uint8)).save(folder / "a.png")
    arguments = ["export", "best.pt", "--out", str(tmp_path), "--formats", "onnx"]
    photos = ["--images", str(folder), "--calibrate", str(folder)]
    assert main([*arguments, *photos]) == 0
    ((checkpoint, out, formats, pictures, calibrate),) = calls
    assert (checkpoint, out, formats) == (Path("best.pt"), tmp_path, ("onnx",))
    assert [picture.shape for picture in (*pictures, *calibrate)] == [(40, 50, 3)] * 2
    assert str(tmp_path / "x.onnx") in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], (FOLDER / CHECKPOINT, Path("exported"))),
        (["shipped"], (FOLDER / CHECKPOINT, Path("exported"))),
        ([str(FOLDER / CHECKPOINT)], (FOLDER / CHECKPOINT, Path("exported"))),
        (["--out", "mine"], (FOLDER / CHECKPOINT, Path("mine"))),
        (["runs/fpn/best.pt"], (Path("runs/fpn/best.pt"), None)),  # beside the checkpoint
    ],
    ids=str,
)
def test_nothing_is_written_into_the_package(
    arguments: list[str], expected: tuple[Path, Path | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    monkeypatch.setattr(
        "detector.export.publish.export_checkpoint", lambda *a: calls.append(a[:2]) or []
    )
    assert main(["export", *arguments]) == 0
    assert calls == [expected]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.pt"], "there is no detector none.pt"),
        (["none.pt", "--images", "nowhere"], "nowhere"),
        (["runs"], f"runs is a folder: give the file, {Path('runs/best.pt')} for a run folder"),
        (["a.onnx"], "a.onnx looks like an exported file: give the checkpoint (.pt) that it was"),
        (["none.pt", "--out", "b.torchscript"], "out=b.torchscript: name a folder; the files"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("runs").mkdir()
    Path("a.onnx").write_bytes(b"\x08\x08network")
    assert main(["export", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


def test_a_folder_without_images_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", "best.pt", "--images", str(tmp_path)]) == 2
    assert "there are no images" in capsys.readouterr().err


def test_an_unknown_format_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "best.pt", "--formats", "coreml"]) == 2
    assert "coreml" in capsys.readouterr().err


def test_help_needs_no_torch_and_ends_with_examples() -> None:
    code = (
        "import sys\nfrom scripts.main import main\n"
        "try: main(['export', '--help'])\n"
        "finally: print('torch' in sys.modules)"
    )
    output = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    ).stdout.splitlines()
    assert output[-1] == "False"
    assert output[-2].strip().startswith("faces export")
