"""Spans of requests and their stages for OpenTelemetry, for those who ask for them.

Off by default. Nothing here imports OpenTelemetry unless it is wanted; it is the extra
``telemetry``. An attribute is a number, or a word out of our own tables: never a picture, a vector,
a name, a message, a key or an address.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from faces.errors import UserError
from pipeline.service.errors import CODES

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span, Tracer

# https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/ and
# https://opentelemetry.io/docs/specs/otel/protocol/exporter/
ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
EXPORTER = "OTEL_TRACES_EXPORTER"
PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
DISABLED = "OTEL_SDK_DISABLED"
INSTALL = "pip install 'faces[telemetry]', or in a checkout: pip install -e '.[telemetry]'"

# Ids that say nothing: ours over HTTP, and numbers. A text of a caller's own may be a name.
HARMLESS_ID = re.compile(r"[0-9a-f]{16}|-?[0-9]{1,19}")


class Spans:
    """Makes the spans of a service.

    Args:
        provider: of the SDK; shut down by `close`. It is not made the global one.
    """

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("faces", version("faces"))

    def request(
        self, operation: str, images: int, request_id: str = "", traceparent: str | None = None
    ) -> RequestSpan:
        """Begin the span of a request.

        ``traceparent`` (W3C Trace Context) makes it a part of the caller's trace; anything that is
        none is ignored.
        """
        from opentelemetry.trace import SpanKind
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        # ``tracestate`` is left out: anything may stand in it.
        carrier = {} if traceparent is None else {"traceparent": traceparent}
        context = TraceContextTextMapPropagator().extract(carrier)
        attributes: dict[str, Any] = {"faces.operation": operation, "faces.images": images}
        if HARMLESS_ID.fullmatch(request_id):
            attributes["faces.request_id"] = request_id
        span = self._tracer.start_span(
            operation, context, kind=SpanKind.SERVER, attributes=attributes
        )
        return RequestSpan(self._tracer, span)

    def close(self) -> None:
        """Send what is left and end."""
        self._provider.shutdown()


class RequestSpan:
    """One request that is traced."""

    def __init__(self, tracer: Tracer, span: Span) -> None:
        from opentelemetry.trace import set_span_in_context

        self._tracer, self._span = tracer, span
        self._context = set_span_in_context(span)

    def stage(self, name: str, seconds: float, waited: float, pieces: int, batch: int) -> None:
        """A stage has ended now, after ``seconds``.

        ``pieces`` of the ``batch`` that went through it were of this request; the first of them
        had ``waited`` seconds.
        """
        end = time.time_ns()
        attributes = {
            "faces.waited_seconds": waited, "faces.pieces": pieces, "faces.batch": batch,
        }  # fmt: skip
        start = end - round(seconds * 1e9)
        self._tracer.start_span(name, self._context, attributes=attributes, start_time=start).end(
            end
        )

    def end(self, outcome: str) -> None:
        """The request is answered: "ok" or a code of `pipeline.service.errors`."""
        from opentelemetry.trace import Status, StatusCode

        self._span.set_attribute("faces.outcome", outcome)
        if outcome in CODES and CODES[outcome].status >= 500:
            self._span.set_status(Status(StatusCode.ERROR))
        self._span.end()


def who_asks(flag: bool, environment: Mapping[str, str] = os.environ) -> str | None:
    """What asks for spans: the flag or one of OpenTelemetry's variables; None when nothing does."""
    if environment.get(DISABLED, "").strip().lower() == "true":
        return None
    if environment.get(EXPORTER, "").strip().lower() == "none":
        return None
    if flag:
        return "telemetry"
    return next((name for name in (*ENDPOINTS, EXPORTER) if environment.get(name)), None)


def open_spans(asker: str, environment: Mapping[str, str] = os.environ) -> Spans:
    """Spans that are sent by OTLP over HTTP, as OpenTelemetry's variables say; see `who_asks`.

    Raises UserError when the extra is not installed, and for an exporter or protocol that is not
    supported.
    """
    exporter = environment.get(EXPORTER, "otlp").strip().lower() or "otlp"
    if exporter != "otlp":
        raise UserError(f"{EXPORTER}={exporter}: only otlp and none are supported")
    protocol = next((environment[name] for name in PROTOCOLS if environment.get(name)), None)
    if protocol not in (None, "http/protobuf"):
        raise UserError(
            f"the OTLP protocol {protocol} is not supported: set {PROTOCOLS[1]}=http/protobuf"
        )
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        off = "" if asker == "telemetry" else f" (or set {DISABLED}=true)"
        raise UserError(
            f"{asker} asks for spans, and OpenTelemetry is not installed: {INSTALL}{off}"
        ) from error
    own = {"service.version": version("faces")}
    if not environment.get("OTEL_SERVICE_NAME"):
        own["service.name"] = "faces"
    provider = TracerProvider(resource=Resource.create(own), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return Spans(provider)
