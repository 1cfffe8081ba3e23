"""Who may use the page: loopback only, or whoever has the token; never another web site.

A page of another site can open connections to this machine in a visitor's browser. Hence the checks of Host (a name
that was pointed at us) and of Origin (a foreign page that calls us).
"""

import hmac
import re
import secrets
import socket
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

LOOPBACK = ("127.0.0.1", "localhost", "::1")
EVERYWHERE = ("0.0.0.0", "::")
"""Hosts to listen on that are no address to open."""
COOKIE = "worldtune_token"


@dataclass(frozen=True, kw_only=True)
class Access:
    """Where the server listens and what it asks of visitors."""

    host: str = "127.0.0.1"
    port: int = 8000
    token: str | None = field(default=None, repr=False)
    """Asked of everybody; None on loopback."""

    @staticmethod
    def of(host: str, port: int) -> "Access":
        """A fresh token for any host but loopback. ValueError for a port that is none."""
        if not 0 < port < 65536:
            raise ValueError(f"--port must be in 1..65535, got {port}")
        return Access(host=host, port=port, token=None if host in LOOPBACK else secrets.token_urlsafe(24))

    @property
    def url(self) -> str:
        """What to open in a browser."""
        host = socket.gethostname() if self.host in EVERYWHERE else self.host
        name = f"[{host}]" if ":" in host else host
        return f"http://{name}:{self.port}/" + (f"?token={self.token}" if self.token else "")


class Guard:
    """ASGI middleware: refuses what `Access` does not allow, and tells browsers to load nothing from elsewhere."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self.app, self.access = app, access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request or one WebSocket."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        if refusal := self._refusal(scope, headers):
            await _refuse(refusal, scope, receive, send)
            return
        if scope["type"] == "http" and (entry := self._entry(Request(scope))):
            await entry(scope, receive, send)
            return
        await self.app(scope, receive, _with_headers(send, headers.get("host", "")))

    def _refusal(self, scope: Scope, headers: Headers) -> str:
        host = headers.get("host", "")
        if self.access.token is None and _name(host) not in LOOPBACK:
            return f"this server answers to localhost only, not to {host or 'no host'}"
        changes = scope["type"] == "websocket" or scope["method"] not in ("GET", "HEAD")
        origin = headers.get("origin", "")
        if changes and origin.partition("://")[2] != host:
            return f"another site ({origin or 'unnamed'}) may not use this server"
        if self.access.token is None:
            return ""
        request = Request({**scope, "type": "http"})
        given = request.cookies.get(COOKIE) or (request.query_params.get("token") if scope["path"] == "/" else None)
        is_right = hmac.compare_digest((given or "").encode(), self.access.token.encode())
        return "" if is_right else "open the address with its token that `worldtune steer` printed"

    def _entry(self, request: Request) -> Response | None:
        """The address with the token becomes a cookie, so that it stands in no link and no log."""
        if self.access.token is None or "token" not in request.query_params:
            return None
        response = RedirectResponse("/", status_code=303)
        response.set_cookie(COOKIE, self.access.token, httponly=True, samesite="strict")
        return response


def _name(host: str) -> str:
    """The host without its port."""
    return host[1:].partition("]")[0] if host.startswith("[") else host.rpartition(":")[0] or host


async def _refuse(reason: str, scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 4403, "reason": reason[:120]})
    else:
        await PlainTextResponse(reason, status_code=403)(scope, receive, send)


def _with_headers(send: Send, host: str) -> Callable[[MutableMapping[str, Any]], Awaitable[None]]:
    # 'self' does not cover ws: in older browsers.
    sockets = f"ws://{host} wss://{host}" if re.fullmatch(r"[\w.:\[\]-]+", host) else ""
    policy = (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
        f"connect-src 'self' {sockets}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )

    async def sending(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers["content-security-policy"] = policy
            headers["x-content-type-options"] = "nosniff"
            headers["referrer-policy"] = "no-referrer"
            headers["cache-control"] = "no-store"
        await send(message)

    return sending
