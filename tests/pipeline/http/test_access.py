"""Who may ask: headers, origins, hosts, keys and rates."""

from __future__ import annotations

import time

import pytest

from faces.errors import UserError
from pipeline.http import keys as module
from pipeline.http.keys import KeyFile
from pipeline.http.options import HttpOptions
from pipeline.http.rate_limits import RateLimits
from tests.pipeline.http.live import code, live
from tests.pipeline.service.fakes import photo

# -- headers, origins, hosts


def test_security_headers_are_on_every_answer(server):
    for answer in (server.get("/healthz"), server.get("/v1/nothing"), server.post("detect", b"x")):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert len(answer.headers["x-request-id"]) == 16
        assert "server" not in answer.headers
        assert "access-control-allow-origin" not in answer.headers


def test_web_pages_may_not_ask_unless_they_are_named(tmp_path, server):
    evil = {"origin": "https://evil.example"}
    answer = server.client.post("/v1/detect", files={"image": ("a", photo(1))}, headers=evil)
    assert code(answer) == (403, "forbidden")
    assert "access-control-allow-origin" not in answer.headers
    with live(tmp_path, HttpOptions(cors=("https://good.example",))) as other:
        good = {"origin": "https://good.example"}
        answer = other.client.post("/v1/detect", files={"image": ("a", photo(1))}, headers=good)
        assert answer.status_code == 200
        assert answer.headers["access-control-allow-origin"] == "https://good.example"
        answer = other.client.post("/v1/detect", files={"image": ("a", photo(1))}, headers=evil)
        assert code(answer) == (403, "forbidden")
        asked = {"access-control-request-method": "POST"}
        assert other.client.options("/v1/detect", headers=good | asked).status_code == 200
        assert other.client.options("/v1/detect", headers=evil | asked).status_code == 400


def test_without_keys_only_localhost_may_be_asked(server):
    """A page whose host name suddenly means 127.0.0.1 cannot reach us."""
    for host in ("evil.example", "evil.example:80", "", "[::", "127.0.0.1.evil.example"):
        answer = server.client.get("/v1/people", headers={"host": host})
        assert code(answer) == (403, "forbidden"), host
    for host in ("localhost:1", "127.0.0.2:8000", "[::1]:8000"):
        assert server.client.get("/v1/people", headers={"host": host}).status_code == 200, host


# -- keys


def test_keys_and_scopes(tmp_path):
    keys = KeyFile(tmp_path / "keys.json")
    looking = keys.create("looking", ["detect"])
    admin = keys.create("admin", ["enroll", "admin", "metrics"])
    with live(tmp_path, HttpOptions(keys=keys.path)) as server:
        answer = server.post("detect", photo(1))
        assert code(answer) == (401, "unauthorized")
        assert answer.headers["www-authenticate"] == "Bearer"
        for wrong in ("x", looking[:-1], looking + "x", "faces__", looking.replace("_", "-"), "é"):
            raw = f"Bearer {wrong}".encode()
            answer = server.client.get("/v1/info", headers={"authorization": raw})
            assert code(answer) == (401, "unauthorized"), wrong
        assert server.post("detect", photo(1), key=looking).status_code == 200
        answer = server.post("enroll", photo(1), key=looking, name="Ada")
        assert code(answer) == (403, "forbidden")
        assert answer.json()["error"]["details"] == {"scopes": ["detect"]}
        assert server.post("enroll", photo(1), key=admin, name="Ada").status_code == 200
        assert code(server.post("recognize", photo(1), key=admin)) == (403, "forbidden")
        assert server.get("/v1/info", key=looking).status_code == 200
        assert server.get("/v1/info", key=admin).status_code == 200
        assert server.get("/healthz").status_code == server.get("/v1/health").status_code == 200
        assert code(server.get("/metrics")) == (401, "unauthorized")
        odd = {"x-deadline-seconds": "soon"}  # who may not ask is told nothing else
        assert code(server.client.get("/v1/info", headers=odd)) == (401, "unauthorized")
        assert server.get("/metrics", key=admin).status_code == 200
        assert keys.revoke(looking.split("_")[1]).revoked
        until = time.monotonic() + 60
        while server.post("detect", photo(1), key=looking).status_code == 200:
            assert time.monotonic() < until
            time.sleep(0.1)


def test_damaged_keys_let_nobody_in(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(module, "CHECK_SECONDS", 0.0)
    keys = KeyFile(tmp_path / "keys.json")
    key = keys.create("a", ["detect"])
    with live(tmp_path, HttpOptions(keys=keys.path)) as server:
        whole = keys.path.read_text(encoding="utf-8")
        keys.path.write_text(whole[:-20], encoding="utf-8")  # somebody is editing it
        for _ in range(3):
            assert code(server.get("/v1/info", key=key)) == (503, "storage_failed")
        assert "the keys cannot be read" in caplog.text
        assert "a bug" not in caplog.text
        keys.path.write_text(whole, encoding="utf-8")
        assert server.get("/v1/info", key=key).status_code == 200


# -- rates


def test_rates_are_limited_by_key_and_by_address(tmp_path):
    keys = KeyFile(tmp_path / "keys.json")
    one, two = keys.create("one", ["detect"]), keys.create("two", ["detect"])
    options = HttpOptions(keys=keys.path, rate_per_key="3/minute", rate_per_address="8/minute")
    with live(tmp_path, options) as server:
        assert [server.get("/v1/info", key=one).status_code for _ in range(4)] == [200] * 3 + [429]
        answer = server.get("/v1/info", key=one)
        assert code(answer) == (429, "rate_limited")
        assert 50 <= int(answer.headers["retry-after"]) <= 60
        assert [server.get("/v1/info", key=two).status_code for _ in range(3)] == [200] * 3
        assert server.get("/v1/info", key=two).status_code == 429  # the address's own limit


def test_nothing_is_asked_for_more_often_but_whether_the_server_lives(tmp_path):
    with live(tmp_path, HttpOptions(rate_per_address="3/minute")) as server:
        free = [server.get(path).status_code for path in ("/healthz", "/readyz") for _ in range(5)]
        assert free == [200] * 10
        evil = {"origin": "https://evil.example"}  # uses up nothing of this machine's programs
        assert server.client.get("/openapi.json", headers=evil).status_code == 403
        asked = ["/openapi.json", "/nothing", "/v1/detect"]
        assert [server.get(path).status_code for path in asked] == [200, 404, 405]
        for path in (*asked, "/v1/info"):
            assert code(server.get(path)) == (429, "rate_limited")


@pytest.mark.parametrize("rate", ["0/minute", "often", "-1/minute"])
def test_a_rate_that_lets_nobody_in_is_refused(rate):
    with pytest.raises(UserError, match="the rate per address"):
        RateLimits("none", rate)


def test_guessing_keys_is_slowed_down(tmp_path):
    keys = KeyFile(tmp_path / "keys.json")
    right = keys.create("right", ["detect"])
    with live(tmp_path, HttpOptions(keys=keys.path)) as server:
        answers = [server.get("/v1/info", key="wrong").status_code for _ in range(31)]
        assert answers == [401] * 30 + [429]
        assert server.get("/v1/info", key=right).status_code == 200
