"""Serves a study to raters with links, over HTTP."""

import re
import sqlite3
import sys
import time
from base64 import b64encode
from collections import Counter
from collections.abc import Callable, Mapping
from hashlib import sha256
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BufferedReader, RawIOBase
from pathlib import Path
from socket import socket
from threading import Lock
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from lightning_colorize.reports.perception.page import study_html
from lightning_colorize.reports.perception.store import AnswerStore, Rater

CONSENT = """\
You are asked to judge how images are colored. Taking part is voluntary.

The server stores your choices, how long each of them took, and when you made them, under a random \
number. It stores neither your name nor the address of your device.

If you stop, the answers that you gave until then are kept."""
"""The consent text unless another one is given."""

MAX_BODY = 1000  # bytes of a request; an answer has about 60
MAX_CONNECTIONS = 128  # at a time
MAX_OF_ADDRESS = 64  # of these; raters in one building may share an address
_TIMEOUT = 10.0  # seconds to receive a request, and to send each part of the reply
_ANSWERS_PER_SECOND, _ANSWERS_AT_ONCE = 4.0, 30.0  # of a rater; a person gives less than 3
_SECONDS_AT_ONCE = 10.0  # of an address's rate: a page and its first images come together
_MAX_ADDRESSES = 10_000

_TOKEN = re.compile(r"/t/([\w-]{20,64})", re.ASCII)
_HEADERS = {
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Robots-Tag": "noindex",
}
_POLICY = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"


class _Consent(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    consent: Literal["agreed"]


class _Answer(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    trial: Annotated[int, Field(ge=0, lt=10_000)]
    answer: Literal["left", "right"]
    milliseconds: Annotated[int, Field(ge=0, lt=2**31)]


_MESSAGE: TypeAdapter[_Consent | _Answer] = TypeAdapter(_Consent | _Answer)


class RateLimit:
    """A token bucket for each key.

    Args:
        rate: Requests per second that are allowed on average, above 0.
        burst: Requests that are allowed at once.
    """

    def __init__(self, rate: float, burst: float) -> None:
        self.rate = rate
        self.burst = burst
        self._lock = Lock()
        self._levels: dict[str, tuple[float, float]] = {}

    def allows(self, key: str, now: float) -> bool:
        """Return whether a request of a key is allowed at a time in seconds, and count it."""
        with self._lock:
            if len(self._levels) >= _MAX_ADDRESSES and key not in self._levels:
                refill = self.burst / self.rate
                self._levels = {k: v for k, v in self._levels.items() if now - v[1] < refill}
                if len(self._levels) >= _MAX_ADDRESSES:
                    return False
            level, before = self._levels.get(key, (self.burst, now))
            level = min(self.burst, level + (now - before) * self.rate)
            self._levels[key] = (max(level - 1, 0) if level >= 1 else level, now)
            return level >= 1


class StudyServer(ThreadingHTTPServer):
    """Serves `/t/TOKEN`, the page of a rater, and its images; nothing else.

    Args:
        address: Host and port; port 0 for a free one.
        folder: The folder of the page.
        store: Its answers.
        rate: Requests per second that one address may send on average.
        connections: Connections that one address may have at a time, of MAX_CONNECTIONS.

    Raises:
        OSError: If it cannot listen on the address.
    """

    allow_reuse_port = False  # a second server would get half of the requests
    request_queue_size = 128

    def __init__(
        self,
        address: tuple[str, int],
        folder: Path,
        store: AnswerStore,
        rate: float,
        connections: int = MAX_OF_ADDRESS,
    ) -> None:
        self.store = store
        self.connections = connections
        self.images: Mapping[str, Path] = {f"/{name}": folder / name for name in store.page.files}
        self.of_address = RateLimit(rate, rate * _SECONDS_AT_ONCE)
        self.of_rater = RateLimit(_ANSWERS_PER_SECOND, _ANSWERS_AT_ONCE)
        self._open: Counter[str] = Counter()
        self._lock = Lock()
        super().__init__(address, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer in a thread; close the connection if there are too many."""
        address = client_address[0]
        with self._lock:
            own, total = self._open[address], self._open.total()
            if is_free := own < self.connections and total < MAX_CONNECTIONS:
                self._open[address] += 1
        if is_free:
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer, in the thread."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            with self._lock:
                self._open -= Counter([client_address[0]])  # without addresses that left

    def handle_error(self, request: socket | tuple[bytes, socket], client_address: Any) -> None:
        """Say in one line what failed, unless the client just left."""
        error = sys.exception()
        if not isinstance(error, ConnectionError | TimeoutError):
            print(f"a request failed: {error!r}", file=sys.stderr, flush=True)


class _RefusalError(Exception):
    """A request is answered with a status."""

    def __init__(self, status: HTTPStatus) -> None:
        super().__init__(status)
        self.status = status


class _Request(RawIOBase):
    """What a client sends; all of it must arrive in _TIMEOUT seconds.

    A timeout of the connection is one of each read: a byte now and then would hold it for ever.
    """

    def __init__(self, connection: socket) -> None:
        self._connection = connection
        self._end = time.monotonic() + _TIMEOUT

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._connection.settimeout(left)
        try:
            return self._connection.recv_into(buffer)
        finally:
            self._connection.settimeout(_TIMEOUT)


class _Handler(BaseHTTPRequestHandler):
    server: StudyServer

    def setup(self) -> None:
        super().setup()
        self.rfile.close()
        self.rfile = BufferedReader(_Request(self.connection))

    def do_GET(self) -> None:
        """Send the page of a rater, or an image."""
        self._answer(self._get)

    def do_POST(self) -> None:
        """Store the consent or one answer of a rater; send the number of answers stored."""
        self._answer(self._post)

    def _answer(self, method: Callable[[str], None]) -> None:
        try:
            if not self.server.of_address.allows(str(self.client_address[0]), time.monotonic()):
                raise _RefusalError(HTTPStatus.TOO_MANY_REQUESTS)
            method(self.path.partition("?")[0])
        except _RefusalError as refusal:
            self.send_error(refusal.status)
        except sqlite3.Error as error:  # such as a full disk; the page tries again
            print(f"a request failed: {error}", file=sys.stderr, flush=True)
            self.send_error(HTTPStatus.SERVICE_UNAVAILABLE)

    def _get(self, path: str) -> None:
        if path in self.server.images:
            data = self.server.images[path].read_bytes()
            self._send(HTTPStatus.OK, data, "image/jpeg", {"Cache-Control": "private, max-age=600"})
        else:
            html = self._page(self._rater(path)).encode()
            self._send(HTTPStatus.OK, html, "text/html; charset=utf-8", _policy_of(html))

    def _post(self, path: str) -> None:
        rater = self._rater(path)
        if not self.server.of_rater.allows(rater.participant, time.monotonic()):
            raise _RefusalError(HTTPStatus.TOO_MANY_REQUESTS)
        message = self._message()
        answered: int | None = rater.answered
        if isinstance(message, _Consent):
            self.server.store.agree(rater.participant)
        elif rater.agreed:
            answered = self.server.store.add(rater.participant, **message.model_dump())
        else:
            raise _RefusalError(HTTPStatus.FORBIDDEN)
        if answered is None:
            raise _RefusalError(HTTPStatus.CONFLICT)
        self._send(HTTPStatus.OK, f'{{"answered": {answered}}}\n'.encode(), "application/json")

    def _message(self) -> _Consent | _Answer:
        if self.headers.get_content_type() != "application/json":
            raise _RefusalError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE)
        length = self.headers.get("Content-Length", "")
        if not re.fullmatch("[0-9]{1,18}", length) or "Transfer-Encoding" in self.headers:
            raise _RefusalError(HTTPStatus.LENGTH_REQUIRED)
        if int(length) > MAX_BODY:
            raise _RefusalError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        try:
            return _MESSAGE.validate_json(self.rfile.read(int(length)))
        except ValidationError:
            raise _RefusalError(HTTPStatus.BAD_REQUEST) from None

    def _rater(self, path: str) -> Rater:
        match = _TOKEN.fullmatch(path)
        rater = self.server.store.rater(match[1]) if match else None
        if rater is None:
            raise _RefusalError(HTTPStatus.NOT_FOUND)
        return rater

    def _page(self, rater: Rater) -> str:
        """Return the page; of the study, it contains only what this rater is shown."""
        page = self.server.store.page
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
        paragraphs = re.split(r"\n\s*\n", self.server.store.consent.strip())
        return study_html(study, consent=paragraphs)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Send a status and its name; nothing of the request."""
        headers = {"Retry-After": "1"} if code == HTTPStatus.TOO_MANY_REQUESTS else {}
        text = f"{HTTPStatus(code).phrase}\n".encode()
        self._send(code, text, "text/plain; charset=utf-8", headers)

    def _send(
        self, code: int, data: bytes, media_type: str, headers: Mapping[str, str] | None = None
    ) -> None:
        self.send_response(code)
        basic = {"Content-Type": media_type, "Content-Length": str(len(data))}
        basic |= {"Cache-Control": "no-store", "Content-Security-Policy": _POLICY}
        for name, value in (_HEADERS | basic | dict(headers or {})).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def version_string(self) -> str:
        """Return the name of the server, without versions."""
        return "study"

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing: the consent text promises that addresses are not stored."""


def _policy_of(html: bytes) -> dict[str, str]:
    """Return the policy that allows a page its own style sheet and script, and no others."""
    parts = [_POLICY, "img-src 'self' data:", "connect-src 'self'"]
    for kind, name in ((b"style", "style-src"), (b"script", "script-src")):
        inline = re.findall(b"<%b>(.*?)</%b>" % (kind, kind), html, re.DOTALL)
        digests = (b64encode(sha256(text).digest()).decode() for text in inline)
        parts.append(" ".join([name, *(f"'sha256-{digest}'" for digest in digests)]))
    return {"Content-Security-Policy": "; ".join(parts)}
