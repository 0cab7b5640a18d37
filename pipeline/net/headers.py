"""Headers of every answer, and HEAD requests."""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

# https://cheatsheetseries.owasp.org/cheatsheets/REST_Security_Cheat_Sheet.html, "Security Headers"
SECURITY_HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}

LOOPBACK = {"localhost", "127.0.0.1", "::1"}
"""Names by which a machine calls itself."""


def host_name(host: str) -> str | None:
    """The name in a ``Host`` header, in lower case and without the port; None for a wrong one."""
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None


class HeadAsGet:
    """ASGI middleware: a HEAD request is answered as GET would be, without the body (RFC 9110,
    section 9.3.2).

    FastAPI's routes do not do this by themselves, unlike Starlette's.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return

        async def send_head(message: Message) -> None:
            if message["type"] == "http.response.body":
                message = {**message, "body": b""}
            await send(message)

        await self._app({**scope, "method": "GET"}, receive, send_head)
