"""Shards at URLs: HTTP, and S3 as simulated on 127.0.0.1, with some 503 responses."""

import threading
from collections import Counter
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import s3fs

from lightning_colorize.data.shards import files
from lightning_colorize.data.sources import WebDatasetSource
from tests.data.conftest import assert_same, data_module

REFUSALS = 3
refused: Counter[str] = Counter()
served: Counter[str] = Counter()


class Objects(SimpleHTTPRequestHandler):
    """Serves the files of a folder, also as objects of any bucket, after some refusals of each."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        name = Path(self.translate_path(self.path)).name
        if refused[name] < REFUSALS:
            refused[name] += 1
            self.send_error(503)
        else:
            served[name] += 1
            super().do_GET()

    def translate_path(self, path):
        return super().translate_path(Path(urlsplit(path).path).name)

    def log_message(self, *words):
        pass


@pytest.fixture
def port(monkeypatch, packed):
    """The port of a server of the pack."""
    refused.clear()
    served.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Objects, directory=packed))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_port}",
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
    yield server.server_port
    server.shutdown()


def epochs(root, source, workers):
    data = data_module(root, source, num_workers=workers)
    batches = [b for split in ("train", "val", "train", "test") for b in data.loader(split)]
    data.teardown()
    return batches


@pytest.mark.parametrize("url", ["http://127.0.0.1:{}/set", "s3://photographs-{}/set"])
def test_batches_equal_those_of_the_folder(port, packed, tmp_path, url):
    expected = epochs(packed, WebDatasetSource(), 0)
    source = WebDatasetSource(cache_dir=tmp_path / "cache")
    batches = epochs(url.format(port), source, 2)
    assert len(batches) == 3 + 2 + 3 + 1
    assert_same(batches, expected)
    # Each shard was refused, and then fetched by one process.
    for counts, times in ((refused, REFUSALS), (served, 1)):
        assert [n for name, n in counts.items() if name.endswith(".tar")] == [times] * 7
    assert len(list((tmp_path / "cache").glob("*.tar"))) == 7
    assert not list((tmp_path / "cache").glob("*.part"))
