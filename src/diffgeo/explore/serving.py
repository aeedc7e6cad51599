"""Puts the page on the network: at which address, with which headers, and what is refused before it gets there."""

from __future__ import annotations

import ipaddress
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from diffgeo.explore.actions import Actions
from diffgeo.explore.app import build, theme
from diffgeo.explore.session import Explorer
from diffgeo.explore.uploads import MAX_BYTES

LOCAL = "127.0.0.1"
LEAVE = 60
"""Seconds that a computation in hand is waited for at the end."""
VISITORS = 32
MAX_BODY = 2**20
"""Bytes of a request; the page's own have a few thousand. Uploads may have as many more as a picture's file."""


class Bounded:
    """Refuses a request's body that is too long, by its declared length or else as soon as more has come in."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 413, or pass the request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit = MAX_BODY + (MAX_BYTES if scope["path"].endswith("/upload") else 0)
        refusal = f"a request may have {limit / 2**20:.0f} MB at most"
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        if not declared.isdigit() or int(declared) > limit:
            await PlainTextResponse(refusal, 413)(scope, receive, send)
            return
        got = 0

        async def counted() -> Message:
            nonlocal got
            message = await receive()
            got += len(message.get("body", b""))
            if got > limit:
                raise HTTPException(413, refusal)
            return message

        await self._app(scope, counted, send)


class _Headers:
    """Adds headers by which the browser itself lets nothing in from elsewhere, and nothing out."""

    POLICY = (
        "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self' blob: data:; worker-src 'self' blob:; "
        "object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
    )

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                more = {
                    "Content-Security-Policy": self.POLICY,
                    "X-Content-Type-Options": "nosniff",
                    "Referrer-Policy": "no-referrer",
                }
                message["headers"] = [
                    *message.get("headers", []),
                    *((k.lower().encode(), v.encode()) for k, v in more.items()),
                ]
            await send(message)

        # a page elsewhere may not read what we answer, but without this it could send: to upload, say
        headers = {key: value.decode("latin-1") for key, value in scope.get("headers", [])}
        origin = headers.get(b"origin")
        if origin is not None and urlsplit(origin).netloc != headers.get(b"host"):
            await PlainTextResponse("requests from other pages are refused", 403)(scope, receive, send)
            return
        await self._app(scope, receive, with_headers)


@contextmanager
def serving(explorer: Explorer, host: str, port: int) -> Iterator[str]:
    """Serve the page while the block runs, and give its address; what visitors left is removed at the end.

    Raises:
        OSError: the port cannot be had.
    """
    middleware = [Middleware(_Headers), Middleware(Bounded)]
    if is_local(host):  # another name in the request's Host is a page elsewhere that points its own name at us
        middleware.append(Middleware(TrustedHostMiddleware, allowed_hosts=[host, LOCAL, "localhost"]))
    with tempfile.TemporaryDirectory(prefix="diffgeo-explore-") as folder, _environment("GRADIO_TEMP_DIR", folder):
        actions = Actions(explorer)
        demo = build(actions)
        try:
            _, url, _ = demo.launch(
                server_name=host,
                server_port=port,
                share=False,
                quiet=True,
                prevent_thread_lock=True,
                show_error=True,
                inbrowser=False,
                max_file_size=MAX_BYTES,
                state_session_capacity=VISITORS,
                enable_monitoring=False,
                ssr_mode=False,
                pwa=False,
                mcp_server=False,
                footer_links=[],
                app_kwargs={"middleware": middleware},
                theme=theme(),
                css_paths=[Path(__file__).with_name("page.css")],
                js=Path(__file__).with_name("paint.js").read_text(encoding="utf-8"),
            )
            yield url
        finally:
            explorer.context.interruption.requested = True
            demo.close(verbose=False)
            actions.busy.acquire(timeout=LEAVE)  # torch does not bear the end of the process in mid-computation


@contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    """Set a variable while the block runs."""
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        os.environ.pop(name)
        if before is not None:
            os.environ[name] = before


def is_local(host: str) -> bool:
    """Whether only this machine can reach an address."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
