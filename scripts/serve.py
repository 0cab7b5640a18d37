"""`faces serve`: the pipeline for other programs, as a child process or over HTTP."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import re
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from faces.errors import UserError, require
from scripts.main import run_program
from scripts.options.command_line import arg, parse
from scripts.options.recognizer import DetectorOptions, EmbedderOptions, GalleryOptions

if TYPE_CHECKING:
    from detector.types import Detector
    from pipeline.http.options import HttpOptions
    from pipeline.service.core import Service
    from pipeline.service.runtime.limits import Limits
    from pipeline.service.vision import Models
    from recognizer.crop import LandmarkFinder

logger = logging.getLogger(__name__)

DESCRIPTION = """Let other programs detect, recognize and enroll faces: as their child process, a
JSON object a line (--stdio), or over HTTP (--http). Both do the same; docs/serve.md describes them,
docs/security.md what to mind."""

EXAMPLES = """\
faces serve --stdio
faces serve --http --no-keys-on-loopback
faces serve --http
faces serve --http --host 0.0.0.0 --tls-cert cert.pem --tls-key key.pem
faces serve --http --detect-only --model model.onnx --no-keys-on-loopback
faces serve --http --liveness
faces serve --openapi > openapi.json"""


MOST_PIXELS = 178_956_970  # Pillow's own limit
ORIGIN = re.compile(r"([a-z][a-z0-9+.-]*)://([a-z0-9._-]+|\[[0-9a-f:.]+\])(?::(\d+))?/?")
USUAL_PORTS = {"http": "80", "https": "443"}


@dataclass(frozen=True)
class LimitOptions:
    """What is taken from callers."""

    max_image_mb: float = 20.0
    """Largest image, as it is sent."""
    max_megapixels: float = 25.0
    """Largest image, decoded, up to 178; read from its header before anything is decoded."""
    max_images: int = 16
    """Images in one request."""
    max_faces: int = 100
    """Faces that are given back for one image, the best first."""
    max_waiting: int = 64
    """Images in the server at once; more are told to come back. One caller may have three quarters
    of them."""
    max_memory_mb: float = 1024.0
    """Memory for images that are being worked on."""
    deadline: float = 30.0
    """Seconds after which a request is given up; a request may ask for less."""
    batch_size: Annotated[
        int | None, arg("one on each core for an ONNX file on a CPU, else 4", aliases=["-b"])
    ] = None
    """Images that go through the detector together."""
    max_sessions: int = 64
    """Liveness challenges at once; one caller may have half of them."""


@dataclass(frozen=True)
class NetworkOptions:
    """Where the server listens, and to whom (--http)."""

    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 lets other machines in, which needs keys."""
    port: int = 8000
    """0 takes a free one."""
    keys: Annotated[Path, tyro.conf.arg(metavar="FILE")] = Path("keys.json")
    """Keys of callers, from `faces keys`."""
    no_keys_on_loopback: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Let every program and user of this machine in, without keys."""
    tls_cert: Annotated[Path | None, arg("none", metavar="FILE")] = None
    """Certificate chain (PEM)."""
    tls_key: Annotated[Path | None, arg("none", metavar="FILE")] = None
    """Its private key (PEM)."""
    behind_proxy: Annotated[tuple[str, ...], arg("none", metavar="ADDRESS")] = ()
    """Addresses of reverse proxies, whose X-Forwarded-For is believed."""
    cors_origin: Annotated[tuple[str, ...], arg("none", metavar="ORIGIN")] = ()
    """Origins of web pages that may ask, such as https://example.org; all others are refused."""
    rate_per_key: str = "1200/minute"
    """Requests with one key: number/second, /minute, /hour, or none."""
    rate_per_address: str = "1200/minute"
    """Requests from one address (IPv6: one /64 network)."""
    body_seconds: float = 15.0
    """Seconds within which a request must have arrived."""


@dataclass(frozen=True)
class Options:
    """How to serve, and with what."""

    stdio: bool = False
    """Read requests from stdin and answer on stdout, as the child of another program."""
    http: bool = False
    """Answer over HTTP."""
    openapi: bool = False
    """Print the description of the HTTP interface and end."""
    detect_only: bool = False
    """Know nobody: only find faces. No embedder is loaded and no file of people is made."""
    keep_crops: bool = False
    """Also store a small picture of each enrolled face, for `faces people reembed`."""
    threshold: float = 0.5
    """Lowest score of a face, 0 to 1."""
    liveness: Annotated[tuple[Path, ...] | None, arg("off", metavar="[FILE ...]")] = None
    """Offer the challenge of head turns (liveness/begin), and have ONNX files, if any are given,
    score how alive every face looks (docs/liveness.md). Off by default: without it a photo of
    somebody is taken for that person."""
    audit: Annotated[Path | None, arg("GALLERY.audit.jsonl")] = None
    """Log of enrollments and removals, for `faces audit`."""
    threads: Annotated[int | None, arg("left to the runtimes")] = None
    """CPU threads of each model."""
    network: NetworkOptions = field(default_factory=NetworkOptions)
    limits: LimitOptions = field(default_factory=LimitOptions)
    store: GalleryOptions = field(default_factory=GalleryOptions)
    embedding: EmbedderOptions = field(default_factory=EmbedderOptions)
    finding: DetectorOptions = field(default_factory=DetectorOptions)
    config: Annotated[Path | None, arg("none", metavar="FILE")] = None
    """TOML file with values for these flags."""
    telemetry: bool = False
    """Send spans of requests and their stages to an OpenTelemetry collector, as the variables
    OTEL_* say (docs/serve.md); setting OTEL_EXPORTER_OTLP_ENDPOINT does the same."""
    quiet: bool = False
    """Log warnings only."""

    def __post_init__(self) -> None:
        limits = self.limits
        sizes = {
            "--max-image-mb": limits.max_image_mb,
            "--max-megapixels": limits.max_megapixels,
            "--max-images": limits.max_images,
            "--max-faces": limits.max_faces,
            "--max-memory-mb": limits.max_memory_mb,
            "--deadline": limits.deadline,
            "--batch-size": 1 if limits.batch_size is None else limits.batch_size,
            "--max-sessions": limits.max_sessions,
            "--body-seconds": self.network.body_seconds,
        }
        rules = [
            (
                self.stdio + self.http + self.openapi == 1,
                "choose one of --stdio, --http and --openapi",
            ),
            (0 <= self.threshold <= 1, "--threshold must be between 0 and 1"),
            *(
                (0 < value < math.inf, f"{flag} must be a number above 0")
                for flag, value in sizes.items()
            ),
            (
                limits.max_megapixels * 1e6 <= MOST_PIXELS,
                f"--max-megapixels must be at most {MOST_PIXELS // 10**6}: larger images are "
                "refused by Pillow, which decodes them",
            ),
            (
                limits.max_waiting >= limits.max_images,
                "--max-waiting must be at least --max-images",
            ),
            (
                limits.max_memory_mb * 2**20
                >= limits.max_megapixels * 3e6 + limits.max_image_mb * 2**20,
                "--max-memory-mb must hold at least one image of the largest size",
            ),
            (0 <= self.network.port < 65_536, "--port must be between 0 and 65535"),
            (self.threads is None or self.threads >= 1, "--threads must be at least 1"),
        ]
        require(rules)


def main(argv: Sequence[str]) -> int:
    """Serve until the caller or a signal ends it."""
    options: Options = parse(Options, argv, "faces serve", DESCRIPTION, EXAMPLES)
    if options.openapi:
        print(openapi_text())
        return 0
    log_as_json(options.quiet)
    if options.stdio:
        from pipeline.stdio.server import run_stdio

        return run_stdio(lambda: open_service(options))
    from pipeline.http.server import run_http
    from scripts.options.exposure import check_exposure

    http = http_options(options.network)
    check_exposure(options.network.host, http, options.network.no_keys_on_loopback)
    return run_http(
        open_service(options), options.network.host, options.network.port, http, announce
    )


def announce(url: str) -> None:
    """Say where the server is, to people and in the log."""
    logger.info("listening", extra={"fields": {"url": url}})
    with suppress(OSError):  # whoever wanted to read it has gone: others may still ask the server
        print(f"listening on {url}", flush=True)


def http_options(network: NetworkOptions) -> HttpOptions:
    """The flags as `pipeline.http` wants them. Without a single key ``keys`` is None."""
    from pipeline.http.keys import KeyFile
    from pipeline.http.options import HttpOptions

    keyed = not network.no_keys_on_loopback and any(k.valid for k in KeyFile(network.keys).all())
    return HttpOptions(
        keys=network.keys if keyed else None,
        rate_per_key=network.rate_per_key,
        rate_per_address=network.rate_per_address,
        cors=tuple(map(origin, network.cors_origin)),
        body_seconds=network.body_seconds,
        tls_cert=network.tls_cert,
        tls_key=network.tls_key,
        proxies=network.behind_proxy,
    )


def origin(text: str) -> str:
    """The origin of a web page as browsers send it: in lower case, without the slash that their
    address bars show and without the usual port. Raises UserError for what is none."""
    found = ORIGIN.fullmatch(text.strip().lower())
    if found is None:
        raise UserError(
            f"--cors-origin is like https://example.org or http://localhost:3000; got {text!r}"
        )
    scheme, host, port = found.groups()
    return f"{scheme}://{host}" + ("" if port in (None, USUAL_PORTS.get(scheme)) else f":{port}")


def service_limits(options: LimitOptions, detector: Detector) -> Limits:
    """The flags as `pipeline.service` wants them."""
    from detector.inference.detect import batches_for
    from pipeline.service.runtime.limits import MEGABYTE, Limits

    image = round(options.max_image_mb * MEGABYTE)
    batch, lanes = batches_for(detector, options.batch_size)
    return Limits(
        max_bytes=image,
        max_request=max(image, min(image * options.max_images, 64 * MEGABYTE)),
        max_pixels=round(options.max_megapixels * 1e6),
        max_images=options.max_images,
        max_faces=options.max_faces,
        max_waiting=options.max_waiting,
        max_memory=round(options.max_memory_mb * MEGABYTE),
        batch=batch,
        lanes=lanes,
        deadline=options.deadline,
        max_sessions=options.max_sessions,
    )


def open_service(options: Options) -> Service:
    """Load the models and open the people. Raises UserError for what cannot be opened."""
    from pipeline.service.audit import AuditLog
    from pipeline.service.core import Service
    from pipeline.service.handlers.fitting import fit_people
    from pipeline.service.people import People
    from pipeline.service.runtime.allocator import give_memory_back, keep_picture_blocks
    from pipeline.service.runtime.metrics import Metrics
    from pipeline.service.runtime.tracing import open_spans, who_asks
    from recognizer.quality import Gates

    give_memory_back()
    keep_picture_blocks()
    asker = who_asks(options.telemetry)
    spans = None if asker is None else open_spans(asker)  # a mistake in it is told before the wait
    models = open_models(options)
    limits, metrics = service_limits(options.limits, models.detector), Metrics()
    if models.embedder is None:
        service = Service(models, None, limits, metrics=metrics, spans=spans)
    else:
        store = options.store.open_store(models.embedder, take_over=True)
        people = People(store, AuditLog(audit_path(options)), observe=metrics.observe)
        service = Service(
            models, people, limits, fit_people, Gates(), options.keep_crops, metrics, spans
        )
    service.vision.warm_up()
    return service


def audit_path(options: Options) -> Path:
    """The log of enrollments and removals: one for a gallery, by whatever link it is called."""
    if options.audit is not None:
        return options.audit
    gallery = options.store.gallery
    real = gallery.resolve() if isinstance(gallery, Path) else Path(gallery.name)
    return real.with_name(f"{real.name}.audit.jsonl")


def open_models(options: Options) -> Models:
    """Detector, embedder and liveness networks."""
    from detector.inference.detect import BATCH
    from detector.inference.load import load_detector
    from detector.shipped import find_model
    from pipeline.service.vision import LivenessScorer, Models

    path = find_model(options.finding.detector)
    detector = load_detector(
        path,
        score_threshold=options.threshold,
        batch_size=options.limits.batch_size or BATCH,
        threads=options.threads,
    )
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:8]
    liveness: LivenessScorer | None = None
    landmarks: LandmarkFinder | None = None
    if options.liveness is not None:
        from recognizer.landmarks import LandmarkNet

        landmarks = LandmarkNet(threads=options.threads)
    if options.liveness:
        from pipeline.liveness.passive import PassiveLiveness

        liveness = PassiveLiveness.open(*options.liveness, threads=options.threads)
    embedder = None if options.detect_only else options.embedding.open_embedder()
    return Models(detector, f"{path.name} {digest}", embedder, liveness, landmarks)


def openapi_text() -> str:
    """The description of the HTTP interface, as docs/openapi.json has it."""
    from pipeline.http.app import make_app
    from pipeline.http.options import HttpOptions
    from pipeline.service.core import Service
    from pipeline.service.vision import Models

    service = Service(Models(detector=None, detector_name=""))  # type: ignore[arg-type]
    try:
        return json.dumps(make_app(service, HttpOptions()).openapi(), indent=1, ensure_ascii=False)
    finally:
        service.close()


def log_as_json(quiet: bool) -> None:
    """A JSON object a line on stderr, for log collectors."""
    from pipeline.service.runtime.logs import JsonFormatter

    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    level = logging.WARNING if quiet else logging.INFO
    logging.basicConfig(level=level, handlers=[handler], force=True)
    # Its warnings quote what callers send.
    logging.getLogger("python_multipart").setLevel(logging.ERROR)


if __name__ == "__main__":
    run_program("scripts.serve")
