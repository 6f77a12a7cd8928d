"""Shards in S3, simulated on 127.0.0.1, with some 503 responses."""

import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from secrets import token_hex
from urllib.parse import unquote, urlsplit

import pytest

from lightning_colorize.data.shards import files

pytestmark = pytest.mark.slow


class Objects(BaseHTTPRequestHandler):
    """S3's answers to GET and HEAD for the files of a folder, as the objects of any bucket.

    Each object is refused `refusals` times before it is served; `refused` and `served` count.
    """

    protocol_version = "HTTP/1.1"
    root: Path
    refusals = 0
    refused: Counter[str]
    served: Counter[str]

    def do_GET(self):
        key = unquote(urlsplit(self.path).path).split("/set/")[-1]
        if self.command == "GET":
            if self.refused[key] < self.refusals:
                self.refused[key] += 1
                return self.answer(503, error("SlowDown"))
            self.served[key] += 1
        file = self.root / key
        if not file.is_file():
            return self.answer(404, error("NoSuchKey"))
        content = file.read_bytes()
        first, _, last = self.headers.get("Range", "").removeprefix("bytes=").partition("-")
        part = content[int(first or 0) : int(last or len(content)) + 1]
        return self.answer(206 if "Range" in self.headers else 200, part)

    do_HEAD = do_GET

    def answer(self, status, content):
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Last-Modified", "Thu, 01 Jan 2026 00:00:00 GMT")
        self.send_header("ETag", '"0"')
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def log_message(self, *words):
        pass


def error(code):
    return f"<Error><Code>{code}</Code><Message>{code}</Message></Error>".encode()


@pytest.fixture
def server(monkeypatch, packed):
    """S3 on 127.0.0.1, whose buckets contain the pack as `set`."""
    import s3fs

    counts = {"refused": Counter(), "served": Counter()}
    handler = type("PackObjects", (Objects,), {"root": packed, **counts})
    http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=http.serve_forever, daemon=True).start()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{http.server_port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        # No retries of botocore, so that ours are tested.
        "AWS_MAX_ATTEMPTS": "1",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(files, "DELAYS", (0.05,) * 30)
    s3fs.S3FileSystem.clear_instance_cache()
    yield handler
    http.shutdown()


def test_a_run_reads_from_a_url(server, command, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    server.refusals = 7
    bucket = f"s3://photographs-{token_hex(4)}/set"
    command.fit("s3", "--data.root", bucket, "--data.cache", "never", "--data.num_workers", 2)
    run = command.root / "tiny" / "s3"
    assert f"root: {bucket}" in (run / "config.yaml").read_text()
    assert len(list((tmp_path / "caches/lightning-colorize/shards").glob("*.tar"))) == 7
    # Each shard was refused, and then fetched by one process.
    for counts, times in ((server.refused, 7), (server.served, 1)):
        assert [n for key, n in counts.items() if key.endswith(".tar")] == [times] * 7
