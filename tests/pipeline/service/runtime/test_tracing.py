"""Spans for OpenTelemetry: what they say, what they never say, and when there are none."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from faces.errors import UserError
from pipeline.http.keys import KeyFile
from pipeline.http.options import HttpOptions
from pipeline.service.errors import ServiceError
from pipeline.service.operations import find_operation
from pipeline.service.runtime.batching import Call
from pipeline.service.runtime.tracing import Spans, open_spans, who_asks
from tests.pipeline.http.live import live
from tests.pipeline.service.fakes import FakeDetector, make_service, photo

ROOT = Path(__file__).parents[4]
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.fixture
def memory() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def spans(memory: InMemorySpanExporter) -> Spans:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(memory))
    return Spans(provider)


def split(memory: InMemorySpanExporter) -> tuple[list[ReadableSpan], list[ReadableSpan]]:
    """Requests, and stages."""
    finished = memory.get_finished_spans()
    requests = [span for span in finished if "faces.operation" in (span.attributes or {})]
    return requests, [span for span in finished if span not in requests]


def test_a_request_and_its_stages(tmp_path, spans, memory):
    service = make_service(tmp_path, spans=spans, detector=FakeDetector(0.02))
    recognize = find_operation("recognize")
    call = Call(request_id="0123456789abcdef")
    service.submit(recognize, recognize.parse({}), [photo(1, 2), photo(3)], call).result(10)
    service.close()
    (request,), stages = split(memory)
    assert (request.name, request.status.status_code) == ("recognize", StatusCode.UNSET)
    assert request.attributes == {
        "faces.operation": "recognize", "faces.images": 2, "faces.outcome": "ok",
        "faces.request_id": "0123456789abcdef",
    }  # fmt: skip
    assert {stage.name for stage in stages} == {"decode", "resize", "detect", "embed"}
    pieces = dict.fromkeys(("decode", "resize", "detect", "embed"), 0)
    for stage in stages:
        assert stage.parent is not None
        assert stage.parent.span_id == request.context.span_id
        assert stage.context.trace_id == request.context.trace_id
        assert request.start_time <= stage.start_time + 2_000_000  # two clocks
        assert stage.start_time <= stage.end_time <= request.end_time
        assert stage.attributes is not None
        assert 0 <= stage.attributes["faces.waited_seconds"] < 10
        pieces[stage.name] += stage.attributes["faces.pieces"]
    assert pieces == {"decode": 2, "resize": 2, "detect": 2, "embed": 3}
    detect = [stage for stage in stages if stage.name == "detect"]
    assert sum(stage.end_time - stage.start_time for stage in detect) > 0.035e9


def test_refusals_are_marked(spans, memory):
    service = make_service(spans=spans)
    detect = find_operation("detect")
    for data, call in ((b"x", Call()), (photo(1), Call(deadline=time.monotonic()))):
        with pytest.raises(ServiceError):
            service.submit(detect, detect.parse({}), [data], call).result(10)
    service.close()
    (bad, late), _ = split(memory)
    assert (bad.attributes["faces.outcome"], bad.status.status_code) == (
        "bad_image", StatusCode.UNSET
    )  # fmt: skip
    assert (late.attributes["faces.outcome"], late.status.status_code) == (
        "deadline_exceeded", StatusCode.ERROR
    )  # fmt: skip
    assert not bad.events  # an exception's message is no attribute either


def test_no_name_picture_vector_or_key_is_in_a_span(tmp_path, spans, memory):
    key = KeyFile(tmp_path / "keys.json").create("Zebra", ["recognize", "enroll", "admin"])
    options = HttpOptions(keys=tmp_path / "keys.json")
    with live(tmp_path, options, spans=spans) as server:
        server.post("enroll", photo(1), name="Ada Lovelace", key=key)
        server.post("recognize", photo(1), key=key)
        server.post("embed", photo(1), key=key)
        server.client.post(
            "/v1/people/rename", json={"name": "Ada Lovelace", "new_name": "Grace"},
            headers={"authorization": f"Bearer {key}"},
        )  # fmt: skip
    requests, stages = split(memory)
    assert len(requests) == 4
    allowed = {
        "faces.operation", "faces.images", "faces.outcome", "faces.request_id",
        "faces.waited_seconds", "faces.pieces", "faces.batch",
    }  # fmt: skip
    for span in (*requests, *stages):
        assert set(span.attributes or {}) <= allowed
        assert not span.events
    text = "".join(span.to_json() for span in (*requests, *stages))
    for secret in ("Ada", "Lovelace", "Grace", "Zebra", key, key.split("_")[1], "127.0.0.1"):
        assert secret not in text


def test_an_id_of_the_callers_own_words_stays_out(spans, memory):
    service = make_service(spans=spans)
    detect = find_operation("detect")
    for name in ("Ada", "17"):
        call = Call(request_id=name)
        service.submit(detect, detect.parse({}), [photo(1)], call).result(10)
    service.close()
    (first, second), _ = split(memory)
    assert "faces.request_id" not in first.attributes
    assert second.attributes["faces.request_id"] == "17"


def test_a_caller_may_go_on_with_its_own_trace(spans, memory):
    with live(None, spans=spans) as server:
        for parent in (f"00-{TRACE}-{PARENT}-01", "Ada Lovelace", f"00-{TRACE}-{PARENT}-00"):
            files = [("image", ("photo", photo(1)))]
            headers = {"traceparent": parent, "tracestate": "who=Ada"}
            answer = server.client.post("/v1/detect", files=files, headers=headers)
            assert answer.status_code == 200
    (joined, alone), stages = split(memory)  # the third asked not to be recorded
    assert f"{joined.context.trace_id:032x}" == TRACE
    assert f"{joined.parent.span_id:016x}" == PARENT
    assert alone.parent is None
    assert "Ada" not in "".join(span.to_json() for span in (joined, alone, *stages))


# -- asking for it


@pytest.mark.parametrize(
    ("flag", "environment", "asker"),
    [
        (False, {}, None),
        (True, {}, "telemetry"),
        (False, {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x:4318"}, "OTEL_EXPORTER_OTLP_ENDPOINT"),
        (False, {"OTEL_TRACES_EXPORTER": "otlp"}, "OTEL_TRACES_EXPORTER"),
        (False, {"OTEL_SERVICE_NAME": "x"}, None),
        (True, {"OTEL_SDK_DISABLED": "true"}, None),
        (True, {"OTEL_TRACES_EXPORTER": "none"}, None),
        (False, {"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, None),
    ],
)
def test_off_unless_asked_for(flag, environment, asker):
    assert who_asks(flag, environment) == asker


@pytest.mark.parametrize(
    "environment", [{"OTEL_TRACES_EXPORTER": "console"}, {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}]
)
def test_what_is_not_supported(environment):
    with pytest.raises(UserError, match="support"):
        open_spans("telemetry", environment)


@pytest.mark.parametrize("asker", ["telemetry", "OTEL_EXPORTER_OTLP_ENDPOINT"])
def test_a_missing_extra_is_told_with_its_remedy(monkeypatch, asker):
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(UserError, match=r"pip install 'faces\[telemetry\]'") as caught:
        open_spans(asker, {})
    assert asker in str(caught.value)


@pytest.mark.slow
def test_a_server_without_it_does_not_import_the_sdk():
    modules = "sys, pipeline.stdio.server, pipeline.http.server"
    code = f"import {modules}; print('opentelemetry.sdk' in sys.modules)"
    out = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert out.stdout.strip() == "False"


@pytest.mark.slow
def test_spans_reach_a_collector_over_http(monkeypatch):
    got: list[tuple[str, bytes]] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append((self.path, self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *arguments: Any) -> None:
            pass

    collector = HTTPServer(("127.0.0.1", 0), Collector)
    threading.Thread(target=collector.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{collector.server_port}"
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
    monkeypatch.delenv("OTEL_SERVICE_NAME", raising=False)
    service = make_service(spans=open_spans("OTEL_EXPORTER_OTLP_ENDPOINT"))
    detect = find_operation("detect")
    service.submit(detect, detect.parse({}), [photo(1)], Call()).result(10)
    service.close()  # what is left is sent at the end
    collector.shutdown()
    collector.server_close()
    ((path, _body),) = got
    assert path == "/v1/traces"


@pytest.mark.slow
def test_an_absent_collector_delays_the_end_by_little(monkeypatch):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    service = make_service(spans=open_spans("telemetry"))
    detect = find_operation("detect")
    service.submit(detect, detect.parse({}), [photo(1)], Call()).result(10)
    start = time.monotonic()
    service.close()
    assert time.monotonic() - start < 20
