"""How the server treats its callers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pipeline.service.runtime.limits import MEGABYTE


@dataclass(frozen=True)
class HttpOptions:
    """See `scripts.serve`, whose flags these are."""

    keys: Path | None = None  # the file of keys; None lets everybody in, and is for loopback only
    # rate_per_key, rate_per_address: see `pipeline.http.rate_limits`
    rate_per_key: str = "1200/minute"
    rate_per_address: str = "1200/minute"
    cors: tuple[str, ...] = ()  # origins of web pages that may ask; others are refused
    body_seconds: float = 15.0  # in which a request's body must arrive
    header_seconds: float = 10.0  # in which a request's headers must arrive
    max_requests: int = 256  # at once; more get 503
    max_bodies: int = 512 * MEGABYTE  # bytes of all bodies that are being read
    connections_per_address: int = 200  # more are closed at once
    # tls_cert, tls_key: PEM files
    tls_cert: Path | None = None
    tls_key: Path | None = None
    # addresses of reverse proxies whose ``X-Forwarded-For`` is believed
    proxies: tuple[str, ...] = ()
    grace: float = 60.0  # seconds that requests may take to end after SIGTERM
