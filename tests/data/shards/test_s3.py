"""Shards in S3, simulated by moto on 127.0.0.1, with some 503 responses."""

import threading
from collections import Counter
from secrets import token_hex
from types import SimpleNamespace

import pytest

from lightning_colorize.data.module import ColorizationDataModule
from lightning_colorize.data.shards import files
from lightning_colorize.data.sources import WebDatasetSource
from tests.data.conftest import assert_same

pytestmark = pytest.mark.slow

SLOW_DOWN = b"<Error><Code>SlowDown</Code><Message>Reduce your request rate.</Message></Error>"


@pytest.fixture
def server(monkeypatch):
    """moto's S3 behind a proxy, which refuses each object `refusals` times before it is served.

    `refused` and `served` count the requests of each object that were answered so.
    """
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    moto = DomainDispatcherApplication(create_backend_app)
    counts = SimpleNamespace(refusals=0, refused=Counter(), served=Counter())

    def proxy(environ, start_response):
        key = environ["PATH_INFO"]
        if environ["REQUEST_METHOD"] == "GET":
            if counts.refused[key] < counts.refusals:
                counts.refused[key] += 1
                start_response("503 Slow Down", [("Content-Type", "application/xml")])
                return [SLOW_DOWN]
            counts.served[key] += 1
        return moto(environ, start_response)

    http = make_server("127.0.0.1", 0, proxy, threaded=True)
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
    yield counts
    http.shutdown()


@pytest.fixture
def bucket(server, packed):
    """The URL of a copy of the pack."""
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()
    system = s3fs.S3FileSystem()
    name = f"photographs-{token_hex(4)}"  # moto's buckets outlive its servers
    system.mkdir(name)
    system.put(f"{packed}/", f"{name}/set/", recursive=True)
    return f"s3://{name}/set"


def epochs(root, source, workers):
    data = ColorizationDataModule(
        root=root, source=source, size=32, batch_size=4, cache="never", num_workers=workers, seed=2
    )
    data.setup()
    loaders = {split: data.loader(split) for split in ("train", "val", "test")}
    return [b for split in ("train", "val", "train", "test") for b in loaders[split]]


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_equal_those_of_the_folder(server, bucket, packed, tmp_path, workers):
    expected = epochs(str(packed), WebDatasetSource(), workers)
    server.refusals = 7
    batches = epochs(bucket, WebDatasetSource(cache_dir=tmp_path / "cache"), workers)
    assert len(batches) == 3 + 2 + 3 + 1
    assert_same(batches, expected)
    # Each shard was refused, and then fetched by one process.
    for counts, times in ((server.refused, 7), (server.served, 1)):
        assert [n for key, n in counts.items() if key.endswith(".tar")] == [times] * 7


def test_a_run_reads_from_a_url(server, bucket, command, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    server.refusals = 2
    command.fit("s3", "--data.root", bucket, "--data.cache", "never")
    run = command.root / "tiny" / "s3"
    assert f"root: {bucket}" in (run / "config.yaml").read_text()
    assert len(list((tmp_path / "caches/lightning-colorize/shards").glob("*.tar"))) == 7
