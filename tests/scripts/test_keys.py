"""`faces keys`, and the file behind it."""

from __future__ import annotations

import json
import os
import stat
import time

import pytest

from faces.errors import UserError
from pipeline.http import keys as module
from pipeline.http.keys import KeyFile
from scripts.main import main


def create(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["keys", "create", *arguments]) == 0
    return capsys.readouterr().out.strip()


def listed(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[dict]:
    assert main(["keys", "list", "--json", *arguments]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_a_key_is_shown_once_and_stored_as_a_hash(tmp_path, capsys):
    token = create(capsys, "camera", "--scopes", "detect", "recognize", "--days", "90")
    kind, name, secret = token.split("_", 2)
    assert (kind, len(name)) == ("faces", 8)
    assert len(secret) == 43  # 256 bits
    (entry,) = listed(capsys)
    assert (entry["id"], entry["name"], entry["state"]) == (name, "camera", "valid")
    assert entry["scopes"] == ["detect", "recognize"]
    text = (tmp_path / "keys.json").read_text(encoding="utf-8")
    assert secret not in text
    if os.name != "nt":
        assert stat.S_IMODE((tmp_path / "keys.json").stat().st_mode) == 0o600
    assert main(["keys", "list"]) == 0
    assert secret not in capsys.readouterr().out


def test_only_the_right_secret_is_found(tmp_path, capsys):
    token, other = create(capsys, "a"), create(capsys, "b")
    keys = KeyFile(tmp_path / "keys.json")
    found = keys.find(token)
    assert found is not None
    assert (found.label, found.scopes) == ("a", ("detect", "recognize"))
    mixed = "_".join([*token.split("_")[:2], other.split("_", 2)[2]])
    for wrong in ("", "faces", "faces__", token[:-1], token + "x", mixed, token.upper(), "ü" * 60):
        assert keys.find(wrong) is None


def test_a_revoked_key_stops_working_in_a_running_server(tmp_path, capsys, monkeypatch):
    token = create(capsys, "a")
    keys = KeyFile(tmp_path / "keys.json")
    assert keys.find(token)
    name = token.split("_")[1]
    assert main(["keys", "revoke", name]) == 0
    assert keys.find(token)  # for a second at most
    monkeypatch.setattr(module, "CHECK_SECONDS", 0.0)
    assert keys.find(token) is None
    assert listed(capsys.readouterr() and capsys)[0]["state"] == "revoked"
    assert main(["keys", "revoke", name]) == 0  # once more is no mistake


def test_a_key_is_revoked_by_whatever_link_its_file_is_called(tmp_path, capsys):
    token = create(capsys, "a", "--keys", "etc/keys.json")
    try:
        (tmp_path / "keys.json").symlink_to(tmp_path / "etc" / "keys.json")
    except OSError:
        pytest.skip("this system makes no links")
    assert main(["keys", "revoke", token.split("_")[1]]) == 0
    assert KeyFile(tmp_path / "etc" / "keys.json").find(token) is None
    assert sorted(path.name for path in tmp_path.iterdir()) == ["etc", "keys.json"]  # one lock


def test_an_expired_key_is_refused(tmp_path, capsys, monkeypatch):
    token = create(capsys, "a", "--days", "1")
    keys = KeyFile(tmp_path / "keys.json")
    assert keys.find(token)
    now = time.time()
    monkeypatch.setattr(module.time, "time", lambda: now + 2 * 86_400)
    assert keys.find(token) is None
    assert listed(capsys)[0]["state"] == "expired"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["create", " "], "printable"),
        (["create", "a\nb"], "printable"),
        *(
            (["create", "a", "--days", days], "--days must be")
            for days in ("0", "inf", "nan", "1e12", "36501")
        ),
        (["create", "a", "--keys", "plain/x/k.json"], "plain/x/k.json cannot be written"),
        (["revoke", "nobody"], "no key 'nobody'"),
    ],
)
def test_refusals(arguments, message, tmp_path, capsys):
    (tmp_path / "plain").write_text("a file, no folder", encoding="utf-8")
    assert main(["keys", *arguments]) == 2
    assert message in capsys.readouterr().err.replace("\\", "/")
    assert not (tmp_path / "keys.json").exists()


@pytest.mark.parametrize("expires", [float("inf"), float("nan"), 1e17])
def test_a_file_with_an_impossible_date_can_be_listed(expires, tmp_path, capsys):
    """Earlier versions took any --days."""
    create(capsys, "a")
    file = tmp_path / "keys.json"
    data = json.loads(file.read_text(encoding="utf-8"))
    data["keys"][0]["expires"] = expires
    file.write_text(json.dumps(data), encoding="utf-8")
    assert listed(capsys)[0]["expires"] == "no date"
    assert main(["keys", "list"]) == 0
    assert "no date" in capsys.readouterr().out


def test_an_unknown_scope_is_refused(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["keys", "create", "a", "--scopes", "everything"])
    assert stop.value.code == 2
    with pytest.raises(UserError, match="no scope 'everything'"):
        KeyFile.create(KeyFile(None), "a", ["everything"])  # type: ignore[arg-type]


def test_a_damaged_file_is_named(tmp_path, capsys):
    (tmp_path / "keys.json").write_text("{", encoding="utf-8")
    assert main(["keys", "list"]) == 2
    assert "keys.json cannot be read" in capsys.readouterr().err


def test_two_programs_that_create_keys_lose_none(tmp_path):
    from concurrent.futures import ThreadPoolExecutor

    def make(i: int) -> str:
        return KeyFile(tmp_path / "keys.json").create(f"key {i}", ["detect"])

    with ThreadPoolExecutor(8) as pool:
        tokens = list(pool.map(make, range(16)))
    keys = KeyFile(tmp_path / "keys.json")
    assert all(keys.find(token) for token in tokens)
