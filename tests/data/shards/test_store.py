"""Remote packs: retries, verification, the cache shared by processes, and its size limit."""

import hashlib
import os
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from fsspec.implementations.local import LocalFileSystem

from lightning_colorize.common.errors import UsageError
from lightning_colorize.data.module import ColorizationDataModule
from lightning_colorize.data.shards import store as module
from lightning_colorize.data.shards.check import ShardError
from lightning_colorize.data.shards.manifest import PackedFile
from lightning_colorize.data.shards.store import RemoteStore
from lightning_colorize.data.sources import ShardSource
from tests.conftest import until
from tests.data.shards.conftest import flip_byte


class Throttled(Exception):
    """An error class of a remote file system."""


@pytest.fixture(autouse=True)
def flaky(monkeypatch):
    """Local files at `file://`: each access raises the next of `failures`.

    `fetched` lists the accesses. `on_download` is called with each downloaded file.
    """
    flaky = SimpleNamespace(failures=[], fetched=[], on_download=lambda path: None)
    cat_file, get_file = LocalFileSystem.cat_file, LocalFileSystem.get_file

    def access(path):
        flaky.fetched.append(os.path.basename(path))
        if flaky.failures:
            raise flaky.failures.pop(0)

    def cat(self, path, **options):
        access(path)
        return cat_file(self, path, **options)

    def get(self, path, target, **options):
        access(path)
        get_file(self, path, target, **options)
        flaky.on_download(Path(target))

    monkeypatch.setattr(LocalFileSystem, "cat_file", cat)
    monkeypatch.setattr(LocalFileSystem, "get_file", get)
    monkeypatch.setattr(module, "DELAYS", (0.0, 0.0, 0.0))
    return flaky


@pytest.fixture
def url(own_pack):
    return f"file://{own_pack}"


def source(tmp_path, **options):
    return ShardSource(cache_dir=tmp_path / "cache", **options)


def train(tmp_path, url, **options):
    return source(tmp_path, **options).splits(url)["train"]


def cached(tmp_path):
    return sorted(path.name for path in (tmp_path / "cache").glob("*.shard"))


def test_a_url_gives_the_same_images_as_the_folder(url, packed, tmp_path):
    remote, local = source(tmp_path).splits(url), ShardSource().splits(packed)
    assert remote.keys() == local.keys()
    for split, images in local.items():
        assert list(remote[split].names) == list(images.names)
        for index in range(len(images)):
            assert torch.equal(remote[split].read(index), images.read(index))
    assert len(cached(tmp_path)) == 7
    assert not list((tmp_path / "cache").glob("*.part"))


def test_failures_are_retried_until_they_end_the_run(url, tmp_path, flaky):
    flaky.failures += Throttled("503 Slow Down"), TimeoutError()
    images = train(tmp_path, url, on_corrupt="skip")
    flaky.failures += Throttled("503"), OSError("reset"), Throttled("503")
    assert images.read(0).shape[0] == 3
    assert flaky.fetched.count("pack.json") == 3
    assert flaky.fetched.count("chunk-0-0.bin") == 4
    flaky.failures += [Throttled("503 Slow\nDown")] * 4
    with pytest.raises(ShardError) as caught:
        images.read(3)
    assert str(caught.value) == f"{url}/train/chunk-0-1.bin: 503 Slow Down"
    # The network failed, the shard may be intact: nothing to skip.
    assert caught.value.advice == "resume the run when it can be read"
    assert images.read(3).shape[0] == 3


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (FileNotFoundError("x"), "pack.json does not exist"),
        (PermissionError(13, "denied"), "pack.json cannot be read: denied"),
        (OSError(28, "No space left on device"), "No space left on device"),
    ],
)
def test_permanent_failures_are_not_retried(url, tmp_path, flaky, error, message):
    flaky.failures.append(error)
    with pytest.raises(UsageError, match=message):
        source(tmp_path).splits(url)
    assert flaky.fetched == ["pack.json"]


def test_delays_grow_and_long_ones_are_reported(monkeypatch, capsys):
    slept = []
    monkeypatch.setattr(module, "DELAYS", (0.5, 1.0, 4.0))
    monkeypatch.setattr("time.sleep", slept.append)

    def fail():
        raise Throttled("503\nSlow Down")

    with pytest.raises(Throttled):
        module.with_retries(fail, "s3://bucket/a.bin")
    assert len(slept) == 3
    assert slept[0] <= 0.5 <= slept[1] <= 1 < slept[2] <= 4
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("s3://bucket/a.bin: 503 Slow Down; retrying in")


@pytest.mark.parametrize(
    ("damage", "downloads"),
    [([partial(os.truncate, length=n) for n in (200, 100)], 3), ([flip_byte], 2)],
    ids=["truncated", "damaged"],
)
def test_a_faulty_download_or_copy_is_fetched_again(url, tmp_path, flaky, damage, downloads):
    damage = list(damage)
    flaky.on_download = lambda path: damage.pop()(path) if damage else None
    for times in (downloads, downloads + 1):
        assert train(tmp_path, url).read(0).shape[0] == 3
        assert flaky.fetched.count("chunk-0-0.bin") == times
        (copy,) = cached(tmp_path)
        flip_byte(tmp_path / "cache" / copy)


def test_a_damaged_or_missing_original_is_named(url, own_pack, tmp_path, flaky):
    flip_byte(own_pack / "train" / "chunk-0-0.bin")
    images = train(tmp_path, url)
    for _ in range(2):
        with pytest.raises(ShardError, match=r"chunk-0-0.bin: its SHA-256") as caught:
            images.read(0)
        assert caught.value.location == f"{url}/train/chunk-0-0.bin"
    assert flaky.fetched.count("chunk-0-0.bin") == 2
    assert cached(tmp_path) == []
    (own_pack / "train" / "chunk-0-0.bin").unlink()
    with pytest.raises(ShardError, match=r"chunk-0-0.bin: there is no such file"):
        train(tmp_path, url).read(0)


def test_an_evicted_shard_is_verified_again(url, own_pack, tmp_path, flaky):
    shards = train(tmp_path, url).shards
    expected = shards.open(0).image(0)
    # Evicted by another process.
    (copy,) = cached(tmp_path)
    (tmp_path / "cache" / copy).unlink()
    flip_byte(own_pack / "train" / "chunk-0-0.bin")
    with pytest.raises(ShardError, match=r"chunk-0-0.bin: its SHA-256 is not"):
        shards.open(0)
    assert cached(tmp_path) == []
    assert not list((tmp_path / "cache").glob("*.part"))
    flip_byte(own_pack / "train" / "chunk-0-0.bin")
    assert train(tmp_path, url).shards.open(0).image(0) == expected


def test_a_copy_evicted_while_it_is_opened_is_readable(url, tmp_path, monkeypatch):
    images = train(tmp_path, url)
    replace = os.replace

    def gone(part, copy):
        replace(part, copy)
        os.unlink(copy)

    with monkeypatch.context() as patch:
        patch.setattr(module.os, "replace", gone)
        assert images.read(0).shape[0] == 3
    assert cached(tmp_path) == []
    train(tmp_path, url).read(0)
    utime = os.utime

    def late(copy, *times):
        os.unlink(copy)
        utime(copy, *times)

    monkeypatch.setattr(module.os, "utime", late)
    assert train(tmp_path, url).read(0).shape[0] == 3


def test_concurrent_readers_fetch_a_file_once(url, tmp_path, flaky):
    splits = [train(tmp_path, url) for _ in range(4)]
    flaky.on_download = lambda path: time.sleep(0.2)  # until all others wait
    with ThreadPoolExecutor(8) as threads:
        shapes = list(threads.map(lambda n: splits[n % 4].read(n % 3).shape[0], range(16)))
    assert shapes == [3] * 16
    assert flaky.fetched.count("chunk-0-0.bin") == 1


def test_prefetching_fetches_a_window_of_shards(url, tmp_path, flaky):
    images = train(tmp_path, url, window=2)

    def wait_for(count):
        until(lambda: len(cached(tmp_path)) >= count)
        time.sleep(0.05)
        assert len(cached(tmp_path)) == count

    with images.expecting(lambda: np.arange(12)) as read:
        wait_for(3)
        read(2)
        wait_for(3)
    read(3)  # stopped
    wait_for(3)
    with images.expecting(lambda: np.arange(12)) as read:
        read(3)
        wait_for(4)
    fetched = len(flaky.fetched)
    for index in range(12):
        images.read(index)
    assert len(flaky.fetched) == fetched


def test_a_cache_that_cannot_be_written_is_one_line_before_the_run(tmp_path, url):
    (tmp_path / "cache").touch()
    with pytest.raises(UsageError, match=r"cache_dir: .* cannot be written: "):
        source(tmp_path).splits(url)


def test_least_recently_opened_shard_is_evicted(tmp_path):
    listed = []
    for number in range(4):
        content = bytes([number]) * 100
        (tmp_path / f"{number}.bin").write_bytes(content)
        sha256 = hashlib.sha256(content).hexdigest()
        listed.append(PackedFile(file=f"{number}.bin", bytes=100, sha256=sha256))
    store = RemoteStore(f"file://{tmp_path}", tmp_path / "cache", 250, {})
    copies = [f"{file.sha256}.shard" for file in listed]
    for number in (0, 1):
        store.open(listed[number])
        os.utime(tmp_path / "cache" / copies[number], (number, number))
    for number in (0, 2):
        store.open(listed[number])
    assert cached(tmp_path) == sorted([copies[0], copies[2]])
    store.open(listed[3])
    assert copies[3] in cached(tmp_path)
    assert len(cached(tmp_path)) == 2


def test_a_cache_smaller_than_the_pack(url, packed, tmp_path):
    room = 3 * max(path.stat().st_size for path in packed.rglob("*.bin"))
    images = train(tmp_path, url, window=1, max_cache_bytes=room)
    local = ShardSource().splits(packed)["train"]
    for index in (0, 4, 8, 11, 0, 4, 8, 11):
        assert torch.equal(images.read(index), local.read(index))
    assert sum(path.stat().st_size for path in (tmp_path / "cache").glob("*.shard")) <= room
    shards = source(tmp_path, window=1, max_cache_bytes=4 * room - 1)
    data = ColorizationDataModule(str(packed), shards, size=32)
    data.trainer = SimpleNamespace(num_devices=4, world_size=1)
    message = f"a window of 1 shards needs {4 * room:,} for 4 processes of this machine"
    with pytest.raises(UsageError, match=message):
        data.setup()
