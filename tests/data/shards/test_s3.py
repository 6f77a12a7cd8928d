"""Shards in S3, simulated by moto on 127.0.0.1, with some 503 responses."""

import threading
from collections import Counter

import pytest

from lightning_colorize.data.module import ColorizationDataModule
from lightning_colorize.data.shards import store
from lightning_colorize.data.sources import ShardSource
from tests.data.conftest import assert_same

pytestmark = pytest.mark.slow

SLOW_DOWN = b"<Error><Code>SlowDown</Code><Message>Reduce your request rate.</Message></Error>"


class Server:
    """moto's S3 behind a proxy that responds to some requests with 503.

    Attributes:
        refusals: How often each object is refused before it is served.
        refused: The number of refusals so far, by key.
        served: How often each was served.
    """

    def __init__(self):
        from moto.server import DomainDispatcherApplication, create_backend_app
        from werkzeug.serving import make_server

        self.moto = DomainDispatcherApplication(create_backend_app)
        self.refusals = 0
        self.refused = Counter()
        self.served = Counter()
        self.server = make_server("127.0.0.1", 0, self, threaded=True)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server.server_port}"

    def __call__(self, environ, start_response):
        key = environ["PATH_INFO"]
        if environ["REQUEST_METHOD"] == "GET" and self.refused[key] < self.refusals:
            self.refused[key] += 1
            start_response("503 Slow Down", [("Content-Type", "application/xml")])
            return [SLOW_DOWN]
        self.served[environ["REQUEST_METHOD"], key] += 1
        return self.moto(environ, start_response)


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(store, "DELAYS", (0.05,) * 30)
    for name, value in {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        # No retries of botocore, so that ours are tested.
        "AWS_MAX_ATTEMPTS": "1",
    }.items():
        monkeypatch.setenv(name, value)
    server = Server()
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
    yield server
    server.server.shutdown()


@pytest.fixture
def bucket(server, packed):
    """The URL of a copy of the pack."""
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()
    system = s3fs.S3FileSystem()
    name = f"photographs-{server.server.server_port}"
    system.mkdir(name)
    for path in sorted(packed.rglob("*")):
        if path.is_file():
            system.put_file(str(path), f"{name}/set/{path.relative_to(packed)}")
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
    expected = epochs(str(packed), ShardSource(), workers)
    server.refusals = 7
    batches = epochs(bucket, ShardSource(cache_dir=tmp_path / "cache"), workers)
    assert len(batches) == 3 + 2 + 3 + 1
    assert_same(batches, expected)
    # Each shard was refused, and then fetched by one process.
    refused = [times for key, times in server.refused.items() if key.endswith(".bin")]
    served = [n for (method, key), n in server.served.items() if method == "GET" and ".bin" in key]
    assert refused == [7] * 7
    assert served == [1] * 7


def test_a_run_reads_from_a_url(server, bucket, command, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    server.refusals = 2
    command.fit("s3", "--data.root", bucket, "--data.cache", "never")
    run = command.root / "tiny" / "s3"
    assert f"root: {bucket}" in (run / "config.yaml").read_text()
    assert len(list((tmp_path / "caches/lightning-colorize/shards").glob("*.shard"))) == 7
