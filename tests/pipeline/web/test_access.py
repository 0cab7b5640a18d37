"""Who is let in, and what every answer carries."""

from __future__ import annotations

import re

import pytest
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from pipeline.web.access import Access, new_token
from pipeline.web.app import FOLDER, SCRIPTS, make_app
from pipeline.web.broadcast import Broadcast
from pipeline.web.camera_switch import CameraSwitch
from tests.pipeline.web.fakes import FakeLive

TOKEN = "a-token-of-at-least-20-characters"
LOCAL = {"host": "127.0.0.1:8420"}
AWAY = {"host": "192.168.1.20:8420"}


def client(host: str = "127.0.0.1", token: str | None = None) -> TestClient:
    app = make_app(
        Broadcast(FakeLive("Ada"), CameraSwitch(None)), Access(host, token, frozenset({"mybox"}))
    )
    return TestClient(app, base_url="http://testserver:8420")


@pytest.mark.parametrize(
    ("host", "code"),
    [
        ("127.0.0.1:8420", 200), ("localhost:8420", 200), ("[::1]:8420", 200), ("LOCALHOST", 200),
        ("127.0.0.2:8420", 200),
        ("evil.example:8420", 403), ("127.0.0.1.evil.example", 403), ("192.168.1.20", 403),
        ("[bad", 403), ("", 403),
    ],
)  # fmt: skip
def test_a_name_rebound_to_this_machine_is_refused(host, code):
    assert client().get("/", headers={"host": host}).status_code == code


def test_a_public_address_needs_a_token():
    with pytest.raises(ValueError, match="a token is needed"):
        Access("0.0.0.0", None)


def test_the_token_is_shown_once_and_becomes_a_cookie():
    web = client("0.0.0.0", TOKEN)
    assert web.get("/", headers=AWAY).status_code == 401
    assert web.get("/?token=wrong", headers=AWAY).status_code == 401
    assert "set-cookie" not in web.get("/?token=wr%C3%B6ng", headers=AWAY).headers
    first = web.get(f"/?token={TOKEN}", headers=AWAY)
    assert first.status_code == 200
    cookie = first.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    pair = cookie.partition(";")[0]
    assert web.get("/app.js", headers={**AWAY, "cookie": pair}).status_code == 200
    assert web.get("/app.js", headers={**AWAY, "cookie": pair + "x"}).status_code == 401
    web.cookies.clear()
    assert "program has printed" in web.get("/alive", headers=AWAY).text


@pytest.mark.parametrize(
    "other", ["theme=dark mode", 'a={"x":[1,2]}', "session@id=1", "=", "a", 'a="', "\xe9=\xff"]
)
def test_cookies_of_other_programs_lock_nobody_out(other):
    web = client("0.0.0.0", TOKEN)
    for cookies in (f"{other}; faces_8420={TOKEN}", f"faces_8420={TOKEN}; {other}"):
        headers = {**AWAY, "cookie": cookies.encode("latin-1")}
        assert web.get("/app.js", headers=headers).status_code == 200
        live = {**AWAY, "origin": "http://192.168.1.20:8420", "cookie": headers["cookie"]}
        with web.websocket_connect("ws://testserver:8420/live", headers=live) as socket:
            assert socket.receive_json()["type"] in ("state", "people")
    wrong = {**AWAY, "cookie": f"{other}; faces_8420=wrong".encode("latin-1")}
    assert web.get("/app.js", headers=wrong).status_code == 401


@pytest.mark.parametrize(
    ("host", "code"),
    [("mybox:8420", 200), ("192.168.1.20:8420", 200), ("evil.example:8420", 403)],
)
def test_from_other_machines_addresses_and_own_names_do(host, code):
    web = client("0.0.0.0", TOKEN)
    assert web.get(f"/?token={TOKEN}", headers={"host": host}).status_code == code


@pytest.mark.parametrize(
    "origin",
    [None, "http://evil.example", "http://127.0.0.1:9999", "null", "file://", "http://[bad"],
)
def test_other_pages_open_no_websocket(origin):
    headers = dict(LOCAL) if origin is None else {**LOCAL, "origin": origin}
    with (
        pytest.raises(WebSocketDisconnect),
        client().websocket_connect("/live", headers=headers) as socket,
    ):
        socket.receive_text()


def test_a_websocket_needs_the_token_as_well():
    headers = {**AWAY, "origin": "http://192.168.1.20:8420"}
    web = client("0.0.0.0", TOKEN)
    with pytest.raises(WebSocketDisconnect), web.websocket_connect("/live", headers=headers):
        pass
    headers["cookie"] = f"faces_8420={TOKEN}"
    url = "ws://testserver:8420/live"
    with web.websocket_connect(url, headers=headers) as socket:
        assert socket.receive_json()["type"] in ("state", "people")


def test_every_answer_has_a_strict_policy():
    for path, headers in (("/", LOCAL), ("/", AWAY), ("/nothing", LOCAL)):
        answer = client().get(path, headers=headers)
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
    assert client().post("/", headers=LOCAL).status_code == 403  # no browser leaves the origin out
    here = {**LOCAL, "origin": f"http://{LOCAL['host']}"}
    assert client().post("/", headers=here).status_code == 405
    assert client().get("/docs", headers=LOCAL).status_code == 404


def test_the_page_is_whole_and_uses_nothing_of_others():
    web = client()
    page = web.get("/", headers=LOCAL)
    assert page.headers["content-type"].startswith("text/html")
    for name in ("style.css", *(f"{script}.js" for script in SCRIPTS)):
        answer = web.get(f"/{name}", headers=LOCAL)
        assert answer.status_code == 200, name
        kind = "text/css" if name.endswith("css") else "text/javascript"
        assert answer.headers["content-type"].startswith(kind)
        assert not re.search(r"https?://", answer.text)
        assert "innerHTML" not in answer.text
    assert not re.search(r"https?://| style=| on\w+=|<script>", page.text)
    imported = set(re.findall(r'from "\./(\w+)\.js"', (FOLDER / "app.js").read_text("utf-8")))
    assert imported <= set(SCRIPTS)
    used = set(re.findall(r'\$\("([\w-]+)"\)', "".join(f.read_text("utf-8")
               for f in FOLDER.glob("*.js"))))  # fmt: skip
    assert used <= set(re.findall(r'id="([\w-]+)"', page.text)), "scripts name what the page has"


def test_tokens_cannot_be_guessed():
    assert len({new_token() for _ in range(100)}) == 100
    assert len(new_token()) >= 43
