"""Whom `faces serve --http` would let in, by its flags."""

from __future__ import annotations

import logging

from faces.errors import UserError
from pipeline.http.options import HttpOptions
from pipeline.net import is_loopback

logger = logging.getLogger(__name__)


def check_exposure(host: str, options: HttpOptions, no_keys: bool) -> None:
    """Raises UserError for a server that would let everybody in without being asked to."""
    if options.keys is None:
        if not is_loopback(host):
            raise UserError(
                f"--host {host} can be reached from other machines, so keys are needed: make one "
                "with `faces keys create NAME`, and leave --no-keys-on-loopback out"
            )
        if not no_keys:
            raise UserError(
                "there are no keys: make one with `faces keys create NAME`, or let every program "
                "on this machine in with --no-keys-on-loopback"
            )
        # Without keys only the name in `Host` keeps others out, and a proxy may write its own.
        if options.proxies:
            raise UserError(
                "--behind-proxy with --no-keys-on-loopback would let in everybody whom the proxy "
                "lets through: make a key with `faces keys create NAME`, and leave "
                "--no-keys-on-loopback out"
            )
    if (options.tls_cert is None) != (options.tls_key is None):
        raise UserError("--tls-cert and --tls-key go together")
    if not is_loopback(host) and options.tls_cert is None and not options.proxies:
        logger.warning("no TLS: keys and faces can be read on the way; see docs/security.md")
