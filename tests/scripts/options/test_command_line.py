"""The parser that every sub-command shares."""

from __future__ import annotations

import logging
import types
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import tyro

from faces.errors import UserError
from scripts.options.command_line import log_to_stderr, parse, read_config, with_flags

EXAMPLES = """
faces fit -b 4
faces fit --config fit.toml \\
          --lr 0.1
"""


@dataclass(frozen=True)
class Model:
    arch: Literal["fpn", "reference"] = "fpn"
    """Which network."""
    anchors: tuple[float, ...] = (16.0, 32.0)
    """Sizes in pixels."""


@dataclass(frozen=True)
class Fit:
    config: Path | None = None
    """A TOML file with any of these settings."""
    batch_size: Annotated[int, tyro.conf.arg(aliases=["-b"])] = 8
    """Images in a step."""
    lr: float = 1e-3
    """Learning rate."""
    weights: Path | None = None
    """Start from these."""
    size: tuple[int, int] = (320, 320)
    """Height and width."""
    amsgrad: bool = False
    """The AMSGrad variant."""
    model: Model = field(default_factory=Model)

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ValueError(f"--batch-size must be at least 1, got {self.batch_size}")


@dataclass(frozen=True)
class Wider:
    source: tyro.conf.Positional[Path]
    """The folder of WIDER FACE."""


@dataclass(frozen=True)
class Check:
    folder: tyro.conf.Positional[Path]
    """The folder to check."""
    config: Path | None = None
    """A TOML file."""
    fix: bool = False
    """Write a repaired copy."""


@dataclass(frozen=True)
class Perhaps:
    folder: tyro.conf.Positional[Path | None] = None
    """A folder, or none."""
    least: float = 0.5
    """From 0 to 1."""

    def __post_init__(self) -> None:
        if not 0 <= self.least <= 1:
            raise UserError("--least must be between 0 and 1")


PREPARE: Any = (
    Annotated[Wider, tyro.conf.subcommand("wider")]
    | Annotated[Check, tyro.conf.subcommand("check")]
)


@dataclass(frozen=True)
class Talkative:
    words: int = 3
    """How many words there are, which takes
    `more` than one line of the source to say; --words
    (in brackets).

    A second paragraph."""


def fit(*arguments: str) -> Fit:
    return parse(Fit, arguments, prog="faces fit", description="Fit it.", examples=EXAMPLES)


def prepare(*arguments: str) -> Wider | Check:
    return parse(
        PREPARE,
        arguments,
        prog="faces prepare",
        description="Prepare it.",
        examples="faces prepare wider in\nfaces prepare check in",
    )


@pytest.fixture
def config(tmp_path):
    def write(text: str) -> Path:
        path = tmp_path / "fit.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


# -- flags


def test_without_flags_the_defaults_hold():
    assert fit() == Fit()


@pytest.mark.parametrize(
    "arguments",
    [
        ["--batch-size", "3"],
        ["--batch_size", "3"],
        ["--batch-size=3"],
        ["--batch_size=3"],
        ["-b", "3"],
        ["-b", "9", "--batch_size", "3"],
    ],
    ids=" ".join,
)
def test_a_flag_has_one_meaning_in_all_its_spellings(arguments):
    assert fit(*arguments) == Fit(batch_size=3)


def test_groups_do_not_become_prefixes():
    options = fit("--arch", "reference", "--anchors", "8", "12.5", "--amsgrad")
    assert options == Fit(model=Model("reference", (8.0, 12.5)), amsgrad=True)


def test_a_ready_instance_replaces_the_defaults():
    options = parse(
        Fit, ["--lr", "2"], prog="p", description="d", examples="e", default=Fit(batch_size=5)
    )
    assert options == Fit(batch_size=5, lr=2.0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--bath-size", "3"], "--batch-size"),
        (["-b", "many"], "'many'"),
        (["--lr"], "--lr"),
        (["--arch", "yolo"], "reference"),
        (["-b", "0"], "--batch-size must be at least 1, got 0"),
        (["stray"], "stray"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_in_the_flags_exits_with_2_and_says_what(arguments, message, capsys):
    with pytest.raises(SystemExit) as stop:
        fit(*arguments)
    assert stop.value.code == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert message in output.err
    assert "faces fit --help" in output.err


# -- help


def test_the_help_says_what_each_field_is_and_ends_with_the_examples(capsys):
    with pytest.raises(SystemExit) as stop:
        fit("--help")
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert text.startswith("usage: faces fit ")
    for part in ("Fit it.", "-b INT, --batch-size INT", "Images in a step. (default: 8)"):
        assert part in text
    assert "--weights PATH" in text, "an optional flag must not offer the word None"
    assert text.endswith(
        "\nexamples:\n  faces fit -b 4\n  faces fit --config fit.toml \\\n            --lr 0.1\n"
    )


@dataclass(frozen=True)
class Photos:
    name: tyro.conf.Positional[str]
    """Who."""
    photos: Annotated[tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="PHOTO")] = ()
    """Of them."""
    gallery: Path = Path("people.db")
    """Where."""
    largest: bool = False
    """Take the largest face."""


@pytest.mark.parametrize(
    "arguments",
    [
        "Bob a.png b.png --gallery x --largest",
        "Bob a.png --gallery x b.png --largest",
        "Bob a.png --gallery x --largest b.png",
        "Bob --gallery x a.png --largest b.png",
        "--largest Bob --gallery x a.png b.png",
    ],
)
def test_a_list_of_files_may_go_on_behind_a_flag(arguments):
    several: Any = (
        Annotated[Photos, tyro.conf.subcommand("photos")]
        | Annotated[Wider, tyro.conf.subcommand("wider")]
    )
    expected = Photos("Bob", (Path("a.png"), Path("b.png")), Path("x"), True)
    assert parse(Photos, arguments.split(), "faces", "A.", EXAMPLES) == expected
    assert parse(several, ["photos", *arguments.split()], "faces", "A.", EXAMPLES) == expected


@pytest.mark.parametrize(
    ("options", "arguments", "unknown"),
    [
        (Photos, "Bob a.png --gallry x b.png", "--gallry"),
        (Photos, "Bob a.png --gallery x b.png -q", "-q"),
        (Wider, "a b", "b"),
        (Perhaps, "--bogus 3", "Unrecognized options: --bogus"),
        (Perhaps, "--least 2 --bogus", "Unrecognized options: --bogus"),
        (Perhaps, "--least few", "--least"),
    ],
)
def test_what_belongs_to_no_list_is_a_mistake(options, arguments, unknown, capsys):
    with pytest.raises(SystemExit) as stop:
        parse(options, arguments.split(), "faces", "A.", EXAMPLES)
    assert stop.value.code == 2
    assert unknown in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--help"], ["wider", "--help"], ["check", "--help"]])
def test_the_help_of_sub_commands_ends_with_the_examples_too(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        prepare(*arguments)
    assert stop.value.code == 0
    assert capsys.readouterr().out.endswith("  faces prepare wider in\n  faces prepare check in\n")


def test_shell_completion_stays_a_script(capsys):
    with pytest.raises(SystemExit):
        fit("--tyro-print-completion", "bash")
    text = capsys.readouterr().out
    assert "complete -F" in text
    assert "examples:" not in text


def test_a_union_of_options_is_one_sub_command_each():
    assert prepare("wider", "in") == Wider(Path("in"))
    assert prepare("check", "in", "--fix") == Check(Path("in"), fix=True)


@pytest.mark.parametrize("arguments", [[], ["chek", "in"], ["wider"]], ids=" ".join)
def test_a_mistake_in_a_sub_command_exits_with_2(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        prepare(*arguments)
    assert stop.value.code == 2
    assert "faces prepare" in capsys.readouterr().err


# -- the configuration file


def test_the_order_is_default_then_file_then_flags(config):
    path = config('lr = 0.5\nbatch_size = 2\narch = "reference"\n')
    options = fit("-b", "3", "--config", str(path))
    assert options.amsgrad is False  # default
    assert options.lr == 0.5  # file
    assert options.model.arch == "reference"  # file, in a group
    assert options.batch_size == 3  # flag
    assert options.config == path


def test_a_flag_wins_over_the_file_even_with_the_default_value(config):
    path = config("lr = 0.5\namsgrad = true\nanchors = [1, 2]\n")
    options = fit("--config", str(path), "--lr", "0.001", "--no-amsgrad", "--anchors", "16", "32")
    assert options == Fit(config=path)


@dataclass(frozen=True)
class Band:
    low: int = 0
    high: int = 10

    def __post_init__(self) -> None:
        if not self.low <= self.high:
            raise UserError("--low must not be above --high")


@dataclass(frozen=True)
class Choice:
    config: Path | None = None
    only: str = ""
    band: Band = Band()

    def __post_init__(self) -> None:
        if not self.only:
            raise UserError("name one with --only")


def choose(*arguments: str) -> Choice:
    return parse(Choice, arguments, prog="faces x", description="X.", examples="faces x")


def test_values_are_checked_when_all_are_known(config):
    """Neither the flags alone nor the file alone need to go together."""
    path = str(config('only = "a"\nhigh = 30\n'))
    assert choose("--config", path, "--low", "20").band == Band(20, 30)
    path = str(config('only = "a"\nlow = 20\n'))  # wrong by itself, and mended by a flag
    assert choose("--config", path, "--high", "30").band == Band(20, 30)
    with pytest.raises(UserError, match="--low must not be above --high"):
        choose("--config", path)
    path = str(config("low = 5\n"))
    with pytest.raises(UserError, match="name one with --only"):
        choose("--config", path)
    with pytest.raises(UserError, match="--low must not be above --high"):
        choose("--config", path, "--only", "a", "--low", "11")
    with pytest.raises(UserError, match="name one with --only"):
        choose()
    with pytest.raises(UserError, match="--low must not"):
        Band(3, 2)


def test_a_file_for_a_sub_command_with_required_arguments(config):
    path = config("fix = true\n")
    assert prepare("check", "in", "--config", str(path)) == Check(Path("in"), path, fix=True)


def test_the_file_may_group_its_values_and_use_dashes(config):
    path = config('batch-size = 2\nweights = "w.pth"\n[model]\nanchors = [8, 12.5]\n')
    expected = Fit(batch_size=2, weights=Path("w.pth"), model=Model(anchors=(8.0, 12.5)))
    options = read_config(path, Fit())
    assert options == expected
    assert [type(value) for value in options.model.anchors] == [float, float]


def test_a_file_saved_by_windows_notepad(tmp_path):
    path = tmp_path / "fit.toml"
    path.write_bytes("\ufefflr = 1 # größer\r\n".encode())
    assert read_config(path, Fit()) == Fit(lr=1.0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("batchsize = 2", "unknown key 'batchsize'; did you mean 'batch_size'?"),
        ("[model]\narhc = 'fpn'", "unknown key 'arhc'; did you mean 'arch'?"),
        ("anchor = [1]", "unknown key 'anchor'; did you mean 'anchors'?"),
        ("zzz = 2", "unknown key 'zzz'$"),
        ("lr = 'high'", "lr cannot be 'high'; it takes float"),
        ("batch_size = 2.5", "batch_size cannot be 2.5; it takes int"),
        ("batch_size = true", "batch_size cannot be True; it takes int"),
        ("amsgrad = 1", "amsgrad cannot be 1; it takes bool"),
        ("weights = 3", "weights cannot be 3; it takes .*Path"),
        ("arch = 'yolo'", "arch cannot be 'yolo'; it takes Literal"),
        ("size = [320]", r"size cannot be \[320\]; it takes tuple\[int, int\]"),
        ("size = [320, 'x']", "size cannot be 'x'; it takes int"),
        ("model = 'fpn'", r"model cannot be 'fpn'; it is a table, \[model\]"),
        ("lr =\n", "cannot read the configuration .*line 1"),
    ],
)
def test_a_mistake_in_the_file_is_named(config, text, message):
    path = config(text)
    with pytest.raises(UserError, match=message) as error:
        fit("--config", str(path))
    assert str(path) in str(error.value)


@pytest.mark.parametrize("content", [None, b"lr = '\xff'"], ids=["missing", "not UTF-8"])
def test_a_file_that_cannot_be_read(tmp_path, content):
    path = tmp_path / "fit.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=r"cannot read the configuration .*fit\.toml"):
        fit("--config", str(path))


# -- logs


def test_logs_go_to_stderr(capsys):
    root = logging.getLogger()
    before = root.handlers[:], root.level
    try:
        log_to_stderr()
        logging.getLogger("detector.x").info("a step")
        log_to_stderr(quiet=True)
        logging.getLogger("detector.x").info("unseen")
        logging.getLogger("detector.x").warning("careful")
    finally:
        root.handlers[:], root.level = before
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err == "a step\ncareful\n"


def test_help_flows_as_the_terminal_is_wide_not_as_the_source_is(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit) as stop:
        parse(Talkative, ["--help"], prog="faces talk", description="Talk.", examples="faces talk")
    assert stop.value.code == 0
    lines = [line.strip(" │") for line in capsys.readouterr().out.splitlines()]
    [first] = [line for line in lines if "How many words" in line]
    flowing = "takes `more` than one line of the source to say; --words (in brackets)."
    assert flowing in " ".join(lines)
    assert any(line.endswith("A second paragraph. (default: 3)") for line in lines)
    assert "second" not in first


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("batch_size must be at least 1", "--batch-size must be at least 1"),
        ("epochs must be at least 1", "--epochs must be at least 1"),
        ("needs annotation_dir, in folders", "needs --annotation-dir, in folders"),
        ("force=True takes it", "--force takes it"),
        ("epochs=runs/a b: is no number", "--epochs runs/a b: is no number"),
        ("annotation_dir=DIR or epochs=N", "--annotation-dir DIR or --epochs N"),
        ("/photos/x epochs=3/a.jpg: https://h/x?epochs=3&force=5", None),
        ("with force, after epochs, too", "with force, after epochs, too"),
        ("./batch_size/a.jpg, batch_size.toml, 'batch_size'", None),
    ],
)
def test_arguments_that_the_library_names_are_shown_as_flags(message, shown):
    @dataclass(frozen=True)
    class Inner:
        annotation_dir: str = ""
        force: bool = False

    @dataclass(frozen=True)
    class Options:
        batch_size: int = 1
        epochs: int = 1

    module = types.ModuleType("command")
    module.Options, module.Inner = Options, Inner
    assert with_flags(message, module) == (shown or message)
