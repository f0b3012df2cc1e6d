"""What the page answers over HTTP: its own four files, and films. Only to itself: other sites' pages are refused."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from importlib import resources
from pathlib import Path
from secrets import token_hex

from fastapi import FastAPI, Request, Response
from fastapi.responses import PlainTextResponse, StreamingResponse
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from videoadapt.errors import counted
from videoadapt.inference.page.desk import Desk, Full, State
from videoadapt.inference.page.limits import Limits
from videoadapt.inference.page.looking import Question, progress_of

FILES = {
    "/": ("page.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
}
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; media-src blob:; "
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class TooLarge(Exception):
    """An upload of more bytes than the page takes."""


def build_app(desk: Desk, who: State, limits: Limits, folder: Path, is_closing: Callable[[], bool]) -> FastAPI:
    """The page over `desk`; uploads lie in `folder` until they are answered."""
    app = FastAPI(openapi_url=None)
    # a name that an attacker lets point to this machine (DNS rebinding) is not one of these
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost"], www_redirect=False)
    for address, (name, kind) in FILES.items():
        content = (resources.files("videoadapt.inference.page") / "files" / name).read_bytes()
        app.get(address)(_constant(content, kind))
    about = {**who, "max_bytes": limits.max_bytes, "max_sec": limits.max_sec}
    app.get("/about")(_constant(json.dumps(about).encode(), "application/json"))

    @app.post("/films")
    async def look(request: Request, task: int = 0, label: int | None = None) -> Response:
        """Take the film that is the body: a line of JSON for each state of it, or a plain sentence that refuses it."""
        if request.headers.get("origin") != f"http://{request.headers['host']}":
            return _said(403, "films are taken from this page only")
        if int(request.headers.get("content-length", 0)) > limits.max_bytes:
            return _said(413, _too_large(limits))
        with ExitStack() as opened, suppress(ClientDisconnect):
            try:
                opened.enter_context(desk.place())
                film = opened.enter_context(_film_in(folder))
                await _receive(request, film, limits)
            except Full:
                return await _full(request, limits)
            except TooLarge:
                return _said(413, _too_large(limits))
            except TimeoutError:
                return _said(408, f"the upload took longer than {limits.upload_sec:g} s; try a smaller film")
            opened.enter_context(desk.line(film))
            return _Lines(desk.answer(Question(film, task, label), is_closing), opened.pop_all())
        return Response(status_code=400)  # nobody reads it

    return app


class _Lines(StreamingResponse):
    """A line of JSON for each state; when it ends, whoever ends it, what was `opened` for it is closed."""

    def __init__(self, states: AsyncIterator[State], opened: ExitStack):
        super().__init__(
            (f"{json.dumps(state)}\n" async for state in states), media_type="application/x-ndjson", headers=HEADERS
        )
        self._opened = opened

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._opened:
            await super().__call__(scope, receive, send)


@contextmanager
def _film_in(folder: Path) -> Iterator[Path]:
    """A name for an upload, which is deleted at the end, with what was noted of it."""
    film = folder / token_hex(8)
    try:
        yield film
    finally:
        for path in (film, progress_of(film)):
            path.unlink(missing_ok=True)


async def _receive(request: Request, film: Path, limits: Limits) -> None:
    """Write an upload as it comes. Raises TooLarge at the first byte too many, and TimeoutError."""
    left = limits.max_bytes
    with film.open("xb") as file:
        async with asyncio.timeout(limits.upload_sec):
            async for chunk in request.stream():
                left -= len(chunk)
                if left < 0:
                    raise TooLarge
                file.write(chunk)


async def _full(request: Request, limits: Limits) -> Response:
    """Refuse, once the upload is over: a browser that is still sending would not hear why."""
    left = limits.max_bytes
    async for chunk in request.stream():
        left -= len(chunk)
        if left < 0:
            break
    return _said(
        429,
        f"{counted(limits.max_waiting, 'film waits', 'films wait')} already, which is as many as may; try again in a minute",
    )


def _too_large(limits: Limits) -> str:
    return f"it is larger than {limits.max_mb:g} MB, which is as much as the page takes; cut it, or use videoadapt demo"


def _said(status: int, text: str) -> Response:
    return PlainTextResponse(text, status, HEADERS)


def _constant(content: bytes, kind: str) -> Callable[[], Awaitable[Response]]:
    async def answer() -> Response:
        return Response(content, media_type=kind, headers=HEADERS)

    return answer
