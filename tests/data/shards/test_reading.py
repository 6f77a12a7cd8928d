"""Tars in a folder and at a URL: checks, downloads, cache, prefetching."""

import multiprocessing
import os
import pickle
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from fsspec.implementations.local import LocalFileSystem

from lightning_colorize.common.errors import UsageError, WorkError
from lightning_colorize.data.cache import CachedImages
from lightning_colorize.data.corrupt import TooManyCorrupt
from lightning_colorize.data.decoding.files import ImageError
from lightning_colorize.data.shards import files as module
from lightning_colorize.data.shards.files import ShardError, Tar, TarCache
from lightning_colorize.data.sources import WebDatasetSource
from lightning_colorize.data.sources.listing import read_name_list
from tests.conftest import until
from tests.data.conftest import assert_same, data_module, names_in
from tests.data.shards.conftest import flip_byte, train

DAMAGED = "train-000001.tar"
SHA256 = "its SHA-256 is not the one in pack.json"


def test_threads_and_copies_read_the_same_images(packed):
    images = train(packed)
    expected = [images.read(i) for i in range(12)]
    copy = pickle.loads(pickle.dumps(images))
    numbers = [n for _ in range(20) for n in range(12)]
    with ThreadPoolExecutor(8) as threads:
        for number, rgb in zip(numbers, threads.map(copy.read, numbers), strict=True):
            assert torch.equal(rgb, expected[number])


def test_cached_images_have_the_same_order(packed):
    modules = [data_module(packed, cache=cache) for cache in ("always", "never")]
    for data in modules:
        assert isinstance(data.images("train"), CachedImages) == (data.cache == "always")
    assert_same(*(data.loader("train") for data in modules))


def test_exclude_list(packed, tmp_path):
    whole = train(packed)
    names = list(whole.names)
    (tmp_path / "out.txt").write_text("\n".join([names[1], *names[3:6]]))
    splits = WebDatasetSource(exclude_list=tmp_path / "out.txt").splits(packed)
    images = splits["train"]
    left = [0, 2, *range(6, 12)]
    assert [images.name(i) for i in range(len(images))] == [names[number] for number in left]
    for index, number in enumerate(left):
        assert torch.equal(images.read(index), whole.read(number))
    assert images.order.lengths.tolist() == [2, 0, 3, 3]
    assert len(splits["val"]) == 5


@pytest.mark.parametrize(
    ("change", "reason"), [(flip_byte, SHA256), (Path.unlink, "there is no such file")]
)
def test_a_damaged_or_missing_tar_is_named_in_every_run(own_pack, change, reason):
    assert train(own_pack).read(3).shape[0] == 3
    change(own_pack / DAMAGED)
    images = train(own_pack)
    for index in (3, 4, 5):
        with pytest.raises(ShardError, match=f"{own_pack / DAMAGED}: {reason}: run pack again"):
            images.read(index)
    assert [images.read(index).shape[0] for index in (2, 6)] == [3, 3]


def _read_all(images, counts):
    sha256_of = module.sha256_of

    def counted(file):
        with counts.get_lock():
            counts.value += 1
        return sha256_of(file)

    module.sha256_of = counted
    for index in range(len(images)):
        images.read(index)


def test_forked_processes_verify_each_tar_once(packed):
    images = train(packed)
    fork = multiprocessing.get_context("fork")
    counts = fork.Value("i", 0)
    for _ in range(2):
        processes = [fork.Process(target=_read_all, args=(images, counts)) for _ in range(3)]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
            assert process.exitcode == 0
    assert counts.value == 4


@pytest.mark.parametrize(
    ("split", "options"),
    [
        ("train", {"num_workers": 2}),
        ("train", {"cache": "always"}),
        ("test", {"cache": "always"}),  # its only tar
    ],
)
def test_a_damaged_tar_stops_the_run(own_pack, split, options):
    damaged = own_pack / f"{split}-000000.tar"
    flip_byte(damaged)
    data = data_module(own_pack, stage=None, **options)
    # The error is not stored: its frames would keep torch's workers alive.
    with pytest.raises(WorkError, match=f"^[^\n]*{damaged}: {SHA256}: run pack again[^\n]*skip$"):
        list(data.loader(split))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_skipped_tar_is_replaced_by_the_images_of_others(own_pack, tmp_path, workers):
    flip_byte(own_pack / DAMAGED)
    source = WebDatasetSource(on_corrupt="skip")
    data = data_module(own_pack, source, max_broken_share=0.5, num_workers=workers)
    images, loader = data.images("train"), data.loader("train")
    loader.corrupt.report = tmp_path / "broken.txt"
    read = (0, 1, 2, *range(6, 12), 10, 11, 0)
    for _ in range(2):
        assert sorted(names_in(loader)) == sorted(images.name(i) for i in read)
    assert read_name_list(tmp_path / "broken.txt") == {images.name(i) for i in (3, 4, 5)}
    assert f"{DAMAGED}: {SHA256}" in (tmp_path / "broken.txt").read_text()
    data = data_module(own_pack, source, max_broken_share=0.1)
    with pytest.raises(TooManyCorrupt, match=r"^3 or more of 20 images cannot be read"):
        list(data.loader("train"))


class Throttled(Exception):
    """An error class of a remote file system."""


@pytest.fixture
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


def remote(tmp_path, url, **options):
    return train(url, cache_dir=tmp_path / "cache", **options)


def cached(tmp_path):
    return sorted(path.name for path in (tmp_path / "cache").glob("*.tar"))


def test_failures_are_retried_until_they_end_the_run(url, tmp_path, flaky):
    flaky.failures += Throttled("503 Slow Down"), TimeoutError()
    images = remote(tmp_path, url, on_corrupt="skip")
    flaky.failures += Throttled("503"), OSError("reset"), Throttled("503")
    assert images.read(0).shape[0] == 3
    assert flaky.fetched.count("pack.json") == 3
    assert flaky.fetched.count("train-000000.tar") == 4
    flaky.failures += [Throttled("503 Slow\nDown")] * 4
    # The network failed, the tar may be intact: nothing to skip.
    with pytest.raises(ShardError, match=f"{url}/{DAMAGED}: 503 Slow: resume the run when it can"):
        images.read(3)
    assert images.read(3).shape[0] == 3


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (PermissionError(13, "denied"), "pack.json cannot be read: .*denied"),
        (OSError(28, "No space left on device"), "No space left on device"),
    ],
)
def test_permanent_failures_are_not_retried(url, tmp_path, flaky, error, message):
    flaky.failures.append(error)
    with pytest.raises(UsageError, match=message):
        remote(tmp_path, url)
    assert flaky.fetched == ["pack.json"]


def test_delays_grow_and_long_ones_are_reported(monkeypatch, capsys):
    slept = []
    monkeypatch.setattr(module, "DELAYS", (0.5, 1.0, 4.0))
    monkeypatch.setattr("time.sleep", slept.append)

    def fail():
        raise Throttled("503 Slow Down")

    with pytest.raises(Throttled):
        module.with_retries(fail, "s3://bucket/a.tar")
    assert len(slept) == 3
    assert slept[0] <= 0.5 <= slept[1] <= 1 < slept[2] <= 4
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("s3://bucket/a.tar: 503 Slow Down; retrying in")


@pytest.mark.parametrize(
    ("damage", "downloads"),
    [([partial(os.truncate, length=n) for n in (200, 100)], 3), ([flip_byte], 2)],
    ids=["truncated", "damaged"],
)
def test_a_faulty_download_or_copy_is_fetched_again(url, tmp_path, flaky, damage, downloads):
    damage = list(damage)
    flaky.on_download = lambda path: damage.pop()(path) if damage else None
    for times in (downloads, downloads + 1):
        assert remote(tmp_path, url).read(0).shape[0] == 3
        assert flaky.fetched.count("train-000000.tar") == times
        (copy,) = cached(tmp_path)
        flip_byte(tmp_path / "cache" / copy)


def test_a_tar_that_is_downloaded_again_is_verified_again(url, own_pack, tmp_path, flaky):
    images = remote(tmp_path, url)
    expected = images.encoded(0)
    # Deleted by another process.
    (copy,) = cached(tmp_path)
    (tmp_path / "cache" / copy).unlink()
    flip_byte(own_pack / "train-000000.tar")
    with pytest.raises(ShardError, match=f"{url}/train-000000.tar: {SHA256}"):
        images.read(0)
    assert flaky.fetched.count("train-000000.tar") == 3
    assert cached(tmp_path) == []
    assert not list((tmp_path / "cache").glob("*.part"))
    flip_byte(own_pack / "train-000000.tar")
    assert remote(tmp_path, url).encoded(0) == expected
    (own_pack / DAMAGED).unlink()
    with pytest.raises(ShardError, match="there is no such file"):
        remote(tmp_path, url).read(3)


def test_a_copy_deleted_while_it_is_opened_is_readable(url, tmp_path, monkeypatch):
    images = remote(tmp_path, url)
    replace, utime = os.replace, os.utime

    def gone(part, copy):
        replace(part, copy)
        os.unlink(copy)

    with monkeypatch.context() as patch:
        patch.setattr(module.os, "replace", gone)
        assert images.read(0).shape[0] == 3
    assert cached(tmp_path) == []
    remote(tmp_path, url).read(0)

    def late(copy, **times):
        os.unlink(copy)
        utime(copy, **times)

    monkeypatch.setattr(module.os, "utime", late)
    assert remote(tmp_path, url).read(0).shape[0] == 3


def test_concurrent_readers_fetch_a_tar_once(url, tmp_path, flaky):
    splits = [remote(tmp_path, url) for _ in range(4)]
    flaky.on_download = lambda path: time.sleep(0.2)  # until all others wait
    with ThreadPoolExecutor(8) as threads:
        shapes = list(threads.map(lambda n: splits[n % 4].read(n % 3).shape[0], range(16)))
    assert shapes == [3] * 16
    assert flaky.fetched.count("train-000000.tar") == 1


def test_prefetching_fetches_a_window_of_tars(url, tmp_path, flaky):
    images = remote(tmp_path, url, window=2)

    def wait_for(count):
        until(lambda: len(cached(tmp_path)) >= count)
        time.sleep(0.05)
        assert len(cached(tmp_path)) == count

    with images.expecting(lambda: np.arange(12)) as read:
        wait_for(3)
        read(2)
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
        remote(tmp_path, url)


def test_the_least_recently_opened_tar_is_deleted(tmp_path):
    cache = TarCache(tmp_path / "cache", 250, {})
    cache.folder.mkdir()
    tars = []
    for number in range(4):
        (tmp_path / f"{number}.tar").write_bytes(bytes([number]) * 100)
        tars.append(Tar(f"file://{tmp_path}/{number}.tar", 100, "", str(number)))
    for number in (0, 1, 0, 2):
        cache.open(tars[number]).close()
    assert cached(tmp_path) == ["0.tar", "2.tar"]
    cache.open(tars[3]).close()
    assert cached(tmp_path) == ["2.tar", "3.tar"]


def test_a_cache_smaller_than_the_pack(url, packed, tmp_path):
    room = 3 * max(path.stat().st_size for path in packed.glob("*.tar"))
    images, local = remote(tmp_path, url, window=1, max_cache_bytes=room), train(packed)
    for index in (0, 4, 8, 11, 0, 4, 8, 11):
        assert torch.equal(images.read(index), local.read(index))
    assert sum(path.stat().st_size for path in (tmp_path / "cache").glob("*.tar")) <= room


def test_a_truncated_tar_without_checksum_is_a_broken_image(own_pack):
    (own_pack / "pack.json").unlink()
    images = train(own_pack)
    os.truncate(own_pack / "train-000000.tar", 3000)
    with pytest.raises(ImageError, match=r"train-000000\.tar is truncated"):
        images.read(2)
