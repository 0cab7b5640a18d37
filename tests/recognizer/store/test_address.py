"""What names a gallery: a file or the address of a database, whose password never shows."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from faces.errors import UserError
from recognizer.store.address import PostgresAddress, place
from recognizer.store.people import Store


@pytest.mark.parametrize(
    ("text", "shown", "name", "port"),
    [
        ("postgresql://ann:s%2Fcret@db.example/people", "ann@db.example/people", "people", 5432),
        ("postgres://ann@db:6000/p", "ann@db:6000/p", "p", 6000),
        ("postgresql://ann:scret@[::1]:6000/p", "ann@[::1]:6000/p", "p", 6000),
        ("postgresql://ann@/p?host=/run/pg&port=6000", "ann@/p?host=/run/pg&port=6000", "p", 6000),
        ("postgresql://ann:scret@db/p?sslmode=require", "ann@db/p?sslmode=require", "p", 5432),
        ("postgresql://db/p%20q?user=ann&password=scret", "ann@db/p q", "p q", 5432),
    ],
)  # fmt: skip
def test_addresses_are_read_and_shown_without_password(text, shown, name, port):
    address = place(text)
    assert isinstance(address, PostgresAddress)
    assert str(address) == f"postgresql://{shown}"
    assert (address.user, address.name, address.port) == ("ann", name, port)
    assert "cret" not in f"{address!r} {address} {[address]}"
    assert address.password() in ("s/cret", "scret", "")


def test_what_is_left_out_is_as_for_psql(monkeypatch):
    monkeypatch.setenv("PGHOST", "db")
    monkeypatch.setenv("PGUSER", "ann")
    monkeypatch.setenv("PGPORT", "6000")
    assert str(place("postgresql://")) == "postgresql://ann@db:6000/ann"


def test_a_system_that_has_no_name_for_its_user_is_told(monkeypatch):
    def nobody() -> str:
        raise KeyError("getpwuid(): uid not found: 12345")

    monkeypatch.delenv("PGUSER", raising=False)
    monkeypatch.setattr("getpass.getuser", nobody)
    with pytest.raises(UserError, match=r"names no user.*PGUSER"):
        place("postgresql://db/faces")
    assert place("postgresql://ann@db/faces").user == "ann"


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://ann:secret/2@db/people",
        "postgresql://ann:secret@db:none/p",
        "postgresql://ann:secret@db:99999/p",
        "postgresql://ann:secret@db/p?sslmode=maybe",
        "postgresql://ann:secret@db/p?secret=1",
        "postgresql://ann:secret@db/p#secret",
        "postgresql:/ann:secret@db/p",
        "mysql://ann:secret@db/p",
        "postgresql://ann:secret@[db/p",
    ],
)
def test_an_address_that_is_none_is_refused_and_not_repeated(text):
    with pytest.raises(UserError) as told:
        place(text)
    assert "gallery" in str(told.value)
    assert "secret@" not in str(told.value)
    assert "ann:" not in str(told.value)


def test_a_path_cannot_hold_an_address():
    with pytest.raises(UserError, match="as text"):
        place(Path("postgresql://ann@db/p"))


@pytest.mark.parametrize("text", ["people.db", "/a/b:c.db", "C:/people.db", "odd name?.db", "a:b"])
def test_files_stay_files(text):
    assert place(text) == Path(text)


def test_without_the_driver_the_extra_is_named(monkeypatch):
    from faces.extras import advice

    monkeypatch.setitem(sys.modules, "pg8000", None)
    for name in ("recognizer.store.postgres", "recognizer.store.link"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    for name in ("pg8000.exceptions", "pg8000.native"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    with pytest.raises(ModuleNotFoundError) as told:
        Store.open("postgresql://ann@db/p", "c", 8)
    assert "pip install 'faces[postgres]'" in advice(told.value)
