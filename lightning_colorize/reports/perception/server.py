"""Serves a study to raters with links, over HTTP."""

import re
import sqlite3
import sys
import time
from asyncio import BaseTransport
from base64 import b64encode
from collections import Counter
from collections.abc import Sequence
from hashlib import sha256
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Literal

import uvicorn
from pydantic import BaseModel, Field, TypeAdapter, ValidationError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from uvicorn.protocols.http.h11_impl import H11Protocol

from lightning_colorize.reports.perception.page import study_html
from lightning_colorize.reports.perception.store import AnswerStore, Rater

CONSENT = """\
You are asked to judge how images are colored. Taking part is voluntary.

The server stores your choices, how long each of them took, and when you made them, under a random \
number. It stores neither your name nor the address of your device.

If you stop, the answers that you gave until then are kept."""
"""The consent text unless another one is given."""

MAX_BODY = 1000  # bytes of a request; an answer has about 60
MAX_CONNECTIONS = 512  # at a time; raters behind a proxy share an address
_MAX_HEADERS, _MAX_HEAD = 100, 16_384  # the latter in bytes
_TIMEOUT = 20.0  # seconds to receive a request and to send the reply
_ANSWERS_PER_SECOND, _ANSWERS_AT_ONCE = 4.0, 30.0  # of a rater; a person gives less than 3
_SECONDS_AT_ONCE = 10.0  # of an address's rate: a page and its first images come together
_MAX_ADDRESSES = 10_000

_HEADERS = {
    "Server": "study",
    "Connection": "close",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Robots-Tag": "noindex",
}
_POLICY = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"


class _Consent(BaseModel, extra="forbid", strict=True):
    consent: Literal["agreed"]


class _Answer(BaseModel, extra="forbid", strict=True):
    trial: Annotated[int, Field(ge=0, lt=10_000)]
    answer: Literal["left", "right"]
    milliseconds: Annotated[int, Field(ge=0, lt=2**31)]


_MESSAGE: TypeAdapter[_Consent | _Answer] = TypeAdapter(_Consent | _Answer)


class RateLimit:
    """A token bucket of `burst` requests for each key, refilled by `rate`, above 0, per second."""

    def __init__(self, rate: float, burst: float) -> None:
        self.rate = rate
        self.burst = burst
        self._levels: dict[str, tuple[float, float]] = {}

    def allows(self, key: str, now: float) -> bool:
        """Return whether a request of a key is allowed at a time in seconds, and count it."""
        if len(self._levels) >= _MAX_ADDRESSES and key not in self._levels:
            refill = self.burst / self.rate
            self._levels = {k: v for k, v in self._levels.items() if now - v[1] < refill}
            if len(self._levels) >= _MAX_ADDRESSES:
                return False
        level, before = self._levels.get(key, (self.burst, now))
        level = min(self.burst, level + (now - before) * self.rate)
        self._levels[key] = (max(level - 1, 0) if level >= 1 else level, now)
        return level >= 1


class _Connection(H11Protocol):
    """A connection of one request; uvicorn limits neither its time nor their number."""

    def connection_made(self, transport: BaseTransport) -> None:
        super().connection_made(transport)  # type: ignore[arg-type]
        self.deadline = self.loop.call_later(_TIMEOUT, self.transport.abort)
        left = (c for c in self.connections if isinstance(c, _Connection))
        hosts = {c: c.client[0] for c in left if c.client and not c.transport.is_closing()}
        if self.client is None:  # closed already
            self.transport.abort()
        elif len(hosts) > MAX_CONNECTIONS:
            # The oldest of the address with the most: silent ones do not lock others out.
            count = Counter(hosts.values())
            max(hosts, key=lambda c: (count[hosts[c]], -c.deadline.when())).transport.abort()

    def send_400_response(self, msg: str) -> None:
        # Of a malformed body: the reply of its task would be a second one, which h11 refuses.
        if self.cycle is not None:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        super().send_400_response(msg)

    def connection_lost(self, exc: Exception | None) -> None:
        self.deadline.cancel()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        # The server would wait for the rest of a request, and then log its task's traceback.
        if self.cycle is not None and self.cycle.more_body:
            self.transport.abort()
        else:
            super().shutdown()


class StudyServer(uvicorn.Server):
    """Serves `/t/TOKEN`, the page of a rater, and its images; nothing else.

    One address may send `rate` requests per second on average. Requests for hosts
    not in `hosts` are refused.
    """

    def __init__(
        self, folder: Path, store: AnswerStore, rate: float, hosts: Sequence[str] = ("*",)
    ) -> None:
        self.store = store
        self.images = {name: folder / name for name in store.page.files}
        self.of_address = RateLimit(rate, rate * _SECONDS_AT_ONCE)
        self.of_rater = RateLimit(_ANSWERS_PER_SECOND, _ANSWERS_AT_ONCE)
        app = Starlette(
            routes=[
                Route("/t/{token}", self._page, methods=["GET"]),
                Route("/t/{token}", self._take, methods=["POST"]),
                Route("/{name:path}", self._image),
            ],
            middleware=[
                Middleware(BaseHTTPMiddleware, dispatch=self._guard),
                Middleware(TrustedHostMiddleware, hosts, www_redirect=False),
            ],
            exception_handlers={sqlite3.Error: _unavailable, ClientDisconnect: _gone},
        )
        app.router.redirect_slashes = False
        super().__init__(
            uvicorn.Config(
                app,
                http=_Connection,
                loop="asyncio",
                ws="none",
                lifespan="off",
                # The consent text promises that addresses are not stored.
                access_log=False,
                log_config=None,
                log_level="error",
                proxy_headers=False,
                server_header=False,
                headers=[*_HEADERS.items()],
                backlog=MAX_CONNECTIONS,
                timeout_graceful_shutdown=1,
            )
        )

    async def _guard(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        """Refuse a request, or complete the headers of its reply."""
        status = self._refusal(request)
        response = PlainTextResponse(status.phrase, status) if status else await call_next(request)
        if response.status_code == HTTPStatus.TOO_MANY_REQUESTS:
            response.headers["Retry-After"] = "1"
        response.headers.setdefault("Cache-Control", "no-store")
        response.headers.setdefault("Content-Security-Policy", _POLICY)
        return response

    def _refusal(self, request: Request) -> HTTPStatus | None:
        headers = request.headers
        size = sum(len(name) + len(value) for name, value in headers.raw)
        if not self.of_address.allows(request.scope["client"][0], time.monotonic()):
            return HTTPStatus.TOO_MANY_REQUESTS
        if request.method not in ("GET", "POST"):  # a route of GET answers HEAD too
            return HTTPStatus.NOT_IMPLEMENTED
        if request.scope["http_version"] not in ("1.0", "1.1"):
            return HTTPStatus.HTTP_VERSION_NOT_SUPPORTED
        if len(headers) > _MAX_HEADERS or size > _MAX_HEAD:
            return HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
        if "Transfer-Encoding" in headers:
            return HTTPStatus.LENGTH_REQUIRED
        if int(headers.get("Content-Length", 0)) > MAX_BODY:
            return HTTPStatus.REQUEST_ENTITY_TOO_LARGE
        return None

    def _page(self, request: Request) -> Response:
        """Send the page of a rater; of the study, it contains only what this rater is shown."""
        rater = self._rater(request)
        page = self.store.page
        # Relative to /t/TOKEN, so that a proxy may serve the study below a path of its own.
        plan = [
            (t.question, None, None, *(f"../{page.file(t.image, side)}" for side in t[3:]))
            for t in page.plans[rater.plan]
        ]
        study = {
            "page": page.page,
            "questions": page.questions,
            "plans": [plan],
            "served": {"agreed": rater.agreed, "answered": rater.answered},
        }
        html = study_html(study, consent=re.split(r"\n\s*\n", self.store.consent.strip()))
        return HTMLResponse(html, headers={"Content-Security-Policy": _policy_of(html)})

    async def _take(self, request: Request) -> Response:
        """Store the consent or one answer of a rater; send the number of answers stored."""
        rater = await run_in_threadpool(self._rater, request)
        if not self.of_rater.allows(rater.participant, time.monotonic()):
            raise HTTPException(429)
        if request.headers.get("Content-Type", "").partition(";")[0] != "application/json":
            raise HTTPException(415)
        try:
            message = _MESSAGE.validate_json(await request.body())
        except ValidationError:
            raise HTTPException(400) from None
        return JSONResponse({"answered": await run_in_threadpool(self._store, rater, message)})

    def _store(self, rater: Rater, message: _Consent | _Answer) -> int:
        if isinstance(message, _Consent):
            self.store.agree(rater.participant)
            return rater.answered
        if not rater.agreed:
            raise HTTPException(403)
        answered = self.store.add(rater.participant, **message.model_dump())
        if answered is None:
            raise HTTPException(409)
        return answered

    def _image(self, request: Request) -> Response:
        path = self.images.get(request.path_params["name"])
        if path is None:
            raise HTTPException(404)
        kept = {"Cache-Control": "private, max-age=600"}
        return Response(path.read_bytes(), headers=kept, media_type="image/jpeg")

    def _rater(self, request: Request) -> Rater:
        rater = self.store.rater(request.path_params["token"])
        if rater is None:
            raise HTTPException(404)
        return rater


def _unavailable(_: Request, error: Exception) -> Response:
    """Answer while the file cannot be written, such as on a full disk; the page tries again."""
    print(f"a request failed: {error}", file=sys.stderr, flush=True)
    return PlainTextResponse("Service Unavailable", 503)


def _gone(_request: Request, _error: Exception) -> Response:
    """Answer a client that left before all of its request arrived."""
    return PlainTextResponse("Bad Request", 400)


def _policy_of(html: str) -> str:
    """Return the policy that allows a page its own style sheet and script, and no others."""
    parts = [_POLICY, "img-src 'self' data:", "connect-src 'self'"]
    for kind, name in (("style", "style-src"), ("script", "script-src")):
        inline = re.findall(f"<{kind}>(.*?)</{kind}>", html, re.DOTALL)
        digests = (b64encode(sha256(text.encode()).digest()).decode() for text in inline)
        parts.append(" ".join([name, *(f"'sha256-{digest}'" for digest in digests)]))
    return "; ".join(parts)
