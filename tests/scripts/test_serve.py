"""`faces serve`: its flags, its refusals, and the real thing from end to end."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from faces.errors import UserError
from pipeline.http.keys import KeyFile
from pipeline.http.options import HttpOptions
from pipeline.net import is_loopback
from scripts import serve
from scripts.main import main
from scripts.options.exposure import check_exposure
from tests.commands import parse_only
from tests.pipeline.service.fakes import FakeDetector, encode
from tests.small_export import talkative_model, write_checkpoint

ROOT = Path(__file__).parents[2]
FACES = [sys.executable, "-m", "scripts.main"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "--stdio, --http"),
        (["--stdio", "--http"], "--stdio, --http"),
        (["--http", "--threshold", "2"], "--threshold"),
        (["--http", "--max-images", "0"], "--max-images must be a number above 0"),
        (["--http", "--batch-size", "0"], "--batch-size must be a number above 0"),
        (["--http", "--deadline", "nan"], "--deadline must be a number above 0"),
        (["--http", "--max-image-mb", "inf"], "--max-image-mb must be a number above 0"),
        (["--http", "--body-seconds", "0"], "--body-seconds must be a number above 0"),
        (["--http", "--max-megapixels", "179"], "--max-megapixels must be at most 178"),
        (["--http", "--max-waiting", "3"], "--max-waiting"),
        (["--http", "--max-memory-mb", "50"], "--max-memory-mb"),
        (["--http", "--port", "70000"], "--port"),
        (["--http"], "faces keys create"),
        (["--http", "--host", "0.0.0.0"], "keys are needed"),
        (["--http", "--host", "0.0.0.0", "--no-keys-on-loopback"], "keys are needed"),
        (["--http", "--host", "::", "--no-keys-on-loopback"], "keys are needed"),
        (["--http", "--host", "myhost", "--no-keys-on-loopback"], "keys are needed"),
        (["--http", "--no-keys-on-loopback", "--tls-cert", "a.pem"], "go together"),
        (["--http", "--no-keys-on-loopback", "--behind-proxy", "127.0.0.1"], "faces keys create"),
        (["--http", "--no-keys-on-loopback", "--model", "none.onnx"], "none.onnx"),
        (["--stdio", "--detect-only", "--model", "none.onnx"], "none.onnx"),
        (["--http", "--config", "none.toml"], "none.toml"),
    ],
)
def test_refusals(flags, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(serve, "log_as_json", lambda quiet: None)
    result = subprocess.run(
        [*FACES, "serve", *flags], cwd=tmp_path, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)}, stdin=subprocess.DEVNULL,
    ) if "--stdio" in flags else None  # fmt: skip
    code = main(["serve", *flags]) if result is None else result.returncode
    error = capsys.readouterr().err if result is None else result.stderr
    assert code == 2
    assert message in error
    assert "Traceback" not in error


def test_a_revoked_key_is_no_key(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(serve, "log_as_json", lambda quiet: None)
    keys = KeyFile(tmp_path / "keys.json")
    keys.revoke(keys.create("a", ["detect"]).split("_")[1])
    assert main(["serve", "--http", "--host", "0.0.0.0"]) == 2
    assert "keys are needed" in capsys.readouterr().err


def test_exposure(caplog, tmp_path):
    assert all(map(is_loopback, ["127.0.0.1", "127.8.8.8", "::1", "localhost"]))
    assert not any(map(is_loopback, ["0.0.0.0", "::", "10.0.0.1", "example.org", ""]))
    keyed = HttpOptions(keys=tmp_path / "keys.json")
    check_exposure("127.0.0.1", keyed, no_keys=False)
    check_exposure("127.0.0.1", HttpOptions(), no_keys=True)
    with pytest.raises(UserError):
        check_exposure("127.0.0.1", HttpOptions(), no_keys=False)
    behind = HttpOptions(proxies=("127.0.0.1",))
    with pytest.raises(UserError, match=r"--behind-proxy .* everybody .* `faces keys create"):
        check_exposure("127.0.0.1", behind, no_keys=True)
    check_exposure("127.0.0.1", replace(behind, keys=keyed.keys), no_keys=False)
    assert "no TLS" not in caplog.text
    check_exposure("0.0.0.0", keyed, no_keys=False)
    assert "no TLS" in caplog.text


def test_flags_reach_the_service(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "serve.toml").write_text("http = true\nmax_images = 3\nport = 9\n", "utf-8")
    options = parse_only("serve", ["--config", "serve.toml", "--max-image-mb", "2", "--port", "0"])
    assert (options.http, options.network.port) == (True, 0)
    limits = serve.service_limits(options.limits, FakeDetector())
    assert (limits.max_images, limits.max_bytes) == (3, 2 * 2**20)
    assert limits.max_request == 3 * 2 * 2**20
    assert (limits.batch, limits.lanes) == (4, 1)
    two = FakeDetector(lanes=2)
    side_by_side = serve.service_limits(options.limits, two)
    assert (side_by_side.batch, side_by_side.lanes) == (1, 2)
    options = parse_only("serve", ["--http", "--batch-size", "8"])
    chosen = serve.service_limits(options.limits, two)
    assert (chosen.batch, chosen.lanes) == (8, 1)
    (tmp_path / "more.toml").write_text("stdio = true\nmax_waiting = 200\n", "utf-8")
    options = parse_only("serve", ["--config", "more.toml", "--max-images", "100"])
    assert (options.stdio, options.limits.max_images) == (True, 100)
    (tmp_path / "none.toml").write_text("max_images = 3\n", "utf-8")
    with pytest.raises(UserError, match="choose one of --stdio, --http and --openapi"):
        parse_only("serve", ["--config", "none.toml"])
    (tmp_path / "wrong.toml").write_text("max_face = 3\n", "utf-8")
    with pytest.raises(UserError, match="did you mean 'max_faces'"):
        parse_only("serve", ["--http", "--config", "wrong.toml"])


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ("https://example.org", "https://example.org"),
        ("https://Example.org/", "https://example.org"),
        ("https://example.org:443", "https://example.org"),
        ("http://localhost:3000/", "http://localhost:3000"),
        ("http://[::1]:80", "http://[::1]"),
        ("capacitor://localhost", "capacitor://localhost"),
    ],
)
def test_origins_are_compared_as_browsers_send_them(given, sent, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = parse_only("serve", ["--http", "--cors-origin", given])
    assert serve.http_options(options.network).cors == (sent,)


@pytest.mark.parametrize("wrong", ["https://a.org/page", "https://*.org", "*", "a.org", "null", ""])
def test_what_browsers_send_of_no_page_is_no_origin(wrong):
    with pytest.raises(UserError, match="--cors-origin is like"):
        serve.origin(wrong)


def test_a_gallery_has_one_log_by_whatever_link_it_is_called(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "team.db").touch()
    try:
        (tmp_path / "link.db").symlink_to(tmp_path / "real" / "team.db")
    except OSError:
        pytest.skip("this system makes no links")
    log = (tmp_path / "real").resolve() / "team.db.audit.jsonl"
    for gallery in ("link.db", "real/team.db"):
        assert serve.audit_path(parse_only("serve", ["--http", "--gallery", gallery])) == log
    given = parse_only("serve", ["--http", "--gallery", "link.db", "--audit", "a.jsonl"])
    assert serve.audit_path(given) == Path("a.jsonl")
    shared = parse_only("serve", ["--http", "--gallery", "postgresql://me@host/team"])
    assert serve.audit_path(shared) == Path("team.audit.jsonl")


def test_a_reader_of_the_address_who_has_gone_does_not_end_the_server(monkeypatch):
    def gone(*_: object, **__: object) -> None:
        raise BrokenPipeError

    monkeypatch.setattr("builtins.print", gone)
    serve.announce("http://127.0.0.1:8000")


def test_liveness_is_off_alone_or_with_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert parse_only("serve", ["--http"]).liveness is None
    assert parse_only("serve", ["--http", "--liveness"]).liveness == ()
    assert parse_only("serve", ["--liveness", "a.onnx", "--http"]).liveness == (Path("a.onnx"),)
    (tmp_path / "serve.toml").write_text("http = true\nliveness = []\nmax_sessions = 2\n", "utf-8")
    options = parse_only("serve", ["--config", "serve.toml"])
    assert options.liveness == ()
    assert serve.service_limits(options.limits, FakeDetector()).max_sessions == 2


@pytest.mark.parametrize("flags", [["--telemetry"], []])
def test_telemetry_without_the_extra_is_told_before_models_are_loaded(flags, monkeypatch, capsys):
    monkeypatch.setattr(serve, "log_as_json", lambda quiet: None)
    monkeypatch.setattr(serve, "open_models", lambda options: pytest.fail("loaded"))
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    if not flags:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:4318")
    assert main(["serve", "--http", "--no-keys-on-loopback", *flags]) == 2
    assert "pip install 'faces[telemetry]'" in capsys.readouterr().err


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small detector that finds many things."""
    return write_checkpoint(tmp_path_factory.mktemp("model") / "small.pt", talkative_model())


def start(tmp_path: Path, *flags: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [*FACES, "serve", *flags], cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=(tmp_path / "stderr.txt").open("wb"),
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


@pytest.mark.slow
def test_stdio_with_a_real_detector(checkpoint, tmp_path):
    picture = np.random.default_rng(0).integers(0, 255, (96, 128, 3), np.uint8)
    process = start(tmp_path, "--stdio", "--detect-only", "--model", str(checkpoint),
                    "--threshold", "0.1", "--threads", "1")  # fmt: skip
    image = base64.b64encode(encode(picture)).decode()
    sent = json.dumps({"id": 1, "op": "detect", "images": [image]}) + "\n"
    sent += json.dumps({"id": 2, "op": "recognize", "images": [image]}) + "\n"
    out, _ = process.communicate(sent.encode(), timeout=120)
    assert process.returncode == 0, (tmp_path / "stderr.txt").read_text(encoding="utf-8")
    ready, *answers = map(json.loads, out.splitlines())
    assert ready["result"]["detector"].startswith("small.pt ")
    by_id = {answer["id"]: answer for answer in answers}
    assert by_id[2]["error"]["code"] == "unavailable"
    from detector import load_detector

    expected = load_detector(checkpoint, score_threshold=0.1).detect(picture)
    (found,) = by_id[1]["result"]["images"]
    assert len(found["faces"]) == min(100, len(expected)) > 0
    np.testing.assert_allclose(found["faces"][0]["box"], expected.xyxy[0], atol=0.02)
    assert list(tmp_path.iterdir()) == [tmp_path / "stderr.txt"]  # nothing else was written


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGTERM for others")
def test_http_with_tls_and_a_key(checkpoint, tmp_path):
    import httpx

    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "key.pem",
            "-out", "cert.pem", "-days", "2", "-subj", "/CN=localhost",
            "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]  # fmt: skip
    try:
        subprocess.run(make, cwd=tmp_path, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no openssl here to make a certificate")
    token = KeyFile(tmp_path / "keys.json").create("a", ["detect"])
    process = start(tmp_path, "--http", "--detect-only", "--model", str(checkpoint),
                    "--tls-cert", "cert.pem", "--tls-key", "key.pem", "--port", "0",
                    "--threads", "1")  # fmt: skip
    try:
        assert process.stdout is not None
        line = process.stdout.readline().decode()
        assert line.startswith("listening on https://127.0.0.1:"), (
            tmp_path / "stderr.txt"
        ).read_text(encoding="utf-8")
        url = line.split()[-1]
        import ssl

        context = ssl.create_default_context(cafile=str(tmp_path / "cert.pem"))
        with httpx.Client(base_url=url, verify=context, timeout=30) as client:
            answer = client.get("/v1/info", headers={"authorization": f"Bearer {token}"})
            assert answer.status_code == 200
            assert "strict-transport-security" in answer.headers
            assert client.get("/v1/info").status_code == 401
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()
    for line in (tmp_path / "stderr.txt").read_text(encoding="utf-8").splitlines():
        assert isinstance(json.loads(line), dict)


def test_liveness_scores_reach_every_face(tmp_path):
    """The place where `pipeline.liveness` is plugged in."""
    from pipeline.service.core import Service
    from pipeline.service.operations import find_operation
    from pipeline.service.runtime.batching import Call
    from pipeline.service.vision import Models
    from tests.pipeline.service.fakes import FakeDetector, photo

    def score(image, boxes):
        return np.linspace(0.25, 0.75, len(boxes), dtype=np.float32)

    models = Models(FakeDetector(), "fake", liveness=SimpleNamespace(score=score))
    service = Service(models)
    detect = find_operation("detect")
    answer = service.submit(detect, detect.parse({}), [photo(1, 2), photo()], Call()).result(10)
    assert [face.liveness for face in answer.images[0].faces] == [0.25, 0.75]  # type: ignore[attr-defined]
    service.close()
