"""`--gallery postgresql://...` at every command that takes a gallery."""

from __future__ import annotations

import json
import re

import pytest

from faces.errors import UserError
from scripts.main import COMMANDS, main
from tests.commands import parse_only
from tests.scripts.test_run import enroll, film, world  # noqa: F401

pytestmark = pytest.mark.postgres


@pytest.fixture
def address(postgres_server):
    return postgres_server.database()


def test_people_are_listed_renamed_moved_and_forgotten(world, address, capfd, postgres_server):  # noqa: F811
    assert main(["people", "-g", address]) == 2
    assert "there are no people in postgresql://" in capfd.readouterr().err
    enroll("Ada", "Bob", path=address)
    for words in (
        ["people", "list"],
        ["people", "rename", "Bob", "Rob"],
        ["people", "export", "all.zip"],
        ["people", "remove", "Rob", "--yes"],
        ["people", "import", "all.zip"],
        ["people", "merge", "Rob", "Ada"],
    ):
        assert main([*words, "--gallery", address]) == 0, words
    told = capfd.readouterr()
    assert main(["people", "list", "--json", "--gallery", address]) == 0
    listed = json.loads(capfd.readouterr().out)
    assert [person["name"] for person in listed["people"]] == ["Ada"]
    assert listed["gallery"].startswith("postgresql://")
    assert postgres_server.password not in f"{told.out} {told.err} {listed}"


def test_a_film_is_named_from_it(world, address, capfd, tmp_path, postgres_server):  # noqa: F811
    film()
    assert main(["run", "party.mp4", "-g", address]) == 0
    assert "nobody is known: postgresql://" in capfd.readouterr().err
    enroll("Ada", path=address)
    film("again.mp4")
    assert main(["run", "again.mp4", "-g", address]) == 0
    told = capfd.readouterr()
    assert "1 person known from postgresql://" in told.err
    assert "Ada" in told.out + (tmp_path / "again-faces" / "report.json").read_text("utf-8")
    kept = [file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()]
    assert kept
    assert not [content for content in kept if postgres_server.password.encode() in content]
    assert postgres_server.password not in told.out + told.err


def test_a_configuration_may_hold_the_address_and_help_does_not_show_it(tmp_path, capfd):
    config = tmp_path / "serve.toml"
    config.write_text('gallery = "postgresql://ann:hidden7@db/people"\nhttp = true\n')
    options = parse_only("serve", ["--config", str(config)])
    assert str(options.store.gallery) == "postgresql://ann@db/people"
    assert options.store.gallery.password() == "hidden7"
    assert "hidden7" not in repr(options)
    with pytest.raises(SystemExit):
        main(["serve", "--config", str(config), "--help"])
    with pytest.raises(SystemExit):
        main(["serve", "--gallery", "postgresql://ann:hidden7@db/p", "--nonsense"])
    told = capfd.readouterr()
    assert "hidden7" not in told.out + told.err


@pytest.mark.parametrize("text", ["postgresql://ann:hidden7/x@db/p", "mysql://ann:hidden7@db/p"])
def test_an_address_that_is_none_is_refused_without_a_word_of_it(text, capfd):
    assert main(["people", "--gallery", text]) == 2
    told = capfd.readouterr()
    assert "gallery" in told.err
    assert "hidden7" not in told.out + told.err


def test_every_command_with_a_gallery_takes_an_address(capfd):
    """Whoever gives one a flag of its own is told here."""
    for command in COMMANDS:
        with pytest.raises(SystemExit):
            main([command, "--help"])
        text = capfd.readouterr().out
        for kind in re.findall(r"--gallery ([A-Z]\S*)", text.partition("examples:")[0]):
            assert kind.startswith("FILE|ADDRESS"), (command, kind)


def test_a_library_remembers_the_address_without_its_password(address, postgres_server):
    from types import SimpleNamespace

    from scripts.options.library import gallery_of

    kept: dict[str, str | None] = {}
    decisions = SimpleNamespace(setting=kept.get, remember=kept.__setitem__)
    library = SimpleNamespace(decisions=decisions)
    with pytest.raises(UserError, match=r"there is no gallery postgresql://") as told:
        gallery_of(address, library)
    enroll("Ada", path=address)
    where = gallery_of(address, library)
    kept["gallery"] = str(where)  # as `faces library people` does
    assert postgres_server.password not in f"{told.value} {kept}"
    with pytest.raises(UserError, match="PGPASSWORD"):
        gallery_of(None, library)
