"""What is counted and timed, in the format of Prometheus. No name and no picture is in it."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    Info,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Metrics:
    """One set for one service; nothing is global, so that tests may have many."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self.registry)
        self.requests = Counter(
            "faces_requests", "Requests by operation and outcome (ok or the error's code)",
            ["operation", "outcome"], registry=self.registry,
        )  # fmt: skip
        self.request_seconds = Histogram(
            "faces_request_seconds", "From the whole request to the answer",
            ["operation"], buckets=SECONDS, registry=self.registry,
        )  # fmt: skip
        self.stage_seconds = Histogram(
            "faces_stage_seconds",
            "By stage: decode, resize, queue, detect, liveness, landmarks, embed, commit (one "
            "batch each)",
            ["stage"], buckets=SECONDS, registry=self.registry,
        )  # fmt: skip
        self.faces = Counter(
            "faces_found", "Faces found in images", registry=self.registry
        )  # fmt: skip
        self.identified = Counter(
            "faces_identified", "Faces that a name was looked for, by known and unknown",
            ["outcome"], registry=self.registry,
        )  # fmt: skip
        self.challenges = Counter(
            "faces_challenges", "Liveness challenges that came to their end, by passed and failed",
            ["outcome"], registry=self.registry,
        )  # fmt: skip
        self.refused = Counter(
            "faces_http_refused", "Requests refused before they became one, by the error's code",
            ["code"], registry=self.registry,
        )  # fmt: skip
        self.models = Info("faces_models", "Which models run", registry=self.registry)

    def observe(self, stage: str, seconds: float) -> None:
        """The time of one batch of a stage."""
        self.stage_seconds.labels(stage).observe(seconds)

    def gauge(self, name: str, text: str, read: Callable[[], float]) -> None:
        """A value that is asked for when somebody looks."""
        Gauge(name, text, registry=self.registry).set_function(read)

    def render(self) -> bytes:
        """The text that Prometheus fetches."""
        return generate_latest(self.registry)
