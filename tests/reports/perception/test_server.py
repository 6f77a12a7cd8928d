import json
import re
import socket
import sqlite3
import time
from contextlib import ExitStack, closing
from itertools import product

import pytest

from lightning_colorize.common.arguments import host_names
from lightning_colorize.reports.perception.page import read_page, study_html
from lightning_colorize.reports.perception.server import RateLimit
from tests.reports.html import embedded
from tests.reports.perception.simulated import request, serving, write_page

SERVER = "lightning_colorize.reports.perception.server"
SCRIPT = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    write_page(folder, images=4, plans=2, name=SCRIPT + "/{}.jpg", systems=["cnn", SCRIPT])
    (folder / "index.html").write_text("secret")
    (folder / "study" / "notes.txt").write_text("secret")
    return folder


@pytest.fixture
def served(folder, tmp_path):
    path = tmp_path / "a.sqlite"
    with serving(folder, path, read_page(folder)) as started:
        started[0].of_rater = RateLimit(1e6, 1e6)
        yield started


def _contents(path):
    with closing(sqlite3.connect(path)) as connection:
        return list(connection.iterdump())


def test_a_rater_agrees_answers_and_continues(served):
    server, port, (token, other) = served
    path = f"/t/{token}"
    assert request(port, "POST", path, GOOD)[0] == 403  # before the consent
    assert request(port, "POST", path, {"consent": "agreed"})[2] == b'{"answered":0}'
    utf_8 = {"Content-Type": "application/json; charset=utf-8"}
    assert request(port, "POST", path, GOOD, **utf_8)[2] == b'{"answered":1}'
    assert request(port, "POST", path, GOOD | {"answer": "right"})[2] == b'{"answered":1}'
    assert request(port, "POST", path, GOOD | {"trial": 2})[0] == 409
    status, _, html = request(port, "GET", path + "?from=mail")
    assert status == 200
    assert embedded(html.decode(), "study")["served"] == {"agreed": True, "answered": 1}
    assert (
        embedded(request(port, "GET", f"/t/{other}")[2].decode(), "study")["served"]["answered"]
        == 0
    )
    (document,) = server.store.documents()
    assert [trial["answer"] for trial in document["trials"]] == ["left"]


def test_the_page_reveals_nothing_and_allows_only_its_own_script(served):
    _, port, (token, _) = served
    status, headers, html = request(port, "GET", f"/t/{token}")
    assert status == 200
    assert b"alert(1)" not in html
    study = json.dumps(embedded(html.decode(), "study"))
    assert not re.search("cnn|alert|truth|broken|true, ", study)
    assert b"address of your device" in html
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cache-Control"] == "no-store"
    assert headers["Server"] == "study"
    for _, _, _, left, _ in embedded(html.decode(), "study")["plans"][0]:
        status, headers, data = request(port, "GET", left.removeprefix(".."))
        assert (status, headers["Content-Type"], data[:2]) == (200, "image/jpeg", b"\xff\xd8")


def test_the_consent_text_is_no_markup():
    html = study_html({"page": "x"}, consent=[SCRIPT, "Yours"])
    assert SCRIPT not in html
    assert "&lt;script&gt;alert(1)" in html
    assert "Nothing is sent" not in html
    assert "connect-src 'self'" in html
    assert "connect-src" not in study_html({"page": "x"})


def test_too_many_answers_and_requests_are_429(folder, tmp_path):
    page = read_page(folder)
    with serving(folder, tmp_path / "a.sqlite", page, rate=3) as (server, port, (token, other)):
        server.of_rater = RateLimit(1e-6, 5)
        body = {"consent": "agreed"}
        statuses = [request(port, "POST", f"/t/{token}", body)[0] for _ in range(8)]
        assert statuses == [200] * 5 + [429] * 3
        assert request(port, "POST", f"/t/{other}", body)[0] == 200
        server.of_address = RateLimit(1e-6, 5)
        replies = [request(port, "GET", "/nothing") for _ in range(8)]
        assert [status for status, _, _ in replies] == [404] * 5 + [429] * 3
        assert replies[-1][1]["Retry-After"] == "1"


def test_a_bucket_refills_and_addresses_are_forgotten(monkeypatch):
    monkeypatch.setattr(f"{SERVER}._MAX_ADDRESSES", 3)
    limit = RateLimit(2, 4)
    assert [limit.allows("a", 0) for _ in range(5)] == [True] * 4 + [False]
    assert [limit.allows("a", 0.5) for _ in range(2)] == [True, False]
    assert [limit.allows("a", 60) for _ in range(5)] == [True] * 4 + [False]
    assert [limit.allows(key, 60) for key in "bcd"] == [True, True, False]
    assert limit.allows("d", 70)


def _connect(port, address="127.0.0.1"):
    return socket.create_connection(("127.0.0.1", port), timeout=20, source_address=(address, 0))


def _raw(port, text, address="127.0.0.1"):
    with _connect(port, address) as connection:
        connection.sendall(text.encode("latin-1"))
        reply = b""
        while part := connection.recv(65536):
            reply += part
    if not reply:
        raise ConnectionError
    return int(reply.split()[1]), reply


GOOD = {"trial": 0, "answer": "left", "milliseconds": 700}


def _hostile(token, image):
    """Yield requests as text: method, path, headers and body."""
    good, json_type = json.dumps(GOOD), "Content-Type: application/json\r\n"
    close = token[:-1] + ("a" if token[-1] != "a" else "b")
    for wrong in ("a" * 32, close, token.lower() + "x", token + "/", token[:-1], token + "%00"):
        yield f"GET /t/{wrong} HTTP/1.0\r\n\r\n"
        yield f"POST /t/{wrong} HTTP/1.0\r\n{json_type}Content-Length: {len(good)}\r\n\r\n{good}"
    ups = ("../", "..%2f", "%2e%2e/", "..\\", "....//", "/", "%252e%252e%252f", "./.././")
    targets = ("etc/passwd", "index.html", "study.html", "a.sqlite", "study/notes.txt", "")
    outside = image.replace("/study/", "../", 1)
    for start, up, target in product(("/", "/study/", f"/t/{token}/"), ups, (*targets, outside)):
        yield f"GET {start}{up * 3}{target} HTTP/1.0\r\n\r\n"
    for length in ("1001", "99999999999", "-5", "1e3", "", "0x10", "9" * 30, "+7"):
        for chunked in ("", "Transfer-Encoding: chunked\r\n"):
            head = f"{json_type}{chunked}Content-Length: {length}\r\n\r\n"
            yield f"POST /t/{token} HTTP/1.0\r\n{head}"
    yield f"POST /t/{token} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n"
    head = f"Content-Length: {len(good)}\r\n\r\n{good}"
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
        yield f"POST /t/{token} HTTP/1.0\r\nContent-Type: {kind}\r\n{head}"
    for method in ("PUT", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PATCH", "HEAD"):
        yield f"{method} /t/{token} HTTP/1.0\r\n{json_type}{head}"
    values = [SCRIPT, "' OR 1=1; DROP TABLE answers; --", -1, 10**10, 1e308, True, None, [], {}]
    contents = [GOOD | {key: value} for key, value in product((*GOOD, "participant"), values)]
    texts = ["[" * 900, "", "null", good[:-1], '{"consent": 1}', good + good]
    for text in (*map(json.dumps, [*contents, GOOD | {"trial": 7}]), *texts):
        yield f"POST /t/{token} HTTP/1.0\r\n{json_type}Content-Length: {len(text)}\r\n\r\n{text}"
    yield f"GET /{'a' * 70_000} HTTP/1.0\r\n\r\n"
    yield f"GET /t/{token} HTTP/1.0\r\nX: {'a' * 70_000}\r\n\r\n"
    yield f"GET /t/{token} HTTP/1.0\r\n" + "X: 1\r\n" * 150 + "\r\n"
    yield f"GET /t/{token} HTTP/9.9\r\n\r\n"
    yield f"{SCRIPT}\r\n\r\n"
    yield f"GET /{SCRIPT} HTTP/1.0\r\n\r\n"


def test_hostile_requests_are_refused(served, tmp_path, capfd, caplog):
    server, port, (token, _) = served
    request(port, "POST", f"/t/{token}", {"consent": "agreed"})
    before = _contents(tmp_path / "a.sqlite")
    image = "/" + next(iter(server.images))
    for text in _hostile(token, image):
        status, reply = _raw(port, text)
        assert 400 <= status < 600, (text[:200], reply[:200])
        assert status != 500
        assert b"<script" not in reply
        assert b"secret" not in reply
        assert b"Traceback" not in reply
    assert _contents(tmp_path / "a.sqlite") == before
    assert capfd.readouterr().err + caplog.text == ""
    assert request(port, "POST", f"/t/{token}", GOOD)[2] == b'{"answered":1}'


def test_large_bodies_are_not_read(served):
    _, port, (token, _) = served
    head = f"POST /t/{token} HTTP/1.0\r\nContent-Type: application/json\r\n"
    with _connect(port) as connection:
        connection.sendall(f"{head}Content-Length: 1000000000\r\n\r\n".encode())
        assert b"413" in connection.recv(100)


def test_beyond_the_limit_the_oldest_connection_is_closed(served, monkeypatch):
    server, port, (token, _) = served
    monkeypatch.setattr(f"{SERVER}.MAX_CONNECTIONS", 3)

    def wait(count):
        while len(server.server_state.connections) != count:
            time.sleep(0.01)

    with ExitStack() as silent:
        addresses = ("127.0.0.2", "127.0.0.1", "127.0.0.1")
        other, first, second = (silent.enter_context(_connect(port, each)) for each in addresses)
        wait(3)
        for oldest in (first, second):
            assert _raw(port, f"GET /t/{token} HTTP/1.0\r\n\r\n")[0] == 200
            assert oldest.recv(1) == b""
            silent.enter_context(_connect(port))
            wait(3)
        other.sendall(f"GET /t/{token} HTTP/1.0\r\n\r\n".encode())
        assert b"200" in other.recv(100)
    wait(0)


def test_only_requests_for_its_own_names_are_answered(folder, tmp_path):
    names = host_names("127.0.0.1", "https://study.example/a")
    page = read_page(folder)
    with serving(folder, tmp_path / "a.sqlite", page, hosts=names) as (_, port, (token, _)):
        for host, status in {
            "localhost:80": 200,
            "study.example": 200,
            "other.example": 400,
        }.items():
            assert _raw(port, f"GET /t/{token} HTTP/1.0\r\nHost: {host}\r\n\r\n")[0] == status


@pytest.mark.parametrize("start", ["", "POST /t/{} HTTP/1.0\r\nContent-Length: 900\r\n{}\r\n"])
def test_a_request_that_comes_byte_by_byte_is_cut_off(served, monkeypatch, caplog, start):
    monkeypatch.setattr(f"{SERVER}._TIMEOUT", 0.6)
    _, port, (token, _) = served
    began = time.monotonic()
    with _connect(port) as connection:
        connection.sendall(start.format(token, "Content-Type: application/json\r\n").encode())
        connection.settimeout(0.1)
        while time.monotonic() - began < 10:
            try:
                connection.sendall(b"G")
                if connection.recv(100) == b"":
                    break
            except TimeoutError:
                continue
            except ConnectionError:
                break
    assert 0.5 < time.monotonic() - began < 5
    assert request(port, "GET", f"/t/{token}")[0] == 200
    assert caplog.records == []


def test_a_half_sent_request_does_not_delay_the_end(served, caplog):
    server, port, (token, _) = served
    with _connect(port) as connection:
        head = "Content-Type: application/json\r\nContent-Length: 50\r\n\r\n{"
        connection.sendall(f"POST /t/{token} HTTP/1.0\r\n{head}".encode())
        while not server.server_state.tasks:
            time.sleep(0.01)
        server.should_exit = True
        assert connection.recv(100) == b""
        while server.server_state.tasks:
            time.sleep(0.01)
    assert caplog.records == []
